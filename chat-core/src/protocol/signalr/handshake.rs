//! The handshake: the first record of each side, JSON whatever is agreed on.
//!
//! Records are found by a [`RecordReader`](super::RecordReader) with [`Encoding::Json`]; what lies behind the handshake
//! stays in the reader's input, and is read with the encoding agreed on.

use serde::Serialize;
use serde_json::Value;

use super::negotiate::TransferFormat;
use super::{DecodeError, Encoding, RECORD_SEPARATOR};
use crate::model::deserialize_integer;

/// The hub protocol as it was first.
pub const VERSION: i64 = 1;
/// The hub protocol with stateful reconnect: types 8 and 9.
pub const VERSION_STATEFUL: i64 = 2;

/// Why a handshake failed. Its text goes to the client, in the words that ASP.NET Core uses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// No such protocol.
    #[error("The protocol '{protocol}' is not supported.")]
    Protocol {
        /// What was asked for.
        protocol: String,
    },
    /// A version beyond ours.
    #[error("The server does not support version {version} of the '{protocol}' protocol.")]
    Version {
        /// What was asked for.
        version: i64,
        /// Of this protocol.
        protocol: String,
    },
    /// The transport can't carry the protocol.
    #[error(
        "Cannot use the '{protocol}' protocol on the current transport. The transport does not support '{format}' transfer format."
    )]
    Format {
        /// The protocol asked for.
        protocol: &'static str,
        /// What the transport would have to carry.
        format: TransferFormat,
    },
    /// Not a handshake.
    #[error("An unexpected error occurred during connection handshake.")]
    Unexpected,
    /// Not a whole record in time, or within the limit.
    #[error("Handshake was canceled.")]
    Canceled,
}

impl From<DecodeError> for HandshakeError {
    fn from(e: DecodeError) -> Self {
        match e {
            DecodeError::TooLong { .. } => Self::Canceled,
            _ => Self::Unexpected,
        }
    }
}

/// A client's first record: `{"protocol":"json","version":1}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandshakeRequest {
    /// The protocol's name, in any case.
    pub protocol: String,
    /// The version of the hub protocol.
    pub version: i64,
}

impl HandshakeRequest {
    /// Asks for an encoding.
    #[must_use]
    pub fn new(encoding: Encoding, version: i64) -> Self {
        Self {
            protocol: encoding.name().to_owned(),
            version,
        }
    }

    /// Reads the record, without its separator.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Unexpected`] if it isn't a handshake.
    pub fn parse(record: &[u8]) -> Result<Self, HandshakeError> {
        let mut members = members(record).ok_or(HandshakeError::Unexpected)?;
        let (Some(Value::String(protocol)), Some(version)) =
            (members.remove("protocol"), members.get("version"))
        else {
            return Err(HandshakeError::Unexpected);
        };
        let version = deserialize_integer(version).map_err(|_| HandshakeError::Unexpected)?;
        Ok(Self { protocol, version })
    }

    /// The encoding asked for, if we have it in that version and the transport can carry it.
    ///
    /// # Errors
    ///
    /// The [`HandshakeError`] to answer with.
    pub fn encoding(&self, carried: &[TransferFormat]) -> Result<Encoding, HandshakeError> {
        let encoding =
            Encoding::from_name(&self.protocol).ok_or_else(|| HandshakeError::Protocol {
                protocol: self.protocol.clone(),
            })?;
        if self.version > VERSION_STATEFUL {
            return Err(HandshakeError::Version {
                version: self.version,
                protocol: self.protocol.clone(),
            });
        }
        let format = encoding.transfer_format();
        if !carried.contains(&format) {
            return Err(HandshakeError::Format {
                protocol: encoding.name(),
                format,
            });
        }
        Ok(encoding)
    }

    /// Writes the record, with its separator.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_record(self, out);
    }
}

/// A server's first record: `{}`, or `{"error":"…"}` before the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HandshakeResponse {
    /// Why the server refused; `None`: it agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl HandshakeResponse {
    /// The record that agrees, with its separator.
    pub const ACCEPTED: &'static [u8] = b"{}\x1e";

    /// Reads the record, without its separator. Takes no hub message for an answer: those have a `type`.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if it isn't the answer to a handshake.
    pub fn parse(record: &[u8]) -> Result<Self, DecodeError> {
        let mut members = members(record).ok_or(DecodeError::Malformed { at: 0 })?;
        if members.contains_key("type") {
            return Err(DecodeError::Malformed { at: 0 });
        }
        match members.remove("error") {
            None | Some(Value::Null) => Ok(Self { error: None }),
            Some(Value::String(error)) => Ok(Self { error: Some(error) }),
            Some(_) => Err(DecodeError::WrongType("error")),
        }
    }

    /// Writes the record, with its separator.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_record(self, out);
    }
}

