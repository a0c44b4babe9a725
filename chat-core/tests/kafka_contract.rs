//! The contract of the bus, on Apache Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_core::bus::contract::Backend;
use chat_core::bus::kafka::{KafkaBus, KafkaSettings};
use chat_core::store::memory::Memory;
use chat_test_kafka::Kafka;

/// A bus with topics of its own.
fn settings(kafka: &Kafka) -> KafkaSettings {
    static TOPICS: AtomicU64 = AtomicU64::new(0);
    let mut settings = KafkaSettings::new(kafka.bootstrap());
    let number = TOPICS.fetch_add(1, Ordering::Relaxed);
    settings.topic = format!("events.{number}");
    settings
}

fn backend(settings: KafkaSettings) -> Backend {
    Backend::new(Arc::new(Memory::new()), move || {
        Arc::new(KafkaBus::new(settings.clone()).expect("settings that can be used"))
    })
}

mod one_broker {
    use super::*;

    async fn kafka() -> Backend {
        backend(settings(Kafka::shared()))
    }

    chat_core::bus_contract!(kafka);
}

mod one_broker_that_goes {
    use super::*;

    async fn kafka() -> Backend {
        let kafka = Arc::new(Kafka::start(1));
        let (stopped, resumed) = (Arc::clone(&kafka), Arc::clone(&kafka));
        backend(settings(&kafka))
            .stopped_by(
                move || {
                    let kafka = Arc::clone(&stopped);
                    async move { blocking(move || kafka.kill_all()).await }
                },
                move || {
                    let kafka = Arc::clone(&resumed);
                    async move { blocking(move || kafka.resume_all()).await }
                },
            )
            .keeping(kafka)
    }

    async fn blocking(act: impl FnOnce() + Send + 'static) {
        tokio::task::spawn_blocking(act).await.expect("it is done");
    }

    chat_core::bus_outage_contract!(kafka);
}
