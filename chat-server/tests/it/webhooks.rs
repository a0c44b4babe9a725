//! The deliverer, with waits that a test has time for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use chat_core::model::{
    Clock as _, Delivery, DeliveryState, Event, RoomId, Seq, SystemClock, Webhook,
};
use chat_core::protocol::rest::CreateWebhook;
use chat_core::random::SystemRandom;
use chat_core::service::webhooks::{Outgoing, PrivateTargets};
use chat_core::store::memory::Memory;
use chat_core::store::{WebhookOwner, Webhooks as _};
use chat_server::webhooks::{Deliverer, DelivererOptions};
use futures_util::stream;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const WITHIN: Duration = Duration::from_secs(30);

/// A database with the operator's webhooks.
struct World {
    store: Memory,
    outgoing: Outgoing,
}

/// A deliverer that runs.
struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        timeout(WITHIN, self.run)
            .await
            .expect("it ends in time")
            .expect("no panic");
    }
}

fn options() -> DelivererOptions {
    DelivererOptions {
        schedule: vec![Duration::from_millis(1); 2],
        look_every: Duration::from_millis(5),
        ..DelivererOptions::default()
    }
}

impl World {
    fn new() -> Self {
        let store = Memory::new();
        let outgoing = Outgoing::new(Arc::new(store.clone()), PrivateTargets::Allowed, 20);
        Self { store, outgoing }
    }

    async fn hook(&self, url: &str) -> Webhook {
        let new = CreateWebhook {
            url: url.to_owned(),
            events: None,
        };
        let at = SystemClock.now();
        let made = self
            .outgoing
            .create(WebhookOwner::Operator, new, &SystemRandom, at);
        made.await.expect("made")
    }

    /// Offers the first event of so many rooms.
    async fn offer(&self, rooms: i64) {
        let event = |room| Event::RoomDeleted {
            room_id: RoomId(room),
            seq: Seq(1),
        };
        let events: Vec<_> = (1..=rooms).map(event).collect();
        let offered = self.outgoing.offer(&events, SystemClock.now());
        offered.await.expect("offered");
    }

    fn deliver(&self, options: DelivererOptions) -> Running {
        Self::deliver_from(&self.outgoing, options)
    }

    fn deliver_from(outgoing: &Outgoing, options: DelivererOptions) -> Running {
        let clock = Arc::new(SystemClock);
        let deliverer =
            Deliverer::new(outgoing.clone(), options, clock, Arc::new(SystemRandom)).expect("made");
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(deliverer.run(async {
            let _ = stopped.await;
        }));
        Running { stop, run }
    }

    async fn deliveries(&self, hook: &Webhook) -> Vec<Delivery> {
        let page = self
            .store
            .deliveries(WebhookOwner::Operator, hook.id, None, 1_000);
        page.await.expect("read").expect("there").items
    }

