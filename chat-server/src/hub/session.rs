//! A connection's session, whatever carries it: from the handshake's record to the calls that come in.

use std::sync::Arc;

use bytes::Bytes;
use chat_core::auth::Caller;
use chat_core::fanout::{Connection, DirectWrite, End, Framing, Wire};
use chat_core::model::limits::HUB_RECORD_BYTES;
use chat_core::protocol::ErrorCode;
use chat_core::protocol::hub::ClosingReason;
use chat_core::protocol::signalr::handshake::{HandshakeError, HandshakeRequest, VERSION_STATEFUL};
use chat_core::protocol::signalr::negotiate::TransferFormat;
use chat_core::protocol::signalr::stateful::{ACKNOWLEDGE_EVERY, Received, SequenceError};
use chat_core::protocol::signalr::{Encoding, HubMessage, RecordReader};
use chat_core::service::Chat;
use tokio::time::Instant;

use super::dispatch::Dispatcher;
use super::options::HubOptions;
use super::registry::Place;
use super::slot::Slot;
use crate::serve::ConnectionPermit;

/// What a connection is called.
#[derive(Clone, Debug)]
pub struct Ids {
    /// This node's number for it, from [`Fanout::number`](chat_core::fanout::Fanout::number).
    pub number: u64,
    /// What clients see.
    pub public_id: String,
}

/// A connection that is about to shake hands.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) chat: Chat,
    pub(super) caller: Caller,
    pub(super) ids: Ids,
    pub(super) options: HubOptions,
    /// Its place in the registry, if it was negotiated.
    pub(super) place: Option<Place>,
    /// What was posted before.
    pub(super) posted: Bytes,
    /// Stateful reconnect was granted.
    pub(super) is_resumable: bool,
    /// The socket's place among all connections of the server.
    pub(super) permit: Option<ConnectionPermit>,
}

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) encoding: Encoding,
    /// The client would resume the connection on another socket.
    pub(super) is_stateful: bool,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Refused {
    /// To be answered.
    Because(HandshakeError),
    /// The client is gone.
    Gone,
}

/// Takes the handshake's record from the input of a connection that carries `formats`. `None`: more is needed, and all of
/// `input` is kept. What lies behind the record stays in `input`.
///
/// # Errors
/// The handshake fails.
pub(super) fn shake(
    records: &mut RecordReader,
    input: &mut &[u8],
    formats: &[TransferFormat],
) -> Result<Option<Agreed>, HandshakeError> {
    let Some(record) = records.next(Encoding::Json, input)? else {
        return Ok(None);
    };
    let request = HandshakeRequest::parse(&record)?;
    Ok(Some(Agreed {
        encoding: request.encoding(formats)?,
        is_stateful: request.version == VERSION_STATEFUL,
    }))
}

/// A connection whose handshake is done.
pub(super) struct Session {
    pub(super) connection: Arc<Connection>,
    chat: Chat,
    /// Its place in the registry, for as long as it is open.
    place: Option<Place>,
    dispatcher: Dispatcher,
    records: RecordReader,
    encoding: Encoding,
    /// What is counted of a client that may resume.
    resumption: Option<Box<Resumption>>,
}

/// What has come from a client that may resume, on whichever socket.
struct Resumption {
    received: Received,
    /// When it is to be told how far that is.
    acknowledge_at: Option<Instant>,
}

impl Session {
    /// Makes the connection. Its events wait until [`Session::enter`].
    pub(super) fn new(
        opening: Opening,
        records: RecordReader,
        encoding: Encoding,
        framing: Framing,
        direct: Option<Box<dyn DirectWrite>>,
    ) -> Self {
        let Opening {
            chat,
            caller,
            ids,
            place,
            ..
        } = opening;
        let connection = Arc::new(Connection::new(
            ids.number,
            ids.public_id,
            &caller,
            Wire { encoding, framing },
            chat.connection_queue_bytes(),
            direct,
        ));
        if let Some(place) = &place {
            place.attach(&connection);
        }
        Self {
            dispatcher: Dispatcher::new(chat.clone(), Arc::clone(&connection), caller),
            connection,
            chat,
            place,
            records,
            encoding,
            resumption: None,
        }
    }

    /// Has the connection outlive its socket from now on; the next is put into `slot`.
    pub(super) fn make_resumable(
        &mut self,
        direct: Option<Arc<dyn DirectWrite>>,
        slot: &Arc<Slot>,
    ) {
        self.connection.make_resumable(direct);
        self.resumption = Some(Box::new(Resumption {
            received: Received::new(),
            acknowledge_at: None,
        }));
        if let Some(place) = &self.place {
            place.make_resumable(slot);
        }
    }

