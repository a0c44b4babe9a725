//! Records over a transport: the handshake, then what is written and read.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chat_core::protocol::signalr::handshake::{HandshakeRequest, HandshakeResponse, VERSION};
use chat_core::protocol::signalr::{DecodeError, Encoding, RecordReader};

use super::transport::Transport;
use crate::error::{Disconnect, Error, Result};

/// One open transport with the hub protocol agreed on.
pub(crate) struct Wire {
    pub(crate) encoding: Encoding,
    pub(crate) reader: RecordReader,
    transport: Box<dyn Transport>,
    /// Bytes that came behind the handshake.
    leftover: Bytes,
    outgoing: VecDeque<Bytes>,
    unflushed: bool,
}

impl Wire {
    /// Agrees on the hub protocol in this encoding. Records of more than `limit_bytes` from the server end the connection.
    pub(crate) async fn open(
        transport: Box<dyn Transport>,
        encoding: Encoding,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<Self> {
        let mut wire = Self {
            encoding,
            reader: RecordReader::new(limit_bytes),
            transport,
            leftover: Bytes::new(),
            outgoing: VecDeque::new(),
            unflushed: false,
        };
        tokio::time::timeout(timeout, wire.shake_hands())
            .await
            .unwrap_or(Err(Error::Timeout(timeout)))?;
        Ok(wire)
    }

    async fn shake_hands(&mut self) -> Result<()> {
        let mut request = Vec::new();
        HandshakeRequest::new(self.encoding, VERSION).encode(&mut request);
        self.write(request);
        loop {
            let bytes = self.receive(true).await.map_err(Error::ConnectionLost)?;
            let mut input = &bytes[..];
            let record = self
                .reader
                .next(Encoding::Json, &mut input)
                .map_err(|e| protocol(&e))?;
            let Some(record) = record else { continue };
            let answer = HandshakeResponse::parse(&record).map_err(|e| protocol(&e))?;
            if let Some(error) = answer.error {
                return Err(Error::malformed(format!(
                    "it refused the hub protocol: {error}"
                )));
            }
            self.leftover = bytes.slice_ref(input);
            return Ok(());
        }
    }

    /// Whether silence means that the server is gone.
    pub(crate) fn is_kept_alive(&self) -> bool {
        self.transport.is_kept_alive()
    }

    /// Queues a record. It goes out while [`receive`](Self::receive) is awaited.
    pub(crate) fn write(&mut self, record: impl Into<Bytes>) {
        self.outgoing.push_back(record.into());
    }

    /// The next bytes from the server; meanwhile writes what is queued. With `reading` false it only writes, and returns
    /// nothing but an error. Cancel safe.
    pub(crate) async fn receive(&mut self, reading: bool) -> Result<Bytes, Disconnect> {
        if reading && !self.leftover.is_empty() {
            return Ok(std::mem::take(&mut self.leftover));
        }
        match poll_fn(|cx| self.poll(cx, reading)).await {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(Disconnect::Transport(Arc::new(error))),
            None => Err(Disconnect::ClosedByServer(None)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Option<io::Result<Bytes>>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        if reading {
            Pin::new(&mut *self.transport).poll_next(cx)
        } else {
            Poll::Pending
        }
    }

    /// Writes what is queued, up to what the transport takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut transport = Pin::new(&mut *self.transport);
        while !self.outgoing.is_empty() {
            std::task::ready!(transport.as_mut().poll_ready(cx))?;
            if let Some(record) = self.outgoing.pop_front() {
                transport.as_mut().start_send(record)?;
                self.unflushed = true;
            }
        }
        if self.unflushed {
            std::task::ready!(transport.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye, as far as that goes within a second.
    pub(crate) async fn close(mut self) {
        let mut record = Vec::new();
        self.encoding.close(None, false, &mut record);
        self.write(record);
        let goodbye = poll_fn(|cx| {
            std::task::ready!(self.poll_write(cx))?;
            Pin::new(&mut *self.transport).poll_close(cx)
        });
        // It is over either way.
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

fn protocol(error: &DecodeError) -> Error {
    Error::ConnectionLost(Disconnect::Protocol(error.to_string()))
}
