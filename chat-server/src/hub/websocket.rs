//! One connection's session over a WebSocket: handshake, then records in and calls out, until either side ends it.
//!
//! The task sleeps unless something comes in or its socket blocks: what goes out is written by the fan-out's flushers where
//! the stream allows ([`DirectWrite`]), else by this task.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::ready;

use bytes::Bytes;
use chat_core::auth::Caller;
use chat_core::fanout::{Connection, DirectWrite, End, Framing};
use chat_core::protocol::signalr::RecordReader;
use chat_core::protocol::signalr::handshake::{HandshakeError, HandshakeResponse};
use chat_core::protocol::signalr::negotiate::Transport;
use chat_core::service::Chat;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::options::HubOptions;
use super::resumable;
use super::session::{Agreed, Ids, Opening, Refused, Session, record_reader, shake};
use super::slot::{Carrier, Writer};
use super::socket::{Batch, Incoming, Socket};

/// Bytes read at once, on the stack.
const READ: usize = 8 * 1024;

/// Runs a hub connection over a stream on which the client speaks WebSocket frames already: TLS, or a simulated network.
/// Returns when the connection is over.
pub async fn serve<S>(chat: Chat, caller: Caller, ids: Ids, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let opening = Opening {
        chat,
        caller,
        ids,
        options: HubOptions::default(),
        place: None,
        posted: Bytes::new(),
        is_resumable: false,
        permit: None,
    };
    serve_stream(Box::new(opening), stream).await;
}

/// As [`serve`], for a connection that came by HTTP.
pub(super) async fn serve_stream<S>(opening: Box<Opening>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    Box::pin(run(opening, read, write, Bytes::new(), Err)).await;
}

/// Runs a hub connection over plain TCP, which the fan-out writes to directly. `read` was read beyond the upgrade.
pub(super) async fn serve_tcp(opening: Box<Opening>, stream: TcpStream, read: Bytes) {
    // A frame is small and must not wait for another.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    Box::pin(run(opening, reader, writer, read, |write| {
        Ok(Box::new(write))
    }))
    .await;
}

async fn run<R, W>(
    mut opening: Box<Opening>,
    mut reader: R,
    mut writer: W,
    already: Bytes,
    direct: impl FnOnce(W) -> Result<Box<dyn DirectWrite>, W>,
) where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let goodbye = opening.options.goodbye;
    let patience = opening.options.disconnect;
    let mut socket = Socket::new();
    let mut records = record_reader();
    let mut batch = Batch::default();
    if !opening.posted.is_empty() {
        let posted = std::mem::take(&mut opening.posted);
        batch.incoming.push_back(Incoming::Payload(posted));
    }
    socket.feed(&already, &mut batch);
    // Even empty it is a part of the HTTP connection's read buffer, and keeps all of its 16 KiB.
    drop(already);
    // Boxed, as what is done once must not take its room for as long as the connection lives.
    let read = handshake(
        &mut reader,
        &mut writer,
        &mut socket,
        &mut records,
        &mut batch,
    );
    let shaken = Box::pin(timeout(opening.options.handshake, read)).await;
    let (agreed, rest) = match shaken {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(Refused::Gone)) => return,
        Ok(Err(Refused::Because(e))) => {
            let _ = timeout(goodbye, Box::pin(refuse(&mut writer, &e))).await;
            return;
        }
        Err(_) => {
            let refused = refuse(&mut writer, &HandshakeError::Canceled);
            let _ = timeout(goodbye, Box::pin(refused)).await;
            return;
        }
    };
    let encoding = agreed.encoding;
    let framing = Framing::web_socket(encoding);
    if opening.is_resumable && agreed.is_stateful {
        let carrier = Carrier {
            reader: Box::new(reader),
            writer: match direct(writer) {
                Ok(direct) => Writer::Direct(direct.into()),
                Err(writer) => Writer::Plain(Box::new(writer)),
            },
            read: Bytes::new(),
            permit: opening.permit.take(),
        };
        batch.incoming.push_front(Incoming::Payload(rest));
        let session = Session::new(*opening, records, encoding, framing, None);
        return Box::pin(resumable::run(
            session, carrier, socket, batch, patience, goodbye,
        ))
        .await;
    }
    let _permit = opening.permit.take();
    let (direct, plain) = match direct(writer) {
        Ok(direct) => (Some(direct), None),
        Err(writer) => (None, Some(writer)),
    };
    let session = Session::new(*opening, records, encoding, framing, direct);
    session.enter().await;
    let connection = Arc::clone(&session.connection);
    let mut session = OverSocket { session, socket };
    {
        let mut read_on = pin!(session.read_on(reader, rest, batch));
        match plain {
            None => read_on.await,
            Some(writer) => {
                let mut write_out = pin!(write_out(&connection, writer));
                tokio::select! {
                    biased;
                    () = &mut read_on => {
                        // The last record is on its way still.
                        let _ = timeout(goodbye, write_out).await;
                    }
                    () = &mut write_out => {}
                }
            }
        }
    }
    drop(session.session.end());
}

