//! The clock's progress. Wall time may be set back, and then nobody must wait until it has come up again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Clock, Timestamp};

/// How far a [`Clock`] went on since this was made; it never goes back.
#[derive(Clone)]
pub(super) struct SteadyClock(Arc<Progress>);

struct Progress {
    clock: Arc<dyn Clock>,
    /// The time when last asked, and how far it had gone on then.
    seen: Mutex<(Timestamp, Duration)>,
}

impl SteadyClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let seen = Mutex::new((clock.now(), Duration::ZERO));
        Self(Arc::new(Progress { clock, seen }))
    }

    pub(super) fn elapsed(&self) -> Duration {
        let now = self.0.clock.now();
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, elapsed) = *seen;
        *seen = (now, elapsed + now.since(last));
        seen.1
    }
}

impl governor::clock::Clock for SteadyClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.elapsed()
    }
}

impl fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteadyClock").finish_non_exhaustive()
    }
}
