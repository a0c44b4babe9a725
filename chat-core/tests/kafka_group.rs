//! Consumers of a group, on Apache Kafka: what is published becomes deliveries, whoever comes and goes.

use std::sync::Arc;
use std::time::Duration;

use chat_core::bus::kafka::{KafkaBus, KafkaSettings};
use chat_core::bus::{DeadLetter, EventBus};
use chat_core::model::{DeliveryId, Event, RoomId, Seq, SystemClock, Timestamp, UserId, WebhookId};
use chat_core::protocol::rest::CreateWebhook;
use chat_core::random::SystemRandom;
use chat_core::service::webhooks::{Outgoing, PrivateTargets};
use chat_core::store::memory::Memory;
use chat_core::store::{WebhookOwner, Webhooks as _};
use chat_test_kafka::Kafka;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const WITHIN: Duration = Duration::from_secs(60);
const ROOMS: i64 = 20;

async fn bus(topic: &str) -> Arc<KafkaBus> {
    let mut settings = KafkaSettings::new(Kafka::shared().bootstrap());
    settings.topic = topic.to_owned();
    let bus = KafkaBus::new(settings).expect("settings that can be used");
    bus.reach().await.expect("the broker answers");
    Arc::new(bus)
}

fn event(room: i64, seq: i64) -> Event {
    Event::MessagesDeleted {
        room_id: RoomId(room),
        seq: Seq(seq),
        sender_id: UserId(1),
    }
}

/// The events of all rooms at these places.
fn events(seqs: std::ops::RangeInclusive<i64>) -> Vec<Event> {
    seqs.flat_map(|seq| (1..=ROOMS).map(move |room| event(room, seq)))
        .collect()
}

struct Consumer {
    outgoing: Outgoing,
    consuming: JoinHandle<()>,
}

impl Consumer {
    fn start(store: &Memory, bus: &Arc<KafkaBus>) -> Self {
        let bus: Arc<dyn EventBus> = Arc::clone(bus) as _;
        let outgoing = Outgoing::new(Arc::new(store.clone()), PrivateTargets::Refused, 20)
            .carried_by(Some(bus));
        let consuming = tokio::spawn({
            let outgoing = outgoing.clone();
            async move { outgoing.consume(&SystemClock).await }
        });
        Self {
            outgoing,
            consuming,
        }
    }

    /// Ends at once, with whatever it has in its hands.
    fn kill(self) {
        self.consuming.abort();
    }
}

async fn until_pending(store: &Memory, count: i64) {
    let waiting = async {
        while store.backlog().await.expect("read").pending < count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = timeout(WITHIN, waiting).await;
    let pending = store.backlog().await.expect("read").pending;
    assert!(waited.is_ok(), "{pending} of {count}");
    assert_eq!(pending, count, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_becomes_a_delivery_whoever_comes_and_goes() {
    let store = Memory::new();
    let bus = bus("shared.events").await;
    let first = Consumer::start(&store, &bus);
    let new = CreateWebhook {
        url: "https://example.com/hook".to_owned(),
        events: None,
    };
    let made = first.outgoing.create(
        WebhookOwner::Operator,
        new,
        &SystemRandom,
        Timestamp::default(),
    );
    made.await.expect("made");

    // What was there before the group began is read too, and a copy changes nothing.
    bus.publish(&events(1..=10)).await.expect("published");
    bus.publish(&events(5..=6)).await.expect("published");
    until_pending(&store, 10 * ROOMS).await;

    let second = Consumer::start(&store, &bus);
    bus.publish(&events(11..=20)).await.expect("published");
    first.kill();
    bus.publish(&events(21..=30)).await.expect("published");
    until_pending(&store, 30 * ROOMS).await;
    let caught_up = async {
        while second.outgoing.behind() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(WITHIN, caught_up).await.expect("nothing is left");
    second.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dead_is_on_a_topic_of_its_own() {
    let bus = bus("mortal.events").await;
    let letter = DeadLetter {
        webhook_id: WebhookId(3),
        delivery_id: DeliveryId(4),
        attempts: 10,
        last_status: Some(500),
        last_error: None,
        event: event(7, 8),
    };
    bus.bury(std::slice::from_ref(&letter))
        .await
        .expect("written");
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", Kafka::shared().bootstrap())
        .set("group.id", "undertaker")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    consumer
        .subscribe(&["mortal.events.dead"])
        .expect("a topic");
    let record = timeout(WITHIN, consumer.recv()).await.expect("in time");
    let record = record.expect("a record");
    assert_eq!(record.key(), Some(&b"7"[..]));
    let value: serde_json::Value =
        serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
    let wanted = serde_json::json!({
        "webhookId": 3, "deliveryId": 4, "attempts": 10, "lastStatus": 500,
        "event": {"type": "messagesDeleted", "roomId": 7, "seq": 8, "senderId": 1},
    });
    assert_eq!(value, wanted);
}
