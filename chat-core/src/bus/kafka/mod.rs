//! The bus of production: Apache Kafka, by librdkafka.
//!
//! One topic holds all events, keyed by room: `chat.events`. Nodes that push to connections read all of its partitions without
//! a group, each from where it ends when they begin; consumers that must see each event once read it as a group. What hurries
//! nodes goes through a topic beside it, so that every record of this one is an event.

mod client;
mod group;
mod reader;
mod settings;
mod topics;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::time::sleep;

use self::client::{Apart, Context};
pub use self::settings::{KafkaSettings, SettingsError};
use super::{BusError, DeadLetter, EventBus, Group, Health, Hint, Interest, Subscription};
use crate::model::Event;

/// How often a full queue is offered more.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// Carries events through Kafka. Clones are the same bus.
#[derive(Clone)]
pub struct KafkaBus(Arc<Inner>);

struct Inner {
    settings: KafkaSettings,
    /// Replaced when it has failed for good.
    producer: Mutex<Arc<Apart<FutureProducer<Context>>>>,
    health: client::SharedHealth,
}

impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBus")
            .field("settings", &self.0.settings)
            .field("health", &self.0.health.get())
            .finish_non_exhaustive()
    }
}

fn unavailable(error: impl Into<crate::store::BoxError>) -> BusError {
    BusError::Unavailable(error.into())
}

/// The error of something that was done with a topic.
fn of_topic(topic: &str, error: KafkaError) -> BusError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => BusError::Unusable(format!(
            "the topic {topic} isn't there, or this node's user has no rights on it"
        )),
        _ => unavailable(error),
    }
}

impl KafkaBus {
    /// A bus by these settings. Brokers that aren't there are no error: they are tried until they are.
    ///
    /// # Errors
    /// librdkafka can't make sense of the settings.
    pub fn new(settings: KafkaSettings) -> Result<Self, SettingsError> {
        let health = client::SharedHealth::default();
        let producer = client::producer(&settings, &health)?;
        // A reader has settings of its own.
        client::reader(&settings, &health)?;
        Ok(Self(Arc::new(Inner {
            settings,
            producer: Mutex::new(Arc::new(producer)),
            health,
        })))
    }

    /// The producer; another one if it can't go on.
    fn producer(&self) -> Result<Arc<Apart<FutureProducer<Context>>>, SettingsError> {
        let mut producer = self
            .0
            .producer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((code, reason)) = producer.get().client().fatal_error() {
            tracing::warn!(%code, reason, "the producer failed for good: here is another");
            *producer = Arc::new(client::producer(&self.0.settings, &self.0.health)?);
        }
        Ok(Arc::clone(&producer))
    }

    /// Writes records in this order, and waits until the brokers have them all.
    async fn write(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (Option<String>, Vec<u8>)>,
    ) -> Result<(), BusError> {
        let producer = self.producer().map_err(unavailable)?;
        let mut deliveries = Vec::new();
        for (key, value) in records {
            let mut record = FutureRecord::<str, [u8]>::to(topic).payload(&value);
            if let Some(key) = &key {
                record = record.key(key);
            }
            let delivery = loop {
                match producer.get().send_result(record) {
                    Ok(delivery) => break delivery,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                        record = same;
                        sleep(QUEUE_PAUSE).await;
                    }
                    Err((error, _)) => return Err(unavailable(error)),
                }
            };
            deliveries.push(async move {
                match delivery.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err((error, _))) => Err(unavailable(error)),
                    Err(canceled) => Err(unavailable(canceled)),
                }
            });
        }
        let written = try_join_all(deliveries).await;
        if written.is_ok() {
            self.0.health.is_up();
        }
        written.map(drop)
    }
}

#[async_trait]
impl EventBus for KafkaBus {
    async fn reach(&self) -> Result<(), BusError> {
        let health = &self.0.health;
        let made = topics::make_or_check(&self.0.settings, health).await;
        made.map_err(|error| health.explain(error))?;
        health.is_up();
        Ok(())
    }

    async fn publish(&self, events: &[Event]) -> Result<(), BusError> {
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let value = serde_json::to_vec(event).map_err(unavailable)?;
            records.push((Some(event.room_id().to_string()), value));
        }
        self.write(&self.0.settings.topic, records).await
    }

    async fn hint(&self, hint: Hint) -> Result<(), BusError> {
        let value = serde_json::to_vec(&hint).map_err(unavailable)?;
        self.write(&self.0.settings.hints(), [(None, value)]).await
    }

    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let health = &self.0.health;
        let reader = reader::begin(&self.0.settings, health, interest).await;
        Ok(Box::new(reader.map_err(|error| health.explain(error))?))
    }

    fn health(&self) -> Health {
        self.0.health.get()
    }

    fn client_errors(&self) -> Option<u64> {
        Some(self.0.health.errors())
    }

    fn has_groups(&self) -> bool {
        true
    }

    async fn join(&self, group: &str) -> Result<Box<dyn Group>, BusError> {
        let reader = group::join(&self.0.settings, &self.0.health, group)?;
        Ok(Box::new(reader))
    }

    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), BusError> {
        let mut records = Vec::with_capacity(letters.len());
        for letter in letters {
            let value = serde_json::to_vec(letter).map_err(unavailable)?;
            records.push((Some(letter.event.room_id().to_string()), value));
        }
        self.write(&self.0.settings.dead(), records).await
    }
}
