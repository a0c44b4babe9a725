//! A session that outlives its WebSockets (stateful reconnect, signalr.md, section 10).
//!
//! When a socket is lost the session waits for the next, its calls going on; a new one that comes while the old seems alive
//! takes its place. What came whole on the old one counts; half a record is lost with it, and sent again by the client.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chat_core::fanout::{DirectWrite, End};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::session::Session;
use super::slot::{Carrier, Slot, Writer};
use super::socket::{Batch, Incoming, Socket};
use super::websocket::{read_some, write_out};

/// How long events wait for the client's first frame after the handshake: the official JavaScript client counts what comes
/// only from then on.
const FIRST_FRAME: Duration = Duration::from_secs(1);

/// How it ended with a socket.
#[derive(Debug)]
enum Ended {
    /// With the connection.
    Over,
    /// It was lost without a word.
    Lost,
    /// Another one takes its place.
    Replaced(Carrier),
}

/// Runs a session from its handshake on, over this socket and those that follow.
pub(super) async fn run(
    mut session: Session,
    carrier: Carrier,
    mut socket: Socket,
    mut batch: Batch,
    patience: Duration,
    goodbye: Duration,
) {
    let slot = Arc::new(Slot::default());
    let Carrier {
        mut reader,
        writer,
        permit,
        ..
    } = carrier;
    let (direct, mut plain) = parts(writer);
    session.make_resumable(direct, &slot);
    let is_silent = |incoming: &Incoming| matches!(incoming, Incoming::Payload(p) if p.is_empty());
    if batch.incoming.iter().all(is_silent) {
        // Whether it came, or the socket is gone, shows when the socket is read.
        let first = read_some(&mut reader, &mut socket, &mut batch);
        let _ = timeout(FIRST_FRAME, first).await;
    }
    session.enter().await;
    let mut permit = permit;
    loop {
        let ended = over(
            &mut session,
            &slot,
            reader,
            plain,
            &mut socket,
            &mut batch,
            goodbye,
        )
        .await;
        drop(permit);
        if matches!(ended, Ended::Over) || !session.connection.detach() {
            break;
        }
        let next = match ended {
            Ended::Replaced(carrier) => Some(carrier),
            Ended::Lost | Ended::Over => away(&session, &slot, patience).await,
        };
        let Some(carrier) = next else { break };
        let direct;
        reader = carrier.reader;
        (direct, plain) = parts(carrier.writer);
        permit = carrier.permit;
        socket = Socket::new();
        batch = Batch::default();
        socket.feed(&carrier.read, &mut batch);
        session.reattach(direct);
    }
    slot.close();
    drop(session.end());
}

type Plain = Box<dyn AsyncWrite + Send + Unpin>;

fn parts(writer: Writer) -> (Option<Arc<dyn DirectWrite>>, Option<Plain>) {
    match writer {
        Writer::Direct(direct) => (Some(direct), None),
        Writer::Plain(plain) => (None, Some(plain)),
    }
}

/// Waits for a new socket, as long as there is any use.
async fn away(session: &Session, slot: &Slot, patience: Duration) -> Option<Carrier> {
    let mut late = pin!(sleep(patience));
    while !session.connection.is_closed() {
        tokio::select! {
            biased;
            carrier = slot.next() => return Some(carrier),
            () = session.connection.woken() => {}
            () = &mut late => return None,
        }
    }
    None
}

/// Runs the session over one socket.
async fn over(
    session: &mut Session,
    slot: &Slot,
    reader: impl AsyncRead + Unpin,
    plain: Option<Plain>,
    socket: &mut Socket,
    batch: &mut Batch,
    goodbye: Duration,
) -> Ended {
    let connection = Arc::clone(&session.connection);
    let mut read_on = pin!(read_on(session, slot, reader, socket, batch));
    let Some(writer) = plain else {
        return read_on.await;
    };
    let mut write_out = pin!(write_out(&connection, writer));
    tokio::select! {
        biased;
        ended = &mut read_on => {
            if matches!(ended, Ended::Over) {
                // The last record is on its way still.
                let _ = timeout(goodbye, write_out).await;
            }
            ended
        }
        () = &mut write_out => {
            if connection.is_closing() {
                return Ended::Over;
            }
            // What is being done is done to its end: it was counted, and won't come again.
            connection.detach();
            read_on.await
        }
    }
}

/// Reads until the socket or the connection is over.
async fn read_on(
    session: &mut Session,
    slot: &Slot,
    mut reader: impl AsyncRead + Unpin,
    socket: &mut Socket,
    batch: &mut Batch,
) -> Ended {
    loop {
        if !take(session, batch).await || session.connection.is_closed() {
            return Ended::Over;
        }
        if !session.connection.is_attached() {
            return Ended::Lost;
        }
        let acknowledge_at = session.acknowledge_at();
        let connection = &session.connection;
        tokio::select! {
            biased;
            carrier = slot.next() => return Ended::Replaced(carrier),
            () = connection.woken() => {}
            () = connection.unblock(), if connection.is_blocked() => {}
            () = sleep_until(acknowledge_at.unwrap_or_else(Instant::now)), if acknowledge_at.is_some() => {
                session.acknowledge();
            }
            read = read_some(&mut reader, socket, batch) => {
                if !matches!(read, Ok(n) if n > 0) {
                    return Ended::Lost;
                }
            }
        }
    }
}

/// Does what came; false when nothing more is to be read of the connection.
async fn take(session: &mut Session, batch: &mut Batch) -> bool {
    let is_left = |incoming: &Incoming| matches!(incoming, Incoming::Close);
    let reply = std::mem::take(&mut batch.reply);
    let is_left = batch.incoming.iter().any(is_left);
    if !reply.is_empty() && !is_left {
        session.connection.send_unnumbered(reply.clone().into());
    }
    while let Some(incoming) = batch.incoming.pop_front() {
        if let Incoming::Payload(payload) = incoming {
            session.take(&payload).await;
        }
    }
    if is_left {
        // The id is gone before the client has the echo.
        session.connection.leave(reply.into());
        return false;
    }
    if batch.broken {
        if session.connection.is_closing() {
            return false;
        }
        session.connection.close(End::Error);
        batch.broken = false;
    }
    true
}
