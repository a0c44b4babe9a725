//! The promises of [`EventBus`](super::EventBus) as tests that every bus passes.
//!
//! A bus brings one constructor, and a file of integration tests names it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use chat_core::bus::LocalBus;
//! use chat_core::bus::contract::Backend;
//! use chat_core::store::memory::Memory;
//!
//! async fn local() -> Backend {
//!     let bus = LocalBus::new();
//!     Backend::new(Arc::new(Memory::new()), move || Arc::new(bus.clone()))
//! }
//!
//! chat_core::bus_contract!(local);
//! ```
//!
//! [`bus_contract!`](crate::bus_contract) is for every bus, [`bus_outage_contract!`](crate::bus_outage_contract) for one that
//! can be away. A bus may hand on events, or tell where rooms stand and leave their content to the store: what nodes know in
//! the end is the same, and that is what is tested. Each test gets a backend of its own and a runtime with two threads.

mod backend;

pub mod hints;
pub mod interest;
pub mod nodes;
pub mod outage;

use std::future::Future;
use std::time::Duration;

pub use self::backend::Backend;

/// How long a test may take before it counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(240);

/// Runs one test of the contract on a fresh backend. For the macros.
///
/// # Panics
/// When the bus breaks the promise, fails or hangs.
#[doc(hidden)]
pub fn run<Open, Tests>(open: impl FnOnce() -> Open, test: impl FnOnce(Backend) -> Tests)
where
    Open: Future<Output = Backend>,
    Tests: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let test = Box::pin(async { test(open().await).await });
        if tokio::time::timeout(HANGS_AFTER, test).await.is_err() {
            panic!("the bus did not do it within {HANGS_AFTER:?}");
        }
    });
}

/// Makes the tests of [`EventBus`](crate::bus::EventBus) for a constructor: `async fn() -> Backend`.
#[macro_export]
macro_rules! bus_contract {
    ($open:expr) => {
        $crate::bus_contract_tests! { $open;
            nodes {
                every_node_hears_what_one_publishes,
                a_room_keeps_its_order,
                a_large_message_arrives_whole,
                many_rooms_go_at_once,
                several_nodes_publish_at_once,
                a_node_that_joins_late_hears_what_comes_after,
                what_is_published_again_does_no_harm,
                a_node_that_goes_leaves_the_others_alone,
                nothing_to_publish_is_fine,
            }
            interest {
                messages_of_other_rooms_are_left_out,
                who_comes_in_is_told_to_all,
                what_follows_a_join_comes_with_it,
            }
            hints {
                every_node_hears_a_hint,
                a_node_without_connections_hears_hints_alone,
            }
        }
    };
}

/// Makes the tests of a bus that is away for a while, for a backend that says how it is
/// [`stopped_by`](crate::bus::contract::Backend::stopped_by).
#[macro_export]
macro_rules! bus_outage_contract {
    ($open:expr) => {
        $crate::bus_contract_tests! { $open;
            outage {
                an_outage_delays_and_loses_nothing,
                a_bus_that_is_away_at_the_start_is_reached_later,
            }
        }
    };
}

/// Makes one `#[test]` of each name, in a module of its subject.
#[doc(hidden)]
#[macro_export]
macro_rules! bus_contract_tests {
    ($open:expr; $($subject:ident { $($name:ident),* $(,)? })*) => {
        $(
            mod $subject {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[test]
                    fn $name() {
                        $crate::bus::contract::run($open, $crate::bus::contract::$subject::$name);
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// A test that no macro lists would never run.
    #[test]
    fn every_test_is_listed() {
        let listed = include_str!("mod.rs");
        for file in [
            include_str!("hints.rs"),
            include_str!("interest.rs"),
            include_str!("nodes.rs"),
            include_str!("outage.rs"),
        ] {
            for line in file.lines() {
                if let Some(rest) = line.strip_prefix("pub async fn ") {
                    let name = rest.split('(').next().expect("a name");
                    assert!(listed.contains(&format!(" {name},\n")), "{name}");
                }
            }
        }
    }
}
