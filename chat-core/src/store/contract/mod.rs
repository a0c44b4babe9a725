//! The promises of [`Store`](super::Store), [`Accounts`](super::Accounts) and [`Webhooks`](super::Webhooks) as tests that
//! every backend passes.
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
//! chat_core::accounts_contract!(memory);
//! ```
//!
//! [`store_contract!`](crate::store_contract) is for every store, [`accounts_contract!`](crate::accounts_contract) for one
//! that has accounts, [`webhooks_contract!`](crate::webhooks_contract) for one that has webhooks, and
//! [`reopening_contract!`](crate::reopening_contract) for one that keeps its data when it is closed. Each test gets a backend of its own and a runtime with two threads.

mod act;
mod backend;
mod client;

pub mod accounts;
pub mod batches;
pub mod changes;
pub mod concurrency;
pub mod deliveries;
pub mod histories;
pub mod history;
pub mod invites;
pub mod jobs;
pub mod members;
pub mod messages;
pub mod outbox;
pub mod reopening;
pub mod rooms;
pub mod sessions;
pub mod sweep;
pub mod users;
pub mod webhooks;

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
                where_users_joined_is_read_at_once,
                a_room_is_read_by_its_members_alone,
            }
            members {
                an_admin_gives_a_role,
                giving_the_role_that_is_there_changes_nothing,
                a_member_gives_no_role,
                someone_who_is_not_in_the_room_gets_no_role,
                no_one_demotes_another_admin,
                the_last_admin_does_not_step_down,
                anyone_leaves,
                messages_stay_when_their_author_leaves,
                an_admin_removes_a_member,
                a_removed_member_does_nothing_more,
                removal_follows_the_roles,
                when_the_last_admin_leaves_everyone_becomes_admin,
                when_an_admin_leaves_another_nobody_changes,
                the_last_one_out_deletes_the_room,
                leaving_with_messages_deletes_them_first,
                an_admin_removes_a_member_with_messages,
                without_messages_there_is_no_event_of_their_deletion,
                a_bulk_deletion_ends_at_its_place,
                coming_back_is_a_new_join,
                members_are_paged_by_id,
            }
            invites {
                an_admin_makes_an_invite,
                only_an_admin_lists_and_revokes,
                an_invite_admits,
                a_member_accepts_any_known_invite_at_no_cost,
                an_unknown_token_is_not_found,
                only_a_living_user_is_admitted,
                an_invite_is_used_up,
                an_invite_expires,
                a_revoked_invite_is_gone,
                an_invite_older_than_a_removal_does_not_admit_again,
                age_is_the_order_of_changes_not_of_time,
                leaving_closes_no_invite,
                an_invite_outlives_its_makers_role,
                a_room_has_so_many_open_invites_at_most,
                a_room_has_so_many_members_at_most,
                an_invite_that_is_gone_says_so_first,
                invites_are_paged_by_id,
            }
            batches {
                an_empty_batch_is_fine,
                rooms_may_be_mixed_in_a_batch,
                a_refused_change_harms_no_other,
                a_change_sees_those_before_it,
                a_thousand_sends_make_one_batch,
                sends_and_other_changes_keep_their_order,
                rooms_are_made_in_a_batch,
            }
            concurrency {
                concurrent_commits_leave_no_hole,
                a_batch_is_not_interleaved,
                concurrent_repetitions_are_one_message,
                a_removal_racing_sends_has_the_last_word,
                an_invite_admits_exactly_its_uses,
                one_user_joins_once,
                limits_hold_under_concurrency,
                a_room_is_never_without_an_admin,
                everyone_leaving_deletes_the_room_once,
                a_message_is_deleted_once,
                a_dropped_commit_is_whole_or_nothing,
                a_reader_of_changes_misses_nothing_meanwhile,
            }
            history {
                the_newest_page_ends_at_the_end,
                a_room_without_messages_has_an_empty_page,
                a_page_before_a_message_ends_just_before_it,
                a_page_after_a_message_begins_just_after_it,
                a_page_after_a_place_begins_just_after_it,
                deleted_messages_are_left_out,
                a_deleted_message_still_names_its_place,
                an_edited_message_keeps_its_place,
                a_position_is_a_message_of_the_room,
                only_members_read_history,
                a_newcomer_reads_from_the_start,
            }
            changes {
                from_the_start_all_is_told_once,
                what_is_new_depends_on_where_the_catch_up_began,
                from_stays_the_same_on_every_page,
                a_deleted_message_is_told_as_a_tombstone,
                many_edits_are_one_item,
                members_are_told_once_as_they_are,
                coming_back_is_told_as_a_join,
                the_room_is_told_at_its_last_renaming,
                everyone_becoming_admin_is_told_at_its_place,
                a_bulk_deletion_is_told_at_its_place,
                the_last_bulk_deletion_of_a_sender_is_told,
                at_the_head_there_is_nothing,
                beyond_the_head_nothing_is_complete,
                a_page_knows_whether_it_is_the_last,
                only_members_read_changes,
                a_node_reads_the_end_of_a_deleted_room,
            }
            users {
                a_hosts_user_is_known_again,
                issuer_and_subject_are_compared_exactly,
                a_hosts_names_are_free,
                concurrent_first_sights_are_one_user,
                a_deleted_user_is_not_made_again,
                nobody_is_not_deleted_or_renamed,
                strangers_do_not_see_each_other,
                a_profile_is_public,
                a_former_member_sees_who_came_before_it_left,
                who_comes_back_was_there_before,
                a_deleted_room_is_remembered,
                a_deleted_user_is_seen_without_its_name,
                an_ended_session_is_seen_since_its_moment,
                a_secret_is_made_once,
                concurrent_nodes_share_a_secret,
                the_database_answers,
            }
            jobs {
                a_renaming_is_told_in_each_room,
                a_renaming_to_the_same_name_makes_no_job,
                renamings_that_wait_are_one_job,
                a_step_done_twice_is_done_once,
                a_step_without_its_member_is_done,
                jobs_come_oldest_first,
                a_deleted_user_leaves_each_room,
                a_deleted_user_may_take_its_messages,
                a_deleted_user_leaves_no_room_without_an_admin,
                a_deletion_drops_renamings_that_wait,
                a_later_room_needs_no_job,
                nothing_to_erase_is_no_event,
                a_deleted_user_is_not_renamed,
            }
            outbox {
                each_event_waits_in_the_outbox,
                a_row_keeps_the_event_of_then,
                without_an_event_or_a_node_there_is_no_row,
                a_node_reads_its_own_rows,
                published_rows_go,
                rows_of_a_dead_node_are_taken_over,
                a_lease_is_renewed,
                a_node_that_was_paused_goes_on,
            }
            histories {
                whoever_catches_up_knows_what_everyone_does,
            }
            sweep {
                a_clean_database_stays_as_it_is,
                retention_removes_old_messages,
                changes_tell_what_retention_removed,
                retention_removes_tombstones,
                retention_frees_client_message_ids,
                retention_is_counted_per_room,
                a_step_is_bounded,
                changes_are_honest_between_steps,
                a_deleted_room_is_purged,
                scrubbing_is_not_seen,
                an_expired_invite_is_forgotten_late,
                old_ended_sessions_are_forgotten,
            }
        }
    };
}

