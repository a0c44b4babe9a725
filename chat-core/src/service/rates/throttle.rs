//! A rate with a burst, for each key: GCRA, as `governor` has it.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::steady::SteadyClock;

/// Checks between two clean-ups. So many idle keys are kept at most, beside those in use.
const CLEAN_EVERY: u32 = 4096;

/// So many a second in the long run for each key, and so many at once.
pub(super) struct Throttle<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, SteadyClock, NoOpMiddleware<Duration>>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// Zeros count as ones: a rate of nothing is not a limit but a switch.
    pub(super) fn new(per_second: u32, burst: u32, clock: SteadyClock) -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self {
            limiter: RateLimiter::dashmap_with_clock(quota, clock),
            checks: AtomicU32::new(0),
        }
    }

    /// Takes one. The error is how long to wait for it.
    pub(super) fn check(&self, key: &K) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(key)
            .map_err(|refused| refused.wait_time_from(self.limiter.clock().elapsed()))
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Throttle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::ManualClock;

    fn throttle<K: std::hash::Hash + Eq + Clone>(
        per_second: u32,
        burst: u32,
        clock: &Arc<ManualClock>,
    ) -> Throttle<K> {
        Throttle::new(per_second, burst, SteadyClock::new(Arc::clone(clock) as _))
    }

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let clock = ManualClock::shared();
        let throttle = throttle(20, 60, &clock);
        let took = |n| (0..n).filter(|_| throttle.check(&"a").is_ok()).count();
        assert_eq!(took(100), 60);
        clock.advance(Duration::from_secs(1));
        assert_eq!(took(100), 20);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(took(100), 60);
    }

    #[test]
    fn one_key_does_not_use_up_another() {
        let throttle = throttle(1, 1, &ManualClock::shared());
        assert_eq!(throttle.check(&1), Ok(()));
        assert_eq!(throttle.check(&1), Err(Duration::from_secs(1)));
        assert_eq!(throttle.check(&2), Ok(()));
    }

    #[test]
    fn a_clock_set_back_makes_nobody_wait_longer() {
        let clock = ManualClock::shared();
        let throttle = throttle(1, 1, &clock);
        assert_eq!(throttle.check(&1), Ok(()));
        clock.set_back(Duration::from_secs(3600));
        assert_eq!(throttle.check(&1), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(throttle.check(&1), Ok(()));
    }

    #[test]
    fn idle_keys_are_dropped() {
        let clock = ManualClock::shared();
        let throttle = throttle(1, 1, &clock);
        for key in 0..CLEAN_EVERY - 1 {
            throttle.check(&key).expect("the first of its key");
        }
        clock.advance(Duration::from_secs(60));
        throttle.check(&u32::MAX).expect("the first of its key");
        assert_eq!(throttle.limiter.len(), 1);
    }
}
