//! Records and arguments as they must not be, and where they are cut.

use super::*;
use crate::model::limits::{HUB_RECORD_BYTES, JSON_DEPTH};
use crate::protocol::hub::{GetMessages, Ping, SendMessage};

fn reader() -> RecordReader {
    RecordReader::new(HUB_RECORD_BYTES)
}

fn records(reader: &mut RecordReader, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut found = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(record) = reader.next(MESSAGE_PACK, &mut piece)? {
            found.push(record.into_owned());
        }
        assert!(piece.is_empty(), "all of the input is taken");
    }
    Ok(found)
}

/// A call whose one argument is text of this many bytes, which must be far from few.
fn long_call(content: usize) -> Vec<u8> {
    appended(|out| {
        MESSAGE_PACK
            .invocation(Some("0"), "S", &"x".repeat(content), out)
            .expect("text");
    })
}

#[test]
fn records_cut_at_every_byte_are_the_same_records() {
    let mut stream = bytes("02 91 06");
    stream.extend(long_call(300));
    stream.extend(bytes("00"));
    stream.extend(appended(|out| {
        MESSAGE_PACK.event("E", &"你好", out).expect("text");
    }));
    let whole = records(&mut reader(), &[&stream]).expect("short");
    assert_eq!(whole.len(), 4);
    for cut in 0..=stream.len() {
        let (a, b) = stream.split_at(cut);
        let found = records(&mut reader(), &[a, b]).expect("short");
        assert_eq!(found, whole, "cut at {cut}");
    }
    let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(records(&mut reader(), &one_by_one).expect("short"), whole);
}

#[test]
fn a_handshake_and_three_calls_in_one_frame_are_read_in_turn() {
    let mut frame = Vec::new();
    handshake::HandshakeRequest::new(MESSAGE_PACK, 1).encode(&mut frame);
    for id in ["0", "1", "2"] {
        MESSAGE_PACK
            .invocation(Some(id), "Ping", &Ping {}, &mut frame)
            .expect("a wire type");
    }
    for cut in 0..=frame.len() {
        let mut reader = reader();
        let (mut encoding, mut ids) = (JSON, Vec::new());
        for mut piece in [&frame[..cut], &frame[cut..]] {
            while let Some(record) = reader.next(encoding, &mut piece).expect("short") {
                if encoding == JSON {
                    let request = handshake::HandshakeRequest::parse(&record).expect("one");
                    encoding = request
                        .encoding(&[negotiate::TransferFormat::Binary])
                        .expect("ours");
                } else if let HubMessage::Invocation { invocation_id, .. } = message(&record) {
                    ids.extend(invocation_id.map(Cow::into_owned));
                }
            }
        }
        assert_eq!(ids, ["0", "1", "2"], "cut at {cut}");
    }
}

#[test]
fn a_length_that_is_none_is_refused_at_once_and_for_good() {
    for prefix in ["ff ff ff ff ff 01", "80 80 80 80 08", "80 80 80 80 80"] {
        let prefix = bytes(prefix);
        let mut whole = reader();
        let mut input = &prefix[..];
        let refused = Err(DecodeError::Malformed { at: 4 });
        assert_eq!(whole.next(MESSAGE_PACK, &mut input), refused);
        let mut more: &[u8] = &[2, 0x91, 6];
        assert_eq!(whole.next(MESSAGE_PACK, &mut more), refused);
        let mut cut = reader();
        let pieces: Vec<&[u8]> = prefix.chunks(1).collect();
        assert!(records(&mut cut, &pieces).is_err());
        assert!(cut.held_bytes() <= 16);
    }
}

#[test]
fn a_length_over_the_limit_is_refused_at_once_and_nothing_is_allocated_for_it() {
    // 50,000,000, and a hundred bytes of it.
    let mut input = bytes("80 e1 eb 17");
    input.resize(104, 0);
    let mut reader = reader();
    let refused = DecodeError::TooLong {
        limit: HUB_RECORD_BYTES,
    };
    assert_eq!(records(&mut reader, &[&input]), Err(refused.clone()));
    assert!(reader.held_bytes() <= 16);
    assert_eq!(
        records(&mut reader, &[b"\x02\x91\x06"]),
        Err(refused),
        "nothing behind it is run"
    );
    // One that fits is believed, but takes memory only as it comes.
    let mut reader = self::reader();
    records(&mut reader, &[b"\xfc\xff\x03", b"\x95"]).expect("not too long");
    assert!(reader.held_bytes() <= 16);
}

