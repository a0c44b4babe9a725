//! One connection's session over a WebSocket: handshake, then records in and calls out, until either side ends it.
//!
//! The task sleeps unless something comes in or its socket blocks: what goes out is written by the fan-out's flushers where
//! the stream allows ([`DirectWrite`]), else by this task.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use chat_core::auth::Caller;
use chat_core::fanout::{Connection, DirectWrite, End, Framing, Wire};
use chat_core::model::limits::HUB_RECORD_BYTES;
use chat_core::protocol::ErrorCode;
use chat_core::protocol::hub::ClosingReason;
use chat_core::protocol::signalr::handshake::{
    HandshakeError, HandshakeRequest, HandshakeResponse,
};
use chat_core::protocol::signalr::negotiate::TransferFormat;
use chat_core::protocol::signalr::{Encoding, RecordReader};
use chat_core::service::Chat;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dispatch::Dispatcher;
use super::socket::{Batch, Incoming, Socket};

/// How long the handshake may take (signalr.md, section 6).
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long the last bytes of a refused handshake may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// Bytes read at once, on the stack.
const READ: usize = 8 * 1024;

/// What a connection is called.
#[derive(Clone, Debug)]
pub struct Ids {
    /// This node's number for it, from [`Fanout::number`](chat_core::fanout::Fanout::number).
    pub number: u64,
    /// What clients see.
    pub public_id: String,
}

/// Runs a hub connection over a stream on which the client speaks WebSocket frames already: TLS, or a simulated network.
/// Returns when the connection is over.
pub async fn serve<S>(chat: Chat, caller: Caller, ids: Ids, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    Box::pin(run(chat, caller, ids, read, write, Bytes::new(), Err)).await;
}

/// Runs a hub connection over plain TCP, which the fan-out writes to directly. `read` was read beyond the upgrade.
pub(super) async fn serve_tcp(
    chat: Chat,
    caller: Caller,
    ids: Ids,
    stream: TcpStream,
    read: Bytes,
) {
    // A frame is small and must not wait for another.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    Box::pin(run(chat, caller, ids, reader, writer, read, |write| {
        Ok(Box::new(write))
    }))
    .await;
}

async fn run<R, W>(
    chat: Chat,
    caller: Caller,
    ids: Ids,
    mut reader: R,
    mut writer: W,
    already: Bytes,
    direct: impl FnOnce(W) -> Result<Box<dyn DirectWrite>, W>,
) where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let mut socket = Socket::new();
    let mut records = RecordReader::new(HUB_RECORD_BYTES);
    let mut batch = Batch::default();
    socket.feed(&already, &mut batch);
    // Even empty it is a part of the HTTP connection's read buffer, and keeps all of its 16 KiB.
    drop(already);
    // Boxed, as what is done once must not take its room for as long as the connection lives.
    let shaken = Box::pin(handshake(
        &mut reader,
        &mut writer,
        &mut socket,
        &mut records,
        &mut batch,
    ))
    .await;
    let (encoding, rest) = match shaken {
        Ok(shaken) => shaken,
        Err(refused) => return Box::pin(goodbye(&mut writer, refused)).await,
    };
    let wire = Wire {
        encoding,
        framing: Framing::web_socket(encoding),
    };
    let (direct, plain) = match direct(writer) {
        Ok(direct) => (Some(direct), None),
        Err(writer) => (None, Some(writer)),
    };
    let queue = chat.connection_queue_bytes();
    let connection = Arc::new(Connection::new(
        ids.number,
        ids.public_id,
        &caller,
        wire,
        queue,
        direct,
    ));
    if let Err(e) = Box::pin(chat.connect(&connection, &caller)).await {
        tracing::debug!(code = %e.code(), "a connection could not enter");
        connection.close(match e.code() {
            ErrorCode::Unauthenticated => End::Closing(ClosingReason::SessionEnded),
            _ => End::Error,
        });
    }
    let mut session = Session {
        dispatcher: Dispatcher::new(chat.clone(), Arc::clone(&connection), caller),
        connection: Arc::clone(&connection),
        socket,
        records,
        encoding,
    };
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
                        let _ = timeout(GOODBYE, write_out).await;
                    }
                    () = &mut write_out => {}
                }
            }
        }
    }
    chat.fanout().remove(&connection);
}

struct Session {
    dispatcher: Dispatcher,
    connection: Arc<Connection>,
    socket: Socket,
    records: RecordReader,
    encoding: Encoding,
}

