//! Where the next WebSocket of a connection that outlives its sockets is put.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chat_core::fanout::DirectWrite;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::serve::ConnectionPermit;

/// A WebSocket after its upgrade.
pub(super) struct Carrier {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Writer,
    /// What was read beyond the upgrade.
    pub(super) read: Bytes,
    /// Its place among all connections of the server.
    pub(super) permit: Option<ConnectionPermit>,
}

/// What is written to.
pub(super) enum Writer {
    /// By the fan-out's flushers.
    Direct(Arc<dyn DirectWrite>),
    /// By the session's task.
    Plain(Box<dyn AsyncWrite + Send + Unpin>),
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}

impl Carrier {
    /// Of plain TCP; `read` was read beyond the upgrade.
    pub(super) fn tcp(stream: TcpStream, read: Bytes, permit: Option<ConnectionPermit>) -> Self {
        // A frame is small and must not wait for another.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self {
            reader: Box::new(reader),
            writer: Writer::Direct(Arc::new(writer)),
            read,
            permit,
        }
    }

    /// Of anything else.
    pub(super) fn stream<S>(stream: S, permit: Option<ConnectionPermit>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: Box::new(reader),
            writer: Writer::Plain(Box::new(writer)),
            read: Bytes::new(),
            permit,
        }
    }
}

/// Room for one: the newest takes the place of one that waits.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: Option<Carrier>,
    /// How many were let in.
    let_in: u64,
    /// The place of the newest that was put here, among those.
    newest: u64,
    closed: bool,
}

/// A socket's place among those that were let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn(u64);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another socket is let in.
    pub(super) fn turn(&self) -> Turn {
        let mut state = self.lock();
        state.let_in += 1;
        Turn(state.let_in)
    }

    /// Puts a socket here; it is dropped if a newer one was here already, or the connection is over.
    pub(super) fn put(&self, carrier: Carrier, turn: Turn) {
        let mut state = self.lock();
        if !state.closed && turn.0 > state.newest {
            state.newest = turn.0;
            state.next = Some(carrier);
            self.filled.notify_one();
        }
    }

    /// Waits for a socket.
    pub(super) async fn next(&self) -> Carrier {
        loop {
            if let Some(carrier) = self.lock().next.take() {
                return carrier;
            }
            self.filled.notified().await;
        }
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.next = None;
    }
}