#[test]
fn a_record_of_the_limit_passes_and_one_byte_more_is_refused() {
    let overhead = long_call(HUB_RECORD_BYTES).len() - HUB_RECORD_BYTES;
    for (bytes, fits) in [(HUB_RECORD_BYTES, true), (HUB_RECORD_BYTES + 1, false)] {
        // Text above 65,535 bytes has a longer head.
        let mut content = bytes - overhead;
        while long_call(content).len() < bytes {
            content += 1;
        }
        let record = long_call(content);
        assert_eq!(record.len(), bytes);
        for piece in [bytes, 1_000, 1] {
            let pieces: Vec<&[u8]> = record.chunks(piece).collect();
            let found = records(&mut reader(), &pieces);
            assert_eq!(found.is_ok(), fits, "{bytes} bytes in pieces of {piece}");
        }
    }
}

#[test]
fn two_hundred_small_records_in_a_large_frame_pass() {
    let frame = long_call(500).repeat(200);
    assert!(frame.len() > 100_000);
    let found = records(&mut reader(), &[&frame]).expect("each is short");
    assert_eq!(found.len(), 200);
}

#[test]
fn a_reader_without_half_a_record_has_nothing_allocated() {
    let mut reader = reader();
    records(&mut reader, &[b"\x02\x91\x06\x02\x91"]).expect("short");
    assert!(reader.held_bytes() > 0);
    records(&mut reader, &[b"\x06"]).expect("short");
    assert_eq!(reader.held_bytes(), 0);
}

#[test]
fn a_reader_holds_no_more_than_the_limit() {
    let mut reader = RecordReader::new(1_000);
    let record = long_call(900);
    for byte in &record[..record.len() - 1] {
        let mut input = std::slice::from_ref(byte);
        assert_eq!(reader.next(MESSAGE_PACK, &mut input), Ok(None));
        assert!(reader.held_bytes() <= 1_000);
    }
}

#[test]
fn a_whole_record_is_not_copied() {
    let frame = bytes("02 91 06");
    let mut input = &frame[..];
    let record = reader()
        .next(MESSAGE_PACK, &mut input)
        .expect("short")
        .expect("whole");
    assert!(matches!(record, Cow::Borrowed(bytes) if bytes.as_ptr() == frame[1..].as_ptr()));
}

#[test]
fn an_id_is_any_text_and_comes_back_byte_for_byte() {
    for id in ["x".repeat(300), "你\"".to_owned(), "\u{1e}\\\n".to_owned()] {
        let call = appended(|out| {
            MESSAGE_PACK
                .invocation(Some(&id), "Ping", &Ping {}, out)
                .expect("a wire type");
        });
        let call = record(&call);
        let HubMessage::Invocation { invocation_id, .. } = message(&call) else {
            panic!("not a call");
        };
        assert_eq!(invocation_id.as_deref(), Some(id.as_str()));
        let answer = appended(|out| MESSAGE_PACK.completion_void(&id, out));
        let answer = record(&answer);
        let HubMessage::Completion { invocation_id, .. } = message(&answer) else {
            panic!("not a completion");
        };
        assert_eq!(invocation_id, id);
    }
}

#[test]
fn an_item_that_is_missing_ends_the_connection() {
    for (record, item) in [
        ("90", "type"),
        ("91 c0", "type"),
        ("93 01 80 c0", "target"),
        ("94 01 80 c0 c0", "target"),
        ("94 01 80 c0 a1 41", "arguments"),
        ("95 01 80 c0 a1 41 c0", "arguments"),
        ("92 02 80", "invocationId"),
        ("94 02 80 a0 01", "invocationId"),
        ("93 02 80 a1 31", "item"),
        ("94 03 80 c0 02", "invocationId"),
        ("93 03 80 a1 31", "resultKind"),
        ("94 03 80 a1 31 01", "error"),
        ("95 03 80 a1 31 01 c0", "error"),
        ("94 03 80 a1 31 03", "result"),
        ("95 04 80 c0 a1 41 90", "invocationId"),
        ("94 04 80 a1 31 a1 41", "arguments"),
        ("92 05 80", "invocationId"),
        ("91 08", "sequenceId"),
        ("92 09 c0", "sequenceId"),
    ] {
        assert_eq!(
            MESSAGE_PACK.decode(&bytes(record)),
            Err(DecodeError::Missing(item)),
            "{record}"
        );
    }
}

