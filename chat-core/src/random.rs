//! Where randomness comes from: ids, tokens, keys and jitter. One injected source, so that a simulation replays.

use std::fmt;

use rand::TryRng as _;
use rand::rngs::SysRng;
#[cfg(feature = "testing")]
use rand::{Rng as _, SeedableRng as _};

/// A source of random bytes.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// An integer of 63 bits, for ids that must not collide.
    fn id(&self) -> i64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        i64::from_le_bytes(bytes) & i64::MAX
    }

    /// A fraction in `0.0..1.0`, for jitter.
    #[allow(clippy::cast_precision_loss)]
    fn fraction(&self) -> f64 {
        (self.id() >> 10) as f64 / (1_u64 << 53) as f64
    }
}

/// The operating system's source, fit for secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness there are no secrets: a system that has none can't run this server at all.
        SysRng
            .try_fill_bytes(bytes)
            .expect("the operating system gives random bytes");
    }
}

/// The same bytes for the same seed: for simulation only.
#[cfg(feature = "testing")]
pub struct SeededRandom(std::sync::Mutex<rand::rngs::StdRng>);

#[cfg(feature = "testing")]
impl SeededRandom {
    /// A source that `seed` determines.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(std::sync::Mutex::new(rand::rngs::StdRng::seed_from_u64(
            seed,
        )))
    }
}

#[cfg(feature = "testing")]
impl fmt::Debug for SeededRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededRandom")
    }
}

#[cfg(feature = "testing")]
impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .fill_bytes(bytes);
    }
}
