//! A whole cluster with its clients in one deterministic process, under faults drawn from a seed.
//!
//! Three nodes over one database and one bus, four clients of the SDK, one thread, and time that stands still unless all wait.
//! Each seed is a story; [`check`] then looks at it from outside. `SIM_SEEDS=n` runs that many seeds instead of the
//! default, `SIM_SEED=x` runs one alone and prints what happened.

mod bus;
mod check;
mod client;
mod clock;
mod line;
mod model;
mod scenario;
mod tap;
mod trace;
mod world;

use chat_core::service::Fault;

use self::scenario::Scenario;
use self::trace::Trace;
use self::world::{Planted, World};

/// Seeds of a run, unless told otherwise.
const SEEDS: u64 = 200;
/// Seeds within which each planted fault must be found.
const SEEDS_PLANTED: u64 = 40;

/// How a seed's story ended.
struct Story {
    trace: Trace,
    violations: Vec<String>,
}

/// Runs a seed.
fn simulate(seed: u64, planted: Planted, prints: bool) -> Story {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be built")
        .block_on(async {
            let world = World::new(seed, planted).await;
            if prints {
                world.print();
            }
            let clients = Scenario::new(&world, seed).run().await;
            check::check(&world, &clients).await;
            Story {
                violations: world.violations(),
                trace: world.take_trace(),
            }
        })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a seed is a number"))
}

/// How to see a failure again.
fn replay(seed: u64) -> String {
    format!("SIM_SEED={seed} cargo test -p chat-tests --test sim promises -- --nocapture")
}

#[test]
fn the_promises_hold_under_every_seed() {
    if let Some(seed) = number("SIM_SEED") {
        // What the nodes and clients log, in its place among what happened.
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
        let story = simulate(seed, Planted::Nothing, true);
        assert!(story.violations.is_empty(), "{:#?}", story.violations);
        return;
    }
    let failed: Vec<String> = (0..number("SIM_SEEDS").unwrap_or(SEEDS))
        .filter_map(|seed| {
            let story = simulate(seed, Planted::Nothing, false);
            let first = story.violations.first()?;
            Some(format!("{first}\n    {}", replay(seed)))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..5 {
        let (once, again) = (
            simulate(seed, Planted::Nothing, false),
            simulate(seed, Planted::Nothing, false),
        );
        let differs = once
            .trace
            .lines()
            .iter()
            .zip(again.trace.lines())
            .find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.trace.hash(), again.trace.hash(), "seed {seed}");
    }
}

/// Runs seeds until one breaks a promise in the way that this fault does.
fn finds(planted: Planted, kind: &str) {
    let mut others = Vec::new();
    for seed in 0..SEEDS_PLANTED {
        let story = simulate(seed, planted, false);
        if story.violations.iter().any(|v| v.starts_with(kind)) {
            return;
        }
        others.extend(story.violations);
    }
    panic!("{planted:?} wasn't found as {kind} in {SEEDS_PLANTED} seeds, but: {others:#?}");
}

#[test]
fn a_reply_by_a_oneshot_is_found() {
    finds(Planted::Node(Fault::ReplyByOneshot), "LateReply");
}

#[test]
fn stale_membership_is_found() {
    finds(Planted::Node(Fault::StaleMembership), "Outsider");
}

#[test]
fn no_duplicate_check_is_found() {
    finds(Planted::Node(Fault::NoDuplicateCheck), "StoredTwice");
}

#[test]
fn a_relay_by_insertion_number_is_found() {
    finds(Planted::Node(Fault::RelayByInsertionNumber), "Unpublished");
}

#[test]
fn delivery_before_the_commit_is_found() {
    finds(Planted::DeliveryBeforeCommit, "Lost");
}
