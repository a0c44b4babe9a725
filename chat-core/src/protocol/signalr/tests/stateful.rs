//! Stateful reconnect: rule by rule, then two ends whose socket is cut anywhere, again and again.

use proptest::prelude::*;

use super::super::stateful::{REPLAY_BYTES, Received, Sent, SequenceError};
use super::*;

mod ends;

fn call(n: u32) -> HubMessage<'static> {
    HubMessage::Invocation {
        invocation_id: None,
        target: n.to_string().into(),
        arguments: Raw(b"[]").into(),
        stream_ids: vec![],
    }
}

const fn ack(sequence_id: i64) -> HubMessage<'static> {
    HubMessage::Ack { sequence_id }
}

const fn sequence(sequence_id: i64) -> HubMessage<'static> {
    HubMessage::Sequence { sequence_id }
}

/// Each message as one item of 10 bytes.
fn sent(messages: u32, limit: usize) -> Sent<u32> {
    let mut sent = Sent::new(limit);
    for n in 1..=messages {
        sent.keep(n, 1, 10);
    }
    sent
}

fn replay(sent: &Sent<u32>) -> Vec<u32> {
    sent.replay().copied().collect()
}

fn received(messages: u32) -> Received {
    let mut received = Received::new();
    for n in 1..=messages {
        assert_eq!(received.take(&call(n)), Ok(true));
    }
    received
}

#[test]
fn what_belongs_to_a_call_is_numbered_and_what_belongs_to_a_socket_is_not() {
    let id = || Cow::Borrowed("1");
    let numbered = [
        call(1),
        HubMessage::StreamItem {
            invocation_id: id(),
            item: Raw(b"1"),
        },
        HubMessage::Completion {
            invocation_id: id(),
            result: CompletionResult::Void,
        },
        HubMessage::StreamInvocation {
            invocation_id: id(),
            target: id(),
            arguments: Raw(b"[]").into(),
            stream_ids: vec![],
        },
        HubMessage::CancelInvocation {
            invocation_id: id(),
        },
    ];
    let close = HubMessage::Close {
        error: None,
        allow_reconnect: true,
    };
    let not = [HubMessage::Ping, close, ack(1), sequence(1)];
    assert!(numbered.iter().all(HubMessage::is_numbered));
    assert!(!not.iter().any(HubMessage::is_numbered));
}

#[test]
fn a_replay_begins_behind_what_is_acknowledged() {
    let mut sent = sent(5, REPLAY_BYTES);
    sent.acknowledge(3);
    assert_eq!(sent.reattached(), sequence(4));
    assert_eq!(replay(&sent), [4, 5]);
    assert_eq!(sent.bytes(), 20);
}

#[test]
fn with_nothing_to_replay_the_next_message_follows() {
    assert_eq!(sent(0, REPLAY_BYTES).reattached(), sequence(1));
    let mut sent = sent(5, REPLAY_BYTES);
    sent.acknowledge(5);
    assert_eq!(sent.reattached(), sequence(6));
    assert_eq!(sent.replay().len(), 0);
}

#[test]
fn an_item_of_several_messages_is_replayed_whole_until_its_last_is_acknowledged() {
    let mut sent = Sent::new(REPLAY_BYTES);
    sent.keep("a", 1, 10);
    sent.keep("ping", 0, 10);
    sent.keep("b c d", 3, 10);
    sent.acknowledge(3);
    assert_eq!(sent.reattached(), sequence(2));
    assert_eq!(sent.replay().collect::<Vec<_>>(), [&"b c d"]);
    sent.keep("e", 1, 10);
    sent.acknowledge(5);
    assert_eq!(sent.reattached(), sequence(6));
}

#[test]
fn an_acknowledgement_beyond_what_was_sent_takes_everything_and_an_old_one_nothing() {
    let mut sent = sent(5, REPLAY_BYTES);
    sent.acknowledge(3);
    for old in [3, 2, 0, -1, i64::MIN] {
        assert!(!sent.acknowledge(old));
        assert_eq!(sent.bytes(), 20);
    }
    sent.acknowledge(i64::MAX);
    assert_eq!(sent.bytes(), 0);
    assert_eq!(sent.reattached(), sequence(6), "numbers go on as before");
}

