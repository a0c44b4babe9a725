//! The answers of Server-Sent Events and long polling as HTTP (signalr.md, sections 4 and 5).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll as Progress};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPIRES, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::channel::{Poll, Taken};
use super::transport::PollAnswer;

/// The comment that begins a stream of events, so that it is there before there is data.
const STREAM_BEGINS: Bytes = Bytes::from_static(b":\r\n");

/// The answer that events are written to by the sender: it ends when that is dropped.
pub(super) fn stream() -> (mpsc::Sender<Bytes>, Response) {
    // One part waits for the HTTP connection; more wait in the hub connection's own bounded queue.
    let (sender, parts) = mpsc::channel(1);
    let body = StreamBody {
        begin: Some(STREAM_BEGINS),
        parts,
    };
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache,no-store"),
        (PRAGMA, "no-cache"),
        (CONTENT_ENCODING, "identity"),
        // nginx would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (sender, (headers, Body::new(body)).into_response())
}

/// A stream of events.
#[derive(Debug)]
struct StreamBody {
    begin: Option<Bytes>,
    parts: mpsc::Receiver<Bytes>,
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Progress<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(begin) = self.begin.take() {
            return Progress::Ready(Some(Ok(Frame::data(begin))));
        }
        self.parts
            .poll_recv(cx)
            .map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// The answer to a poll.
pub(super) fn poll(poll: Poll, answer: PollAnswer<Taken>) -> Response {
    let (status, kind, body) = match answer {
        PollAnswer::Records(taken) => (
            StatusCode::OK,
            "application/octet-stream",
            Body::new(PollBody::new(poll, taken)),
        ),
        PollAnswer::Nothing => (StatusCode::OK, "text/plain", Body::empty()),
        PollAnswer::Superseded | PollAnswer::Over => {
            (StatusCode::NO_CONTENT, "text/plain", Body::empty())
        }
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache, no-store"),
        (PRAGMA, "no-cache"),
        (EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (status, headers, body).into_response()
}

/// The records of a poll. What isn't taken by the HTTP connection is for the next poll.
#[derive(Debug)]
struct PollBody {
    poll: Poll,
    /// All that the answer has; emptied once it is out.
    taken: Taken,
    /// How many parts of it are out.
    given: usize,
    bytes: u64,
}

impl PollBody {
    fn new(poll: Poll, taken: Taken) -> Self {
        let bytes = taken.bytes().map(|part| part.len() as u64).sum();
        Self {
            poll,
            taken,
            given: 0,
            bytes,
        }
    }
}

impl http_body::Body for PollBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Progress<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(part) = this.taken.bytes().nth(this.given).cloned() else {
            return Progress::Ready(None);
        };
        this.given += 1;
        this.bytes -= part.len() as u64;
        if this.bytes == 0 {
            this.poll.delivered(&std::mem::take(&mut this.taken));
        }
        Progress::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

impl Drop for PollBody {
    fn drop(&mut self) {
        self.poll.put_back(&mut self.taken);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::super::channel::Channel;
    use super::*;

    fn channel() -> Arc<Channel> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned();
        Channel::new(place.expect("there is one"))
    }

    /// A head as it is on the wire, in HTTP/1.1's words.
    fn head(response: &Response) -> String {
        let mut head = format!("{}\n", response.status().as_u16());
        for (name, value) in response.headers() {
            head += &format!("{name}: {}\n", value.to_str().expect("text"));
        }
        head
    }

    #[tokio::test]
    async fn polls_are_answered_as_aspnet_does() {
        const FRESH: &str = "cache-control: no-cache, no-store\npragma: no-cache\nexpires: Thu, 01 Jan 1970 00:00:00 GMT\n";
        let channel = channel();
        for (answer, expected) in [
            (PollAnswer::Nothing, "200\ncontent-type: text/plain\n"),
            (PollAnswer::Superseded, "204\ncontent-type: text/plain\n"),
            (PollAnswer::Over, "204\ncontent-type: text/plain\n"),
        ] {
            let response = poll(channel.poll(), answer);
            assert_eq!(head(&response), format!("{expected}{FRESH}"));
            let body = response.into_body();
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(0));
        }
        channel.poll();
        channel.refuse(Some(Bytes::from_static(b"{\"error\":\"x\"}\x1e")));
        let patience = std::time::Duration::ZERO;
        let next = channel.poll();
        let answer = next.answer(patience).await;
        let response = poll(next, answer);
        assert_eq!(
            head(&response),
            format!("200\ncontent-type: application/octet-stream\n{FRESH}")
        );
        let body = response.into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(14));
        let body = body.collect().await.expect("it has no errors").to_bytes();
        assert_eq!(body, b"{\"error\":\"x\"}\x1e"[..]);
        assert_eq!(channel.poll().answer(patience).await, PollAnswer::Over);
    }

    #[tokio::test]
    async fn what_a_given_up_poll_took_is_for_the_next_one() {
        let channel = channel();
        channel.poll();
        channel.refuse(Some(Bytes::from_static(b"answer")));
        for _ in 0..3 {
            let given_up = channel.poll();
            let answer = given_up.answer(std::time::Duration::ZERO).await;
            assert!(matches!(answer, PollAnswer::Records(_)), "{answer:?}");
            drop(poll(given_up, answer));
        }
        let next = channel.poll();
        let answer = next.answer(std::time::Duration::ZERO).await;
        let body = poll(next, answer).into_body().collect().await;
        assert_eq!(body.expect("it has no errors").to_bytes(), b"answer"[..]);
    }

    #[tokio::test]
    async fn a_stream_begins_before_there_is_data_and_ends_with_its_sender() {
        let (sender, response) = stream();
        assert_eq!(
            head(&response),
            "200\ncontent-type: text/event-stream\ncache-control: no-cache,no-store\npragma: no-cache\n\
             content-encoding: identity\nx-accel-buffering: no\n"
        );
        sender
            .try_send(Bytes::from_static(b"data: {}\x1e\r\n\r\n"))
            .expect("there is room");
        drop(sender);
        let body = response.into_body().collect().await;
        assert_eq!(
            body.expect("it has no errors").to_bytes(),
            b":\r\ndata: {}\x1e\r\n\r\n"[..]
        );
    }
}
