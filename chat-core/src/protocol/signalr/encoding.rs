//! What both encodings can do, each in its own bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::negotiate::TransferFormat;
use super::{
    Arguments, ArgumentsError, DecodeError, EncodeError, HubMessage, Raw, json, messagepack,
};

/// How hub messages are written once the handshake is done.
///
/// Writing adds whole records, framing included, to the end of a buffer. Calls and events with a value of our own take
/// it as a type; those that end in `_raw` take a value that [`Encoding::encode_value`] has written, so that one message
/// is encoded once and then wrapped as an event for some and as a completion for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// `json`: text, each record ended by [`RECORD_SEPARATOR`](super::RECORD_SEPARATOR).
    Json,
    /// `messagepack`: binary, each record behind its length.
    MessagePack,
}

/// Where it is the same for every encoding but for the module that does it.
macro_rules! in_encoding {
    ($encoding:expr, $call:ident($($arg:expr),*)) => {
        match $encoding {
            Encoding::Json => json::$call($($arg),*),
            Encoding::MessagePack => messagepack::$call($($arg),*),
        }
    };
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// Its name in the handshake.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }

    /// The encoding of that name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|e| e.name().eq_ignore_ascii_case(name))
    }

    /// What a transport must carry for it.
    #[must_use]
    pub const fn transfer_format(self) -> TransferFormat {
        match self {
            Self::Json => TransferFormat::Text,
            Self::MessagePack => TransferFormat::Binary,
        }
    }

    /// Reads a record, without its framing. `None` is a message of a type that this version doesn't know: skip it.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] ends the connection.
    pub fn decode(self, record: &[u8]) -> Result<Option<HubMessage<'_>>, DecodeError> {
        in_encoding!(self, decode(record))
    }

    /// Reads the arguments of a call whose method takes exactly one, under the rules of
    /// [`strict_json`](crate::protocol::strict_json).
    ///
    /// # Errors
    ///
    /// An [`ArgumentsError`] refuses that call and leaves the connection alone.
    pub fn arguments<T: DeserializeOwned>(
        self,
        arguments: Arguments<'_>,
    ) -> Result<T, ArgumentsError> {
        in_encoding!(self, arguments(arguments))
    }

    /// Reads a single value: a result, an item, or an event's argument.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Value`] if it isn't a `T`.
    pub fn value<T: DeserializeOwned>(self, value: Raw<'_>) -> Result<T, DecodeError> {
        in_encoding!(self, value(value))
    }

    /// Reads the argument of an event, which has exactly one. Takes what it doesn't know as a client must.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Value`] if it isn't one `T`.
    pub fn event_argument<T: DeserializeOwned>(
        self,
        arguments: Arguments<'_>,
    ) -> Result<T, DecodeError> {
        self.value::<(T,)>(arguments.raw)
            .map(|(argument,)| argument)
    }

    /// Writes a value alone, to be wrapped later, more than once perhaps.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the type can't be written; `out` is as before.
    pub fn encode_value(
        self,
        value: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        in_encoding!(self, encode_value(value, out))
    }

    /// Writes any message.
    pub fn encode(self, message: &HubMessage<'_>, out: &mut Vec<u8>) {
        in_encoding!(self, encode(message, out));
    }

    /// Writes a call under `id`, or without one a call that isn't answered.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the argument can't be written; `out` is as before.
    pub fn invocation(
        self,
        id: Option<&str>,
        target: &str,
        argument: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        in_encoding!(self, invocation(id, target, argument, out))
    }

    /// Writes the call of a stream.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the argument can't be written; `out` is as before.
    pub fn stream_invocation(
        self,
        id: &str,
        target: &str,
        argument: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        in_encoding!(self, stream_invocation(id, target, argument, out))
    }

    /// Writes an event: a call that isn't answered.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the argument can't be written; `out` is as before.
    pub fn event(
        self,
        target: &str,
        argument: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.invocation(None, target, argument, out)
    }

    /// Writes an event whose argument is already encoded.
    pub fn event_raw(self, target: &str, argument: Raw<'_>, out: &mut Vec<u8>) {
        in_encoding!(self, event_raw(target, argument, out));
    }

    /// Writes the end of a call with its result.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the result can't be written; `out` is as before.
    pub fn completion(
        self,
        id: &str,
        result: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        in_encoding!(self, completion(id, result, out))
    }

    /// Writes the end of a call with a result that is already encoded.
    pub fn completion_raw(self, id: &str, result: Raw<'_>, out: &mut Vec<u8>) {
        in_encoding!(self, completion_raw(id, result, out));
    }

    /// Writes the end of a call that failed. The text must not be empty: clients take an empty one for success.
    pub fn completion_error(self, id: &str, error: &str, out: &mut Vec<u8>) {
        debug_assert!(!error.is_empty(), "an empty error reads as success");
        in_encoding!(self, completion_error(id, error, out));
    }

    /// Writes the end of a call without a result, or of a stream.
    pub fn completion_void(self, id: &str, out: &mut Vec<u8>) {
        in_encoding!(self, completion_void(id, out));
    }

    /// Writes an item of a stream.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the item can't be written; `out` is as before.
    pub fn stream_item(
        self,
        id: &str,
        item: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        in_encoding!(self, stream_item(id, item, out))
    }

    /// Writes the wish for no more items of a stream.
    pub fn cancel_invocation(self, id: &str, out: &mut Vec<u8>) {
        in_encoding!(self, cancel_invocation(id, out));
    }

    /// The Ping record.
    #[must_use]
    pub const fn ping(self) -> &'static [u8] {
        match self {
            Self::Json => json::PING,
            Self::MessagePack => messagepack::PING,
        }
    }

    /// Writes the Close record. Without `allow_reconnect` a client doesn't come back by itself.
    pub fn close(self, error: Option<&str>, allow_reconnect: bool, out: &mut Vec<u8>) {
        in_encoding!(self, close(error, allow_reconnect, out));
    }
}
