//! The topics: made where they are missing, else taken as they are.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use tokio::time::sleep;

use super::client::{self, Apart, Context, SharedHealth};
use super::settings::KafkaSettings;
use super::{of_topic, unavailable};
use crate::bus::BusError;

/// How long brokers may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Partitions of a topic of events that is made here: as many consumers can share the work.
const PARTITIONS: i32 = 12;
/// How long events stay: as long as consumers may be away, and what was erased is gone from Kafka by then.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long hints stay, which nobody reads later.
const HINT_RETENTION: Duration = Duration::from_secs(60 * 60);
/// How often a topic that was just made is looked for, and how long between.
const LOOKS: usize = 50;
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// The brokers' default replication.
const DEFAULT: TopicReplication<'_> = TopicReplication::Fixed(-1);

/// Sees that the topics are there and can be used.
pub(super) async fn make_or_check(
    settings: &KafkaSettings,
    health: &SharedHealth,
) -> Result<(), BusError> {
    let topics = [
        (settings.topic.clone(), PARTITIONS, RETENTION),
        (settings.hints(), 1, HINT_RETENTION),
        (settings.dead(), PARTITIONS, RETENTION),
    ];
    let looker = client::reader(settings, health).map_err(unavailable)?;
    let looker = std::sync::Arc::new(looker);
    let mut missing = Vec::new();
    for topic in topics {
        let (found, looker) = (topic.0.clone(), std::sync::Arc::clone(&looker));
        let partitions = blocking(move || Ok(partitions(looker.get(), &found))).await?;
        if partitions.map_err(|e| of_topic(&topic.0, e))? == 0 {
            missing.push(topic);
        }
    }
    let admin = AdminClient::from_config_and_context(&settings.client(), client::context(health));
    let admin = Apart::new(admin.map_err(unavailable)?);
    for (topic, partitions, retention) in missing {
        make(admin.get(), &topic, partitions, retention).await?;
        let mut looks = 0;
        loop {
            let (found, looker) = (topic.clone(), std::sync::Arc::clone(&looker));
            let partitions = blocking(move || self::partitions(looker.get(), &found)).await?;
            if partitions > 0 {
                break;
            }
            looks += 1;
            if looks == LOOKS {
                return Err(unavailable(format!(
                    "the topic {topic} was made, and has no leader yet"
                )));
            }
            sleep(LOOK_PAUSE).await;
        }
    }
    check_policy(admin.get(), &settings.topic).await
}

/// Runs a call of librdkafka that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, BusError> {
    let answer = tokio::task::spawn_blocking(call).await;
    answer.map_err(unavailable)?.map_err(unavailable)
}

/// How many partitions a topic has; 0 if it isn't there, or one has no leader.
pub(super) fn partitions(
    reader: &rdkafka::consumer::StreamConsumer<Context>,
    topic: &str,
) -> Result<usize, KafkaError> {
    let metadata = reader.fetch_metadata(Some(topic), ANSWER)?;
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
        return Ok(0);
    };
    match found.error() {
        None => {}
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        ) => return Ok(0),
        Some(error) => return Err(KafkaError::MetadataFetch(error.into())),
    }
    let led = found.partitions().iter().all(|p| p.leader() >= 0);
    Ok(if led { found.partitions().len() } else { 0 })
}

async fn make(
    admin: &AdminClient<Context>,
    topic: &str,
    partitions: i32,
    retention: Duration,
) -> Result<(), BusError> {
    let retention = retention.as_millis().to_string();
    let new = NewTopic::new(topic, partitions, DEFAULT)
        .set("retention.ms", &retention)
        .set("cleanup.policy", "delete");
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .operation_timeout(Some(ANSWER));
    let made = admin.create_topics([&new], &options).await;
    for made in made.map_err(unavailable)? {
        match made {
            Ok(topic) => tracing::info!(topic, partitions, "made a topic"),
            // Another node was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(BusError::Unusable(format!(
                    "the topic {topic} isn't there and can't be made: {code}"
                )));
            }
        }
    }
    Ok(())
}

/// Refuses a topic that keeps only the last event of each room. A node that may not read it goes without.
async fn check_policy(admin: &AdminClient<Context>, topic: &str) -> Result<(), BusError> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let resource = ResourceSpecifier::Topic(topic);
    let Ok(described) = admin.describe_configs([&resource], &options).await else {
        return Ok(());
    };
    for resource in described.into_iter().flatten() {
        let policy = resource
            .get("cleanup.policy")
            .and_then(|e| e.value.as_deref());
        if policy.is_some_and(|policy| policy.contains("compact")) {
            return Err(BusError::Unusable(format!(
                "the topic {topic} is compacted, and would lose events: its cleanup.policy must be delete"
            )));
        }
    }
    Ok(())
}
