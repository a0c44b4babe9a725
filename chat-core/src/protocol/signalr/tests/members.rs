//! Which members a message must have, and of what type.

use super::*;
use crate::model::limits::JSON_DEPTH;
use crate::protocol::hub::{GetMessages, Ping, SendMessage};

#[test]
fn a_required_member_that_is_missing_ends_the_connection() {
    for (record, member) in [
        (r#"{}"#, "type"),
        (r#"{"type":null}"#, "type"),
        (r#"{"type":1,"arguments":[]}"#, "target"),
        (r#"{"type":1,"target":null,"arguments":[]}"#, "target"),
        (r#"{"type":1,"target":"A"}"#, "arguments"),
        (r#"{"type":1,"target":"A","arguments":null}"#, "arguments"),
        (r#"{"type":2,"item":1}"#, "invocationId"),
        (r#"{"type":2,"invocationId":"","item":1}"#, "invocationId"),
        (r#"{"type":2,"invocationId":"1"}"#, "item"),
        (r#"{"type":3}"#, "invocationId"),
        (r#"{"type":3,"invocationId":null}"#, "invocationId"),
        (r#"{"type":4,"target":"A","arguments":[]}"#, "invocationId"),
        (r#"{"type":4,"invocationId":"1","arguments":[]}"#, "target"),
        (r#"{"type":4,"invocationId":"1","target":"A"}"#, "arguments"),
        (r#"{"type":5}"#, "invocationId"),
        (r#"{"type":8}"#, "sequenceId"),
        (r#"{"type":9,"sequenceId":null}"#, "sequenceId"),
        (r#"{"Type":6}"#, "type"),
    ] {
        assert_eq!(
            decode(record),
            Err(DecodeError::Missing(member)),
            "{record}"
        );
    }
}

#[test]
fn a_member_of_the_wrong_type_ends_the_connection() {
    for (record, member) in [
        (r#"{"type":"1","target":"A","arguments":[]}"#, "type"),
        (r#"{"type":1.5,"target":"A","arguments":[]}"#, "type"),
        (r#"{"type":true}"#, "type"),
        (r#"{"type":1,"target":1,"arguments":[]}"#, "target"),
        (r#"{"type":1,"target":"A","arguments":{}}"#, "arguments"),
        (r#"{"type":1,"target":"A","arguments":"[]"}"#, "arguments"),
        (
            r#"{"type":1,"target":"A","arguments":[],"invocationId":1}"#,
            "invocationId",
        ),
        (
            r#"{"type":1,"target":"A","arguments":[],"streamIds":"1"}"#,
            "streamIds",
        ),
        (
            r#"{"type":1,"target":"A","arguments":[],"streamIds":[1]}"#,
            "streamIds",
        ),
        (
            r#"{"type":1,"target":"A","arguments":[],"streamIds":[null]}"#,
            "streamIds",
        ),
        (r#"{"type":3,"invocationId":"1","error":5}"#, "error"),
        (r#"{"type":7,"error":{}}"#, "error"),
        (r#"{"type":7,"allowReconnect":"yes"}"#, "allowReconnect"),
        (r#"{"type":8,"sequenceId":"1"}"#, "sequenceId"),
        (r#"{"type":5,"invocationId":"\ud800"}"#, "invocationId"),
    ] {
        assert_eq!(
            decode(record),
            Err(DecodeError::WrongType(member)),
            "{record}"
        );
    }
    assert_eq!(
        decode(r#"{"type":3,"invocationId":"1","error":"e","result":1}"#),
        Err(DecodeError::ErrorAndResult)
    );
}

#[test]
fn an_optional_member_that_is_null_is_absent() {
    for (record, same) in [
        (
            r#"{"type":1,"target":"A","arguments":[],"invocationId":null,"streamIds":null,"headers":null}"#,
            r#"{"type":1,"target":"A","arguments":[]}"#,
        ),
        (
            r#"{"type":1,"target":"A","arguments":[],"invocationId":""}"#,
            r#"{"type":1,"target":"A","arguments":[]}"#,
        ),
        (
            r#"{"type":7,"error":null,"allowReconnect":null}"#,
            r#"{"type":7}"#,
        ),
        (
            r#"{"type":3,"invocationId":"1","error":null}"#,
            r#"{"type":3,"invocationId":"1"}"#,
        ),
        (
            r#"{"type":3,"invocationId":"1","error":"e","result":null}"#,
            r#"{"type":3,"invocationId":"1","error":"e"}"#,
        ),
    ] {
        assert_eq!(encoded(&message(record)), same, "{record}");
    }
}

#[test]
fn a_result_or_an_item_may_be_null() {
    let record = r#"{"type":3,"invocationId":"1","error":null,"result":null}"#;
    assert_eq!(
        message(record),
        HubMessage::Completion {
            invocation_id: "1".into(),
            result: CompletionResult::Value(Raw(b"null")),
        }
    );
}

#[test]
fn the_last_of_a_doubled_member_counts() {
    let record = r#"{"type":6,"type":5,"invocationId":"1","invocationId":"2"}"#;
    assert_eq!(
        message(record),
        HubMessage::CancelInvocation {
            invocation_id: "2".into()
        }
    );
}

#[test]
fn members_that_a_type_does_not_ask_for_are_not_looked_at() {
    assert_eq!(
        message(r#"{"target":1,"type":6,"error":[],"more":{"a":[null,true,1e3]}}"#),
        HubMessage::Ping
    );
}

#[test]
fn white_space_and_an_integral_float_change_nothing() {
    assert_eq!(message(" {\t\"type\" :\r\n 6.0 } "), HubMessage::Ping);
    assert_eq!(
        message(r#"{"type":8e0,"sequenceId":36.0}"#),
        HubMessage::Ack { sequence_id: 36 }
    );
}

#[test]
fn what_is_no_object_ends_the_connection() {
    for record in [
        "",
        " ",
        "{",
        "}",
        "[]",
        "1",
        "\"{}\"",
        "null",
        "{\"type\"}",
        "{\"type\":}",
        "{\"type\":6",
        "{\"type\":6,}",
        "{,\"type\":6}",
        "{\"type\":6}}",
        "{\"type\":6}{}",
        "{type:6}",
        "{'type':6}",
        "{\"type\":06}",
        "{\"type\":6.}",
        "{\"type\":+6}",
        "{\"type\":6 \"a\":1}",
        "{\"type\":6,\"a\":tru}",
        "{\"type\":6,\"a\":nulll}",
        "{\"type\":6,\"a\":\"\n\"}",
        "{\"type\":6,\"a\":\"\\x\"}",
        "{\"type\":6,\"a\":\"\\u12g4\"}",
        "{\"type\":6,\"a\":[1,]}",
        "{\"type\":6,\"a\":[1}}",
        "{\"type\":6,\"a\":{\"b\"}}",
        "{\"type\":6,\"a\":-}",
        "{\"type\":6,\"a\":1e}",
        "\u{feff}{\"type\":6}",
        "{\"type\":6}\0",
        "{\"type\":6,\"\\ud800\":1}",
        "{\"type\":6,\"a\":\"",
        "{\"type\":6,\"a\":\"\\",
    ] {
        assert!(
            matches!(decode(record), Err(DecodeError::Malformed { .. })),
            "{record:?} is read as {:?}",
            decode(record)
        );
    }
    assert_eq!(
        JSON.decode(b"{\"type\":6,\"a\":\"\xff\"}"),
        Err(DecodeError::Malformed { at: 15 })
    );
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn a_record_nested_too_deeply_ends_the_connection() {
    for member in ["headers", "item", "result", "streamIds"] {
        let record = |levels| format!(r#"{{"type":6,"{member}":{}}}"#, nested(levels - 1));
        assert_eq!(message(&record(JSON_DEPTH)), HubMessage::Ping);
        for levels in [JSON_DEPTH + 1, 1_000, 30_000] {
            assert!(matches!(
                decode(&record(levels)),
                Err(DecodeError::Malformed { .. })
            ));
        }
    }
    let many = format!(r#"{{"type":6,"a":[{}0]}}"#, "[],{},".repeat(5_000));
    assert_eq!(message(&many), HubMessage::Ping);
}

fn call(arguments: &str) -> String {
    format!(r#"{{"type":1,"target":"SendMessage","arguments":{arguments}}}"#)
}

fn refusal<T: serde::de::DeserializeOwned + std::fmt::Debug>(arguments: &str) -> String {
    let record = call(arguments);
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    let as_read = JSON.arguments::<T>(arguments);
    let as_given = JSON.arguments::<T>(arguments.raw().into());
    assert_eq!(as_read.as_ref().err(), as_given.as_ref().err(), "{record}");
    as_read.expect_err(&record).to_string()
}

#[test]
fn refused_arguments_name_the_field() {
    for (arguments, text) in [
        (r#"[]"#, "the method takes one argument, not 0"),
        (
            r#"[{"roomId":7,"content":"a"},{}]"#,
            "the method takes one argument, not 2",
        ),
        (r#"[7]"#, "the value must be an object"),
        (r#"[null]"#, "the value must be an object"),
        (r#"[[7,"a",null]]"#, "the value must be an object"),
        (r#"[{"roomId":7}]"#, "content is missing"),
        (r#"[{"content":"a"}]"#, "roomId is missing"),
        (
            r#"[{"roomId":7,"content":null}]"#,
            "content must be a string",
        ),
        (
            r#"[{"roomId":"7","content":"a"}]"#,
            "roomId must be an integer",
        ),
        (
            r#"[{"roomId":7.5,"content":"a"}]"#,
            "roomId must be an integer",
        ),
        (
            r#"[{"roomId":7,"content":"a","clientMessageId":1}]"#,
            "clientMessageId must be a string",
        ),
        (
            r#"[{"roomId":7,"content":"a","content":"b"}]"#,
            "the key \"content\" stands twice in one object",
        ),
        (
            r#"[{"roomId":7,"content":"a","x":[{"a":1,"\u0061":2}]}]"#,
            "the key \"a\" stands twice in one object",
        ),
    ] {
        assert_eq!(refusal::<SendMessage>(arguments), text);
    }
    assert_eq!(
        refusal::<GetMessages>(r#"[{"roomId":7,"limit":"all"}]"#),
        "limit must be an integer"
    );
    assert_eq!(
        refusal::<Ping>("[]"),
        "the method takes one argument, not 0"
    );
}

#[test]
fn arguments_nested_too_deeply_refuse_the_call_alone() {
    let argument = |levels| {
        format!(
            r#"[{{"roomId":7,"content":"a","x":{}}}]"#,
            nested(levels - 1)
        )
    };
    let record = call(&argument(JSON_DEPTH));
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    JSON.arguments::<SendMessage>(arguments)
        .expect("not over the limit");
    assert_eq!(
        refusal::<SendMessage>(&argument(JSON_DEPTH + 1)),
        "nested over 32 deep"
    );
    assert_eq!(
        refusal::<SendMessage>(&argument(127)),
        "nested over 32 deep"
    );
    assert!(matches!(
        decode(&call(&argument(30_000))),
        Err(DecodeError::Malformed { .. })
    ));
}

#[test]
fn a_null_or_unknown_member_of_an_argument_is_as_if_absent() {
    let record = call(r#"[{"roomId":7.0,"content":"a","clientMessageId":null,"more":{"a":1}}]"#);
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    let argument: SendMessage = JSON.arguments(arguments).expect("a SendMessage");
    assert_eq!((argument.room_id.0, argument.client_message_id), (7, None));
}

#[test]
fn a_value_that_is_not_what_it_must_be_says_so_without_repeating_it() {
    let e = JSON
        .value::<crate::model::Message>(Raw(br#"{"id":"s3cret"}"#))
        .expect_err("no message");
    assert_eq!(
        e.to_string(),
        "a value can't be read: id must be an integer"
    );
}

#[test]
fn what_can_not_be_written_leaves_the_buffer_as_it_was() {
    let unwritable = std::collections::BTreeMap::from([((), 1)]);
    let mut out = b"before".to_vec();
    for result in [
        JSON.event("E", &unwritable, &mut out),
        JSON.completion("1", &unwritable, &mut out),
        JSON.stream_item("1", &unwritable, &mut out),
        JSON.encode_value(&unwritable, &mut out),
    ] {
        assert!(result.is_err());
    }
    assert_eq!(out, b"before");
}
