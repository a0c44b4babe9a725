//! A connection's session, whatever carries it: from the handshake's record to the calls that come in.

use std::sync::Arc;

use bytes::Bytes;
use chat_core::auth::Caller;
use chat_core::fanout::{Connection, DirectWrite, End, Framing, Wire};
use chat_core::model::limits::HUB_RECORD_BYTES;
use chat_core::protocol::ErrorCode;
use chat_core::protocol::hub::ClosingReason;
use chat_core::protocol::signalr::handshake::{HandshakeError, HandshakeRequest};
use chat_core::protocol::signalr::negotiate::TransferFormat;
use chat_core::protocol::signalr::{Encoding, RecordReader};
use chat_core::service::Chat;

use super::dispatch::Dispatcher;
use super::options::HubOptions;
use super::registry::Place;

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
) -> Result<Option<Encoding>, HandshakeError> {
    let Some(record) = records.next(Encoding::Json, input)? else {
        return Ok(None);
    };
    let request = HandshakeRequest::parse(&record)?;
    request.encoding(formats).map(Some)
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
                Ok(Some(message)) => self.dispatcher.dispatch(message).await,
                // A type of a later version.
                Ok(None) => self.connection.heard(false),
                Err(_) => self.connection.close(End::Error),
            }
        }
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
            assert_eq!(shaken, Ok(Some(Encoding::Json)), "cut at {cut}");
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
