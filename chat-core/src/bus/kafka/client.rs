//! librdkafka's clients: what they report, and how they go.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::statistics::Statistics;
use tokio::time::Instant;

use super::settings::{KafkaSettings, SettingsError};
use crate::bus::{BusError, Health};

/// How often a refusal is said that goes on: while some connections stand, others may be refused each second.
const REFUSED_SAID_EVERY: Duration = Duration::from_secs(60);

/// A [`Health`] that all clients of a bus set, and how many errors they reported.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedHealth(Arc<Reported>);

#[derive(Debug, Default)]
struct Reported {
    health: AtomicU8,
    errors: AtomicU64,
    refusal: Mutex<Refusal>,
}

/// What brokers have against this node. To a call it looks as if nobody answered: only librdkafka's error callback tells.
#[derive(Debug, Default)]
struct Refusal {
    /// Since nothing has worked.
    now: Option<&'static str>,
    said: Option<Instant>,
}

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

impl SharedHealth {
    pub(super) fn get(&self) -> Health {
        match self.0.health.load(Ordering::Relaxed) {
            UNKNOWN => Health::Unknown,
            UP => Health::Up,
            _ => Health::Down,
        }
    }

    pub(super) fn errors(&self) -> u64 {
        self.0.errors.load(Ordering::Relaxed)
    }

    pub(super) fn is_up(&self) {
        self.refusal().now = None;
        if self.0.health.swap(UP, Ordering::Relaxed) == DOWN {
            tracing::info!("Kafka answers again");
        }
    }

    fn is_down(&self, reason: &str) {
        if self.0.health.swap(DOWN, Ordering::Relaxed) != DOWN {
            tracing::warn!(reason, "Kafka can't be reached: events wait in the outbox");
        }
    }

    fn refusal(&self) -> MutexGuard<'_, Refusal> {
        let refusal = self.0.refusal.lock();
        refusal.unwrap_or_else(PoisonError::into_inner)
    }

    fn refuses(&self, what: &'static str, reason: &str) {
        let mut refusal = self.refusal();
        refusal.now = Some(what);
        let is_due = |said: Instant| said.elapsed() >= REFUSED_SAID_EVERY;
        if refusal.said.is_none_or(is_due) {
            refusal.said = Some(Instant::now());
            tracing::warn!(reason, "{what}");
        }
    }

    /// The error of a call that wasn't answered, with what was heard beside it.
    pub(super) fn explain(&self, error: BusError) -> BusError {
        match (error, self.refusal().now) {
            (BusError::Unavailable(_), Some(what)) => BusError::Unusable(what.to_owned()),
            (error, _) => error,
        }
    }
}

/// How many events a group's reader has before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lag(Arc<AtomicU64>);

impl Lag {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds up what librdkafka knows of the partitions that are this reader's.
    fn set(&self, statistics: &Statistics) {
        let partitions = statistics
            .topics
            .values()
            .flat_map(|t| t.partitions.values());
        // -1 where it isn't known.
        let behind = partitions.filter_map(|p| u64::try_from(p.consumer_lag).ok());
        self.0.store(behind.sum(), Ordering::Relaxed);
    }
}

/// Takes what librdkafka reports.
#[derive(Debug)]
pub(super) struct Context {
    health: SharedHealth,
    lag: Option<Lag>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, "librdkafka: {message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(lag) = &self.lag {
            lag.set(&statistics);
        }
        if self.health.get() == Health::Down && statistics.brokers.values().any(|b| b.state == "UP")
        {
            self.health.is_up();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.0.errors.fetch_add(1, Ordering::Relaxed);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.health.is_down(reason),
            Some(RDKafkaErrorCode::Authentication) => {
                self.health.refuses(
                    "Kafka refuses the user or the password of this node",
                    reason,
                );
            }
            Some(RDKafkaErrorCode::SSL) => {
                self.health.refuses(
                    "no TLS with Kafka: its certificate isn't trusted here, or it speaks without TLS",
                    reason,
                );
            }
            // It goes on by itself: one broker's connection, most often.
            _ => tracing::debug!(%error, reason, "librdkafka"),
        }
    }
}

impl ConsumerContext for Context {}

pub(super) fn producer(
    settings: &KafkaSettings,
    health: &SharedHealth,
) -> Result<Apart<FutureProducer<Context>>, SettingsError> {
    let context = context(health);
    let producer = FutureProducer::from_config_and_context(&settings.producing(), context)?;
    Ok(Apart::new(producer))
}

pub(super) fn reader(
    settings: &KafkaSettings,
    health: &SharedHealth,
) -> Result<Apart<StreamConsumer<Context>>, SettingsError> {
    let context = context(health);
    let consumer = StreamConsumer::from_config_and_context(&settings.reading(), context)?;
    Ok(Apart::new(consumer))
}

pub(super) fn context(health: &SharedHealth) -> Context {
    Context {
        health: health.clone(),
        lag: None,
    }
}

/// A reader in a group.
pub(super) fn group_reader(
    settings: &KafkaSettings,
    health: &SharedHealth,
    group: &str,
    lag: &Lag,
) -> Result<Apart<StreamConsumer<Context>>, SettingsError> {
    let context = Context {
        lag: Some(lag.clone()),
        ..context(health)
    };
    let consumer = StreamConsumer::from_config_and_context(&settings.grouped(group), context)?;
    Ok(Apart::new(consumer))
}

/// A client, which is dropped on a thread of its own: librdkafka waits for its threads and brokers then.
pub(super) struct Apart<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Apart<T> {
    pub(super) const fn new(client: T) -> Self {
        Self(Some(client))
    }

    #[allow(clippy::expect_used)] // it is there until it is dropped
    pub(super) fn get(&self) -> &T {
        self.0.as_ref().expect("a client that isn't dropped")
    }
}

impl<T: Send + 'static> Drop for Apart<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}