impl Session {
    /// Reads until the connection is over.
    async fn read_on<R: AsyncRead + Unpin>(
        &mut self,
        mut reader: R,
        rest: Bytes,
        mut batch: Batch,
    ) {
        batch.incoming.push_front(Incoming::Payload(rest));
        loop {
            if !self.take(&mut batch).await || self.connection.is_closed() {
                return;
            }
            let connection = &self.connection;
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
            self.connection
                .send(std::mem::take(&mut batch.reply).into());
        }
        while let Some(incoming) = batch.incoming.pop_front() {
            if self.connection.is_closing() {
                if matches!(incoming, Incoming::Close) {
                    return false;
                }
                continue;
            }
            match incoming {
                Incoming::Close => return false,
                Incoming::Payload(payload) => self.take_payload(&payload).await,
            }
        }
        if batch.broken {
            if self.connection.is_closing() {
                return false;
            }
            self.connection.close(End::Error);
            batch.broken = false;
        }
        // What was called without waiting is answered before the next bytes are looked at for long.
        true
    }

    async fn take_payload(&mut self, payload: &[u8]) {
        let mut input = payload;
        loop {
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
            if self.connection.is_closing() {
                return;
            }
        }
    }
}

/// Reads what is there into the socket's parser, by way of the stack: an idle connection keeps no buffer.
async fn read_some<R: AsyncRead + Unpin>(
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

/// Writes what is queued, for a stream that can't be written without waiting; returns when the connection is over.
async fn write_out<W: AsyncWrite + Unpin>(connection: &Connection, mut writer: W) {
    let mut chunks = Vec::new();
    loop {
        connection.take(&mut chunks);
        if chunks.is_empty() {
            if connection.is_closed() || connection.is_closing() {
                let _ = writer.shutdown().await;
                return;
            }
            connection.queued().await;
            continue;
        }
        let mut bytes = 0;
        for chunk in chunks.drain(..) {
            bytes += chunk.len();
            if writer.write_all(&chunk).await.is_err() {
                return connection.shut();
            }
        }
        if writer.flush().await.is_err() {
            return connection.shut();
        }
        connection.written(bytes);
    }
}

/// Why there is no session.
enum Refused {
    /// To be answered.
    Because(HandshakeError),
    /// The client is gone.
    Gone,
}

/// Reads the handshake's record and answers it; the agreed encoding, and what came behind the record.
async fn handshake<R, W>(
    reader: &mut R,
    writer: &mut W,
    socket: &mut Socket,
    records: &mut RecordReader,
    batch: &mut Batch,
) -> Result<(Encoding, Bytes), Refused>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (record, rest) = timeout(HANDSHAKE, async {
        loop {
            if !batch.reply.is_empty() {
                writer
                    .write_all(&std::mem::take(&mut batch.reply))
                    .await
                    .map_err(|_| Refused::Gone)?;
            }
            while let Some(incoming) = batch.incoming.pop_front() {
                let Incoming::Payload(payload) = incoming else {
                    return Err(Refused::Gone);
                };
                let mut input = &payload[..];
                match records.next(Encoding::Json, &mut input) {
                    Ok(Some(record)) => return Ok((record.into_owned(), payload.slice_ref(input))),
                    Ok(None) => {}
                    Err(_) => return Err(Refused::Because(HandshakeError::Canceled)),
                }
            }
            if batch.broken || !matches!(read_some(reader, socket, batch).await, Ok(n) if n > 0) {
                return Err(Refused::Gone);
            }
        }
    })
    .await
    .unwrap_or(Err(Refused::Because(HandshakeError::Canceled)))?;
    let formats = [TransferFormat::Text, TransferFormat::Binary];
    let encoding = HandshakeRequest::parse(&record)
        .and_then(|r| r.encoding(&formats))
        .map_err(Refused::Because)?;
    let mut answer = Vec::new();
    Framing::web_socket(encoding).frame(&mut answer, |out| {
        out.extend_from_slice(HandshakeResponse::ACCEPTED);
    });
    writer.write_all(&answer).await.map_err(|_| Refused::Gone)?;
    writer.flush().await.map_err(|_| Refused::Gone)?;
    Ok((encoding, rest))
}

/// Answers a refused handshake with its error, and closes.
async fn goodbye<W: AsyncWrite + Unpin>(writer: &mut W, refused: Refused) {
    let Refused::Because(error) = refused else {
        return;
    };
    let mut answer = Vec::new();
    // Nothing is agreed on: it is text whatever was asked for.
    let framing = Framing::WebSocketText;
    framing.frame(&mut answer, |out| {
        HandshakeResponse::from(&error).encode(out);
    });
    framing.end(&mut answer, 1000);
    let _ = timeout(GOODBYE, async {
        writer.write_all(&answer).await?;
        writer.shutdown().await
    })
    .await;
}