#[test]
fn an_item_of_the_wrong_type_ends_the_connection() {
    for (record, item) in [
        ("91 a1 31", "type"),
        ("91 cb 3f f8 00 00 00 00 00 00", "type"),
        ("91 c3", "type"),
        ("95 01 80 01 a1 41 90", "invocationId"),
        ("95 01 80 c4 01 31 a1 41 90", "invocationId"),
        ("95 01 80 a1 ff a1 41 90", "invocationId"),
        ("95 01 80 c0 01 90", "target"),
        ("95 01 80 c0 a1 41 80", "arguments"),
        ("95 01 80 c0 a1 41 a0", "arguments"),
        ("96 01 80 c0 a1 41 90 a1 31", "streamIds"),
        ("96 01 80 c0 a1 41 90 91 01", "streamIds"),
        ("96 01 80 c0 a1 41 90 91 c0", "streamIds"),
        ("94 03 80 a1 31 00", "resultKind"),
        ("95 03 80 a1 31 04 01", "resultKind"),
        ("95 03 80 a1 31 01 01", "error"),
        ("92 07 01", "error"),
        ("93 07 c0 01", "allowReconnect"),
        ("92 08 a1 31", "sequenceId"),
    ] {
        assert_eq!(
            MESSAGE_PACK.decode(&bytes(record)),
            Err(DecodeError::WrongType(item)),
            "{record}"
        );
    }
}

#[test]
fn what_is_no_array_ends_the_connection() {
    for record in [
        "",
        "80",
        "06",
        "c0",
        "c1",
        "a1 36",
        "91",
        "91 c1",
        "91 06 c0",
        "92 06 d9 05 61",
        "92 06 c6 ff ff ff ff",
        "92 06 dd ff ff ff ff 00",
        "92 06 df 7f ff ff ff 00",
        "92 06 de 00 02 00 00 00",
        "92 06 c7 ff",
        "92 06 cb 00",
        "96 01 80 c0 a1 41 90",
        "96 01 80 c0 a1 41 dd 7f ff ff ff 90",
        "95 01 80 c0 a1 41 91",
        "dd ff ff ff ff",
    ] {
        assert!(
            matches!(
                MESSAGE_PACK.decode(&bytes(record)),
                Err(DecodeError::Malformed { .. })
            ),
            "{record} is read as {:?}",
            MESSAGE_PACK.decode(&bytes(record))
        );
    }
}

/// So many arrays in each other.
fn nested(levels: usize) -> String {
    format!("{}c0", "91 ".repeat(levels))
}

#[test]
fn a_record_nested_too_deeply_ends_the_connection() {
    for (before, after) in [("92 06", ""), ("93 05", "a1 31"), ("94 02 80 a1 31", "")] {
        let record = |levels| bytes(&format!("{before} {} {after}", nested(levels - 1)));
        message(&record(JSON_DEPTH));
        for levels in [JSON_DEPTH + 1, 1_000, 30_000] {
            assert!(matches!(
                MESSAGE_PACK.decode(&record(levels)),
                Err(DecodeError::Malformed { .. })
            ));
        }
    }
}

fn call(arguments: &str) -> Vec<u8> {
    bytes(&format!("95 01 80 a1 30 a4 50 69 6e 67 {arguments}"))
}

/// Why arguments are refused: found when the record is read, and when they come from elsewhere.
fn refusal<T: serde::de::DeserializeOwned + std::fmt::Debug>(arguments: &str) -> String {
    let record = call(arguments);
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    let as_read = MESSAGE_PACK.arguments::<T>(arguments);
    let as_given = MESSAGE_PACK.arguments::<T>(arguments.raw().into());
    assert_eq!(as_read.as_ref().err(), as_given.as_ref().err());
    as_read.expect_err("refused").to_string()
}

/// `roomId` and `content` as keys.
const ROOM: &str = "a6 72 6f 6f 6d 49 64";
const CONTENT: &str = "a7 63 6f 6e 74 65 6e 74";