/// Makes the tests of [`Accounts`](crate::store::Accounts), for a constructor whose backend is made
/// [`with_accounts`](crate::store::contract::Backend::with_accounts).
#[macro_export]
macro_rules! accounts_contract {
    ($open:expr) => {
        $crate::contract_tests! { $open;
            accounts {
                an_account_is_found_by_its_address_and_id,
                a_hosts_user_has_no_credentials,
                an_address_is_unique_without_case,
                a_username_is_unique_without_case,
                a_refused_registration_leaves_nothing,
                a_hosts_user_takes_no_username,
                concurrent_registrations_make_one_account,
                an_account_is_renamed_to_a_free_name,
                concurrent_renamings_share_no_name,
                an_address_is_shown_to_its_owner_alone,
                a_password_is_replaced_once,
                concurrent_password_changes_replace_it_once,
                a_new_password_ends_other_sessions,
                a_refused_password_ends_no_session,
                a_rehash_ends_no_session,
                a_deleted_account_is_gone_at_once,
                a_deleted_accounts_names_are_free,
                an_address_is_known_from_a_login,
            }
            sessions {
                a_login_makes_a_session,
                the_current_token_is_replaced,
                the_token_before_answers_again_within_the_grace,
                the_token_before_too_late_ends_the_session,
                an_older_token_ends_the_session,
                the_first_token_is_remembered,
                an_unknown_token_ends_nothing,
                fifty_uses_at_once_make_one_successor,
                a_session_expires,
                the_session_longest_unused_ends,
                expired_sessions_do_not_count,
                concurrent_logins_keep_the_limit,
                a_session_is_ended_by_its_owner,
                a_rotation_does_not_revive_an_ended_session,
                sessions_are_paged_by_id,
            }
        }
    };
}

