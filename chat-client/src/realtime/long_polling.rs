//! Long polling: what the server has comes as the answer to a request that it holds until there is something.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use chat_core::protocol::signalr::negotiate::TransferFormat;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream};
use reqwest::{Method, StatusCode};

use super::place::Place;
use super::requests::{Down, Requests, io_error};
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::http::unreachable;

/// How long a poll is waited for: longer than the 90 s for which servers hold one.
const POLL: Duration = Duration::from_secs(100);

/// Opens a connection by its first poll, which the server answers at once.
pub(crate) async fn open(place: &Place, format: TransferFormat) -> Result<Box<dyn Transport>> {
    let first = place.http.within_timeout(poll(place.clone())).await?;
    let Some(first) = first else {
        return Err(Error::malformed(
            "it ends a long poll that it has just begun",
        ));
    };
    let polls = Polls {
        place: place.clone(),
        poll: Some(async { Ok(Some(first)) }.boxed()),
        ending: None,
    };
    Ok(Box::new(Requests::new(polls, place.clone(), format)))
}

struct Polls {
    place: Place,
    /// The poll under way; `None` once the connection is over.
    poll: Option<BoxFuture<'static, Result<Option<Bytes>>>>,
    ending: Option<BoxFuture<'static, ()>>,
}

impl Down for Polls {
    // The poll itself is what the server waits for, and how long it takes says nothing of the server.
    const IS_KEPT_ALIVE: bool = false;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let place = &self.place;
        let ending = self
            .ending
            .get_or_insert_with(|| end(place.clone()).boxed());
        ready!(ending.poll_unpin(cx));
        self.poll = None;
        Poll::Ready(())
    }
}

impl Stream for Polls {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(under_way) = &mut self.poll else {
                return Poll::Ready(None);
            };
            let came = ready!(under_way.poll_unpin(cx));
            self.poll = match came {
                Ok(Some(_)) => Some(poll(self.place.clone()).boxed()),
                Ok(None) | Err(_) => None,
            };
            match came {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                other => return Poll::Ready(other.map_err(io_error).transpose()),
            }
        }
    }
}

/// One poll: what came, perhaps nothing; `None` at the connection's end.
async fn poll(place: Place) -> Result<Option<Bytes>> {
    let answer = tokio::time::timeout(POLL, place.request(Method::GET)?.send());
    let Ok(response) = answer.await else {
        // The server keeps what it had for the next poll.
        return Ok(Some(Bytes::new()));
    };
    let response = response.map_err(unreachable)?;
    let (status, body) = place.http.within_timeout(place.read(response)).await?;
    Ok((status != StatusCode::NO_CONTENT).then_some(body))
}

/// Ends the connection; whether the server hears of it or not, it is over.
async fn end(place: Place) {
    let ended = async {
        let response = place.request(Method::DELETE)?.send().await;
        response.map_err(unreachable).map(drop)
    };
    if let Err(error) = place.http.within_timeout(ended).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the server couldn't be told of the end"
        );
    }
}
