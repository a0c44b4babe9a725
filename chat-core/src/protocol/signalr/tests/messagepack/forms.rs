//! Values in every form that a client may write them in.

use super::*;
use crate::model::{RoomId, Seq};
use crate::protocol::hub::{GetChanges, GetMessages, Ping, SendMessage};

/// A call of `Ping` with these arguments, as hex.
fn call(arguments: &str) -> Vec<u8> {
    bytes(&format!("95 01 80 a1 30 a4 50 69 6e 67 {arguments}"))
}

fn read<T: serde::de::DeserializeOwned>(arguments: &str) -> Result<T, ArgumentsError> {
    let record = call(arguments);
    let HubMessage::Invocation { arguments, .. } = message(&record) else {
        panic!("not a call");
    };
    let as_read = MESSAGE_PACK.arguments::<T>(arguments);
    let as_given = MESSAGE_PACK.arguments::<T>(arguments.raw().into());
    assert_eq!(as_read.as_ref().err(), as_given.as_ref().err());
    as_read
}

/// The room that a `GetMessages` names in this form, as hex.
fn room(id: &str) -> Result<RoomId, ArgumentsError> {
    read::<GetMessages>(&format!("91 81 a6 72 6f 6f 6d 49 64 {id}")).map(|get| get.room_id)
}

#[test]
fn an_integer_is_read_in_every_width() {
    for form in [
        "07",
        "cc 07",
        "cd 00 07",
        "ce 00 00 00 07",
        "cf 00 00 00 00 00 00 00 07",
        "d0 07",
        "d1 00 07",
        "d2 00 00 00 07",
        "d3 00 00 00 00 00 00 00 07",
        "ca 40 e0 00 00",
        "cb 40 1c 00 00 00 00 00 00",
    ] {
        assert_eq!(room(form), Ok(RoomId(7)), "{form}");
    }
    for (form, id) in [
        ("ff", -1),
        ("e0", -32),
        ("d0 df", -33),
        ("d1 ff 7f", -129),
        ("d2 ff ff 7f ff", -32_769),
        ("d3 ff ff ff ff 7f ff ff ff", -2_147_483_649),
        ("cb 43 40 00 00 00 00 00 00", 1 << 53),
        ("cf 00 00 00 01 00 00 00 00", 1 << 32),
        // Nobody's: more than an id can be.
        ("cf ff ff ff ff ff ff ff ff", i64::MAX),
    ] {
        assert_eq!(room(form), Ok(RoomId(id)), "{form}");
    }
}

#[test]
fn an_integer_is_written_in_its_shortest_form() {
    for (n, form) in [
        (0_i64, "00"),
        (127, "7f"),
        (128, "cc 80"),
        (255, "cc ff"),
        (256, "cd 01 00"),
        (65_535, "cd ff ff"),
        (65_536, "ce 00 01 00 00"),
        ((1 << 32) - 1, "ce ff ff ff ff"),
        (1 << 32, "d3 00 00 00 01 00 00 00 00"),
        ((1 << 53) - 1, "d3 00 1f ff ff ff ff ff ff"),
        (i64::MAX, "d3 7f ff ff ff ff ff ff ff"),
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0 df"),
        (-128, "d0 80"),
        (-129, "d1 ff 7f"),
        (-32_769, "d2 ff ff 7f ff"),
        (-2_147_483_649, "d3 ff ff ff ff 7f ff ff ff"),
    ] {
        let mut out = Vec::new();
        MESSAGE_PACK.encode_value(&n, &mut out).expect("a number");
        assert_eq!(hex(&out), form, "{n}");
        if let Ok(n) = u64::try_from(n) {
            out.clear();
            MESSAGE_PACK.encode_value(&n, &mut out).expect("a number");
            assert_eq!(hex(&out), form, "{n} without a sign");
        }
    }
    let mut out = Vec::new();
    MESSAGE_PACK
        .encode_value(&u64::MAX, &mut out)
        .expect("a number");
    assert_eq!(hex(&out), "cf ff ff ff ff ff ff ff ff");
}

#[test]
fn text_is_read_in_every_width() {
    for form in [
        "a2 68 69",
        "d9 02 68 69",
        "da 00 02 68 69",
        "db 00 00 00 02 68 69",
    ] {
        let arguments = format!("91 82 a6 72 6f 6f 6d 49 64 07 a7 63 6f 6e 74 65 6e 74 {form}");
        let send: SendMessage = read(&arguments).expect("a SendMessage");
        assert_eq!((send.room_id, send.content.as_str()), (RoomId(7), "hi"));
    }
}

#[test]
fn arrays_and_maps_are_read_in_every_width() {
    for array in ["91", "dc 00 01", "dd 00 00 00 01"] {
        for map in ["80", "de 00 00", "df 00 00 00 00"] {
            assert_eq!(read::<Ping>(&format!("{array} {map}")), Ok(Ping {}));
        }
    }
    // The record itself, its headers and the ids of streams as well.
    let record = bytes(
        "dc 00 06 cc 01 de 00 00 d9 01 30 d9 04 50 69 6e 67 dc 00 01 80 dd 00 00 00 01 d9 01 31",
    );
    let HubMessage::Invocation {
        invocation_id,
        target,
        stream_ids,
        ..
    } = message(&record)
    else {
        panic!("not a call");
    };
    assert_eq!((invocation_id.as_deref(), &*target), (Some("0"), "Ping"));
    assert_eq!(stream_ids, ["1"]);
}