struct OverSocket {
    session: Session,
    socket: Socket,
}

impl OverSocket {
    /// Reads until the connection is over.
    async fn read_on<R: AsyncRead + Unpin>(
        &mut self,
        mut reader: R,
        rest: Bytes,
        mut batch: Batch,
    ) {
        batch.incoming.push_front(Incoming::Payload(rest));
        loop {
            if !self.take(&mut batch).await || self.session.connection.is_closed() {
                return;
            }
            let connection = &self.session.connection;
            let socket = &mut self.socket;
            tokio::select! {
                biased;
                () = connection.woken() => {}
                () = connection.unblock(), if connection.is_blocked() => {}
                read = read_some(&mut reader, socket, &mut batch) => {
                    if !matches!(read, Ok(n) if n > 0) {
                        return;
                    }
                }
            }
        }
    }

    /// Does what came; false when nothing more is to be read.
    async fn take(&mut self, batch: &mut Batch) -> bool {
        if !batch.reply.is_empty() {
            let reply = std::mem::take(&mut batch.reply);
            self.session.connection.send_unnumbered(reply.into());
        }
        while let Some(incoming) = batch.incoming.pop_front() {
            match incoming {
                Incoming::Close => return false,
                Incoming::Payload(payload) => self.session.take(&payload).await,
            }
        }
        if batch.broken {
            if self.session.connection.is_closing() {
                return false;
            }
            self.session.connection.close(End::Error);
            batch.broken = false;
        }
        // What was called without waiting is answered before the next bytes are looked at for long.
        true
    }
}

/// Reads what is there into the socket's parser, by way of the stack: an idle connection keeps no buffer.
pub(super) async fn read_some<R: AsyncRead + Unpin>(
    reader: &mut R,
    socket: &mut Socket,
    batch: &mut Batch,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut bytes = [0; READ];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf))?;
        socket.feed(buf.filled(), batch);
        std::task::Poll::Ready(Ok(buf.filled().len()))
    })
    .await
}

/// Writes what is queued, for a stream that can't be written without waiting; returns when the connection is over or its
/// socket takes nothing more.
pub(super) async fn write_out<W: AsyncWrite + Unpin>(connection: &Connection, mut writer: W) {
    let mut chunks = Vec::new();
    loop {
        if connection.take(&mut chunks) {
            let _ = writer.shutdown().await;
            return;
        }
        if chunks.is_empty() {
            connection.queued().await;
            continue;
        }
        let mut bytes = 0;
        for chunk in chunks.drain(..) {
            bytes += chunk.len();
            if writer.write_all(&chunk).await.is_err() {
                return;
            }
        }
        if writer.flush().await.is_err() {
            return;
        }
        connection.written(bytes);
    }
}

/// Reads the handshake's record and answers it; the agreed encoding, and what came behind the record.
async fn handshake<R, W>(
    reader: &mut R,
    writer: &mut W,
    socket: &mut Socket,
    records: &mut RecordReader,
    batch: &mut Batch,
) -> Result<(Agreed, Bytes), Refused>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let formats = Transport::WebSockets.transfer_formats();
    let (agreed, rest) = loop {
        if !batch.reply.is_empty() {
            writer
                .write_all(&std::mem::take(&mut batch.reply))
                .await
                .map_err(|_| Refused::Gone)?;
        }
        match batch.incoming.pop_front() {
            Some(Incoming::Payload(payload)) => {
                let mut input = &payload[..];
                let shaken = shake(records, &mut input, formats).map_err(Refused::Because)?;
                if let Some(agreed) = shaken {
                    break (agreed, payload.slice_ref(input));
                }
            }
            Some(Incoming::Close) => return Err(Refused::Gone),
            None if batch.broken => return Err(Refused::Gone),
            None => {
                if !matches!(read_some(reader, socket, batch).await, Ok(n) if n > 0) {
                    return Err(Refused::Gone);
                }
            }
        }
    };
    let mut answer = Vec::new();
    Framing::web_socket(agreed.encoding).frame(&mut answer, |out| {
        out.extend_from_slice(HandshakeResponse::ACCEPTED);
    });
    writer.write_all(&answer).await.map_err(|_| Refused::Gone)?;
    writer.flush().await.map_err(|_| Refused::Gone)?;
    Ok((agreed, rest))
}

/// Answers a refused handshake with its error, and closes.
async fn refuse<W: AsyncWrite + Unpin>(writer: &mut W, error: &HandshakeError) -> io::Result<()> {
    let mut answer = Vec::new();
    // Nothing is agreed on: it is text whatever was asked for.
    let framing = Framing::WebSocketText;
    framing.frame(&mut answer, |out| {
        HandshakeResponse::from(error).encode(out);
    });
    framing.end(&mut answer, 1000);
    writer.write_all(&answer).await?;
    writer.shutdown().await
}
