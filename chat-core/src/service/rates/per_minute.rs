//! A count within the last minute, for each key, of what is only known to count once it is done: wrong passwords.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::steady::SteadyClock;

const MINUTE: Duration = Duration::from_secs(60);

/// Keys at which idle ones are first dropped; from then on whenever twice as many as were left have come.
const CLEAN_AT: usize = 1024;

/// At most `limit` counted in any minute, for each key (`None`: any number); beyond that even what wouldn't count is refused.
///
/// Attempts that are under way are taken as if they would count, or many at once would get past the limit together. But
/// they don't refuse another, they have it wait: most of them succeed, and then didn't count.
pub(super) struct PerMinute<K: Ord + Clone> {
    limit: Option<usize>,
    clock: SteadyClock,
    keys: Mutex<Keys<K>>,
}

struct Keys<K> {
    counts: BTreeMap<K, Count>,
    clean_at: usize,
}

#[derive(Default)]
struct Count {
    /// When they were, on the steady clock, oldest first; at most `limit`.
    counted: VecDeque<Duration>,
    /// Attempts whose outcome isn't known.
    under_way: usize,
    /// Wakes those that wait for an outcome.
    changed: Arc<Notify>,
}

impl Count {
    fn drop_older_than_a_minute(&mut self, now: Duration) {
        while self
            .counted
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= MINUTE)
        {
            self.counted.pop_front();
        }
    }

    /// Until the oldest is forgotten.
    fn wait(&self, now: Duration) -> Duration {
        self.counted
            .front()
            .map_or(MINUTE, |at| MINUTE - now.saturating_sub(*at))
    }

    fn is_idle(&self) -> bool {
        self.counted.is_empty() && self.under_way == 0
    }
}

enum Begin<'a, K: Ord + Clone> {
    Begun(Attempt<'a, K>),
    Wait(OwnedNotified),
}

impl<K: Ord + Clone> PerMinute<K> {
    pub(super) fn new(limit: Option<u32>, clock: &SteadyClock) -> Self {
        Self {
            limit: limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            clock: clock.clone(),
            keys: Mutex::new(Keys {
                counts: BTreeMap::new(),
                clean_at: CLEAN_AT,
            }),
        }
    }

    /// Counts one. The error is how long to wait for it.
    pub(super) fn take(&self, key: &K) -> Result<(), Duration> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let now = self.clock.elapsed();
        let mut keys = self.lock();
        let count = keys.count(key, now);
        if count.counted.len() + count.under_way >= limit {
            return Err(count.wait(now));
        }
        count.counted.push_back(now);
        Ok(())
    }

    /// Begins an attempt, which counts only if [`Attempt::count`] says so. Waits while so many are under way that, if all
    /// of them counted, this one would be beyond the limit. The error is how long to wait before another try.
    ///
    /// Dropping the future before it is done leaves no trace.
    pub(super) async fn begin(&self, key: &K) -> Result<Attempt<'_, K>, Duration> {
        loop {
            match self.try_begin(key)? {
                Begin::Begun(attempt) => return Ok(attempt),
                Begin::Wait(changed) => changed.await,
            }
        }
    }

    fn try_begin(&self, key: &K) -> Result<Begin<'_, K>, Duration> {
        let attempt = || {
            Begin::Begun(Attempt {
                of: self,
                key: key.clone(),
                counts: false,
            })
        };
        let Some(limit) = self.limit else {
            return Ok(attempt());
        };
        let now = self.clock.elapsed();
        let mut keys = self.lock();
        let count = keys.count(key, now);
        if count.counted.len() >= limit {
            return Err(count.wait(now));
        }
        if count.counted.len() + count.under_way >= limit {
            // Made under the lock, it hears of every change from here on.
            return Ok(Begin::Wait(Arc::clone(&count.changed).notified_owned()));
        }
        count.under_way += 1;
        Ok(attempt())
    }

    fn end(&self, key: &K, counts: bool) {
        if self.limit.is_none() {
            return;
        }
        let now = self.clock.elapsed();
        let mut keys = self.lock();
        let count = keys.count(key, now);
        count.under_way = count.under_way.saturating_sub(1);
        if counts {
            count.counted.push_back(now);
        }
        count.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone> Keys<K> {
    /// The count of `key`, without what is older than a minute.
    fn count(&mut self, key: &K, now: Duration) -> &mut Count {
        if self.counts.len() >= self.clean_at {
            self.counts.retain(|_, count| {
                count.drop_older_than_a_minute(now);
                !count.is_idle()
            });
            self.clean_at = CLEAN_AT.max(2 * self.counts.len());
        }
        let count = self.counts.entry(key.clone()).or_default();
        count.drop_older_than_a_minute(now);
        count
    }
}

impl<K: Ord + Clone> fmt::Debug for PerMinute<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerMinute")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// An attempt under way. Dropped, it didn't count.
#[must_use = "it is over when it is dropped"]
#[derive(Debug)]
pub struct Attempt<'a, K: Ord + Clone> {
    of: &'a PerMinute<K>,
    key: K,
    counts: bool,
}

