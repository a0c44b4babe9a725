//! Writing to a socket that takes bytes without waiting.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Connection, End, Phase};
use crate::protocol::hub::ClosingReason;

/// Slices of one vectored write.
const SLICES: usize = 64;

/// A socket that takes bytes without waiting. What has none is written by its session's task.
#[async_trait]
pub trait DirectWrite: Send + Sync + fmt::Debug {
    /// Writes what it can at once; `WouldBlock` if it can't take anything.
    ///
    /// # Errors
    /// The socket's.
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Waits until it may take something.
    async fn writable(&self) -> io::Result<()>;
}

#[async_trait]
impl DirectWrite for tokio::net::tcp::OwnedWriteHalf {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            // The common case: `send` costs the kernel less than `writev` of one slice.
            [one] => self.try_write(one),
            _ => Self::try_write_vectored(self, slices),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }
}

impl Connection {
    /// Writes what waits, as far as the socket takes it at once. Any task may call it; one writes at a time.
    pub fn flush(&self) {
        loop {
            let (mut chunks, socket, sockets) = {
                let mut out = self.lock();
                out.dirty = false;
                let (socket, sockets) = out.socket();
                if self.direct.is_none() && socket.is_none() {
                    drop(out);
                    self.queued.notify_one();
                    return;
                }
                if out.writing
                    || out.blocked_since.is_some()
                    || out.phase == Phase::Entering
                    || out.queue.is_empty()
                {
                    return;
                }
                out.writing = true;
                (std::mem::take(&mut out.queue), socket, sockets)
            };
            let written = match (&self.direct, &socket) {
                (Some(direct), _) => write(direct.as_ref(), &mut chunks),
                (None, Some(socket)) => write(socket.as_ref(), &mut chunks),
                (None, None) => return,
            };
            let mut out = self.lock();
            if out.phase == Phase::Closed || out.socket().1 != sockets {
                // Over; or on another socket, where all that may have been lost is sent again.
                return;
            }
            out.writing = false;
            match written {
                Ok(Written {
                    bytes,
                    blocked,
                    partial,
                }) => {
                    out.bytes -= bytes;
                    self.tell_drained(&mut out);
                    if blocked {
                        out.partial = partial || (bytes == 0 && out.partial);
                        chunks.append(&mut out.queue);
                        out.queue = chunks;
                        out.blocked_since = Some(Instant::now());
                        if out.is_over(self.queue_bytes) && out.phase == Phase::Open {
                            out.drop_queue();
                            self.finish(&mut out, End::Closing(ClosingReason::Slow));
                        }
                        self.wake.notify_one();
                        return;
                    }
                    out.partial = false;
                    if out.queue.is_empty() {
                        // The emptied buffer serves the next push, so that a receiver costs no allocation.
                        if out.queue.capacity() == 0 && chunks.capacity() <= 16 {
                            out.queue = chunks;
                        }
                        if out.phase == Phase::Closing {
                            self.wake.notify_one();
                        }
                        return;
                    }
                }
                Err(_) => {
                    out.lose_socket();
                    self.wake.notify_one();
                    return;
                }
            }
        }
    }

    /// Takes all that waits, for a transport without [`DirectWrite`]; [`Connection::written`] tells when it is out. Answers
    /// whether nothing waits and nothing more will come.
    #[must_use]
    pub fn take(&self, chunks: &mut Vec<Bytes>) -> bool {
        let mut out = self.lock();
        if out.phase == Phase::Entering || out.writing {
            return false;
        }
        if out.queue.is_empty() {
            return matches!(out.phase, Phase::Closing | Phase::Closed);
        }
        out.writing = true;
        out.blocked_since = Some(Instant::now());
        chunks.extend(out.queue.drain(..));
        false
    }

    /// The bytes that [`Connection::take`] gave are written; whether they were the last.
    pub fn written(&self, bytes: usize) -> bool {
        let mut out = self.lock();
        out.bytes = out.bytes.saturating_sub(bytes);
        out.writing = false;
        out.blocked_since = None;
        self.tell_drained(&mut out);
        if !out.queue.is_empty() {
            // What was queued meanwhile woke nobody.
            self.queued.notify_one();
        }
        out.phase == Phase::Closing && out.queue.is_empty()
    }

    /// What [`Connection::take`] gave was not written: it is the next to be taken, unless the queue was dropped meanwhile.
    pub fn put_back(&self, chunks: Vec<Bytes>) {
        let mut out = self.lock();
        out.writing = false;
        out.blocked_since = None;
        if out.phase == Phase::Closed {
            return;
        }
        for chunk in chunks.into_iter().rev() {
            out.queue.push_front(chunk);
        }
        self.queued.notify_one();
    }

    /// Waits until the socket takes bytes again, and flushes; at once when it isn't blocked.
    pub async fn unblock(&self) {
        // An error shows at the write that follows.
        if let Some(direct) = &self.direct {
            let _ = direct.writable().await;
        } else {
            let (socket, _) = self.lock().socket();
            if let Some(socket) = socket {
                let _ = socket.writable().await;
            }
        }
        self.lock().blocked_since = None;
        self.flush();
    }

    /// Whether a write waits for the socket.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        if self.direct.is_some() {
            return self.lock().blocked_since.is_some();
        }
        let out = self.lock();
        out.blocked_since.is_some() && out.socket().0.is_some()
    }
}

/// What a write came to.
struct Written {
    bytes: usize,
    /// The socket takes nothing more now.
    blocked: bool,
    /// The front chunk was begun.
    partial: bool,
}

/// Writes chunks until they are out or the socket blocks; what is written is taken from the front.
fn write(direct: &dyn DirectWrite, chunks: &mut VecDeque<Bytes>) -> io::Result<Written> {
    let mut done = Written {
        bytes: 0,
        blocked: false,
        partial: false,
    };
    while !chunks.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let n = chunks.len().min(SLICES);
        for (slice, chunk) in slices.iter_mut().zip(chunks.iter()) {
            *slice = IoSlice::new(chunk);
        }
        match direct.try_write_vectored(&slices[..n]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(mut written) => {
                done.bytes += written;
                done.partial = false;
                while written > 0 {
                    let Some(front) = chunks.front_mut() else {
                        break;
                    };
                    if written < front.len() {
                        let _ = front.split_to(written);
                        done.partial = true;
                        break;
                    }
                    written -= front.len();
                    chunks.pop_front();
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                done.blocked = true;
                return Ok(done);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