#[test]
fn refused_arguments_name_the_field_as_in_json() {
    for (arguments, text) in [
        ("90".to_owned(), "the method takes one argument, not 0"),
        (
            "92 80 80".to_owned(),
            "the method takes one argument, not 2",
        ),
        ("91 07".to_owned(), "the value must be an object"),
        ("91 c0".to_owned(), "the value must be an object"),
        (
            "91 93 07 a1 61 c0".to_owned(),
            "the value must be an object",
        ),
        (format!("91 81 {ROOM} 07"), "content is missing"),
        (format!("91 81 {CONTENT} a1 61"), "roomId is missing"),
        (
            format!("91 82 {ROOM} 07 {CONTENT} c0"),
            "content must be a string",
        ),
        (
            format!("91 82 {ROOM} 07 {CONTENT} c4 01 61"),
            "content must be a string",
        ),
        (
            format!("91 82 {ROOM} 07 {CONTENT} a1 ff"),
            "content must be a string",
        ),
        (
            format!("91 82 {ROOM} a1 37 {CONTENT} a1 61"),
            "roomId must be an integer",
        ),
        (
            format!("91 82 {ROOM} cb 40 1e 00 00 00 00 00 00 {CONTENT} a1 61"),
            "roomId must be an integer",
        ),
        (
            format!("91 82 {ROOM} cb 7f f8 00 00 00 00 00 00 {CONTENT} a1 61"),
            "roomId must be an integer",
        ),
        (
            format!("91 82 {ROOM} d6 ff 65 53 f1 00 {CONTENT} a1 61"),
            "roomId must be an integer",
        ),
        (
            format!("91 83 {ROOM} 07 {CONTENT} a1 61 {CONTENT} a1 62"),
            "the key \"content\" stands twice in one object",
        ),
        (
            format!("91 83 {ROOM} 07 {CONTENT} a1 61 a1 78 91 82 a1 61 01 d9 01 61 02"),
            "the key \"a\" stands twice in one object",
        ),
        (
            // Fields are named, never counted.
            "91 82 00 07 01 a1 61".to_owned(),
            "the value has a key that is no text",
        ),
        (
            format!("91 83 {ROOM} 07 {CONTENT} a1 61 a1 ff 01"),
            "the value has a key that is no text",
        ),
    ] {
        assert_eq!(refusal::<SendMessage>(&arguments), text, "{arguments}");
    }
    assert_eq!(
        refusal::<GetMessages>(&format!("91 82 {ROOM} 07 a5 6c 69 6d 69 74 a3 61 6c 6c")),
        "limit must be an integer"
    );
}

#[test]
fn many_keys_are_told_apart_too() {
    let mut keys: Vec<String> = (0..1_000).map(|n| format!("k{n}")).collect();
    let map = |keys: &[String]| {
        let mut out = bytes("91 de");
        out.extend(u16::try_from(keys.len()).expect("few").to_be_bytes());
        for key in keys {
            out.extend(packed(key));
            out.push(1);
        }
        hex(&out)
    };
    let record = call(&map(&keys));
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    assert_eq!(MESSAGE_PACK.arguments::<Ping>(arguments), Ok(Ping {}));
    keys.push("k500".to_owned());
    assert_eq!(
        refusal::<Ping>(&map(&keys)),
        "the key \"k500\" stands twice in one object"
    );
}

#[test]
fn arguments_nested_too_deeply_refuse_the_call_alone() {
    let argument = |levels: usize| {
        format!(
            "91 83 {ROOM} 07 {CONTENT} a1 61 a1 78 {}",
            nested(levels - 1)
        )
    };
    let record = call(&argument(JSON_DEPTH));
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    MESSAGE_PACK
        .arguments::<SendMessage>(arguments)
        .expect("not over the limit");
    for levels in [JSON_DEPTH + 1, 127] {
        assert_eq!(
            refusal::<SendMessage>(&argument(levels)),
            "nested over 32 deep"
        );
    }
    assert!(matches!(
        MESSAGE_PACK.decode(&call(&argument(30_000))),
        Err(DecodeError::Malformed { .. })
    ));
}

#[test]
fn a_value_that_is_not_what_it_must_be_says_so_without_repeating_it() {
    let value = packed(&serde_json::json!({"id": "s3cret"}));
    let e = MESSAGE_PACK
        .value::<crate::model::Message>(Raw(&value))
        .expect_err("no message");
    assert_eq!(
        e.to_string(),
        "a value can't be read: id must be an integer"
    );
    for not_one in ["", "01 02", "91"] {
        assert!(matches!(
            MESSAGE_PACK.value::<u8>(Raw(&bytes(not_one))),
            Err(DecodeError::Malformed { .. })
        ));
    }
    let deep = bytes(&nested(30_000));
    assert!(MESSAGE_PACK.value::<serde_json::Value>(Raw(&deep)).is_err());
}

#[test]
fn what_can_not_be_written_leaves_the_buffer_as_it_was() {
    let unwritable = std::collections::BTreeMap::from([(7, 1)]);
    let mut out = b"before".to_vec();
    for result in [
        MESSAGE_PACK.event("E", &unwritable, &mut out),
        MESSAGE_PACK.completion("1", &unwritable, &mut out),
        MESSAGE_PACK.stream_item("1", &unwritable, &mut out),
        MESSAGE_PACK.encode_value(&unwritable, &mut out),
    ] {
        assert_eq!(
            result.expect_err("no key").to_string(),
            "a value can't be written: a key must be a string"
        );
    }
    assert_eq!(out, b"before");
}
