//! The contract of the bus, on Apache Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_core::bus::EventBus as _;
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

#[tokio::test]
async fn errors_that_the_client_reports_are_counted() {
    // Nobody listens there.
    let settings = KafkaSettings::new("127.0.0.1:1".to_owned());
    let bus = KafkaBus::new(settings).expect("settings that can be used");
    assert!(bus.client_errors().is_some());
    let counted = tokio::time::timeout(Duration::from_secs(30), async {
        while bus.client_errors() == Some(0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    counted.await.expect("it can't connect, and says so");
}
