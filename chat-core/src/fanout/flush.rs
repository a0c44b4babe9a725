//! Writing what was queued: everything is queued first, then flushed by one task a core.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::connection::Connection;

/// The connections that one task writes.
#[derive(Debug, Default)]
struct Flusher {
    dirty: Mutex<Vec<Arc<Connection>>>,
    wake: Notify,
}

/// One flusher a core, and which connections wait for each.
#[derive(Debug)]
pub(super) struct Flushers(Vec<Arc<Flusher>>);

/// The connections that a delivery made dirty, by flusher.
#[derive(Debug)]
pub(super) struct Dirty(Vec<Vec<Arc<Connection>>>);

impl Dirty {
    #[allow(clippy::cast_possible_truncation)] // a remainder of a small number
    pub(super) fn add(&mut self, connection: &Arc<Connection>) {
        let at = (connection.number() % self.0.len() as u64) as usize;
        self.0[at].push(Arc::clone(connection));
    }
}

impl Flushers {
    /// As many as `cores`, at least one. [`Flushers::run`] does their work.
    pub(super) fn new(cores: usize) -> Self {
        Self((0..cores.max(1)).map(|_| Arc::default()).collect())
    }

    pub(super) fn dirty(&self) -> Dirty {
        Dirty(vec![Vec::new(); self.0.len()])
    }

    /// Gives what a delivery made dirty to the tasks.
    pub(super) fn submit(&self, dirty: Dirty) {
        for (flusher, mut connections) in self.0.iter().zip(dirty.0) {
            if !connections.is_empty() {
                flusher
                    .dirty
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .append(&mut connections);
                flusher.wake.notify_one();
            }
        }
    }

    /// The work of each flusher: futures that run until dropped.
    pub(super) fn run(&self) -> impl Iterator<Item = impl Future<Output = ()> + Send + 'static> {
        self.0.iter().map(|flusher| {
            let flusher = Arc::clone(flusher);
            async move {
                let mut batch = Vec::new();
                loop {
                    flusher.wake.notified().await;
                    std::mem::swap(
                        &mut *flusher.dirty.lock().unwrap_or_else(PoisonError::into_inner),
                        &mut batch,
                    );
                    for connection in batch.drain(..) {
                        connection.flush();
                    }
                }
            }
        })
    }
}