    /// The connection goes on over a new socket: half a record of the old one is lost with it.
    pub(super) fn reattach(&mut self, direct: Option<Arc<dyn DirectWrite>>) {
        self.records = record_reader();
        if let Some(resumption) = &mut self.resumption {
            resumption.received.reattached();
        }
        self.connection.attach(direct);
    }

    /// When the client is to be told how far its messages have come.
    pub(super) fn acknowledge_at(&self) -> Option<Instant> {
        self.resumption.as_ref().and_then(|r| r.acknowledge_at)
    }

    /// Tells the client how far its messages have come.
    pub(super) fn acknowledge(&mut self) {
        if let Some(resumption) = &mut self.resumption {
            resumption.acknowledge_at = None;
            if let Some(ack) = resumption.received.acknowledgement() {
                self.connection.acknowledge(&ack);
            }
        }
    }

    /// Enters the connection into its rooms.
    pub(super) async fn enter(&self) {
        let entered = Box::pin(
            self.chat
                .connect(&self.connection, self.dispatcher.caller()),
        );
        if let Err(e) = entered.await {
            tracing::debug!(code = %e.code(), "a connection could not enter");
            self.connection.close(match e.code() {
                ErrorCode::Unauthenticated => End::Closing(ClosingReason::SessionEnded),
                _ => End::Error,
            });
        }
    }

    /// Does what a part of the client's input asks for.
    pub(super) async fn take(&mut self, payload: &[u8]) {
        let mut input = payload;
        while !self.connection.is_closing() {
            let record = match self.records.next(self.encoding, &mut input) {
                Ok(Some(record)) => record,
                Ok(None) => return,
                Err(_) => return self.connection.close(End::Error),
            };
            match self.encoding.decode(&record) {
                Ok(Some(message)) => match self.count(&message) {
                    Ok(true) => self.dispatcher.dispatch(message).await,
                    // It was done before its client resumed.
                    Ok(false) => self.connection.heard(false),
                    Err(e) => {
                        tracing::debug!("a client resumes where it can't: {e}");
                        self.connection.close(End::Error);
                    }
                },
                // A type of a later version.
                Ok(None) => self.connection.heard(false),
                Err(_) => self.connection.close(End::Error),
            }
        }
    }

    /// Counts a message of a client that may resume; whether it is to be handled.
    fn count(&mut self, message: &HubMessage<'_>) -> Result<bool, SequenceError> {
        let Some(resumption) = &mut self.resumption else {
            return Ok(true);
        };
        let is_new = resumption.received.take(message)?;
        if message.is_numbered() && resumption.acknowledge_at.is_none() {
            resumption.acknowledge_at = Some(Instant::now() + ACKNOWLEDGE_EVERY);
        }
        if let (true, HubMessage::Ack { sequence_id }) = (is_new, message) {
            self.connection.acknowledged(*sequence_id);
        }
        Ok(is_new)
    }

    /// Takes the connection out of its rooms; its place, to be released when its id is to be forgotten.
    pub(super) fn end(self) -> Option<Place> {
        self.chat.fanout().remove(&self.connection);
        self.place
    }
}

/// A reader of a client's records.
pub(super) const fn record_reader() -> RecordReader {
    RecordReader::new(HUB_RECORD_BYTES)
}

#[cfg(test)]
mod tests {
    use chat_core::protocol::signalr::negotiate::Transport;

    use super::*;

    #[test]
    fn a_handshake_cut_anywhere_leaves_what_lies_behind_it() {
        let input = b"{\"protocol\":\"json\",\"version\":1}\x1e{\"type\":6}\x1e";
        let end = input.iter().position(|byte| *byte == 0x1e).expect("an end") + 1;
        for cut in 0..end {
            let mut records = record_reader();
            let (mut front, mut back) = (&input[..cut], &input[cut..]);
            let formats = Transport::LongPolling.transfer_formats();
            assert_eq!(shake(&mut records, &mut front, formats), Ok(None));
            assert!(front.is_empty(), "cut at {cut}");
            let shaken = shake(&mut records, &mut back, formats);
            let agreed = Agreed {
                encoding: Encoding::Json,
                is_stateful: false,
            };
            assert_eq!(shaken, Ok(Some(agreed)), "cut at {cut}");
            assert_eq!(back, b"{\"type\":6}\x1e", "cut at {cut}");
        }
    }

    #[test]
    fn events_carry_no_binary_protocol() {
        let mut input = &b"{\"protocol\":\"messagepack\",\"version\":1}\x1e"[..];
        let formats = Transport::ServerSentEvents.transfer_formats();
        let refused = shake(&mut record_reader(), &mut input, formats);
        assert_eq!(
            refused.expect_err("binary").to_string(),
            "Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' \
             transfer format."
        );
    }
}
