//! A client's line to a node: a byte stream that can be cut, with what is under way or without it, and stalled.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::Instant;

/// Bytes under way in one direction: few, so that a stalled line is soon felt.
const UNDER_WAY: usize = 16 * 1024;

/// The state of a line, shared by its two ends.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    cut: bool,
    stalled: bool,
    last_stall: Option<Instant>,
    /// When the server last wrote to it.
    last_written: Option<Instant>,
    waiting: Vec<Waker>,
}

impl Line {
    /// A new line: the client's end and the server's.
    pub(crate) fn open() -> (Arc<Self>, End, End) {
        let line = Arc::new(Self::default());
        let (client, server) = tokio::io::duplex(UNDER_WAY);
        let end = |stream, is_server| End {
            stream,
            line: Arc::clone(&line),
            is_server,
        };
        (Arc::clone(&line), end(client, false), end(server, true))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiting = {
            let mut state = self.lock();
            change(&mut state);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Breaks the line; both ends find out.
    pub(crate) fn cut(&self) {
        self.change(|state| state.cut = true);
    }

    /// Lets nothing through until [`Line::flow`].
    pub(crate) fn stall(&self) {
        self.change(|state| {
            state.stalled = true;
            state.last_stall = Some(Instant::now());
        });
    }

    /// Ends a stall.
    pub(crate) fn flow(&self) {
        self.change(|state| {
            state.stalled = false;
            state.last_stall = Some(Instant::now());
        });
    }

    /// Whether the server wrote to it later than `limit` after `ended`, though it could all the time.
    pub(crate) fn written_beyond(&self, ended: Instant, limit: Duration) -> bool {
        let state = self.lock();
        state.last_stall.is_none_or(|at| at < ended)
            && !state.stalled
            && state.last_written.is_some_and(|at| at > ended + limit)
    }
}

/// One end of a [`Line`].
#[derive(Debug)]
pub(crate) struct End {
    stream: DuplexStream,
    line: Arc<Line>,
    is_server: bool,
}

impl End {
    /// Ready while the line flows.
    fn flowing(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.line.lock();
        if state.cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        // Also while it flows: a cut must wake whoever waits for the other end.
        state.waiting.retain(|waker| !waker.will_wake(cx.waker()));
        state.waiting.push(cx.waker().clone());
        if state.stalled {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.flowing(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.flowing(cx))?;
        if self.is_server {
            self.line.lock().last_written = Some(Instant::now());
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.flowing(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
