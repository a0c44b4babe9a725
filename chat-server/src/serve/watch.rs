//! Connections that keep others waiting: no request in time, nothing to do for long, or an answer that isn't read.
//!
//! hyper's own time-out for heads counts a connection at rest as one whose next head is late, so it can't tell ten seconds
//! for a head from a minute between requests.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a request's head may take, from the first of its bytes or the connection's begin.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may rest between requests: longer than proxies keep theirs, so that they close first.
const IDLE: Duration = Duration::from_secs(75);
/// How long a peer may leave what was sent to it unread.
const STALLED: Duration = Duration::from_secs(30);

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Its next request's head is on its way.
    Head { since: Instant },
    /// This many requests are being answered.
    Busy { requests: usize },
    /// Nothing.
    Idle { since: Instant },
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// HTTP/2: bytes aren't always the begin of a request.
    multiplexed: bool,
    /// Since when the peer takes nothing.
    stalled: Option<Instant>,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It may be told, and end in order.
    Idle,
    /// It is cut.
    Late,
}

/// A connection's progress, shared by its stream, its requests and its task.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<State>>);

impl Progress {
    /// Of a connection that begins now.
    pub(super) fn new() -> Self {
        let phase = Phase::Head {
            since: Instant::now(),
        };
        Self(Arc::new(Mutex::new(State {
            phase,
            multiplexed: false,
            stalled: None,
        })))
    }

    fn update<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request begins; it ends with the value.
    pub(super) fn request(&self, version: http::Version) -> Busy {
        self.update(|state| {
            state.multiplexed = version == http::Version::HTTP_2;
            state.phase = match state.phase {
                Phase::Busy { requests } => Phase::Busy {
                    requests: requests + 1,
                },
                Phase::Head { .. } | Phase::Idle { .. } => Phase::Busy { requests: 1 },
            };
        });
        Busy(self.clone())
    }

    fn deadline(&self) -> Option<(Instant, Overdue)> {
        self.update(|state| {
            let phase = match state.phase {
                Phase::Head { since } => Some((since + HEAD, Overdue::Late)),
                Phase::Idle { since } => Some((since + IDLE, Overdue::Idle)),
                Phase::Busy { .. } => None,
            };
            let stalled = state.stalled.map(|since| (since + STALLED, Overdue::Late));
            phase.into_iter().chain(stalled).min_by_key(|(at, _)| *at)
        })
    }
}

/// Watches over a connection's deadlines. To be polled whenever the connection was, since nothing else wakes it.
#[derive(Debug)]
pub(super) struct Deadline {
    progress: Progress,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(progress: Progress) -> Self {
        let sleep = Box::pin(tokio::time::sleep(HEAD));
        Self { progress, sleep }
    }

    /// Ready when a deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let Some((at, overdue)) = self.progress.deadline() else {
                return Poll::Pending;
            };
            if Instant::now() >= at {
                return Poll::Ready(overdue);
            }
            // A timer that fires too early costs less than one that is moved with every request.
            if self.sleep.deadline() > at || self.sleep.is_elapsed() {
                self.sleep.as_mut().reset(at);
            }
            ready!(self.sleep.as_mut().poll(cx));
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Progress);

impl Busy {
    /// The answer's body, which keeps the request going until it is sent or given up.
    pub(super) fn body(self, body: Body) -> BusyBody {
        BusyBody { body, _busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.update(|state| {
            if let Phase::Busy { requests } = state.phase {
                state.phase = if requests > 1 {
                    Phase::Busy {
                        requests: requests - 1,
                    }
                } else {
                    Phase::Idle {
                        since: Instant::now(),
                    }
                };
            }
        });
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose progress is watched.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    progress: Progress,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        Self { stream, progress }
    }

    /// The stream, watched no more.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn wrote<T>(&self, result: &Poll<T>) {
        let pending = result.is_pending();
        self.progress.update(|state| {
            if !pending {
                state.stalled = None;
            } else if state.stalled.is_none() {
                state.stalled = Some(Instant::now());
            }
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.progress.update(|state| {
                if matches!(state.phase, Phase::Idle { .. }) && !state.multiplexed {
                    state.phase = Phase::Head {
                        since: Instant::now(),
                    };
                }
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
