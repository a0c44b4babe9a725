//! The memory store: for tests and simulation. It can fail on demand, and forget what was not yet synced.
//!
//! One mutex around ordered maps, no task and no randomness: the same calls give the same answers.

mod accounts;
mod calls;
mod commit;
mod database;
mod deliveries;
mod journal;
mod nodes;
mod read;
#[cfg(test)]
mod tests;
mod users;
mod webhook_calls;
mod webhooks;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::database::Database;
use self::journal::Journal;
use super::{Change, StoreError};

/// A database in memory. A clone is the same database.
///
/// With [`Memory::with_sync_delay`] a write has two points, as on a disk: it is applied, and later synced. Other calls see
/// it, and it returns, once it is synced; what [`Memory::crash`] finds unsynced is gone.
///
/// ```
/// use chat_core::model::Timestamp;
/// use chat_core::store::{Store as _, memory::Memory};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = Memory::new();
/// let ada = store.identify("my-app", "ada", "Ada", Timestamp::default()).await?;
/// assert_eq!(ada, store.identify("my-app", "ada", "A. L.", Timestamp::default()).await?);
/// # Ok::<_, chat_core::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    journal: Arc<Mutex<Journal>>,
    faults: Arc<Mutex<Faults>>,
    gate: Arc<Gate>,
}

/// How a call of a [`Memory`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`StoreError::Unavailable`]: nothing is done.
    Unavailable,
    /// [`StoreError::Uncertain`] after it was done. A read fails with [`StoreError::Unavailable`].
    UncertainApplied,
    /// [`StoreError::Uncertain`], and nothing is done. A read fails with [`StoreError::Unavailable`].
    UncertainLost,
}

#[derive(Default)]
struct Faults {
    /// For the next calls of any kind.
    calls: VecDeque<Fault>,
    /// For the next commits.
    commits: VecDeque<Fault>,
    /// The content of messages that no commit takes.
    indigestible: Option<String>,
}

/// What holds the calls of a connection. (A watch channel wakes in an order drawn at random.)
#[derive(Default)]
struct Gate {
    held: AtomicBool,
    let_go: Notify,
}

/// What a call is, as far as faults tell them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Commit,
    Write,
    Read,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("a planted fault".into())
}

fn uncertain(why: &'static str) -> StoreError {
    StoreError::Uncertain(why.into())
}

impl Memory {
    /// An empty database whose writes are synced at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty database whose writes are synced, and return, `delay` of tokio's time after they are applied.
    #[must_use]
    pub fn with_sync_delay(delay: Duration) -> Self {
        Self::on(Journal::syncing_after(delay))
    }

    /// The planted fault "delivery before the commit": as [`Memory::with_sync_delay`], but a write is seen, and returns,
    /// as soon as it is applied. What was acknowledged so can be gone after [`Memory::crash`].
    #[must_use]
    pub fn acknowledging_before_sync(delay: Duration) -> Self {
        Self::on(Journal::acknowledging_before_sync(delay))
    }

    fn on(journal: Journal) -> Self {
        Self {
            journal: Arc::new(Mutex::new(journal)),
            faults: Arc::default(),
            gate: Arc::default(),
        }
    }

    /// The same database through a connection of its own: the faults planted in one don't meet the other.
    #[must_use]
    pub fn connect(&self) -> Self {
        Self {
            journal: Arc::clone(&self.journal),
            faults: Arc::default(),
            gate: Arc::default(),
        }
    }

    /// Loses all that isn't synced. Calls that wait for their sync fail with [`StoreError::Uncertain`].
    pub fn crash(&self) {
        lock(&self.journal).crash();
    }

    /// Has the next `calls` of any kind on this connection fail, after those that are to fail already.
    pub fn fail_next(&self, calls: usize, fault: Fault) {
        lock(&self.faults)
            .calls
            .extend(std::iter::repeat_n(fault, calls));
    }

    /// Has the next `commits` on this connection fail, after those that are to fail already; other calls go on.
    pub fn fail_next_commits(&self, commits: usize, fault: Fault) {
        lock(&self.faults)
            .commits
            .extend(std::iter::repeat_n(fault, commits));
    }

    /// Has every commit on this connection fail that sends this content: [`StoreError::Failed`], and nothing is done.
    pub fn fail_commits_of(&self, content: &str) {
        lock(&self.faults).indigestible = Some(content.to_owned());
    }

    /// Has all calls of this connection wait, those under way included, until they are let go: as those of a process that is
    /// stopped, or behind a network that doesn't answer.
    pub fn hold(&self, held: bool) {
        self.gate.held.store(held, Ordering::Release);
        self.gate.let_go.notify_waiters();
    }

    /// Whether this connection is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.gate.held.load(Ordering::Acquire)
    }

    /// Waits until it isn't held. Those who wait go on in the order in which they began.
    pub async fn let_go(&self) {
        loop {
            let let_go = self.gate.let_go.notified();
            if !self.is_held() {
                return;
            }
            let_go.await;
        }
    }

    fn takes(&self, changes: &[Change]) -> bool {
        let faults = lock(&self.faults);
        !changes.iter().any(|change| {
            matches!(change, Change::SendMessage { content, .. }
                if faults.indigestible.as_ref() == Some(content))
        })
    }

    fn next_fault(&self, call: Call) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        let planted = faults.calls.pop_front();
        if planted.is_none() && call == Call::Commit {
            return faults.commits.pop_front();
        }
        planted
    }

    async fn read<T>(&self, read: impl FnOnce(&Database) -> T) -> Result<T, StoreError> {
        self.let_go().await;
        match self.next_fault(Call::Read) {
            None => Ok(read(lock(&self.journal).visible())),
            Some(_) => Err(unavailable()),
        }
    }

    /// Applies `write`, which may run again to bring the synced state up to it, and returns when it is synced.
    async fn write<T>(
        &self,
        call: Call,
        write: impl Fn(&mut Database) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.let_go().await;
        let fault = self.next_fault(call);
        match fault {
            Some(Fault::Unavailable) => return Err(unavailable()),
            Some(Fault::UncertainLost) => return Err(uncertain("a planted fault")),
            Some(Fault::UncertainApplied) | None => {}
        }
        let (answer, receipt) = lock(&self.journal).write(write);
        if let Some(receipt) = receipt {
            tokio::time::sleep_until(receipt.synced_at).await;
            if !lock(&self.journal).kept(&receipt) {
                return Err(uncertain("it crashed before it synced"));
            }
        }
        self.let_go().await;
        match fault {
            None => Ok(answer),
            Some(_) => Err(uncertain("a planted fault")),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}
