//! Wall time that goes with tokio's paused time.

use chat_core::model::{Clock, Timestamp};
use tokio::time::Instant;

/// January 2026, in milliseconds since 1970: when every run begins.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// Shows [`BEGIN_MS`] at `began`, and goes on with tokio's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimClock {
    began: Instant,
}

impl SimClock {
    /// A clock that begins now.
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Milliseconds since the run began.
    pub(crate) fn elapsed_ms(&self) -> u128 {
        self.began.elapsed().as_millis()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS).plus(self.began.elapsed())
    }
}
