//! A receiver of webhooks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::WITHIN;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What was answered.
    pub status: StatusCode,
}

impl Received {
    /// The body as JSON.
    ///
    /// # Panics
    /// It is something else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The `webhook-id`.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn id(&self) -> &str {
        let id = self.headers.get("webhook-id").expect("an id");
        id.to_str().expect("text")
    }

    /// The event's place in its room.
    ///
    /// # Panics
    /// It is no event.
    #[must_use]
    pub fn place(&self) -> i64 {
        let event = &self.json()["data"];
        let place = event.get("changedSeq").unwrap_or(&event["seq"]);
        place.as_i64().expect("a place")
    }

    /// Whether it is signed with this secret, by the judgement of the Standard Webhooks library.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        webhook.verify(&self.body, &self.headers).is_ok()
    }
}

/// Says the status of an answer from the request and how often its `webhook-id` came before.
type Behaviour = Box<dyn Fn(&Value, usize) -> StatusCode + Send + Sync>;

struct Shared {
    behaviour: Behaviour,
    received: Mutex<Vec<Received>>,
    count: watch::Sender<usize>,
    /// Requests that began.
    begun: watch::Sender<usize>,
    /// Whether requests are answered, or wait until they are.
    open: watch::Sender<bool>,
}

/// A receiver on a port of its own.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::answering(|_, _| StatusCode::NO_CONTENT).await
    }

    /// One that answers with a status that depends on the request's JSON, and on how often its id came before.
    ///
    /// # Panics
    /// There is no port.
    pub async fn answering(
        behaviour: impl Fn(&Value, usize) -> StatusCode + Send + Sync + 'static,
    ) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, behaviour).await
    }

    /// As [`answering`](Self::answering), at this address of the machine.
    ///
    /// # Panics
    /// There is no port.
    pub async fn at(
        address: Ipv4Addr,
        behaviour: impl Fn(&Value, usize) -> StatusCode + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            received: Mutex::default(),
            count: watch::Sender::new(0),
            begun: watch::Sender::new(0),
            open: watch::Sender::new(true),
        });
        let app = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            address,
            shared,
            serving,
        }
    }

    /// Its URL, by its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook?of=tests", self.address)
    }

    /// Its URL, by a name.
    #[must_use]
    pub fn url_by_name(&self) -> String {
        format!("http://localhost:{}/hook", self.address.port())
    }

    /// Has requests wait, or has those that wait and all later ones answered.
    pub fn answers(&self, open: bool) {
        self.shared.open.send_replace(open);
    }

    /// Waits until so many requests have begun.
    ///
    /// # Panics
    /// They don't in time.
    pub async fn until_begun(&self, count: usize) {
        let mut begun = self.shared.begun.subscribe();
        let waited = timeout(6 * WITHIN, begun.wait_for(|n| *n >= count)).await;
        assert!(waited.is_ok(), "only {} began", *self.shared.begun.borrow());
    }

    /// All that was answered so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        let received = self.shared.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was taken so far: answered with 2xx.
    #[must_use]
    pub fn taken(&self) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|received| received.status.is_success());
        received
    }

    /// Waits until what came is enough, and answers it.
    ///
    /// # Panics
    /// It isn't in time.
    pub async fn until(&self, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut count = self.shared.count.subscribe();
        let waiting = async {
            loop {
                count.borrow_and_update();
                let received = self.received();
                if enough(&received) {
                    return received;
                }
                count.changed().await.expect("it receives");
            }
        };
        match timeout(6 * WITHIN, waiting).await {
            Ok(received) => received,
            Err(_) => panic!("not enough came: {:#?}", self.received()),
        }
    }

    /// Waits until so many requests came.
    pub async fn until_count(&self, count: usize) -> Vec<Received> {
        self.until(|received| received.len() >= count).await
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    shared.begun.send_modify(|n| *n += 1);
    // Who goes away while it waits wasn't answered, and isn't counted.
    let _ = shared.open.subscribe().wait_for(|open| *open).await;
    let mut received = Received {
        headers,
        body,
        status: StatusCode::OK,
    };
    let all = || {
        shared
            .received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    let before = all().iter().filter(|r| r.id() == received.id()).count();
    received.status = (shared.behaviour)(&received.json(), before);
    let status = received.status;
    all().push(received);
    shared.count.send_modify(|n| *n += 1);
    status.into_response()
}
