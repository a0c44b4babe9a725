//! Applied, then synced: the two points of a write, and what a crash between them loses.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::database::Database;

/// The database with what waits for its sync.
#[derive(Default)]
pub(super) struct Journal {
    /// With every write applied. Writes go on top of each other here, as under a database's row locks.
    applied: Database,
    /// What a crash leaves; `None` where every write is synced at once.
    unsynced: Option<Unsynced>,
}

struct Unsynced {
    delay: Duration,
    /// Whether writes are seen and acknowledged before they are synced: a fault.
    acknowledge_early: bool,
    synced: Database,
    /// In the order of their application; a later one is never synced first.
    writes: VecDeque<(Instant, Write)>,
    crashes: u64,
}

type Write = Box<dyn FnOnce(&mut Database) + Send>;

/// When a write will be synced, unless there is a crash before.
pub(super) struct Receipt {
    pub(super) synced_at: Instant,
    crashes: u64,
}

impl Journal {
    pub(super) fn syncing_after(delay: Duration) -> Self {
        Self {
            unsynced: Some(Unsynced {
                delay,
                acknowledge_early: false,
                synced: Database::default(),
                writes: VecDeque::new(),
                crashes: 0,
            }),
            ..Self::default()
        }
    }

    pub(super) fn acknowledging_before_sync(delay: Duration) -> Self {
        let mut journal = Self::syncing_after(delay);
        if let Some(unsynced) = &mut journal.unsynced {
            unsynced.acknowledge_early = true;
        }
        journal
    }

    /// What a read sees.
    pub(super) fn visible(&mut self) -> &Database {
        match &mut self.unsynced {
            Some(unsynced) if !unsynced.acknowledge_early => {
                unsynced.sync();
                &unsynced.synced
            }
            _ => &self.applied,
        }
    }

    /// Applies a write. With a receipt it isn't done yet.
    pub(super) fn write<T>(
        &mut self,
        write: impl Fn(&mut Database) -> T + Send + 'static,
    ) -> (T, Option<Receipt>) {
        let answer = write(&mut self.applied);
        let receipt = self.unsynced.as_mut().and_then(|unsynced| {
            unsynced.sync();
            let receipt = Receipt {
                synced_at: Instant::now() + unsynced.delay,
                crashes: unsynced.crashes,
            };
            let again: Write = Box::new(move |database| {
                write(database);
            });
            unsynced.writes.push_back((receipt.synced_at, again));
            (!unsynced.acknowledge_early).then_some(receipt)
        });
        (answer, receipt)
    }

    /// Whether the write of a receipt, whose time has come, survived.
    pub(super) fn kept(&self, receipt: &Receipt) -> bool {
        self.unsynced
            .as_ref()
            .is_none_or(|unsynced| unsynced.crashes == receipt.crashes)
    }

    pub(super) fn crash(&mut self) {
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.sync();
            unsynced.writes.clear();
            unsynced.crashes += 1;
            self.applied = unsynced.synced.clone();
        }
    }
}

impl Unsynced {
    /// Brings the synced state up to now. A write is a function of the state alone, so that it does here what it did.
    fn sync(&mut self) {
        let now = Instant::now();
        while let Some((at, _)) = self.writes.front()
            && *at <= now
        {
            if let Some((_, write)) = self.writes.pop_front() {
                write(&mut self.synced);
            }
        }
    }
}