impl From<&HandshakeError> for HandshakeResponse {
    fn from(e: &HandshakeError) -> Self {
        Self {
            error: Some(e.to_string()),
        }
    }
}

/// The members of a handshake record, if it is an object; the last of a doubled one counts.
fn members(record: &[u8]) -> Option<serde_json::Map<String, Value>> {
    serde_json::from_slice(record).ok()
}

fn write_record(record: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, record)
        .expect("text and numbers can always be written to memory");
    out.push(RECORD_SEPARATOR);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[TransferFormat] = &[TransferFormat::Text, TransferFormat::Binary];

    fn answer(record: &str) -> String {
        let outcome = HandshakeRequest::parse(record.as_bytes()).and_then(|r| r.encoding(BOTH));
        match outcome {
            Ok(encoding) => encoding.name().to_owned(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_handshake_is_read_in_any_form() {
        for record in [
            r#"{"protocol":"json","version":1}"#,
            r#"{"version":2,"protocol":"json"}"#,
            r#" { "protocol" : "JSON", "more": {"a": [1]}, "version" : 1.0 } "#,
            r#"{"protocol":"json","version":0}"#,
            r#"{"protocol":"json","version":-1}"#,
            r#"{"protocol":"morse","protocol":"json","version":1}"#,
        ] {
            assert_eq!(answer(record), "json", "{record}");
        }
    }

    #[test]
    fn a_refused_handshake_has_the_words_that_clients_know() {
        const UNEXPECTED: &str = "An unexpected error occurred during connection handshake.";
        for (record, text) in [
            (
                r#"{"protocol":"morse","version":1}"#,
                "The protocol 'morse' is not supported.",
            ),
            (
                r#"{"protocol":"json","version":99}"#,
                "The server does not support version 99 of the 'json' protocol.",
            ),
            (
                r#"{"protocol":"json","version":3}"#,
                "The server does not support version 3 of the 'json' protocol.",
            ),
            ("", UNEXPECTED),
            ("{", UNEXPECTED),
            ("[]", UNEXPECTED),
            ("{}", UNEXPECTED),
            (r#"{"protocol":"json"}"#, UNEXPECTED),
            (r#"{"version":1}"#, UNEXPECTED),
            (r#"{"protocol":null,"version":1}"#, UNEXPECTED),
            (r#"{"protocol":"json","version":"1"}"#, UNEXPECTED),
            (r#"{"protocol":"json","version":1.5}"#, UNEXPECTED),
            (r#"{"type":6}"#, UNEXPECTED),
        ] {
            assert_eq!(answer(record), text, "{record}");
        }
        let too_long = HandshakeError::from(DecodeError::TooLong { limit: 1 });
        assert_eq!(too_long.to_string(), "Handshake was canceled.");
    }

    #[test]
    fn a_transport_that_can_not_carry_the_encoding_is_refused() {
        let request = HandshakeRequest::new(Encoding::Json, VERSION);
        let e = request
            .encoding(&[TransferFormat::Binary])
            .expect_err("no text");
        assert_eq!(
            e.to_string(),
            "Cannot use the 'json' protocol on the current transport. The transport does not support 'Text' transfer format."
        );
    }

    #[test]
    fn both_records_are_written_as_the_protocol_has_them() {
        let mut out = Vec::new();
        HandshakeRequest::new(Encoding::Json, VERSION).encode(&mut out);
        assert_eq!(out, b"{\"protocol\":\"json\",\"version\":1}\x1e");
        out.clear();
        HandshakeResponse::default().encode(&mut out);
        assert_eq!(out, HandshakeResponse::ACCEPTED);
        out.clear();
        HandshakeResponse::from(&HandshakeError::Canceled).encode(&mut out);
        assert_eq!(out, b"{\"error\":\"Handshake was canceled.\"}\x1e");
    }

    #[test]
    fn an_answer_is_read_and_a_hub_message_is_none() {
        let refused = HandshakeResponse {
            error: Some("no".to_owned()),
        };
        for (record, answer) in [
            ("{}", Ok(HandshakeResponse::default())),
            (
                r#"{"error":null,"more":1}"#,
                Ok(HandshakeResponse::default()),
            ),
            (r#"{"error":"no"}"#, Ok(refused)),
            (r#"{"error":1}"#, Err(DecodeError::WrongType("error"))),
            (r#"{"type":6}"#, Err(DecodeError::Malformed { at: 0 })),
            ("[]", Err(DecodeError::Malformed { at: 0 })),
        ] {
            assert_eq!(
                HandshakeResponse::parse(record.as_bytes()),
                answer,
                "{record}"
            );
        }
    }
}
