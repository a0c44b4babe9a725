//! Reading all partitions, from their ends on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::client::{self, Apart, Context, SharedHealth};
use super::settings::KafkaSettings;
use super::topics::{ANSWER, blocking, partitions};
use super::{of_topic, unavailable};
use crate::bus::{Batch, BusError, Hint, Interest, News, Subscription};
use crate::model::{Event, RoomId};

/// Records that are looked at before what is wanted of them is handed on.
const BATCH: usize = 500;
/// How often there is a look whether the topic got more partitions.
const GROWN_EVERY: Duration = Duration::from_secs(60);
/// How the value of a record begins that is about messages alone. Any other is decoded whatever its room.
const OF_MESSAGES: &[u8] = br#"{"type":"message"#;

type Consumer = Arc<Apart<StreamConsumer<Context>>>;

/// A reader of all partitions, without a group.
pub(super) struct Reader {
    consumer: Consumer,
    interest: Option<Arc<dyn Interest>>,
    health: SharedHealth,
    hints: String,
    /// Ends when the topic has more partitions than are read.
    grown: JoinHandle<()>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.grown.abort();
    }
}

/// Begins to read: whatever is written from when this returns is read.
pub(super) async fn begin(
    settings: &KafkaSettings,
    health: &SharedHealth,
    interest: Option<Arc<dyn Interest>>,
) -> Result<Reader, BusError> {
    let consumer = client::reader(settings, health).map_err(unavailable)?;
    let consumer = Arc::new(consumer);
    let (topic, hints) = (settings.topic.clone(), settings.hints());
    // Without an interest the events aren't even fetched.
    let mut topics = vec![hints.clone()];
    topics.extend(interest.is_some().then(|| topic.clone()));
    let count = {
        let (consumer, topics) = (Arc::clone(&consumer), topics.clone());
        blocking(move || Ok(assign_ends(consumer.get(), &topics))).await??
    };
    health.is_up();
    let watched = topics.pop().unwrap_or(topic);
    Ok(Reader {
        grown: tokio::spawn(until_grown(Arc::clone(&consumer), watched, count)),
        consumer,
        interest,
        health: health.clone(),
        hints,
    })
}

/// Has all partitions read from where they end; answers how many there are of the last topic.
fn assign_ends(consumer: &StreamConsumer<Context>, topics: &[String]) -> Result<usize, BusError> {
    let mut ends = TopicPartitionList::new();
    let mut count = 0;
    for topic in topics {
        count = partitions(consumer, topic).map_err(|e| of_topic(topic, e))?;
        if count == 0 {
            return Err(unavailable(KafkaError::MetadataFetch(
                RDKafkaErrorCode::LeaderNotAvailable,
            )));
        }
        for partition in (0..).take(count) {
            let marks = consumer.fetch_watermarks(topic, partition, ANSWER);
            let (_, end) = marks.map_err(|e| of_topic(topic, e))?;
            let added = ends.add_partition_offset(topic, partition, Offset::Offset(end));
            added.map_err(unavailable)?;
        }
    }
    consumer.assign(&ends).map_err(unavailable)?;
    Ok(count)
}

async fn until_grown(consumer: Consumer, topic: String, read: usize) {
    loop {
        sleep(GROWN_EVERY).await;
        let (consumer, topic) = (Arc::clone(&consumer), topic.clone());
        // Brokers that are away are asked again.
        if let Ok(now) = blocking(move || partitions(consumer.get(), &topic)).await
            && now > read
        {
            return;
        }
    }
}

/// Whether librdkafka can't go on reading by itself.
pub(super) fn ends(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumptionFatal(_) => true,
        KafkaError::MessageConsumption(code) => matches!(
            code,
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
        ),
        _ => false,
    }
}

impl Reader {
    /// Takes a record, or what librdkafka says instead of one.
    fn take(
        &self,
        read: Result<BorrowedMessage<'_>, KafkaError>,
        batch: &mut Batch<'_>,
    ) -> Result<(), BusError> {
        match read {
            Ok(record) if record.topic() == self.hints => {
                if let Some(hint) = record.payload().and_then(|v| decode::<Hint>(&record, v)) {
                    batch.news.push(News::Hint(hint));
                }
                Ok(())
            }
            Ok(record) => {
                if let Some(value) = record.payload()
                    && concerns(&record, value, batch)
                    && let Some(event) = decode::<Event>(&record, value)
                {
                    batch.event(event);
                }
                Ok(())
            }
            Err(error) if ends(&error) => Err(unavailable(error)),
            Err(error) => {
                tracing::debug!(%error, "librdkafka goes on by itself");
                Ok(())
            }
        }
    }
}

/// Whether a record is to be decoded, which its key and its first bytes tell.
fn concerns(record: &BorrowedMessage<'_>, value: &[u8], batch: &Batch<'_>) -> bool {
    let room = record
        .key()
        .and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
    match room {
        Some(room) if value.starts_with(OF_MESSAGES) => batch.follows(RoomId(room)),
        _ => true,
    }
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(
    record: &BorrowedMessage<'_>,
    value: &[u8],
) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                "a record isn't what nodes write"
            );
        })
        .ok()
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self) -> Result<Vec<News>, BusError> {
        loop {
            let consumer = self.consumer.get();
            let first = tokio::select! {
                biased;
                read = consumer.recv() => read,
                _ = &mut self.grown => return Err(unavailable("the topic has more partitions")),
            };
            let mut batch = Batch::new(self.interest.as_ref());
            let is_record = first.is_ok();
            self.take(first, &mut batch)?;
            if is_record {
                self.health.is_up();
            }
            for _ in 1..BATCH {
                let Some(read) = consumer.recv().now_or_never() else {
                    break;
                };
                self.take(read, &mut batch)?;
            }
            if !batch.news.is_empty() {
                return Ok(batch.news);
            }
            tokio::task::yield_now().await;
        }
    }
}
