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
    /// One Server-Sent Event a record: text alone.
    ServerSentEvents,
    /// Nothing: records follow each other in the answers to polls.
    LongPolling,
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

    /// Whether silence means something: Pings go out, and a client that has pinged is to go on. Polls have times of their
    /// own (signalr.md, section 9).
    #[must_use]
    pub const fn is_kept_alive(self) -> bool {
        !matches!(self, Self::LongPolling)
    }

    /// Whether it is one WebSocket: else requests come beside what goes out, over other sockets perhaps.
    #[must_use]
    pub const fn is_web_socket(self) -> bool {
        matches!(self, Self::WebSocketText | Self::WebSocketBinary)
    }

    /// Appends one framed record to `out`; `write` appends the record itself.
    pub fn frame(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Self::WebSocketText => message(FIN_TEXT, out, write),
            Self::WebSocketBinary => message(FIN_BINARY, out, write),
            Self::ServerSentEvents => server_sent_event(out, write),
            Self::LongPolling => write(out),
        }
    }

    /// How many messages lie in whole frames of a WebSocket; other transports aren't counted.
    pub(super) fn messages(self, mut frames: &[u8]) -> u32 {
        let mut messages = 0;
        while self.is_web_socket()
            && let [first, length, rest @ ..] = frames
        {
            let (length, rest) = match (length, rest) {
                (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
                (127, rest) => match rest.split_first_chunk() {
                    Some((bytes, rest)) => {
                        let length = u64::from_be_bytes(*bytes);
                        (usize::try_from(length).unwrap_or(usize::MAX), rest)
                    }
                    None => return messages,
                },
                (length, rest) => (usize::from(*length), rest),
            };
            messages += u32::from(matches!(*first, FIN_TEXT | FIN_BINARY));
            frames = rest.get(length..).unwrap_or_default();
        }
        messages
    }

    /// Appends what ends the transport itself, after the last record: on WebSockets a close frame with this code.
    pub fn end(self, out: &mut Vec<u8>, code: u16) {
        match self {
            Self::WebSocketText | Self::WebSocketBinary => {
                out.extend_from_slice(&[FIN_CLOSE, 2]);
                out.extend_from_slice(&code.to_be_bytes());
            }
            // The answer's own end.
            Self::ServerSentEvents | Self::LongPolling => {}
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

/// What each line of an event begins with. Other fields than this one are errors to some clients.
const EVENT_DATA: &[u8] = b"data: ";
/// What ends a line of an event.
const EVENT_LINE: &[u8] = b"\r\n";

/// Appends an event (HTML, section 9.2.6) whose data is what `write` appends. A line break in it begins another line of data, and
/// loses its carriage return; JSON as we write it has none.
fn server_sent_event(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(EVENT_DATA);
    let start = out.len();
    write(out);
    if memchr::memchr(b'\n', &out[start..]).is_some() {
        let data = out.split_off(start);
        for (n, line) in data.split(|byte| *byte == b'\n').enumerate() {
            if n > 0 {
                out.extend_from_slice(EVENT_LINE);
                out.extend_from_slice(EVENT_DATA);
            }
            out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        }
    }
    out.extend_from_slice(EVENT_LINE);
    out.extend_from_slice(EVENT_LINE);
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

    #[test]
    fn an_event_is_lines_of_data_alone() {
        let event = |data: &str| {
            let mut out = b"before".to_vec();
            Framing::ServerSentEvents.frame(&mut out, |out| out.extend_from_slice(data.as_bytes()));
            String::from_utf8(out[6..].to_vec()).expect("text")
        };
        for (data, expected) in [
            ("{\"type\":6}\u{1e}", "data: {\"type\":6}\u{1e}\r\n\r\n"),
            ("a\nb", "data: a\r\ndata: b\r\n\r\n"),
            ("a\r\nb", "data: a\r\ndata: b\r\n\r\n"),
            ("a\n\nb\n", "data: a\r\ndata: \r\ndata: b\r\ndata: \r\n\r\n"),
            ("", "data: \r\n\r\n"),
        ] {
            assert_eq!(event(data), expected, "{data:?}");
        }
    }

    #[test]
    fn a_poll_has_nothing_around_records_and_only_a_websocket_an_end() {
        let mut out = Vec::new();
        Framing::LongPolling.frame(&mut out, |out| out.extend_from_slice(b"\x02\x91\x06"));
        Framing::LongPolling.end(&mut out, 1000);
        assert_eq!(out, b"\x02\x91\x06");
        out.clear();
        Framing::ServerSentEvents.end(&mut out, 1000);
        assert_eq!(out, b"");
        Framing::WebSocketText.end(&mut out, 1000);
        assert_eq!(out, [0x88, 2, 0x03, 0xe8]);
    }

    #[test]
    fn the_messages_of_a_segment_are_counted_by_its_frames() {
        for encoding in Encoding::ALL {
            let framing = Framing::web_socket(encoding);
            let mut out = Vec::new();
            for (n, length) in [0, 1, 125, 126, 0xffff, 0x1_0000].into_iter().enumerate() {
                assert_eq!(framing.messages(&out), n as u32);
                framing.frame(&mut out, |out| out.resize(out.len() + length, 0x81));
            }
            let messages = framing.messages(&out);
            framing.end(&mut out, 1000);
            assert_eq!(framing.messages(&out), messages, "a close frame is none");
        }
        assert_eq!(Framing::LongPolling.messages(b"{}"), 0);
    }
}
