//! What holds for any message, any value and any bytes.

use proptest::prelude::*;
use serde_json::Value;

use super::super::properties::{Parts, json, parts};
use super::*;
use crate::model::Event;

/// The same message with its values in MessagePack, written there by another implementation.
struct Packed {
    arguments: Vec<u8>,
    value: Vec<u8>,
}

impl Packed {
    fn of(parts: &Parts) -> Self {
        let values: Vec<Value> = parts
            .values
            .iter()
            .map(|text| serde_json::from_str(text).expect("JSON"))
            .collect();
        Self {
            arguments: packed(&values),
            value: packed(values.first().unwrap_or(&Value::Null)),
        }
    }

    fn message<'a>(&'a self, parts: &'a Parts) -> HubMessage<'a> {
        let mut message = parts.message("");
        match &mut message {
            HubMessage::Invocation { arguments, .. }
            | HubMessage::StreamInvocation { arguments, .. } => {
                *arguments = Raw(&self.arguments).into();
            }
            HubMessage::StreamItem { item: value, .. }
            | HubMessage::Completion {
                result: CompletionResult::Value(value),
                ..
            } => *value = Raw(&self.value),
            _ => {}
        }
        message
    }
}

/// Bytes with a chance of being nearly a record.
fn nearly_records() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => proptest::sample::select(vec![
            bytes("02 91 06"),
            bytes("0b 95 01 80 c0 a4 50 69 6e 67 91 80"),
            bytes("95 01 80 a1 30 a1 45 91"),
            bytes("82 01"),
            bytes("80"),
            bytes("91 82 a6 72 6f 6f 6d 49 64 07"),
            bytes("dc 00 02"),
            bytes("dd ff ff ff ff"),
            bytes("de 00 01"),
            bytes("d9 01 61"),
            bytes("c7 02 ff 01 02"),
            bytes("cb 40 1c 00 00 00 00 00 00"),
            bytes("d3 ff ff ff ff ff ff ff ff"),
            bytes("c4 01 00"),
            bytes("c1"),
        ]),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_message_reads_back_as_written(parts in parts()) {
        let values = Packed::of(&parts);
        let message = values.message(&parts);
        let framed = appended(|out| MESSAGE_PACK.encode(&message, out));
        let record = record(&framed);
        prop_assert_eq!(MESSAGE_PACK.decode(&record), Ok(Some(message)));
    }

    #[test]
    fn any_value_is_to_another_implementation_what_it_is_to_ours(value in json()) {
        let value: Value = serde_json::from_str(&value).expect("JSON");
        let mut ours = Vec::new();
        MESSAGE_PACK.encode_value(&value, &mut ours).expect("a value");
        prop_assert_eq!(&rmp_serde::from_slice::<Value>(&ours).expect("sound"), &value);
        prop_assert_eq!(&MESSAGE_PACK.value::<Value>(Raw(&ours)).expect("sound"), &value);
        prop_assert_eq!(&MESSAGE_PACK.value::<Value>(Raw(&packed(&value))).expect("sound"), &value);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in nearly_records(), limit in 0_usize..60) {
        let mut reader = RecordReader::new(limit);
        let mut input = &bytes[..];
        while let Ok(Some(record)) = reader.next(MESSAGE_PACK, &mut input) {
            prop_assert!(record.len() < limit);
        }
        prop_assert!(reader.held_bytes() <= limit.max(8));
        if let Ok(Some(message)) = MESSAGE_PACK.decode(&bytes) {
            let again = record(&appended(|out| MESSAGE_PACK.encode(&message, out)));
            prop_assert_eq!(MESSAGE_PACK.decode(&again), Ok(Some(message)));
        }
        let _ = MESSAGE_PACK.arguments::<crate::protocol::hub::SendMessage>(Raw(&bytes).into());
        let _ = MESSAGE_PACK.value::<Event>(Raw(&bytes));
    }

    #[test]
    fn an_event_wrapped_around_an_encoded_value_is_the_event(target in any::<String>(), value in any::<Vec<String>>()) {
        let mut body = Vec::new();
        MESSAGE_PACK.encode_value(&value, &mut body).expect("text");
        prop_assert_eq!(
            appended(|out| MESSAGE_PACK.event_raw(&target, Raw(&body), out)),
            appended(|out| MESSAGE_PACK.event(&target, &value, out).expect("text"))
        );
        prop_assert_eq!(
            appended(|out| MESSAGE_PACK.completion_raw(&target, Raw(&body), out)),
            appended(|out| MESSAGE_PACK.completion(&target, &value, out).expect("text"))
        );
    }
}
