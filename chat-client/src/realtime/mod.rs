//! The realtime half: a connection that is made again by itself, and misses nothing.

pub(crate) mod connector;
mod driver;
mod event;
mod long_polling;
mod place;
mod request;
mod requests;
mod sends;
mod serve;
mod server_sent_events;
mod session;
mod sync;
mod transport;
mod upgrade;
mod wire;

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use chat_core::model::{Message, RoomId, Seq};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, unconstrained};
use tokio::time::Instant;

pub use self::connector::Connector;
pub(crate) use self::driver::RealtimeOptions;
pub use self::event::{ClientEvent, ConnectionState, Positions};
pub(crate) use self::request::Request;
pub(crate) use self::sends::NewSend;
pub use self::transport::{Transport, WebSocket};

use self::driver::Driver;
use self::event::Delivery;
use self::request::Call;
use self::sends::Sends;
use self::sync::Sync;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::outbox::stage;

/// Calls that wait to be taken by the connection's task.
const CALL_QUEUE: usize = 64;

/// Connects, when awaited. Made by [`Client::connect`].
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct Connect {
    client: Client,
    positions: Positions,
    retry_first: bool,
}

impl Connect {
    pub(crate) const fn new(client: Client) -> Self {
        Self {
            client,
            positions: Positions::new(),
            retry_first: false,
        }
    }

    /// Goes on after `seq` in this room: what changed since is told first. Without a position a room begins at where it
    /// stands when the connection is made. A room that the user isn't in any more is told as [`ClientEvent::RoomGone`].
    pub fn resume_from(mut self, room: RoomId, seq: Seq) -> Self {
        self.positions.set(room, seq);
        self
    }

    /// Goes on in all the rooms where an earlier run stood, as [`Connection::positions`] told it.
    pub fn positions(mut self, positions: Positions) -> Self {
        self.positions = positions;
        self
    }

    /// Keeps trying if the first try fails for a reason that may pass, as after a lost connection, instead of returning the
    /// error.
    pub const fn retry_first(mut self) -> Self {
        self.retry_first = true;
        self
    }

    async fn start(self) -> Result<Connection> {
        let Self {
            client,
            positions,
            retry_first,
        } = self;
        let options = client.options().realtime.clone();
        let (calls, call_queue) = mpsc::channel(CALL_QUEUE);
        let (sends, mut send_queue) = mpsc::channel(options.send_queue);
        let hub = Hub {
            calls,
            sends,
            durable: client.options().outbox.is_some(),
            send_timeout: options.send_timeout,
        };
        client.attach(hub.clone())?;

        let mut waiting = Sends::new(options.send_queue);
        let mut outbox = None;
        if let Some(store) = client.options().outbox.clone() {
            let user_id = client.logged_in().await?.map(|user| user.id);
            let left = store.load().await.map_err(Error::Outbox)?;
            let count = left.len();
            for entry in left {
                // Another user's wait until that user is back.
                if entry.user_id == user_id || entry.user_id.is_none() {
                    waiting.push(NewSend::from(entry));
                }
            }
            let (kept, kept_queue) = mpsc::channel(options.send_queue);
            let capacity = count + 2 * options.send_queue;
            outbox = Some(stage::start(store, user_id, send_queue, kept, capacity));
            send_queue = kept_queue;
        }

        let (events, deliveries) = mpsc::channel(options.event_queue);
        let (state, state_seen) = watch::channel(ConnectionState::Connecting);
        let (first, connected) = oneshot::channel();
        let driver = Driver {
            login: client.login_handle(),
            connector: client.connector(),
            clock: Arc::clone(&client.options().clock),
            random: Arc::clone(&client.options().random),
            options,
            calls: call_queue,
            new_sends: send_queue,
            events,
            state,
            sync: Sync::new(&positions),
            sends: waiting,
            outbox,
        };
        let task = tokio::spawn(driver.run(first, retry_first));
        let connection = Connection {
            _hub: hub,
            deliveries,
            positions,
            state: state_seen,
            task,
        };
        if !retry_first {
            // Dropped while it waits here, `deliveries` goes too, and with it the task.
            connected.await.unwrap_or(Err(Error::Closed))?;
        }
        Ok(connection)
    }
}

impl IntoFuture for Connect {
    type Output = Result<Connection>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// A realtime connection: the stream of what happens in the user's rooms.
///
/// It is made again by itself whenever it is lost, and what was missed is fetched, so the stream just goes on; it ends once the
/// connection is [closed](ConnectionState::Closed) for good. Dropping it closes it.
///
/// An application that takes events more slowly than they come holds up the connection: at first they wait in a bounded
/// queue, then the socket isn't read. The server closes a connection that stays so; it is then made again, and the application
/// hears of what happened as current state. While the application waits for an answer, such as a send's, the socket is
/// read in any case: events that don't fit are fetched later.
pub struct Connection {
    /// Keeps the task's queues open, even if the client is dropped.
    _hub: Hub,
    deliveries: mpsc::Receiver<Delivery>,
    positions: Positions,
    state: watch::Receiver<ConnectionState>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Where the client stands in its rooms, by the events taken from the stream so far. Keep it together with what they
    /// led to, and give it to [`Connect::positions`] in another run.
    #[must_use]
    pub const fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Whether the connection stands, now and whenever that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Closes the connection and waits until that is done. Messages that have no answer yet fail with [`Error::Closed`], and
    /// stay in the outbox if there is one.
    pub async fn close(self) {
        drop(self.deliveries);
        // The task doesn't panic.
        let _ = self.task.await;
    }
}

impl Stream for Connection {
    type Item = ClientEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        loop {
            let Some(delivery) = ready!(self.deliveries.poll_recv(cx)) else {
                return Poll::Ready(None);
            };
            if let Some((room, position)) = delivery.position {
                self.positions.apply(room, position);
            }
            if let Some(event) = delivery.event {
                return Poll::Ready(Some(event));
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

/// The application's end of the connection's task.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    calls: mpsc::Sender<Call>,
    sends: mpsc::Sender<NewSend>,
    /// Whether sends are kept on disk until they are answered: then they have no deadline.
    durable: bool,
    send_timeout: std::time::Duration,
}

impl Hub {
    pub(crate) fn is_open(&self) -> bool {
        !self.calls.is_closed()
    }

    /// Sends a message and waits for its answer, across reconnects. `None`: the connection is over, and nothing was sent.
    pub(crate) async fn send(
        &self,
        room_id: RoomId,
        client_message_id: String,
        content: String,
    ) -> Option<Result<Message>> {
        let (reply, answer) = oneshot::channel();
        let send = NewSend {
            room_id,
            client_message_id,
            content,
            reply: Some(reply),
            deadline: (!self.durable).then(|| Instant::now() + self.send_timeout),
            timeout: self.send_timeout,
        };
        // The runtime's budget would have a poll that has room for it return empty-handed, and others overtake.
        unconstrained(self.sends.send(send)).await.ok()?;
        Some(answer.await.unwrap_or(Err(Error::Closed)))
    }

    /// Makes a call, if the connection stands now. `None`: it doesn't, and nothing was done.
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: Request) -> Option<Result<T>> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call { request, reply }).await.ok()?;
        let result = answer.await.ok()??;
        Some(result.and_then(|raw| raw.decode()))
    }
}
