//! Every message and event, byte for byte.

use super::*;
use crate::model::{
    Event, LeaveReason, Member, Message, MessageId, Role, Room, RoomId, Seq, Timestamp, UserId,
};
use crate::protocol::hub::{
    Closing, ClosingReason, Connected, Head, Heads, Method, Ping, RoomJoined, SendMessage, target,
};

/// What the official JavaScript client writes (version 10).
const VECTORS: &[&str] = &[
    r#"{"type":1,"target":"SendMessage","arguments":[{"roomId":7,"content":"hi"}],"invocationId":"0"}"#,
    r#"{"type":1,"target":"Ping","arguments":[{}]}"#,
    r#"{"type":1,"target":"Up","arguments":[],"invocationId":"2","streamIds":["1"]}"#,
    r#"{"type":4,"target":"StreamHistory","arguments":[{"roomId":7}],"invocationId":"4"}"#,
    r#"{"type":2,"invocationId":"4","item":42}"#,
    r#"{"type":2,"invocationId":"4","item":null}"#,
    r#"{"type":3,"invocationId":"4"}"#,
    r#"{"type":3,"invocationId":"0","result":{"id":1}}"#,
    r#"{"type":3,"invocationId":"0","result":null}"#,
    r#"{"type":3,"invocationId":"0","error":"forbidden: no"}"#,
    r#"{"type":5,"invocationId":"4"}"#,
    r#"{"type":6}"#,
    r#"{"type":7}"#,
    r#"{"type":8,"sequenceId":36}"#,
    r#"{"type":8,"sequenceId":300}"#,
    r#"{"type":9,"sequenceId":19}"#,
];

#[test]
fn what_the_javascript_client_writes_is_read_and_written_alike() {
    for vector in VECTORS {
        assert_eq!(encoded(&message(vector)), *vector);
    }
    // `invoke()` builds its message in this order.
    let invoked = r#"{"target":"Ping","arguments":[{}],"invocationId":"0","type":1}"#;
    assert_eq!(
        encoded(&message(invoked)),
        r#"{"type":1,"target":"Ping","arguments":[{}],"invocationId":"0"}"#
    );
}

#[test]
fn every_message_as_it_is_written() {
    let send = SendMessage {
        room_id: RoomId(7),
        content: "hi\u{1e}".to_owned(),
        client_message_id: None,
    };
    let lines = [
        written(|out| {
            JSON.invocation(Some("0"), "SendMessage", &send, out)
                .expect("text");
        }),
        written(|out| JSON.invocation(None, "Ping", &Ping {}, out).expect("text")),
        written(|out| {
            JSON.stream_invocation("4", Method::StreamHistory.target(), &Ping {}, out)
                .expect("text");
        }),
        written(|out| JSON.stream_item("4", &42, out).expect("a number")),
        written(|out| {
            JSON.completion(
                "0",
                &Head {
                    id: RoomId(1),
                    seq: Seq(2),
                },
                out,
            )
            .expect("text");
        }),
        written(|out| JSON.completion_void("0", out)),
        written(|out| JSON.completion_error("0", "forbidden: \"no\"", out)),
        written(|out| JSON.cancel_invocation("4", out)),
        written(|out| out.extend_from_slice(JSON.ping())),
        written(|out| JSON.close(None, false, out)),
        written(|out| JSON.close(None, true, out)),
        written(|out| JSON.close(Some(CLOSED_WITH_ERROR), true, out)),
        written(|out| JSON.close(Some(CLOSED_WITH_ERROR), false, out)),
        encoded(&HubMessage::Ack { sequence_id: 36 }),
        encoded(&HubMessage::Sequence { sequence_id: 19 }),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

fn event(target: &str, argument: &impl serde::Serialize) -> String {
    written(|out| JSON.event(target, argument, out).expect("a wire type"))
}

#[test]
fn every_event_of_a_connection_as_it_is_written() {
    let (seq, at) = (Seq(5), Timestamp::from_millis(1_769_860_800_007));
    let rooms = vec![Head { id: RoomId(7), seq }];
    let connected = Connected {
        user_id: UserId(1),
        connection_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        server_time: at,
        rooms: rooms.clone(),
    };
    let room = Room {
        id: RoomId(7),
        name: "Lounge".to_owned(),
        created_at: at,
        member_count: 2,
        seq,
        role: Some(Role::Admin),
    };
    let mut lines = vec![
        event(target::CONNECTED, &connected),
        event(target::ROOM_JOINED, &RoomJoined { room }),
        event(target::HEADS, &Heads { rooms }),
    ];
    for reason in [
        ClosingReason::Draining,
        ClosingReason::Slow,
        ClosingReason::TokenExpired,
        ClosingReason::SessionEnded,
    ] {
        lines.push(event(target::CLOSING, &Closing { reason }));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_event_of_a_room_as_it_is_written() {
    let (room_id, seq, at) = (RoomId(7), Seq(5), Timestamp::from_millis(1_769_860_800_007));
    let user_id = UserId(2);
    let message = Message {
        id: MessageId(100),
        room_id,
        seq: Seq(3),
        changed_seq: seq,
        sender_id: UserId(1),
        content: "Grüße, \"你\"\n".to_owned(),
        sent_at: at,
        edited_at: None,
        deleted_at: None,
        client_message_id: Some("c-1".to_owned()),
    };
    let edited = Message {
        edited_at: Some(at),
        client_message_id: None,
        ..message.clone()
    };
    let deleted = Message {
        content: String::new(),
        deleted_at: Some(at),
        ..edited.clone()
    };
    let member = Member {
        user_id,
        username: "bob".to_owned(),
        role: Role::Member,
        joined_at: at,
    };
    let room = Room {
        id: room_id,
        name: "Lounge".to_owned(),
        created_at: at,
        member_count: 2,
        seq,
        role: None,
    };
    let reason = LeaveReason::AccountDeleted;
    let events = [
        Event::MessageCreated(message),
        Event::MessageEdited(edited),
        Event::MessageDeleted(deleted),
        Event::MessagesDeleted {
            room_id,
            seq,
            sender_id: user_id,
        },
        Event::MemberJoined {
            room_id,
            seq,
            member: member.clone(),
        },
        Event::MemberChanged {
            room_id,
            seq,
            member,
        },
        Event::MembersChanged {
            room_id,
            seq,
            role: Role::Admin,
        },
        Event::MemberLeft {
            room_id,
            seq,
            user_id,
            reason,
        },
        Event::RoomChanged { room_id, seq, room },
        Event::RoomDeleted { room_id, seq },
    ];
    let lines = events.map(|e| event(e.kind().target(), &e.argument()));
    insta::assert_snapshot!(lines.join("\n"));
}