impl<K: Ord + Clone> Attempt<'_, K> {
    /// It counts.
    pub fn count(mut self) {
        self.counts = true;
    }
}

impl<K: Ord + Clone> Drop for Attempt<'_, K> {
    fn drop(&mut self) {
        self.of.end(&self.key, self.counts);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::model::ManualClock;

    fn per_minute<K: Ord + Clone>(limit: u32, clock: &Arc<ManualClock>) -> PerMinute<K> {
        PerMinute::new(Some(limit), &SteadyClock::new(Arc::clone(clock) as _))
    }

    fn begin<'a>(counts: &'a PerMinute<u8>) -> Result<Attempt<'a, u8>, Duration> {
        counts
            .begin(&0)
            .now_or_never()
            .expect("nothing to wait for")
    }

    #[test]
    fn what_succeeds_never_counts() {
        let counts = per_minute(10, &ManualClock::shared());
        for _ in 0..1000 {
            drop(begin(&counts).expect("allowed"));
        }
    }

    #[test]
    fn after_ten_that_counted_the_next_waits_until_the_first_is_a_minute_old() {
        let clock = ManualClock::shared();
        let counts = per_minute(10, &clock);
        for _ in 0..10 {
            begin(&counts).expect("allowed").count();
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(begin(&counts).err(), Some(Duration::from_secs(50)));
        assert_eq!(counts.take(&0), Err(Duration::from_secs(50)));
        assert!(counts.take(&1).is_ok(), "another key is not concerned");
        clock.advance(Duration::from_secs(50));
        begin(&counts).expect("allowed").count();
        assert_eq!(begin(&counts).err(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_limit_of_zero_refuses_all() {
        let counts = per_minute(0, &ManualClock::shared());
        assert_eq!(begin(&counts).err(), Some(MINUTE));
        assert_eq!(counts.take(&0), Err(MINUTE));
    }

    #[tokio::test]
    async fn many_at_once_wait_for_each_other_and_at_most_ten_get_to_fail() {
        let counts = per_minute(10, &ManualClock::shared());
        let outcomes = join_all((0..100).map(|_| async {
            let attempt = counts.begin(&0).await?;
            tokio::task::yield_now().await;
            attempt.count();
            Ok::<_, Duration>(())
        }))
        .await;
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 10);
    }

    #[tokio::test]
    async fn many_at_once_that_succeed_are_all_let_through() {
        let counts = per_minute(10, &ManualClock::shared());
        let outcomes = join_all((0..100).map(|_| async {
            let attempt = counts.begin(&0).await?;
            tokio::task::yield_now().await;
            drop(attempt);
            Ok::<_, Duration>(())
        }))
        .await;
        assert!(outcomes.iter().all(Result::is_ok));
    }

    #[test]
    fn an_attempt_that_is_given_up_while_it_waits_leaves_no_trace() {
        let counts = per_minute(1, &ManualClock::shared());
        let first = begin(&counts).expect("allowed");
        assert!(counts.begin(&0).now_or_never().is_none());
        drop(first);
        drop(begin(&counts).expect("allowed"));
    }

    #[test]
    fn idle_keys_are_dropped() {
        let clock = ManualClock::shared();
        let counts = per_minute(10, &clock);
        for key in 0..CLEAN_AT {
            counts.take(&key).expect("allowed");
        }
        clock.advance(MINUTE);
        counts.take(&usize::MAX).expect("allowed");
        assert_eq!(counts.lock().counts.len(), 1);
    }

    proptest! {
        #[test]
        fn no_minute_ever_holds_more_than_the_limit(
            limit in 1_u32..5, pauses in prop::collection::vec(0_u64..40, 1..60),
        ) {
            let clock = ManualClock::shared();
            let counts = per_minute(limit, &clock);
            let mut taken = Vec::new();
            let mut now = Duration::ZERO;
            for pause in pauses {
                clock.advance(Duration::from_secs(pause));
                now += Duration::from_secs(pause);
                let recent = taken.iter().filter(|at| now - **at < MINUTE).count();
                match counts.take(&0) {
                    Ok(()) => {
                        prop_assert!(recent < limit as usize);
                        taken.push(now);
                    }
                    Err(wait) => {
                        prop_assert_eq!(recent, limit as usize);
                        prop_assert!(wait > Duration::ZERO && wait <= MINUTE);
                    }
                }
            }
        }
    }
}
