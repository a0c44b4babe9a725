//! The hub's contract, record by record.
//!
//! Where implementations of the protocol have broken, and the test that says so (here, or beside the code where it says
//! `core` or `server`):
//!
//! | edge | test |
//! | --- | --- |
//! | a handshake cut anywhere, with calls behind it, as text or binary | `a_handshake_and_three_calls_come_in_one_frame_or_byte_by_byte_as_text_or_binary`, core `a_handshake_may_be_cut_at_every_byte` |
//! | a record cut in a character, in its length, between two POSTs | core `a_record_cut_inside_a_character_is_one_record`, core `records_cut_at_every_byte_are_the_same_records`, `a_post_cut_in_mid_message_leaves_the_record_to_the_next_post` |
//! | many small records in a large frame; the limit and one byte more | `many_records_come_in_one_frame_and_one_record_in_many`, `a_record_of_64_kib_is_taken_and_one_byte_more_ends_the_connection_unread` |
//! | a length that is none, or far too long | `a_record_that_is_none_ends_the_connection`, core `a_length_over_the_limit_is_refused_at_once_and_nothing_is_allocated_for_it` |
//! | an unknown type between two calls | `an_unknown_type_between_two_calls_leaves_both_answered` |
//! | members in any order, escaped names, headers, long ids | core `arguments_may_come_before_the_target`, core `names_and_keys_may_be_escaped`, `calls_are_taken_as_every_client_writes_them` |
//! | failing calls without an id; ends of what never was | `a_record_that_is_none_ends_the_connection_and_types_of_later_versions_dont` |
//! | a stream cancelled at once; two under one id; the connection lost in one | server `a_stream_that_is_cancelled_at_once_has_one_completion`, server `a_second_stream_under_an_id_in_use_is_refused_and_the_first_goes_on`, server `a_connection_lost_in_a_stream_leaves_nothing_running` |
//! | never a Ping; one Ping, then silence | server `a_client_that_never_pings_may_be_silent_and_one_that_has_pinged_once_may_not` |
//! | a slow reader on each transport | `a_reader_that_never_reads_is_closed_within_ten_seconds_and_hurts_nobody`, `a_client_that_stops_reading_its_stream_is_gone_soon_and_others_are_unharmed`, `a_client_that_doesnt_poll_is_closed_as_slow_and_fetches_that` |
//! | a poll aborted while a record is written | `a_poll_aborted_while_a_record_is_written_loses_nothing` |
//! | two polls at once; DELETE with a poll pending, and twice | `two_polls_at_once_end_the_older_and_the_newer_waits`, `delete_ends_the_connection_and_the_poll_that_waits_and_is_404_the_second_time` |
//! | a POST before the first GET; a POST to a WebSocket; a stream after a poll | `what_was_posted_before_the_first_get_is_kept_for_any_transport`, `a_request_is_answered_by_what_its_connection_is_doing` |
//! | a second upgrade: plain, stateful | `an_id_opens_one_connection_of_its_own_user_once`, `a_second_upgrade_takes_over_and_the_old_socket_is_closed` |
//! | another user's token with someone's id | `another_users_or_sessions_token_is_404_on_every_request_and_the_connection_unharmed` |
//! | stateful: cut in mid-record, in mid-replay, before the first Ack, twice at once | `cut_in_mid_record_nothing_is_lost_and_nothing_comes_twice`, core `cut_anywhere_nothing_is_lost_or_doubled`; with the official client `ten_thousand_messages_and_fifty_cuts_in_json` |
//! | stateful: an event in the handshake's tick | `the_first_event_waits_for_the_clients_first_frame_or_a_second` |
//! | stateful: an upgrade after a Close | `after_a_close_of_either_side_the_id_is_gone_at_once` |
//! | stateful: replayed calls that were run | `cut_in_mid_record_nothing_is_lost_and_nothing_comes_twice` |
//! | stateful: away for 16 s; more than 100,000 bytes unacknowledged | `sixteen_seconds_away_it_is_gone`, `a_client_that_acknowledges_nothing_gets_100_kb_and_the_rest_once_it_does` |
//! | a preflight without a token; a foreign origin | `a_page_of_a_foreign_origin_gets_nowhere` |
//! | a drain on each transport | `a_stopping_server_says_so_to_every_connection_finishes_and_ends_well` |
//! | a revoked session | `a_logout_closes_the_sessions_sockets_at_once_and_no_others` |

mod connecting;
mod encodings;
mod fallback;
mod lifetimes;
mod polls;
mod posts;
mod records;
mod requests;
mod stateful;
mod streams;
mod websockets;

/// Tests that are the same however a client is connected.
macro_rules! over {
    ($($name:ident: $transport:ident, $encoding:ident, [$($file:literal $tests:ident),+];)+) => {
        $(#[path = "hub"]
        #[allow(clippy::duplicate_mod)] // that is the point
        mod $name {
            use chat_client::Encoding;
            use chat_tests::{Hub, Over, Person};

            async fn connect(person: &Person) -> Hub {
                Hub::connect_over(person, Over::$transport, Encoding::$encoding).await
            }

            $(#[path = $file]
            mod $tests;)+
        })+
    };
}

over! {
    over_websockets: WebSockets, Json,
        ["calls.rs" calls, "events.rs" events, "ending.rs" ending, "sessions.rs" sessions];
    over_events: ServerSentEvents, Json,
        ["calls.rs" calls, "events.rs" events, "ending.rs" ending, "sessions.rs" sessions];
    over_polls: LongPolling, Json,
        ["calls.rs" calls, "events.rs" events, "ending.rs" ending];
    over_polls_in_messagepack: LongPolling, MessagePack,
        ["calls.rs" calls];
}