/// Makes the tests of [`Webhooks`](crate::store::Webhooks), for a constructor whose backend is made
/// [`with_webhooks`](crate::store::contract::Backend::with_webhooks), and says how it is
/// [`reopened_by`](crate::store::contract::Backend::reopened_by).
#[macro_export]
macro_rules! webhooks_contract {
    ($open:expr) => {
        $crate::contract_tests! { $open;
            webhooks {
                an_admin_makes_a_webhook,
                only_an_admin_has_to_do_with_a_rooms_webhooks,
                a_webhook_is_found_with_its_owner_alone,
                a_room_has_so_many_webhooks_at_most,
                webhooks_are_paged_by_id,
                two_secrets_sign_for_a_while,
                a_deleted_rooms_webhooks_go_with_their_last_delivery,
            }
            deliveries {
                an_event_is_delivered_to_whoever_wants_it,
                a_webhook_gets_what_comes_after_it,
                an_event_offered_again_is_one_delivery,
                concurrent_offers_are_one_delivery,
                first_attempts_are_in_order,
                what_comes_meanwhile_waits,
                a_swap_is_put_in_order,
                a_lost_event_does_not_stop_the_rest,
                webhooks_do_not_wait_for_each_other,
                a_delivery_is_taken_by_one,
                what_a_dead_consumer_took_is_due_again,
                a_delivery_is_given_back,
                deliveries_tell_what_became_of_them,
                a_delivery_is_retried,
                the_dead_are_replayed,
                a_disabled_webhook_gets_nothing,
                the_backlog_is_known,
                old_deliveries_are_forgotten,
                deliveries_survive_reopening,
            }
        }
    };
}

/// Makes the tests of what survives that a database is closed, for a constructor whose backend says how it is
/// [`reopened_by`](crate::store::contract::Backend::reopened_by), with accounts.
#[macro_export]
macro_rules! reopening_contract {
    ($open:expr) => {
        $crate::contract_tests! { $open;
            reopening {
                a_room_survives_reopening,
                refusals_survive_reopening,
                jobs_survive_reopening,
                what_nodes_share_survives_reopening,
                accounts_survive_reopening,
                a_hosts_user_survives_reopening,
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
        for file in [
            include_str!("messages.rs"),
            include_str!("rooms.rs"),
            include_str!("members.rs"),
            include_str!("invites.rs"),
            include_str!("batches.rs"),
            include_str!("concurrency.rs"),
            include_str!("histories.rs"),
            include_str!("history.rs"),
            include_str!("changes.rs"),
            include_str!("users.rs"),
            include_str!("jobs.rs"),
            include_str!("outbox.rs"),
            include_str!("sweep.rs"),
            include_str!("accounts.rs"),
            include_str!("sessions.rs"),
            include_str!("reopening.rs"),
            include_str!("webhooks.rs"),
            include_str!("deliveries.rs"),
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
