//! Where implementations of the protocol have broken, as far as it concerns records.

use super::super::handshake::{HandshakeRequest, HandshakeResponse};
use super::*;
use crate::model::RoomId;
use crate::model::limits::HUB_RECORD_BYTES;
use crate::protocol::hub::SendMessage;

fn reader() -> RecordReader {
    RecordReader::new(HUB_RECORD_BYTES)
}

#[test]
fn a_handshake_may_be_cut_at_every_byte() {
    let handshake = b"{\"protocol\":\"json\",\"version\":1}\x1e";
    for cut in 0..=handshake.len() {
        let (a, b) = handshake.split_at(cut);
        let found = records(&mut reader(), &[a, b]).expect("short");
        assert_eq!(found.len(), 1, "cut at {cut}");
        let request = HandshakeRequest::parse(&found[0]).expect("a handshake");
        assert_eq!(request, HandshakeRequest::new(JSON, 1));
    }
}

#[test]
fn what_follows_a_handshake_in_its_frame_is_read_as_messages() {
    let mut frame = Vec::new();
    HandshakeRequest::new(JSON, 1).encode(&mut frame);
    for id in ["0", "1", "2"] {
        JSON.invocation(Some(id), "Ping", &crate::protocol::hub::Ping {}, &mut frame)
            .expect("a wire type");
    }
    let mut reader = reader();
    let mut input = &frame[..];
    let first = reader
        .next(Encoding::Json, &mut input)
        .expect("short")
        .expect("whole");
    let request = HandshakeRequest::parse(&first).expect("a handshake");
    let encoding = request
        .encoding(&[super::super::negotiate::TransferFormat::Text])
        .expect("ours");
    let mut ids = Vec::new();
    while let Some(record) = reader.next(encoding, &mut input).expect("short") {
        match encoding.decode(&record).expect("sound").expect("known") {
            HubMessage::Invocation { invocation_id, .. } => {
                ids.push(invocation_id.map(Cow::into_owned));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ids, ["0", "1", "2"].map(|id| Some(id.to_owned())));
}

#[test]
fn a_record_cut_inside_a_character_is_one_record() {
    let record = "{\"type\":1,\"target\":\"你好\",\"arguments\":[\"é\"]}\x1e".as_bytes();
    for cut in 0..=record.len() {
        let (a, b) = record.split_at(cut);
        let found = records(&mut reader(), &[a, b]).expect("short");
        assert_eq!(found, [record[..record.len() - 1].to_vec()]);
    }
    let bytes: Vec<&[u8]> = record.chunks(1).collect();
    assert_eq!(records(&mut reader(), &bytes).expect("short").len(), 1);
}

#[test]
fn many_small_records_in_a_large_frame_pass() {
    let record = format!("{{\"type\":6,\"padding\":\"{}\"}}\x1e", "x".repeat(480));
    let frame = record.repeat(200);
    assert!(frame.len() > 100_000);
    let found = records(&mut reader(), &[frame.as_bytes()]).expect("each is short");
    assert_eq!(found.len(), 200);
}

#[test]
fn a_record_of_the_limit_passes_and_one_byte_more_is_refused() {
    for (bytes, fits) in [(HUB_RECORD_BYTES, true), (HUB_RECORD_BYTES + 1, false)] {
        let mut record = vec![b' '; bytes];
        record[..10].copy_from_slice(b"{\"type\":6}");
        record[bytes - 1] = RECORD_SEPARATOR;
        for piece in [bytes, 1_000, 1] {
            let pieces: Vec<&[u8]> = record.chunks(piece).collect();
            let found = records(&mut reader(), &pieces);
            assert_eq!(found.is_ok(), fits, "{bytes} bytes in pieces of {piece}");
        }
    }
}

#[test]
fn a_record_that_is_sure_to_be_too_long_is_refused_before_its_end() {
    let mut reader = RecordReader::new(100);
    let mut input: &[u8] = &[b'x'; 99];
    assert_eq!(reader.next(JSON, &mut input), Ok(None));
    for _ in 0..3 {
        let mut more: &[u8] = b"xx\x1e{\"type\":6}\x1e";
        assert_eq!(
            reader.next(JSON, &mut more),
            Err(DecodeError::TooLong { limit: 100 }),
            "nothing behind it is run"
        );
    }
}

#[test]
fn a_reader_without_half_a_record_has_nothing_allocated() {
    assert!(size_of::<RecordReader>() <= 64);
    let mut reader = reader();
    assert_eq!(reader.held_bytes(), 0);
    records(&mut reader, &[b"{\"type\":6}\x1e{\"type\":6"]).expect("short");
    assert!(reader.held_bytes() > 0);
    records(&mut reader, &[b"}\x1e"]).expect("short");
    assert_eq!(reader.held_bytes(), 0);
}

#[test]
fn a_reader_holds_no_more_than_the_limit() {
    let mut reader = RecordReader::new(1_000);
    for _ in 0..999 {
        let mut input: &[u8] = b"x";
        assert_eq!(reader.next(JSON, &mut input), Ok(None));
        assert!(reader.held_bytes() <= 1_000);
    }
}

#[test]
fn a_whole_record_is_not_copied() {
    let frame = b"{\"type\":6}\x1e".to_vec();
    let mut input = &frame[..];
    let record = reader()
        .next(JSON, &mut input)
        .expect("short")
        .expect("whole");
    assert!(matches!(record, Cow::Borrowed(bytes) if bytes.as_ptr() == frame.as_ptr()));
}

#[test]
fn an_unknown_type_between_two_calls_is_skipped() {
    let frame = concat!(
        "{\"type\":1,\"target\":\"A\",\"arguments\":[],\"invocationId\":\"1\"}\x1e",
        "{\"type\":99,\"target\":5,\"arguments\":{},\"invocationId\":[]}\x1e",
        "{\"type\":1,\"target\":\"B\",\"arguments\":[],\"invocationId\":\"2\"}\x1e",
    );
    let found = records(&mut reader(), &[frame.as_bytes()]).expect("short");
    let known: Vec<bool> = found
        .iter()
        .map(|record| JSON.decode(record).expect("sound").is_some())
        .collect();
    assert_eq!(known, [true, false, true]);
}

#[test]
fn arguments_may_come_before_the_target() {
    let record = r#"{"arguments":[{"content":"hi","roomId":7}],"invocationId":"0","target":"SendMessage","type":1}"#;
    let HubMessage::Invocation {
        target, arguments, ..
    } = message(record)
    else {
        panic!("not a call");
    };
    assert_eq!(target, "SendMessage");
    let argument: SendMessage = JSON.arguments(arguments).expect("a SendMessage");
    assert_eq!(
        (argument.room_id, argument.content.as_str()),
        (RoomId(7), "hi")
    );
}

#[test]
fn names_and_keys_may_be_escaped() {
    let record = r#"{"\u0074ype":1,"target":"\u0053endMessage","arguments":[]}"#;
    assert_eq!(
        message(record),
        HubMessage::Invocation {
            invocation_id: None,
            target: "SendMessage".into(),
            arguments: Raw(b"[]").into(),
            stream_ids: vec![],
        }
    );
}

#[test]
fn headers_are_never_kept() {
    let record = r#"{"type":1,"headers":{"Authorization":"Bearer s3cret","x":[{}]},"target":"Ping","arguments":[{}],"invocationId":"3"}"#;
    let message = message(record);
    assert!(!format!("{message:?}").contains("s3cret"));
    assert_eq!(
        encoded(&message),
        r#"{"type":1,"target":"Ping","arguments":[{}],"invocationId":"3"}"#
    );
}

#[test]
fn what_people_wrote_is_not_in_debug() {
    let record = r#"{"type":1,"target":"SendMessage","arguments":[{"content":"s3cret"}]}"#;
    assert!(!format!("{:?}", message(record)).contains("s3cret"));
    let mut reader = reader();
    records(&mut reader, &[b"s3cret"]).expect("short");
    assert!(!format!("{reader:?}").contains("s3cret"));
}

#[test]
fn an_id_is_any_text_and_comes_back_byte_for_byte() {
    for id in ["x".repeat(300), "你\"".to_owned(), "\u{1e}\\\n".to_owned()] {
        let record = format!(
            r#"{{"type":1,"target":"Ping","arguments":[{{}}],"invocationId":{}}}"#,
            serde_json::to_string(&id).expect("text")
        );
        let HubMessage::Invocation { invocation_id, .. } = message(&record) else {
            panic!("not a call");
        };
        assert_eq!(invocation_id.as_deref(), Some(id.as_str()));
        let answer = written(|out| JSON.completion_void(&id, out));
        let HubMessage::Completion { invocation_id, .. } = message(&answer) else {
            panic!("not a completion");
        };
        assert_eq!(invocation_id, id);
    }
    let escaped = r#"{"type":5,"invocationId":"\u4f60\""}"#;
    assert_eq!(
        message(escaped),
        HubMessage::CancelInvocation {
            invocation_id: "你\"".into()
        }
    );
}

#[test]
fn a_handshake_answer_keeps_what_follows_it() {
    let frame = b"{}\x1e{\"type\":6}\x1e";
    let mut input = &frame[..];
    let mut reader = reader();
    let answer = reader
        .next(JSON, &mut input)
        .expect("short")
        .expect("whole");
    assert_eq!(
        HandshakeResponse::parse(&answer),
        Ok(HandshakeResponse::default())
    );
    let next = reader
        .next(JSON, &mut input)
        .expect("short")
        .expect("whole");
    assert_eq!(JSON.decode(&next), Ok(Some(HubMessage::Ping)));
}
