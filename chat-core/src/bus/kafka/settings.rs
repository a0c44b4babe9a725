//! How the brokers are reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;

/// How long what is published may take to be acknowledged. Longer than a partition is without a leader when a broker dies.
const DELIVERED_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of records that wait to be written, or were read ahead.
const BUFFER_KIB: &str = "32768";

/// Why settings of Kafka can't be used.
#[derive(Debug, thiserror::Error)]
#[error("Kafka's settings can't be used: {0}")]
pub struct SettingsError(#[from] pub(super) rdkafka::error::KafkaError);

/// How the brokers are reached, and which topics are used.
#[derive(Clone)]
#[non_exhaustive]
pub struct KafkaSettings {
    /// `host:port`, several with commas: some of the brokers, which name the others.
    pub brokers: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`; default: the first.
    pub security_protocol: Option<String>,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: Option<String>,
    /// The user of SASL.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A PEM file with the authorities that may vouch for a broker; default: the system's.
    pub ca: Option<PathBuf>,
    /// Where this node is, so that it reads from a replica near by.
    pub client_rack: Option<String>,
    /// The topic of events; default `chat.events`. Others are named after it.
    pub topic: String,
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl KafkaSettings {
    /// Brokers without encryption or passwords.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            security_protocol: None,
            sasl_mechanism: None,
            username: None,
            password: None,
            ca: None,
            client_rack: None,
            topic: "chat.events".to_owned(),
        }
    }

    /// The topic of [`Hint`](crate::bus::Hint)s.
    #[must_use]
    pub fn hints(&self) -> String {
        format!("{}.hints", self.topic)
    }

    /// The topic of [`DeadLetter`](crate::bus::DeadLetter)s.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.topic)
    }

    /// What every client of librdkafka is given.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "chat")
            // A broker that is back is used again at once.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("topic.metadata.refresh.fast.interval.ms", "100")
            // A broker that says nothing at all is given up before the time is over in which what is published must be
            // acknowledged: a cut network may close no connection.
            .set("socket.timeout.ms", "10000")
            // So that a broker that is back is seen while there is nothing to send or to read.
            .set("statistics.interval.ms", "1000");
        let given = [
            ("security.protocol", &self.security_protocol),
            ("sasl.mechanism", &self.sasl_mechanism),
            ("sasl.username", &self.username),
            ("sasl.password", &self.password),
            ("client.rack", &self.client_rack),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                config.set(key, value);
            }
        }
        if let Some(ca) = &self.ca {
            config.set("ssl.ca.location", ca.to_string_lossy());
        }
        config
    }

    /// Of a producer: nothing is acknowledged before all replicas in sync have it, and nothing is written twice or in another
    /// order because of a retry.
    pub(super) fn producing(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set(
                "message.timeout.ms",
                DELIVERED_WITHIN.as_millis().to_string(),
            )
            .set("queue.buffering.max.messages", "10000")
            .set("queue.buffering.max.kbytes", BUFFER_KIB)
            // The relay makes batches by itself.
            .set("linger.ms", "0")
            .set("compression.type", "lz4");
        config
    }

    /// Of a reader in a group: it begins with what the topic has, and goes on after what was done.
    pub(super) fn grouped(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            // What is stored is committed; what is done is stored.
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            // Those that stay keep their partitions when one comes or goes; one that is gone is missed soon.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "100")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", BUFFER_KIB);
        config
    }

    /// Of a reader of all partitions.
    pub(super) fn reading(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // A name that librdkafka wants; no group is joined, and no place is kept.
            .set("group.id", "chat.realtime")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            // A place that the brokers don't have any more is said, and what was missed is read from the database.
            .set("auto.offset.reset", "error")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "100")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", BUFFER_KIB);
        config
    }
}
