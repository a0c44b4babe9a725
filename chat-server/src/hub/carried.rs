//! A session whose input comes in POSTs and whose output goes out as events or in answers to polls.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::fanout::{Connection, Framing};
use chat_core::protocol::signalr::handshake::{HandshakeError, HandshakeResponse};
use chat_core::protocol::signalr::negotiate::Transport;
use chat_core::protocol::signalr::{Encoding, RecordReader};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::channel::Channel;
use super::registry::Place;
use super::session::{Agreed, Opening, Refused, Session, record_reader, shake};

/// What takes the output.
#[derive(Debug)]
pub(super) enum Outlet {
    /// A stream of events.
    Stream(mpsc::Sender<Bytes>),
    /// Polls, through the channel.
    Polls,
}

impl Outlet {
    const fn transport(&self) -> Transport {
        match self {
            Self::Stream(_) => Transport::ServerSentEvents,
            Self::Polls => Transport::LongPolling,
        }
    }

    const fn framing(&self) -> Framing {
        match self {
            Self::Stream(_) => Framing::ServerSentEvents,
            Self::Polls => Framing::LongPolling,
        }
    }

    /// Waits until the client is gone.
    async fn gone(&self, channel: &Channel, opening: &Opening) {
        match self {
            Self::Stream(events) => events.closed().await,
            Self::Polls => channel.abandoned(opening.options.disconnect).await,
        }
    }

    /// Gives the answer to the handshake: to the stream, or for the channel to give to a poll.
    async fn begin(&self, answer: &[u8]) -> Option<Bytes> {
        let mut framed = Vec::new();
        let framing = self.framing();
        framing.frame(&mut framed, |out| out.extend_from_slice(answer));
        match self {
            Self::Stream(events) => {
                // That the client is gone shows at what follows.
                let _ = events.send(framed.into()).await;
                None
            }
            Self::Polls => Some(framed.into()),
        }
    }
}

/// Runs a session over its channel, from the handshake until it is over and its client knows.
pub(super) async fn serve(opening: Opening, channel: Arc<Channel>, outlet: Outlet) {
    let patience = opening.options.disconnect;
    let is_polled = matches!(outlet, Outlet::Polls);
    let mut records = record_reader();
    let shaken = Box::pin(handshake(&opening, &channel, &outlet, &mut records)).await;
    let (place, ended) = match shaken {
        Ok((encoding, rest)) => {
            let session = Session::new(opening, records, encoding, outlet.framing(), None);
            let answer = outlet.begin(HandshakeResponse::ACCEPTED).await;
            channel.attach(answer, &session.connection);
            run(session, &channel, outlet, &rest, patience).await
        }
        Err(Refused::Because(error)) => {
            let mut answer = Vec::new();
            HandshakeResponse::from(&error).encode(&mut answer);
            channel.refuse(outlet.begin(&answer).await);
            (opening.place, Ended::Here)
        }
        Err(Refused::Gone) => (opening.place, Ended::ByClient),
    };
    channel.end();
    if is_polled && ended == Ended::Here {
        // What is left is fetched, and then that it is over.
        tokio::select! {
            biased;
            () = channel.left() => {}
            () = sleep(patience) => {}
        }
    }
    drop(place);
    channel.close();
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// This side: the client is yet to learn it.
    Here,
    /// The client, or it is gone.
    ByClient,
}

/// Reads the handshake's record; the agreed encoding, and what came behind the record.
async fn handshake(
    opening: &Opening,
    channel: &Channel,
    outlet: &Outlet,
    records: &mut RecordReader,
) -> Result<(Encoding, Vec<u8>), Refused> {
    let formats = outlet.transport().transfer_formats();
    let read = async {
        loop {
            let posted = tokio::select! {
                biased;
                posted = channel.inbox.next() => posted.ok_or(Refused::Gone)?,
                () = outlet.gone(channel, opening) => return Err(Refused::Gone),
            };
            let mut input = &posted[..];
            let shaken = shake(records, &mut input, formats).map_err(Refused::Because)?;
            if let Some(Agreed { encoding, .. }) = shaken {
                return Ok((encoding, input.to_vec()));
            }
        }
    };
    timeout(opening.options.handshake, read)
        .await
        .unwrap_or(Err(Refused::Because(HandshakeError::Canceled)))
}

/// Runs a session until it is over.
async fn run(
    mut session: Session,
    channel: &Channel,
    outlet: Outlet,
    rest: &[u8],
    patience: Duration,
) -> (Option<Place>, Ended) {
    let connection = Arc::clone(&session.connection);
    session.enter().await;
    let ended = {
        let mut read_on = pin!(read_on(&mut session, channel, rest));
        match outlet {
            Outlet::Stream(events) => {
                tokio::select! {
                    biased;
                    () = &mut read_on => {}
                    () = stream_out(&connection, events) => {
                        // What was posted before the client left is done still.
                        if !connection.is_closing() {
                            channel.inbox.close();
                            read_on.await;
                        }
                    }
                }
                Ended::Here
            }
            Outlet::Polls => {
                tokio::select! {
                    biased;
                    () = &mut read_on => Ended::Here,
                    () = channel.abandoned(patience) => Ended::ByClient,
                }
            }
        }
    };
    (session.end(), ended)
}

/// Does what is posted, until the connection is over or nothing more is taken.
async fn read_on(session: &mut Session, channel: &Channel, rest: &[u8]) {
    session.take(rest).await;
    let connection = Arc::clone(&session.connection);
    while !connection.is_closed() {
        tokio::select! {
            biased;
            () = connection.woken() => {}
            posted = channel.inbox.next() => match posted {
                Some(posted) => session.take(&posted).await,
                None => return,
            },
        }
    }
}

/// Writes what is queued as events; returns when the last is out or the client is gone.
async fn stream_out(connection: &Connection, events: mpsc::Sender<Bytes>) {
    let mut chunks = Vec::new();
    while !connection.take(&mut chunks) {
        if chunks.is_empty() {
            tokio::select! {
                biased;
                () = connection.queued() => {}
                () = events.closed() => return,
            }
        }
        let mut bytes = 0;
        for chunk in chunks.drain(..) {
            bytes += chunk.len();
            if events.send(chunk).await.is_err() {
                return;
            }
        }
        if bytes > 0 {
            connection.written(bytes);
        }
    }
}
