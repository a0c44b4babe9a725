//! The ASP.NET Core SignalR hub protocol: records in, records out, no I/O.
//!
//! A connection's input is one byte stream, however it was cut into frames and POSTs: a [`RecordReader`] finds the records
//! in it. The first is the handshake ([`handshake`]), always JSON; the rest are [`HubMessage`]s in the agreed
//! [`Encoding`]. Values inside a record (arguments, items, results) stay raw until the dispatcher knows their type. What makes
//! a connection outlive its socket is in [`stateful`].

mod encoding;
pub mod handshake;
mod json;
mod messagepack;
pub mod negotiate;
mod reader;
pub mod stateful;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::encoding::Encoding;
pub use self::reader::RecordReader;
use super::strict_json::JsonError;

/// The byte that ends a JSON record and the handshake: ASCII RS.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// The text of the Close record after a record that can't be understood or is too long, a client time-out, or a failed
/// write.
pub const CLOSED_WITH_ERROR: &str = "Connection closed with an error.";

/// What can't be understood. In a record of a connection's input it ends the connection.
///
/// The texts repeat nothing of what was sent, so they may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the limit, framing included.
    #[error("a record is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not an object of the encoding, or nested too deeply.
    #[error("a record is malformed at byte {at}")]
    Malformed {
        /// Where, about.
        at: usize,
    },
    /// A required member isn't there.
    #[error("a record lacks {0:?}")]
    Missing(&'static str),
    /// A member is of the wrong type.
    #[error("a record has a {0:?} of the wrong type")]
    WrongType(&'static str),
    /// A completion has both.
    #[error("a completion has an error and a result")]
    ErrorAndResult,
    /// A result, an item or an event's argument isn't what it must be.
    #[error("a value can't be read: {0}")]
    Value(String),
}

/// What can't be written: a fault of the type, not of its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value can't be written: {0}")]
pub struct EncodeError(pub(crate) String);

/// Why a call's arguments were refused: `validation_failed`, with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentsError {
    /// Not exactly one.
    #[error("the method takes one argument, not {0}")]
    Count(usize),
    /// The argument isn't what it must be.
    #[error(transparent)]
    Argument(#[from] JsonError),
}

/// One value of a record, in the record's own encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(pub &'a [u8]);

impl std::fmt::Debug for Raw<'_> {
    // Arguments hold what people wrote, and tokens: not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

/// The arguments of a call: one array.
#[derive(Clone, Copy)]
pub struct Arguments<'a> {
    raw: Raw<'a>,
    sound: Sound<'a>,
}

/// Whether reading the record has found its arguments to be sound: then they aren't looked through again.
#[derive(Clone, Copy)]
enum Sound<'a> {
    Unknown,
    /// And this is their text.
    Json(&'a str),
    MessagePack,
}

impl<'a> Arguments<'a> {
    /// The array in the record's encoding.
    #[must_use]
    pub const fn raw(self) -> Raw<'a> {
        self.raw
    }
}

impl<'a> From<Raw<'a>> for Arguments<'a> {
    fn from(raw: Raw<'a>) -> Self {
        Self {
            raw,
            sound: Sound::Unknown,
        }
    }
}

impl std::fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.raw.fmt(f)
    }
}

impl PartialEq for Arguments<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Arguments<'_> {}

/// A hub message. Text borrows from its record where it can.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubMessage<'a> {
    /// Type 1: calls a method (client) or tells of an event (server).
    Invocation {
        /// Under which the completion comes; `None`: no completion whatever happens.
        invocation_id: Option<Cow<'a, str>>,
        /// The method's or event's name.
        target: Cow<'a, str>,
        /// The arguments.
        arguments: Arguments<'a>,
        /// Ids of the streams that the caller will upload.
        stream_ids: Vec<Cow<'a, str>>,
    },
    /// Type 2: an item of a stream.
    StreamItem {
        /// The stream.
        invocation_id: Cow<'a, str>,
        /// The item.
        item: Raw<'a>,
    },
    /// Type 3: the end of a call or stream.
    Completion {
        /// The call.
        invocation_id: Cow<'a, str>,
        /// How it ended.
        result: CompletionResult<'a>,
    },
    /// Type 4: calls a method that answers a stream.
    StreamInvocation {
        /// Under which items and the completion come.
        invocation_id: Cow<'a, str>,
        /// The method's name.
        target: Cow<'a, str>,
        /// The arguments.
        arguments: Arguments<'a>,
        /// Ids of the streams that the caller will upload.
        stream_ids: Vec<Cow<'a, str>>,
    },
    /// Type 5: the caller wants no more of a stream.
    CancelInvocation {
        /// The stream.
        invocation_id: Cow<'a, str>,
    },
    /// Type 6: alive.
    Ping,
    /// Type 7: the last record.
    Close {
        /// Why, if it is an error.
        error: Option<Cow<'a, str>>,
        /// Whether a client may connect again by itself.
        allow_reconnect: bool,
    },
    /// Type 8: all up to here was handled (stateful reconnect).
    Ack {
        /// The last record handled.
        sequence_id: i64,
    },
    /// Type 9: the number of the record that follows (stateful reconnect).
    Sequence {
        /// Its number.
        sequence_id: i64,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompletionResult<'a> {
    /// Without a value.
    Void,
    /// With this value.
    Value(Raw<'a>),
    /// With this error text.
    Error(Cow<'a, str>),
}
