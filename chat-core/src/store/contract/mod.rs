//! The promises of [`Store`](super::Store) and [`Accounts`](super::Accounts) as tests that every backend passes.
//!
//! A backend brings one constructor, and a file of integration tests names it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use chat_core::store::contract::Backend;
//! use chat_core::store::memory::Memory;
//!
//! async fn memory() -> Backend {
//!     Backend::with_accounts(Arc::new(Memory::new()))
//! }
//!
//! chat_core::store_contract!(memory);
//! ```
//!
//! Each test gets a backend of its own and a runtime with two threads.

mod act;
mod backend;

pub mod messages;
pub mod rooms;

use std::future::Future;
use std::time::Duration;

pub use self::backend::Backend;
use super::StoreError;

/// How a test ends that found nothing wrong; wrong answers panic.
pub type Tested = Result<(), StoreError>;

/// How long a test may take before it counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Runs one test of the contract on a fresh backend. For the macros.
///
/// # Panics
/// When the backend breaks the promise, fails or hangs.
#[doc(hidden)]
pub fn run<Open, Tests>(open: impl FnOnce() -> Open, test: impl FnOnce(Backend) -> Tests)
where
    Open: Future<Output = Backend>,
    Tests: Future<Output = Tested>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let test = Box::pin(async { test(open().await).await });
        match tokio::time::timeout(HANGS_AFTER, test).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("the backend failed: {error}: {error:?}"),
            Err(_) => panic!("the backend did not answer within {HANGS_AFTER:?}"),
        }
    });
}

/// Makes the tests of [`Store`](crate::store::Store) for a constructor: `async fn() -> Backend`.
#[macro_export]
macro_rules! store_contract {
    ($open:expr) => {
        $crate::contract_tests! { $open;
            messages {
                a_message_takes_the_next_seq_of_its_room,
                content_is_kept_byte_for_byte,
                only_a_member_sends,
                a_repeated_send_answers_the_first_message,
                a_repeated_send_is_found_within_its_batch,
                a_repeated_send_with_another_content_is_refused,
                a_repeated_send_is_compared_with_the_first_content,
                a_repeated_send_of_a_deleted_message_answers_its_tombstone,
                a_client_message_id_is_unique_for_a_sender_in_a_room,
                a_refused_send_leaves_its_client_message_id_free,
                a_former_members_repeated_send_is_not_found,
                a_client_message_id_outlives_leaving_and_coming_back,
                the_author_edits_a_message,
                an_edit_to_the_same_content_changes_nothing,
                only_the_author_edits,
                the_author_deletes_a_message,
                an_admin_deletes_anyones_message,
                another_member_does_not_delete,
                a_deleted_message_is_not_edited_or_deleted_again,
                a_message_is_found_in_its_own_room_alone,
                only_members_edit_and_delete,
                one_message_is_read_by_members,
            }
            rooms {
                a_room_begins_with_its_creator_at_seq_one,
                only_a_living_user_creates_a_room,
                a_user_is_in_so_many_rooms_at_most,
                an_admin_renames_the_room,
                a_rename_to_the_same_name_changes_nothing,
                only_an_admin_renames_or_deletes,
                a_deleted_room_is_found_by_nobody,
                rooms_are_paged_by_id,
                memberships_tell_where_each_room_stands,
                heads_are_those_of_the_rooms_that_exist,
                a_room_is_read_by_its_members_alone,
            }
        }
    };
}

/// Makes one `#[test]` of each name, in a module of its subject.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($open:expr; $($subject:ident { $($name:ident),* $(,)? })*) => {
        $(
            mod $subject {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[test]
                    fn $name() {
                        $crate::store::contract::run($open, $crate::store::contract::$subject::$name);
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
        for file in [include_str!("messages.rs"), include_str!("rooms.rs")] {
            for line in file.lines() {
                if let Some(rest) = line.strip_prefix("pub async fn ") {
                    let name = rest.split('(').next().expect("a name");
                    assert!(listed.contains(&format!(" {name},\n")), "{name}");
                }
            }
        }
    }
}