#[test]
fn past_the_limit_there_is_no_room_until_an_acknowledgement() {
    let mut sent = sent(9, 100);
    assert!(sent.has_room());
    sent.keep(10, 1, 500);
    assert!(!sent.has_room(), "a large item still passes, the next not");
    assert!(!sent.acknowledge(9), "the large one alone is too much");
    assert!(sent.acknowledge(10));
    assert!(sent.has_room());
}

#[test]
fn a_client_that_measures_by_its_socket_is_never_sent_past_what_it_has_there() {
    let mut sent = sent(10, 100);
    let _ = sent.reattached();
    // The client has all ten, says so, and this socket is cut when three have come again.
    assert!(sent.acknowledge(10));
    assert_eq!(sent.reattached(), sequence(1));
    assert_eq!(sent.replay().len(), 10);
    // What it has does not take the room of what is new.
    assert!(sent.has_room());
    sent.keep(11, 1, 10);
    sent.acknowledge(11);
    assert_eq!(sent.bytes(), 0);
    assert_eq!(sent.reattached(), sequence(12));
}

#[test]
fn what_is_kept_although_it_is_acknowledged_is_bounded() {
    let mut sent = Sent::new(100);
    for _ in 0..50 {
        while sent.has_room() {
            sent.keep((), 1, 10);
        }
        let _ = sent.reattached();
        sent.acknowledge(sent.last());
        assert!(sent.has_room());
        assert!(sent.bytes() <= 100);
    }
}

#[test]
fn doubled_messages_are_dropped_and_new_ones_are_not() {
    let mut received = received(5);
    received.reattached();
    assert_eq!(received.take(&sequence(3)), Ok(true));
    for n in 3..=5 {
        assert_eq!(received.take(&call(n)), Ok(false), "{n} came before");
    }
    assert_eq!(received.take(&call(6)), Ok(true));
    assert_eq!(received.last(), 6);
}

#[test]
fn on_a_new_socket_everything_is_dropped_until_the_sequence() {
    let mut received = received(2);
    received.reattached();
    let early = [call(9), HubMessage::Ping, ack(1)];
    for message in &early {
        assert_eq!(received.take(message), Ok(false));
    }
    assert_eq!(received.take(&sequence(3)), Ok(true));
    assert_eq!(received.take(&HubMessage::Ping), Ok(true));
    assert_eq!(received.take(&call(3)), Ok(true));
}

#[test]
fn a_sequence_that_can_not_be_is_an_error() {
    let mut received = received(5);
    received.reattached();
    assert_eq!(
        received.take(&sequence(7)),
        Err(SequenceError::Gap {
            sequence_id: 7,
            received: 5
        })
    );
    for sequence_id in [0, -1, i64::MIN] {
        assert_eq!(
            received.take(&sequence(sequence_id)),
            Err(SequenceError::NoNumber { sequence_id })
        );
    }
    assert_eq!(
        received.take(&sequence(i64::MAX)),
        Err(SequenceError::Gap {
            sequence_id: i64::MAX,
            received: 5
        })
    );
    assert_eq!(received.take(&call(6)), Ok(false), "it waits still");
    assert_eq!(received.take(&sequence(6)), Ok(true), "the next");
}

#[test]
fn a_replay_that_was_cut_may_go_on_behind_what_came_before() {
    let mut received = received(5);
    received.reattached();
    received.take(&sequence(1)).expect("the first");
    received.take(&call(1)).expect("a call");
    received.reattached();
    assert_eq!(received.take(&sequence(6)), Ok(true), "five have come");
}

#[test]
fn what_is_new_is_acknowledged_once() {
    let mut received = received(0);
    assert_eq!(received.acknowledgement(), None);
    for n in 1..=3 {
        received.take(&call(n)).expect("a call");
    }
    received.take(&HubMessage::Ping).expect("a ping");
    assert_eq!(received.acknowledgement(), Some(ack(3)));
    assert_eq!(received.acknowledgement(), None);
    received.take(&HubMessage::Ping).expect("a ping");
    assert_eq!(received.acknowledgement(), None, "a ping is not counted");
}

#[test]
fn a_lost_acknowledgement_is_said_again_once_all_came_again() {
    let mut received = received(3);
    assert_eq!(received.acknowledgement(), Some(ack(3)), "it gets lost");
    received.reattached();
    received.take(&sequence(1)).expect("the first");
    received.take(&call(1)).expect("a call");
    assert_eq!(received.acknowledgement(), None);
    received.take(&call(2)).expect("a call");
    received.take(&call(3)).expect("a call");
    assert_eq!(received.acknowledgement(), Some(ack(3)));
}
