//! What carries a connection's records.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chat_core::protocol::signalr::negotiate::TransferFormat;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

/// Carries bytes both ways, in order: what a hub connection runs over.
///
/// The stream yields what the server sends, cut anywhere; its end is the connection's. The sink takes whole records. An error
/// of either ends the connection.
pub trait Transport:
    Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + Unpin
{
    /// Whether both ends send something every 15 s, so that silence means that the other is gone. Not so on long polling,
    /// which SignalR leaves alone: a transport that waits without saying anything finds out by itself.
    fn is_kept_alive(&self) -> bool {
        true
    }
}

/// A WebSocket as a [`Transport`], over a byte stream that was upgraded already. Its messages are text unless it is told
/// [otherwise](Self::carrying).
pub struct WebSocket<S> {
    socket: WebSocketStream<S>,
    format: TransferFormat,
}

impl<S> std::fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebSocket")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The client's end of a WebSocket whose opening handshake is done. Messages of more than `limit_bytes` end it.
    pub async fn upgraded(stream: S, limit_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_message_size(Some(limit_bytes))
            .max_frame_size(Some(limit_bytes));
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await,
            format: TransferFormat::Text,
        }
    }

    /// The same for records of this format: text for JSON, binary for MessagePack.
    #[must_use]
    pub fn carrying(self, format: TransferFormat) -> Self {
        Self { format, ..self }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Transport for WebSocket<S> {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let message = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(tungstenite::Error::ConnectionClosed)) | None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(io_error(error)))),
            };
            match message {
                Message::Text(text) => return Poll::Ready(Some(Ok(text.into()))),
                Message::Binary(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Message::Close(_) => return Poll::Ready(None),
                // tungstenite answers pings by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Bytes> for WebSocket<S> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_ready(cx).map_err(io_error)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Bytes) -> io::Result<()> {
        let message = match self.format {
            TransferFormat::Text => {
                Message::Text(Utf8Bytes::try_from(record).map_err(io::Error::other)?)
            }
            TransferFormat::Binary => Message::Binary(record),
        };
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(io_error)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}

fn io_error(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