    /// The deliveries of a webhook, once all are as wanted.
    async fn until(&self, hook: &Webhook, wanted: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        let waiting = async {
            loop {
                let all = self.deliveries(hook).await;
                if all.iter().all(&wanted) {
                    return all;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(WITHIN, waiting).await {
            Ok(all) => all,
            Err(_) => panic!("{:#?}", self.deliveries(hook).await),
        }
    }
}

/// A receiver on a port of its own, and its URL.
async fn receiver<F, R>(answer: F) -> String
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let app = Router::new().fallback(move |_: Bytes| {
        let answer = answer.clone();
        async move { answer().await }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// A receiver that takes everything, its URL, and how often it was asked.
async fn counting() -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let url = receiver({
        let count = Arc::clone(&count);
        move || {
            count.fetch_add(1, Ordering::SeqCst);
            async { StatusCode::OK.into_response() }
        }
    })
    .await;
    (url, count)
}

fn is(state: DeliveryState) -> impl Fn(&Delivery) -> bool {
    move |delivery| delivery.state == state
}

#[tokio::test]
async fn a_delivery_that_always_fails_is_dead_in_the_end_and_replayed_on_request() {
    let world = World::new();
    let up = Arc::new(AtomicUsize::new(0));
    let url = receiver({
        let up = Arc::clone(&up);
        move || {
            let status = match up.load(Ordering::SeqCst) {
                0 => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::OK,
            };
            async move { status.into_response() }
        }
    })
    .await;
    let hook = world.hook(&url).await;
    world.offer(2).await;
    let running = world.deliver(options());
    for dead in world.until(&hook, is(DeliveryState::Dead)).await {
        assert_eq!((dead.attempts, dead.last_status), (3, Some(500)));
        assert_eq!(dead.next_attempt_at, None);
    }
    up.store(1, Ordering::SeqCst);
    let owner = WebhookOwner::Operator;
    let at = SystemClock.now();
    let replayed = world.store.replay_webhook(owner, hook.id, at).await;
    assert_eq!(replayed.expect("done"), Ok(2));
    for done in world.until(&hook, is(DeliveryState::Delivered)).await {
        assert_eq!((done.attempts, done.last_status), (4, Some(200)));
    }
    running.stop().await;
}

#[tokio::test]
async fn no_connection_and_no_answer_are_failures() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let refusing = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let silent = receiver(std::future::pending).await;
    let refused = world.hook(&refusing).await;
    let unanswered = world.hook(&silent).await;
    world.offer(1).await;
    let running = world.deliver(DelivererOptions {
        timeout: Duration::from_millis(50),
        ..options()
    });
    for hook in [refused, unanswered] {
        let dead = world.until(&hook, is(DeliveryState::Dead)).await;
        assert_eq!(dead[0].last_status, None);
        let error = dead[0].last_error.as_deref().expect("why");
        assert!(!error.contains("http"), "no URL: {error}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_nobody_follows_it() {
    let world = World::new();
    let (elsewhere, followed) = counting().await;
    let url = receiver(move || {
        let location = [("location", elsewhere.clone())];
        async { (StatusCode::TEMPORARY_REDIRECT, location).into_response() }
    })
    .await;
    let hook = world.hook(&url).await;
    world.offer(1).await;
    let running = world.deliver(options());
    let dead = world.until(&hook, is(DeliveryState::Dead)).await;
    assert_eq!(dead[0].last_status, Some(307));
    assert_eq!(followed.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let world = World::new();
    let url = receiver(|| async {
        let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]));
        Body::from_stream(stream::repeat_with(chunk)).into_response()
    })
    .await;
    let hook = world.hook(&url).await;
    world.offer(3).await;
    let running = world.deliver(options());
    let done = world.until(&hook, is(DeliveryState::Delivered)).await;
    assert_eq!(done.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_host_that_hangs_takes_no_more_than_its_part() {
    let world = World::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let hanging = receiver({
        let (waiting, gate) = (Arc::clone(&waiting), Arc::clone(&gate));
        move || {
            let (waiting, gate) = (Arc::clone(&waiting), Arc::clone(&gate));
            async move {
                waiting.fetch_add(1, Ordering::SeqCst);
                let _permit = gate.acquire().await;
                StatusCode::OK.into_response()
            }
        }
    })
    .await;
    let slow = world.hook(&hanging).await;
    let well = receiver(|| async { StatusCode::OK.into_response() }).await;
    let well = world.hook(&well).await;
    world.offer(20).await;
    let running = world.deliver(DelivererOptions {
        concurrency: 5,
        per_host: 2,
        ..options()
    });
    let done = world.until(&well, is(DeliveryState::Delivered)).await;
    assert_eq!(done.len(), 20);
    assert!(waiting.load(Ordering::SeqCst) <= 2);
    gate.add_permits(100);
    world.until(&slow, is(DeliveryState::Delivered)).await;
    assert_eq!(waiting.load(Ordering::SeqCst), 20, "each once");
    running.stop().await;
}

#[tokio::test]
async fn several_share_the_work_and_each_delivers_what_it_took() {
    let world = World::new();
    let (url, count) = counting().await;
    let hook = world.hook(&url).await;
    world.offer(100).await;
    let both = [world.deliver(options()), world.deliver(options())];
    world.until(&hook, is(DeliveryState::Delivered)).await;
    for running in both {
        running.stop().await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 100, "each once");
}

#[tokio::test]
async fn who_stops_ends_what_it_began() {
    let world = World::new();
    let (asked, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let url = receiver({
        let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
        move || {
            let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
            async move {
                asked.add_permits(1);
                let _permit = gate.acquire().await;
                StatusCode::OK.into_response()
            }
        }
    })
    .await;
    let hook = world.hook(&url).await;
    world.offer(1).await;
    let running = world.deliver(options());
    let begun = timeout(WITHIN, asked.acquire()).await;
    begun.expect("it is asked in time").expect("open").forget();
    let stopped = tokio::spawn(running.stop());
    world.offer(2).await;
    gate.add_permits(100);
    stopped.await.expect("no panic");
    let mut states: Vec<_> = world.deliveries(&hook).await;
    states.sort_by_key(|delivery| delivery.room_id);
    assert_eq!(states[0].state, DeliveryState::Delivered);
}

#[tokio::test]
async fn an_address_is_checked_when_it_is_connected_to() {
    let world = World::new();
    let (url, count) = counting().await;
    // Made where private ones were allowed, as a name that led elsewhere then might have been.
    let by_address = world.hook(&url).await;
    let by_name = world.hook(&url.replace("127.0.0.1", "localhost")).await;
    world.offer(1).await;
    let strict = Outgoing::new(Arc::new(world.store.clone()), PrivateTargets::Refused, 20);
    let running = World::deliver_from(&strict, options());
    for hook in [by_address, by_name] {
        let dead = world.until(&hook, is(DeliveryState::Dead)).await;
        let error = dead[0].last_error.as_deref().expect("why");
        assert!(error.contains("public address"), "{error}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    running.stop().await;
}
