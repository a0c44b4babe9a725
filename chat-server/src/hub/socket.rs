//! The incoming half of a WebSocket: bytes in, payloads out, no I/O. tungstenite parses; what it wants to write (pongs, the
//! answer to a close) is handed on, so that all that goes out takes one way.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Message};

/// Bytes that an idle connection keeps for parsing.
const READ_BUFFER: usize = 1_024;
/// Bytes of a WebSocket message: many records may come in one, each with a limit of its own (signalr.md, section 8).
const MESSAGE_BYTES: usize = 1024 * 1024;

/// A WebSocket being read.
pub(super) struct Socket {
    context: WebSocketContext,
}

/// What came.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A part of the client's byte stream, of a text or a binary message alike.
    Payload(Bytes),
    /// The client's close frame.
    Close,
}

/// What a read gave.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) incoming: VecDeque<Incoming>,
    /// Frames to be written.
    pub(super) reply: Vec<u8>,
    /// The client broke RFC 6455: nothing more can be read.
    pub(super) broken: bool,
}

impl Socket {
    pub(super) fn new() -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        Self {
            context: WebSocketContext::new(Role::Server, Some(config)),
        }
    }

    /// Takes bytes from the wire.
    pub(super) fn feed(&mut self, bytes: &[u8], read: &mut Batch) {
        let mut wire = Wire {
            input: bytes,
            output: &mut read.reply,
        };
        loop {
            match self.context.read(&mut wire) {
                Ok(Message::Text(text)) => read.incoming.push_back(Incoming::Payload(text.into())),
                Ok(Message::Binary(bytes)) => read.incoming.push_back(Incoming::Payload(bytes)),
                Ok(Message::Close(_)) => read.incoming.push_back(Incoming::Close),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return;
                }
                Err(_) => {
                    read.broken = true;
                    return;
                }
            }
        }
    }
}

/// The bytes at hand, and room for an answer.
struct Wire<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
