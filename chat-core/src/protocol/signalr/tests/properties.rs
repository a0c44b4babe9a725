//! What holds for any message and any bytes.

use proptest::prelude::*;

use super::*;

/// Any JSON value, as text.
pub(super) fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

/// What a message is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    kind: u8,
    id: String,
    has_id: bool,
    target: String,
    pub(super) values: Vec<String>,
    stream_ids: Vec<String>,
    error: Option<String>,
    has_value: bool,
    flag: bool,
    number: i64,
}

pub(super) fn parts() -> impl Strategy<Value = Parts> {
    let text = any::<String>;
    (
        (
            1_u8..=9,
            text().prop_filter("not empty", |id| !id.is_empty()),
            any::<bool>(),
            text(),
        ),
        proptest::collection::vec(json(), 0..3),
        proptest::collection::vec(text(), 0..3),
        (
            any::<Option<String>>(),
            any::<bool>(),
            any::<bool>(),
            any::<i64>(),
        ),
    )
        .prop_map(|((kind, id, has_id, target), values, stream_ids, rest)| {
            let (error, has_value, flag, number) = rest;
            Parts {
                kind,
                id,
                has_id,
                target,
                values,
                stream_ids,
                error,
                has_value,
                flag,
                number,
            }
        })
}

impl Parts {
    fn arguments(&self) -> String {
        format!("[{}]", self.values.join(","))
    }

    pub(super) fn message<'a>(&'a self, arguments: &'a str) -> HubMessage<'a> {
        let id = || Cow::Borrowed(self.id.as_str());
        let target = Cow::Borrowed(self.target.as_str());
        let stream_ids = self
            .stream_ids
            .iter()
            .map(|id| id.as_str().into())
            .collect();
        let value = Raw(self
            .values
            .first()
            .map_or("null", String::as_str)
            .as_bytes());
        let error = self.error.as_deref().map(Cow::Borrowed);
        let arguments = Raw(arguments.as_bytes()).into();
        match self.kind {
            1 => HubMessage::Invocation {
                invocation_id: self.has_id.then(id),
                target,
                arguments,
                stream_ids,
            },
            2 => HubMessage::StreamItem {
                invocation_id: id(),
                item: value,
            },
            3 => HubMessage::Completion {
                invocation_id: id(),
                result: match error {
                    Some(error) => CompletionResult::Error(error),
                    None if self.has_value => CompletionResult::Value(value),
                    None => CompletionResult::Void,
                },
            },
            4 => HubMessage::StreamInvocation {
                invocation_id: id(),
                target,
                arguments,
                stream_ids,
            },
            5 => HubMessage::CancelInvocation {
                invocation_id: id(),
            },
            6 => HubMessage::Ping,
            7 => HubMessage::Close {
                error,
                allow_reconnect: self.flag,
            },
            8 => HubMessage::Ack {
                sequence_id: self.number,
            },
            _ => HubMessage::Sequence {
                sequence_id: self.number,
            },
        }
    }
}

/// Bytes with a chance of being nearly a record.
fn nearly_records() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u00", "\x1e", "1", "-", ".", "e", "null", "true", " ",
            "\"type\":", "\"target\":", "\"arguments\":[", "\"invocationId\":", "\"headers\":{", "{\"type\":1",
            "\"a\":1", "é", "\0", "\u{1f}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_message_reads_back_as_written(parts in parts()) {
        let arguments = parts.arguments();
        let message = parts.message(&arguments);
        let record = encoded(&message);
        prop_assert_eq!(decode(&record), Ok(Some(message)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in nearly_records(), limit in 0_usize..60) {
        let mut reader = RecordReader::new(limit);
        let mut input = &bytes[..];
        while let Ok(Some(record)) = reader.next(JSON, &mut input) {
            prop_assert!(record.len() < limit);
            if let Ok(Some(message)) = JSON.decode(&record) {
                let again = encoded(&message);
                prop_assert_eq!(decode(&again), Ok(Some(message)));
            }
        }
        prop_assert!(reader.held_bytes() <= limit);
        let _ = handshake::HandshakeRequest::parse(&bytes);
        let _ = handshake::HandshakeResponse::parse(&bytes);
        let _ = JSON.arguments::<crate::protocol::hub::SendMessage>(Raw(&bytes).into());
        let _ = JSON.value::<crate::model::Event>(Raw(&bytes));
    }

    #[test]
    fn an_event_wrapped_around_an_encoded_value_is_the_event(target in any::<String>(), value in any::<Vec<String>>()) {
        let mut body = Vec::new();
        JSON.encode_value(&value, &mut body).expect("text");
        prop_assert_eq!(
            written(|out| JSON.event_raw(&target, Raw(&body), out)),
            written(|out| JSON.event(&target, &value, out).expect("text"))
        );
        prop_assert_eq!(
            written(|out| JSON.completion_raw(&target, Raw(&body), out)),
            written(|out| JSON.completion(&target, &value, out).expect("text"))
        );
    }
}

proptest! {
    // Each case cuts at every byte.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn records_cut_anywhere_are_the_same_records(
        all in proptest::collection::vec(parts(), 1..4),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let mut stream = Vec::new();
        for parts in &all {
            JSON.encode(&parts.message(&parts.arguments()), &mut stream);
        }
        let whole = records(&mut RecordReader::new(usize::MAX), &[&stream]).expect("no limit");
        prop_assert_eq!(whole.len(), all.len());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&records(&mut RecordReader::new(usize::MAX), &pieces).expect("no limit"), &whole);
        for at in 0..=stream.len() {
            let (a, b) = stream.split_at(at);
            prop_assert_eq!(&records(&mut RecordReader::new(usize::MAX), &[a, b]).expect("no limit"), &whole);
        }
    }
}
