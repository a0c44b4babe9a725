//! Server-Sent Events: records come as the events of one endless answer. Text only.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use chat_core::protocol::signalr::negotiate::TransferFormat;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};

use super::place::Place;
use super::requests::{Down, Requests, io_error};
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::http::unreachable;

/// Opens the stream, up to where its head has come.
pub(crate) async fn open(place: &Place) -> Result<Box<dyn Transport>> {
    let request = place
        .request(Method::GET)?
        .header(ACCEPT, "text/event-stream");
    let response = place
        .http
        .within_timeout(async {
            let response = request.send().await.map_err(unreachable)?;
            if response.status().is_success() {
                return Ok(response);
            }
            place.read(response).await?;
            Err(Error::malformed("it answers no event stream"))
        })
        .await?;
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return Err(Error::malformed("it answers no event stream"));
    }
    let events = Events {
        chunks: chunks(response),
        parser: Parser::new(place.http.response_limit_bytes()),
    };
    Ok(Box::new(Requests::new(
        events,
        place.clone(),
        TransferFormat::Text,
    )))
}

fn chunks(response: Response) -> BoxStream<'static, Result<Bytes>> {
    futures_util::stream::try_unfold(response, |mut response| async {
        let chunk = response.chunk().await.map_err(unreachable)?;
        Ok(chunk.map(|chunk| (chunk, response)))
    })
    .boxed()
}

struct Events {
    chunks: BoxStream<'static, Result<Bytes>>,
    parser: Parser,
}

impl Down for Events {
    const IS_KEPT_ALIVE: bool = true;

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // The server sees it when the stream is dropped.
        Poll::Ready(())
    }
}

impl Stream for Events {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(chunk) = ready!(self.chunks.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            let records = chunk.and_then(|chunk| self.parser.take(&chunk));
            match records {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return Poll::Ready(Some(Ok(records))),
                Err(error) => return Poll::Ready(Some(Err(io_error(error)))),
            }
        }
    }
}

/// Finds the data of events, however the stream is cut (WHATWG HTML §9.2; lines end with LF or CR LF, as servers of this protocol
/// write them).
struct Parser {
    /// The beginning of a line.
    line: BytesMut,
    /// The data of an event whose end hasn't come.
    data: BytesMut,
    limit_bytes: usize,
}

impl Parser {
    fn new(limit_bytes: usize) -> Self {
        Self {
            line: BytesMut::new(),
            data: BytesMut::new(),
            limit_bytes,
        }
    }

    /// The data of the events that end in this chunk, one after another.
    fn take(&mut self, mut chunk: &[u8]) -> Result<Bytes> {
        let mut out = BytesMut::new();
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            chunk = rest;
            if self.line.is_empty() {
                Self::line(&mut self.data, &mut out, line);
            } else {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                Self::line(&mut self.data, &mut out, &line);
            }
        }
        self.line.extend_from_slice(chunk);
        let limit = self.limit_bytes;
        if self.line.len() + self.data.len() > limit {
            return Err(Error::malformed(format!(
                "an event has more than {limit} bytes"
            )));
        }
        Ok(out.freeze())
    }

    fn line(data: &mut BytesMut, out: &mut BytesMut, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // An event's data ends without its last line end.
            let end = data.len().saturating_sub(1);
            out.extend_from_slice(&data[..end]);
            data.clear();
        } else if let Some(value) = line.strip_prefix(b"data:") {
            data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            data.extend_from_slice(b"\n");
        }
        // Comments, and fields that mean nothing here.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b":\r\n\r\ndata: {}\x1e\r\n\r\nevent: x\nid: 7\ndata:a\ndata: b\n\n: c\r\ndata: {\"x\":\"\xe4\xbd\xa0\"}\x1e{}\x1e\r\n\r\n";
    const DATA: &[u8] = b"{}\x1ea\nb{\"x\":\"\xe4\xbd\xa0\"}\x1e{}\x1e";

    #[test]
    fn the_data_of_events_is_found_however_the_stream_is_cut() {
        for cut in 0..=STREAM.len() {
            let mut parser = Parser::new(100);
            let mut data = Vec::new();
            for piece in [&STREAM[..cut], &STREAM[cut..]] {
                data.extend(parser.take(piece).expect("short"));
            }
            assert_eq!(data, DATA, "cut at {cut}");
        }
        let mut parser = Parser::new(100);
        let bytes = STREAM
            .chunks(1)
            .map(|byte| parser.take(byte).expect("short"));
        assert_eq!(bytes.collect::<Vec<_>>().concat(), DATA);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        for line in ["data: 0123456789\n", "data: 0123456789"] {
            let mut parser = Parser::new(100);
            let refused = (0..100).find_map(|_| parser.take(line.as_bytes()).err());
            assert!(matches!(refused, Some(Error::Malformed { .. })));
        }
    }
}
