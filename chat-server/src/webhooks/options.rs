//! How deliveries are made.

use std::time::Duration;

/// How deliveries are made: the defaults are those that receivers are promised.
#[derive(Clone, Debug)]
pub struct DelivererOptions {
    /// The waits between attempts; after one more attempt than there are waits a delivery is dead.
    pub schedule: Vec<Duration>,
    /// How long a receiver has to answer.
    pub timeout: Duration,
    /// For how long deliveries are taken: those of a consumer that is gone are made by others after that. Longer than the
    /// time-out.
    pub lease: Duration,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Requests under way at once to one host and port.
    pub per_host: usize,
    /// How often there is a look at what is due that nobody announced.
    pub look_every: Duration,
}

impl Default for DelivererOptions {
    fn default() -> Self {
        const HOUR: u64 = 3_600;
        let schedule = [
            5,
            5 * 60,
            30 * 60,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            14 * HOUR,
            20 * HOUR,
            24 * HOUR,
        ];
        Self {
            schedule: schedule.map(Duration::from_secs).into(),
            timeout: Duration::from_secs(15),
            lease: Duration::from_secs(20),
            concurrency: 64,
            per_host: 8,
            look_every: Duration::from_millis(500),
        }
    }
}

impl DelivererOptions {
    /// The wait after so many failed attempts, up to a tenth longer by `jitter` (a fraction); `None`: no more.
    pub(super) fn wait(&self, attempts: i64, jitter: f64) -> Option<Duration> {
        let done = usize::try_from(attempts).ok()?.checked_sub(1)?;
        let wait = self.schedule.get(done)?;
        Some(wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_ten_times_in_three_days() {
        let options = DelivererOptions::default();
        let waits: Vec<_> = (1..).map_while(|n| options.wait(n, 0.0)).collect();
        assert_eq!(waits.len(), 9);
        assert_eq!(waits[0], Duration::from_secs(5));
        assert_eq!(waits[8], Duration::from_secs(86_400));
        let all: Duration = waits.iter().sum();
        assert!(all > Duration::from_secs(3 * 86_400) && all < Duration::from_secs(4 * 86_400));
        let late = options.wait(1, 1.0).expect("a wait");
        assert_eq!(late, Duration::from_millis(5_500));
        assert_eq!(options.wait(11, 0.0), None);
    }
}
