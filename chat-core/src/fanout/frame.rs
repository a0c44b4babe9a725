//! How a record is put on a connection's wire.

use serde::Serialize;

use crate::protocol::signalr::negotiate::TransferFormat;
use crate::protocol::signalr::{EncodeError, Encoding, Raw};

/// What a connection's bytes look like: the key under which a segment is encoded once for all who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wire {
    /// How records are written.
    pub encoding: Encoding,
    /// What is around each record.
    pub framing: Framing,
}

impl Wire {
    /// Appends one framed record that `write` writes. What our own types can't write would be a fault of theirs: it is logged,
    /// and nothing is appended.
    pub(crate) fn record(
        self,
        out: &mut Vec<u8>,
        write: impl FnOnce(Encoding, &mut Vec<u8>) -> Result<(), EncodeError>,
    ) {
        let start = out.len();
        let mut written = Ok(());
        self.framing
            .frame(out, |out| written = write(self.encoding, out));
        if let Err(e) = written {
            out.truncate(start);
            tracing::error!(
                error = &e as &dyn std::error::Error,
                "a record could not be written"
            );
        }
    }

    /// Appends an event.
    pub(crate) fn event(self, target: &str, argument: &impl Serialize, out: &mut Vec<u8>) {
        self.record(out, |encoding, out| encoding.event(target, argument, out));
    }

    /// Appends an event whose argument is encoded already.
    pub(crate) fn event_raw(self, target: &str, argument: &[u8], out: &mut Vec<u8>) {
        self.framing.frame(out, |out| {
            self.encoding.event_raw(target, Raw(argument), out);
        });
    }

    /// Appends a completion with a result.
    pub(crate) fn completion(self, id: &str, result: &impl Serialize, out: &mut Vec<u8>) {
        self.record(out, |encoding, out| encoding.completion(id, result, out));
    }

    /// Appends a completion whose result is encoded already.
    pub(crate) fn completion_raw(self, id: &str, result: &[u8], out: &mut Vec<u8>) {
        self.framing.frame(out, |out| {
            self.encoding.completion_raw(id, Raw(result), out);
        });
    }

    /// Appends a completion with an error.
    pub(crate) fn completion_error(self, id: &str, error: &str, out: &mut Vec<u8>) {
        self.framing
            .frame(out, |out| self.encoding.completion_error(id, error, out));
    }
}

/// What is around each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// One WebSocket text message a record (RFC 6455, section 5.2). A server doesn't mask, so the bytes are the same for all.
    WebSocketText,
    /// The same in binary messages.
    WebSocketBinary,
}

/// The longest header of an unmasked frame.
const HEADER_MAX: usize = 10;
/// FIN and the opcode of a text frame.
const FIN_TEXT: u8 = 0x81;
/// FIN and the opcode of a binary frame.
const FIN_BINARY: u8 = 0x82;
/// FIN and the opcode of a close frame.
const FIN_CLOSE: u8 = 0x88;

impl Framing {
    /// How a WebSocket carries records of this encoding.
    #[must_use]
    pub const fn web_socket(encoding: Encoding) -> Self {
        match encoding.transfer_format() {
            TransferFormat::Text => Self::WebSocketText,
            TransferFormat::Binary => Self::WebSocketBinary,
        }
    }

    /// Appends one framed record to `out`; `write` appends the record itself.
    pub fn frame(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Self::WebSocketText => message(FIN_TEXT, out, write),
            Self::WebSocketBinary => message(FIN_BINARY, out, write),
        }
    }

    /// Appends what ends the transport itself, after the last record: a close frame with this code.
    pub fn end(self, out: &mut Vec<u8>, code: u16) {
        match self {
            Self::WebSocketText | Self::WebSocketBinary => {
                out.extend_from_slice(&[FIN_CLOSE, 2]);
                out.extend_from_slice(&code.to_be_bytes());
            }
        }
    }
}

/// Appends a WebSocket message of one frame.
fn message(first: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Most records are 126 bytes to 64 KiB: room for that header is left in front, and the rare others move.
    const RESERVED: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    write(out);
    let length = out.len() - start - RESERVED;
    let (header, n) = header(first, length);
    if n == RESERVED {
        out[start..start + n].copy_from_slice(&header[..n]);
    } else {
        out.splice(start..start + RESERVED, header[..n].iter().copied());
    }
}

/// The header of an unmasked frame, and its length.
#[allow(clippy::cast_possible_truncation)] // each arm's bounds are in its pattern
fn header(first: u8, length: usize) -> ([u8; HEADER_MAX], usize) {
    let mut out = [0; HEADER_MAX];
    out[0] = first;
    let n = match length {
        0..=125 => {
            out[1] = length as u8;
            2
        }
        126..=0xffff => {
            out[1] = 126;
            out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            out[1] = 127;
            out[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (out, n)
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    use super::*;

    #[test]
    fn a_frame_of_any_length_reads_back_as_one_message() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 200_000] {
            for encoding in Encoding::ALL {
                let mut out = b"before".to_vec();
                Framing::web_socket(encoding)
                    .frame(&mut out, |out| out.resize(out.len() + length, b'x'));
                let mut socket = WebSocket::from_raw_socket(
                    std::io::Cursor::new(out[6..].to_vec()),
                    Role::Client,
                    None,
                );
                let message = socket.read().expect("a whole frame");
                assert_eq!(message.is_text(), encoding == Encoding::Json);
                assert_eq!(message.is_binary(), encoding == Encoding::MessagePack);
                assert_eq!(message.len(), length);
            }
        }
    }
}