#[test]
fn a_member_that_is_nil_is_absent() {
    // What `undefined` becomes.
    let changes: GetChanges =
        read("91 83 a6 72 6f 6f 6d 49 64 07 a5 73 69 6e 63 65 03 a5 6c 69 6d 69 74 c0")
            .expect("a GetChanges");
    assert_eq!((changes.since, changes.limit), (Seq(3), None));
    for nil_or_none in [
        "96 01 80 c0 a1 45 90 c0",
        "95 01 c0 a0 a1 45 90",
        "94 01 80 c0 a1 45",
    ] {
        let record = bytes(nil_or_none);
        if record[0] == 0x94 {
            assert_eq!(
                MESSAGE_PACK.decode(&record),
                Err(DecodeError::Missing("arguments"))
            );
            continue;
        }
        let HubMessage::Invocation {
            invocation_id,
            stream_ids,
            ..
        } = message(&record)
        else {
            panic!("not a call");
        };
        assert_eq!((invocation_id, stream_ids), (None, vec![]));
    }
    for close in ["91 07", "92 07 c0", "93 07 c0 c0", "94 07 c0 c2 01"] {
        assert_eq!(
            message(&bytes(close)),
            HubMessage::Close {
                error: None,
                allow_reconnect: false
            }
        );
    }
}

#[test]
fn items_beyond_those_that_a_message_has_are_skipped() {
    for (record, same) in [
        ("93 06 01 81 a1 61 91 c4 01 00", "91 06"),
        (
            "95 05 80 a1 34 d6 ff 00 00 00 00 c7 00 05",
            "93 05 80 a1 34",
        ),
        ("95 03 80 a1 34 02 07", "94 03 80 a1 34 02"),
        ("94 08 24 c3 c2", "92 08 24"),
    ] {
        assert_eq!(message(&bytes(record)), message(&bytes(same)), "{record}");
    }
}

#[test]
fn an_unknown_member_may_hold_anything() {
    for value in [
        "c4 03 01 02 03",
        "d6 ff 65 53 f1 00",
        "d7 ff 00 00 00 00 65 53 f1 00",
        "c7 0c ff 00 00 00 00 00 00 00 00 65 53 f1 00",
        "82 a1 61 c0 a1 62 c0",
        "cb 3f f8 00 00 00 00 00 00",
        "93 c2 c3 a1 ff",
    ] {
        let arguments = format!("91 82 a1 78 {value} a6 72 6f 6f 6d 49 64 07");
        assert_eq!(
            read::<GetMessages>(&arguments).map(|get| get.room_id),
            Ok(RoomId(7)),
            "{value}"
        );
    }
}

#[test]
fn an_unknown_type_is_skipped() {
    for record in ["91 63", "91 00", "93 cc ff 01 80", "92 ff c0"] {
        assert_eq!(MESSAGE_PACK.decode(&bytes(record)), Ok(None), "{record}");
    }
}

#[test]
fn headers_are_never_kept() {
    let headers = hex(&packed(
        &serde_json::json!({"Authorization": "Bearer s3cret"}),
    ));
    let record = bytes(&format!("95 01 {headers} a1 33 a4 50 69 6e 67 91 80"));
    let message = message(&record);
    assert!(!format!("{message:?}").contains("s3cret"));
    let written = appended(|out| MESSAGE_PACK.encode(&message, out));
    assert_eq!(hex(&written), "0d 96 01 80 a1 33 a4 50 69 6e 67 91 80 90");
}

#[test]
fn an_enum_with_a_value_is_a_map_as_in_json() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Shape {
        Empty,
        Circle(u8),
        Line(u8, u8),
        Box { width: u8 },
    }
    for shape in [
        Shape::Empty,
        Shape::Circle(1),
        Shape::Line(1, 2),
        Shape::Box { width: 3 },
    ] {
        let mut out = Vec::new();
        MESSAGE_PACK
            .encode_value(&shape, &mut out)
            .expect("a value");
        assert_eq!(MESSAGE_PACK.value::<Shape>(Raw(&out)), Ok(shape));
    }
}

#[test]
fn a_map_whose_length_is_not_known_first_gets_it_at_its_end() {
    #[derive(serde::Serialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        more: std::collections::BTreeMap<String, u8>,
    }
    let more = (0..20).map(|n| (format!("k{n}"), n)).collect();
    let mut out = Vec::new();
    MESSAGE_PACK
        .encode_value(&Flat { a: 1, more }, &mut out)
        .expect("a value");
    assert_eq!(out[..3], [0xde, 0, 21]);
    let read: serde_json::Map<String, serde_json::Value> =
        MESSAGE_PACK.value(Raw(&out)).expect("a map");
    assert_eq!((read.len(), &read["k19"]), (21, &19.into()));
}
