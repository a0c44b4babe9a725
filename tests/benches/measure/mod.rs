//! What the benches share: slices and medians, servers as processes of their own, and clients of the hub.

// Each bench compiles this module for itself and uses its part.
#![allow(dead_code)]

pub(crate) mod grouped;
pub(crate) mod hub;
pub(crate) mod process;
pub(crate) mod seed;

use std::time::Duration;

/// How long one side has its turn.
pub(crate) const SLICE: Duration = Duration::from_millis(500);

/// Turns of each side.
pub(crate) const SLICES: usize = 11;

/// Whether to measure: `cargo bench` says so. Otherwise this is a test, which only sees that the bench still works.
pub(crate) fn is_asked_for() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// Runs as many at once, and adds up what they did.
pub(crate) async fn at_once(many: usize, work: impl AsyncFn() -> u32) -> u32 {
    let done = futures_util::future::join_all((0..many).map(|_| work()));
    done.await.into_iter().sum()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The directory for what a bench writes: on the disk that holds the build, since a memory file system syncs for nothing.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory to write in")
}
