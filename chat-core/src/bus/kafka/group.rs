//! Reading as a group: Kafka spreads the partitions over its readers, and keeps how far each partition was read.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Apart, Context, Lag, SharedHealth};
use super::reader::{decode, ends};
use super::settings::KafkaSettings;
use super::unavailable;
use crate::bus::{BusError, Group};
use crate::model::Event;

/// Records handed on at once.
const BATCH: usize = 500;

/// A reader of the events' topic, in a group.
pub(super) struct GroupReader {
    consumer: Apart<StreamConsumer<Context>>,
    health: SharedHealth,
    lag: Lag,
    /// Where each partition goes on after what was handed on.
    next: BTreeMap<(String, i32), i64>,
}

impl fmt::Debug for GroupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupReader")
            .field("behind", &self.lag.get())
            .finish_non_exhaustive()
    }
}

/// Joins a group, which goes on where it was, or begins with what the topic still has.
pub(super) fn join(
    settings: &KafkaSettings,
    health: &SharedHealth,
    group: &str,
) -> Result<GroupReader, BusError> {
    let lag = Lag::default();
    let consumer = client::group_reader(settings, health, group, &lag).map_err(unavailable)?;
    let subscribed = consumer.get().subscribe(&[&settings.topic]);
    subscribed.map_err(unavailable)?;
    Ok(GroupReader {
        consumer,
        health: health.clone(),
        lag,
        next: BTreeMap::new(),
    })
}

/// The event of a record, and where it stands. What isn't an event is passed over, and is in the log.
type Taken = (Option<Event>, (String, i32), i64);

fn take(read: Result<BorrowedMessage<'_>, KafkaError>) -> Result<Option<Taken>, BusError> {
    match read {
        Ok(record) => {
            let event = record.payload().and_then(|value| decode(&record, value));
            let place = (record.topic().to_owned(), record.partition());
            Ok(Some((event, place, record.offset())))
        }
        Err(error)
            if ends(&error)
                || error.rdkafka_error_code()
                    == Some(RDKafkaErrorCode::GroupAuthorizationFailed) =>
        {
            Err(unavailable(error))
        }
        Err(error) => {
            tracing::debug!(%error, "librdkafka goes on by itself");
            Ok(None)
        }
    }
}

#[async_trait]
impl Group for GroupReader {
    async fn next(&mut self) -> Result<Vec<Event>, BusError> {
        let mut events = Vec::new();
        loop {
            let first = take(self.consumer.get().recv().await)?;
            if first.is_some() {
                self.health.is_up();
            }
            let mut taken = first;
            for _ in 0..BATCH {
                if let Some((event, partition, offset)) = taken.take() {
                    events.extend(event);
                    self.next.insert(partition, offset + 1);
                }
                let Some(read) = self.consumer.get().recv().now_or_never() else {
                    break;
                };
                taken = take(read)?;
            }
            if let Some((event, partition, offset)) = taken {
                events.extend(event);
                self.next.insert(partition, offset + 1);
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn done(&mut self) -> Result<(), BusError> {
        let consumer = self.consumer.get();
        for ((topic, partition), offset) in std::mem::take(&mut self.next) {
            let mut place = TopicPartitionList::new();
            let added = place.add_partition_offset(&topic, partition, Offset::Offset(offset));
            added.map_err(unavailable)?;
            // It is committed within seconds, and when the reader goes. A partition that is another reader's by now is
            // refused: that one reads from where the group was.
            if let Err(error) = consumer.store_offsets(&place) {
                tracing::debug!(%error, partition, "the partition is another reader's by now");
            }
        }
        Ok(())
    }

    fn behind(&self) -> u64 {
        self.lag.get()
    }
}
