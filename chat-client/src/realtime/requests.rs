//! A connection over plain requests: what comes from the server in one way or another, and POSTs up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use chat_core::protocol::signalr::negotiate::TransferFormat;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Sink, Stream};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::place::Place;
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::http::unreachable;

/// Bytes that wait for the POST that is under way, before more are taken.
const WAITING_BYTES: usize = 64 * 1024;

/// How records come down.
pub(crate) trait Down: Stream<Item = io::Result<Bytes>> + Send + Unpin {
    /// See [`Transport::is_kept_alive`].
    const IS_KEPT_ALIVE: bool;

    /// Tells the server that the connection is over, where it wouldn't see it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A transport of these two.
pub(crate) struct Requests<D> {
    down: D,
    up: Posts,
}

impl<D: Down> Requests<D> {
    /// What comes by `down`, and POSTs to `place`.
    pub(crate) fn new(down: D, place: Place, format: TransferFormat) -> Self {
        Self {
            down,
            up: Posts {
                place,
                format,
                waiting: BytesMut::new(),
                under_way: None,
            },
        }
    }
}

impl<D: Down> Transport for Requests<D> {
    fn is_kept_alive(&self) -> bool {
        D::IS_KEPT_ALIVE
    }
}

impl<D: Down> Stream for Requests<D> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.down).poll_next(cx)
    }
}

impl<D: Down> Sink<Bytes> for Requests<D> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.up.waiting.len() < WAITING_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.up.poll_sent(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Bytes) -> io::Result<()> {
        self.up.waiting.extend_from_slice(&record);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.up.poll_sent(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = ready!(self.up.poll_sent(cx));
        ready!(self.down.poll_end(cx));
        Poll::Ready(sent)
    }
}

/// What goes up: all that waits in one POST, and one POST at a time, which keeps the order.
struct Posts {
    place: Place,
    format: TransferFormat,
    waiting: BytesMut,
    under_way: Option<BoxFuture<'static, Result<()>>>,
}

impl Posts {
    /// Sends until nothing waits.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(post) = &mut self.under_way {
                let sent = ready!(post.poll_unpin(cx));
                self.under_way = None;
                sent.map_err(io_error)?;
            }
            if self.waiting.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let body = self.waiting.split().freeze();
            self.under_way = Some(post(self.place.clone(), self.format, body).boxed());
        }
    }
}

async fn post(place: Place, format: TransferFormat, body: Bytes) -> Result<()> {
    let content_type = match format {
        TransferFormat::Text => "text/plain;charset=UTF-8",
        TransferFormat::Binary => "application/octet-stream",
    };
    let request = place
        .request(Method::POST)?
        .header(CONTENT_TYPE, content_type)
        .body(body);
    place
        .http
        .within_timeout(async {
            let response = request.send().await.map_err(unreachable)?;
            place.read(response).await
        })
        .await?;
    Ok(())
}

pub(crate) fn io_error(error: Error) -> io::Error {
    io::Error::other(error)
}
