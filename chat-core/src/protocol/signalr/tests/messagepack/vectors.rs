//! What the official JavaScript client writes (version 10), and what is written to it.

use serde_json::{Value, json};

use super::*;
use crate::model::{Event, Message, MessageId, RoomId, Seq, Timestamp, UserId};
use crate::protocol::hub::{Closing, ClosingReason, Head, Heads, target};

/// Writes a record.
type Write = fn(&mut Vec<u8>);

/// A message as JSON by the JavaScript client, the same as MessagePack by it, and as we write that where it differs.
const VECTORS: &[(&str, &str, &str)] = &[
    (
        r#"{"type":1,"target":"SendMessage","arguments":[{"roomId":7,"content":"hi"}],"invocationId":"0"}"#,
        "26 95 01 80 a1 30 ab 53 65 6e 64 4d 65 73 73 61 67 65 91 82 a6 72 6f 6f 6d 49 64 07 a7 63 6f 6e 74 65 6e 74 a2 68 69",
        "27 96 01 80 a1 30 ab 53 65 6e 64 4d 65 73 73 61 67 65 91 82 a6 72 6f 6f 6d 49 64 07 a7 63 6f 6e 74 65 6e 74 a2 68 69 90",
    ),
    (
        r#"{"type":1,"target":"Ping","arguments":[{}]}"#,
        "0b 95 01 80 c0 a4 50 69 6e 67 91 80",
        "0c 96 01 80 c0 a4 50 69 6e 67 91 80 90",
    ),
    (
        r#"{"type":1,"target":"Up","arguments":[],"invocationId":"2","streamIds":["1"]}"#,
        "0c 96 01 80 a1 32 a2 55 70 90 91 a1 31",
        "",
    ),
    (
        r#"{"type":1,"headers":{"a":"b"},"target":"Ping","arguments":[{}],"invocationId":"3"}"#,
        "10 95 01 81 a1 61 a1 62 a1 33 a4 50 69 6e 67 91 80",
        "0d 96 01 80 a1 33 a4 50 69 6e 67 91 80 90",
    ),
    (
        r#"{"type":4,"target":"StreamHistory","arguments":[{"roomId":7}],"invocationId":"4"}"#,
        "1d 95 04 80 a1 34 ad 53 74 72 65 61 6d 48 69 73 74 6f 72 79 91 81 a6 72 6f 6f 6d 49 64 07",
        "1e 96 04 80 a1 34 ad 53 74 72 65 61 6d 48 69 73 74 6f 72 79 91 81 a6 72 6f 6f 6d 49 64 07 90",
    ),
    (
        r#"{"type":2,"invocationId":"4","item":42}"#,
        "06 94 02 80 a1 34 2a",
        "",
    ),
    (
        r#"{"type":2,"invocationId":"4","item":null}"#,
        "06 94 02 80 a1 34 c0",
        "",
    ),
    (
        r#"{"type":3,"invocationId":"4"}"#,
        "06 94 03 80 a1 34 02",
        "",
    ),
    (
        r#"{"type":3,"invocationId":"0","result":{"id":1}}"#,
        "0b 95 03 80 a1 30 03 81 a2 69 64 01",
        "",
    ),
    (
        r#"{"type":3,"invocationId":"0","result":null}"#,
        "07 95 03 80 a1 30 03 c0",
        "",
    ),
    (
        r#"{"type":3,"invocationId":"0","error":"forbidden: no"}"#,
        "14 95 03 80 a1 30 01 ad 66 6f 72 62 69 64 64 65 6e 3a 20 6e 6f",
        "",
    ),
    (r#"{"type":5,"invocationId":"4"}"#, "05 93 05 80 a1 34", ""),
    (r#"{"type":6}"#, "02 91 06", ""),
    (r#"{"type":7}"#, "03 92 07 c0", "04 93 07 c0 c2"),
    (r#"{"type":8,"sequenceId":36}"#, "03 92 08 24", ""),
    (r#"{"type":8,"sequenceId":300}"#, "05 92 08 cd 01 2c", ""),
    (r#"{"type":9,"sequenceId":19}"#, "03 92 09 13", ""),
];

/// A message with its values read, whatever it was encoded in.
fn described(encoding: Encoding, message: &HubMessage<'_>) -> Value {
    let value = |raw: Raw<'_>| encoding.value::<Value>(raw).expect("a value");
    match message {
        HubMessage::Invocation {
            invocation_id,
            target,
            arguments,
            stream_ids,
        } => json!([1, invocation_id, target, value(arguments.raw()), stream_ids]),
        HubMessage::StreamItem {
            invocation_id,
            item,
        } => json!([2, invocation_id, value(*item)]),
        HubMessage::Completion {
            invocation_id,
            result,
        } => match result {
            CompletionResult::Void => json!([3, invocation_id]),
            CompletionResult::Value(result) => json!([3, invocation_id, "result", value(*result)]),
            CompletionResult::Error(error) => json!([3, invocation_id, "error", error]),
        },
        HubMessage::StreamInvocation {
            invocation_id,
            target,
            arguments,
            stream_ids,
        } => json!([4, invocation_id, target, value(arguments.raw()), stream_ids]),
        HubMessage::CancelInvocation { invocation_id } => json!([5, invocation_id]),
        HubMessage::Ping => json!([6]),
        HubMessage::Close {
            error,
            allow_reconnect,
        } => json!([7, error, allow_reconnect]),
        HubMessage::Ack { sequence_id } => json!([8, sequence_id]),
        HubMessage::Sequence { sequence_id } => json!([9, sequence_id]),
    }
}

#[test]
fn what_the_javascript_client_writes_says_the_same_in_both_encodings() {
    for (json, packed, ours) in VECTORS {
        let record = record(&bytes(packed));
        let read = message(&record);
        assert_eq!(
            described(MESSAGE_PACK, &read),
            described(JSON, &super::super::message(json)),
            "{json}"
        );
        let expected = if ours.is_empty() { packed } else { ours };
        assert_eq!(
            hex(&appended(|out| MESSAGE_PACK.encode(&read, out))),
            *expected,
            "{json}"
        );
    }
}

#[test]
fn what_is_written_to_a_client_is_as_clients_read_it() {
    let written: &[(&str, Write)] = &[
        ("09 96 01 80 c0 a1 45 91 01 90", |out| {
            MESSAGE_PACK.event("E", &1, out).expect("a number");
        }),
        ("09 96 01 80 c0 a1 45 91 01 90", |out| {
            MESSAGE_PACK.event_raw("E", Raw(&[1]), out);
        }),
        ("04 93 07 c0 c2", |out| {
            MESSAGE_PACK.close(None, false, out);
        }),
        ("04 93 07 c0 c3", |out| MESSAGE_PACK.close(None, true, out)),
        ("05 93 07 a1 78 c2", |out| {
            MESSAGE_PACK.close(Some("x"), false, out);
        }),
        ("02 91 06", |out| {
            out.extend_from_slice(MESSAGE_PACK.ping());
        }),
        ("0d 96 01 80 a1 30 a4 50 69 6e 67 91 80 90", |out| {
            let ping = crate::protocol::hub::Ping {};
            MESSAGE_PACK
                .invocation(Some("0"), "Ping", &ping, out)
                .expect("a wire type");
        }),
        ("0d 96 04 80 a1 34 a4 50 69 6e 67 91 80 90", |out| {
            let ping = crate::protocol::hub::Ping {};
            MESSAGE_PACK
                .stream_invocation("4", "Ping", &ping, out)
                .expect("a wire type");
        }),
        ("06 94 02 80 a1 34 2a", |out| {
            MESSAGE_PACK.stream_item("4", &42, out).expect("a number");
        }),
        (
            "10 95 03 80 a1 30 03 82 a2 69 64 01 a3 73 65 71 02",
            |out| {
                let (id, seq) = (RoomId(1), Seq(2));
                MESSAGE_PACK
                    .completion("0", &Head { id, seq }, out)
                    .expect("a wire type");
            },
        ),
        ("07 95 03 80 a1 30 03 c0", |out| {
            MESSAGE_PACK.completion_raw("0", Raw(&[0xc0]), out);
        }),
        ("06 94 03 80 a1 34 02", |out| {
            MESSAGE_PACK.completion_void("4", out);
        }),
        ("08 95 03 80 a1 30 01 a1 78", |out| {
            MESSAGE_PACK.completion_error("0", "x", out);
        }),
        ("05 93 05 80 a1 34", |out| {
            MESSAGE_PACK.cancel_invocation("4", out);
        }),
    ];
    for (expected, write) in written {
        assert_eq!(hex(&appended(write)), *expected);
    }
}

#[test]
fn a_length_takes_as_many_bytes_as_it_needs() {
    for (content, prefix) in [
        (121, "83 01 96 01 80 c0 a1 53 91 d9 79"),
        (0, "09 96 01 80 c0 a1 53 91 a0 90"),
        (20_000, "ab 9c 01 96 01 80 c0 a1 53 91 da 4e 20"),
        (70_000, "fd a2 04 96 01 80 c0 a1 53 91 db 00 01 11 70"),
        (3_000_000, "cd 8d b7 01 96 01 80 c0 a1 53 91 db 00 2d c6 c0"),
    ] {
        let content = "x".repeat(content);
        let framed = appended(|out| MESSAGE_PACK.event("S", &content, out).expect("text"));
        let prefix = bytes(prefix);
        assert_eq!(hex(&framed[..prefix.len()]), hex(&prefix));
        let record = record(&framed);
        let HubMessage::Invocation { arguments, .. } = message(&record) else {
            panic!("not a call");
        };
        let read: String = MESSAGE_PACK.event_argument(arguments).expect("text");
        assert_eq!(read, content);
    }
    // The prefixes of the reference: 53, 130 and 5248.
    for (prefix, length) in [("35", 53), ("82 01", 130), ("80 29", 5248)] {
        let mut framed = bytes(prefix);
        framed.resize(framed.len() + length, 0);
        assert_eq!(record(&framed).len(), length);
    }
}

#[test]
fn an_event_of_a_room_is_a_map_with_the_names_of_json() {
    let event = Event::MessageCreated(Message {
        id: MessageId(5_000_000_000),
        room_id: RoomId(7),
        seq: Seq(200),
        changed_seq: Seq(70_000),
        sender_id: UserId(3_000_000_000),
        content: "é".to_owned(),
        sent_at: Timestamp::from_millis(1_769_860_800_007),
        edited_at: None,
        deleted_at: None,
        client_message_id: None,
    });
    let framed = appended(|out| {
        MESSAGE_PACK
            .event(event.kind().target(), &event.argument(), out)
            .expect("a wire type");
    });
    let text = |text: &str| hex(&packed(&text));
    let expected = [
        "96 01 80 c0".to_owned(),
        text("MessageCreated"),
        "91 87".to_owned(),
        text("id"),
        // Signed, though it isn't negative: some clients read an unsigned one as no integer.
        "d3 00 00 00 01 2a 05 f2 00".to_owned(),
        text("roomId"),
        "07".to_owned(),
        text("seq"),
        "cc c8".to_owned(),
        text("changedSeq"),
        "ce 00 01 11 70".to_owned(),
        text("senderId"),
        "ce b2 d0 5e 00".to_owned(),
        text("content"),
        "a2 c3 a9".to_owned(),
        text("sentAt"),
        text("2026-01-31T12:00:00.007Z"),
        "90".to_owned(),
    ]
    .join(" ");
    assert_eq!(hex(&record(&framed)), expected);
}

#[test]
fn an_event_of_a_connection_is_a_map_with_the_names_of_json() {
    let heads = Heads {
        rooms: vec![Head {
            id: RoomId(7),
            seq: Seq(5),
        }],
    };
    assert_eq!(
        hex(&appended(|out| {
            MESSAGE_PACK
                .event(target::HEADS, &heads, out)
                .expect("a wire type");
        })),
        "1e 96 01 80 c0 a5 48 65 61 64 73 91 81 a5 72 6f 6f 6d 73 91 82 a2 69 64 07 a3 73 65 71 05 90"
    );
    let closing = Closing {
        reason: ClosingReason::Slow,
    };
    assert_eq!(
        hex(&appended(|out| {
            MESSAGE_PACK
                .event(target::CLOSING, &closing, out)
                .expect("a wire type");
        })),
        "1b 96 01 80 c0 a7 43 6c 6f 73 69 6e 67 91 81 a6 72 65 61 73 6f 6e a4 73 6c 6f 77 90"
    );
}
