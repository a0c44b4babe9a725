//! What the hub's records cost: a `SendMessage` call read and its completion written, against bare serde_json and rmp-serde on
//! the same bytes.
//!
//! `cargo bench -p chat-core --bench codec`. The two sides take turns in slices of 50 ms, and what is printed is the ratio
//! of their medians, so that a machine that is busy or slow changes nothing. "Bare" is a derived struct with the argument's
//! type in its place: no envelope in any order with raw arguments, no unknown methods, no check for doubled keys or depth.

#![allow(clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use chat_core::model::{Message, MessageId, RoomId, Seq, Timestamp, UserId, limits};
use chat_core::protocol::hub::{Method, SendMessage};
use chat_core::protocol::signalr::{Encoding, HubMessage, RecordReader};
use serde::{Deserialize, Serialize};

const SLICE: Duration = Duration::from_millis(50);
const SLICES: usize = 21;
const LIMIT: f64 = 1.5;

fn main() {
    // Tests run this too, to see that both sides still agree.
    let measure = std::env::args().any(|arg| arg == "--bench");
    let mut over = false;
    for (name, content) in [
        ("20 characters", "a".repeat(20)),
        (
            "100 characters",
            "Plain words of a chat, ".repeat(5)[..100].to_owned(),
        ),
        (
            "100 characters, quotes and lines",
            "She said \"no\".\nThen: ".repeat(5)[..100].to_owned(),
        ),
        ("100 characters, not ASCII", "Grüße, 你好, ".repeat(10)),
        (
            "4,000 characters",
            "Plain words of a chat, ".repeat(200)[..4000].to_owned(),
        ),
    ] {
        for (encoding, bare) in [
            (Encoding::Json, bare_json as fn(&[u8]) -> Vec<u8>),
            (Encoding::MessagePack, bare_message_pack),
        ] {
            let record = record(encoding, &content);
            let label = encoding.name();
            assert_eq!(ours(encoding, &record), bare(&record), "{label}, {name}");
            if measure {
                let (ours, bare) = alternate(|| ours(encoding, &record), || bare(&record));
                let ratio = ours / bare;
                over |= ratio > LIMIT;
                println!(
                    "{label}, {name}: {ours:.0} ns, bare {bare:.0} ns, ratio {ratio:.2} (at most {LIMIT})"
                );
            }
        }
    }
    assert!(!over, "a ratio is over {LIMIT}");
}

/// A call as the official JavaScript client writes it.
fn record(encoding: Encoding, content: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let argument = SendMessage {
        room_id: RoomId(1234),
        content: content.to_owned(),
        client_message_id: Some("5f0c6a1e-8c9b-4f0e-a4b5-0d1f6f1a2b3c".to_owned()),
    };
    encoding
        .invocation(
            Some("17"),
            Method::SendMessage.target(),
            &argument,
            &mut out,
        )
        .expect("a wire type");
    out
}

/// The message that a store would have made of it.
fn stored(argument: SendMessage) -> Message {
    Message {
        id: MessageId(9_876_543),
        room_id: argument.room_id,
        seq: Seq(4321),
        changed_seq: Seq(4321),
        sender_id: UserId(77),
        content: argument.content,
        sent_at: Timestamp::from_millis(1_769_860_800_007),
        edited_at: None,
        deleted_at: None,
        client_message_id: argument.client_message_id,
    }
}

/// The way the server goes.
fn ours(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut reader = RecordReader::new(limits::HUB_RECORD_BYTES);
    let mut input = bytes;
    while let Some(record) = reader.next(encoding, &mut input).expect("short") {
        let message = encoding.decode(&record).expect("sound");
        let Some(HubMessage::Invocation {
            invocation_id: Some(id),
            target,
            arguments,
            ..
        }) = message
        else {
            panic!("not a call");
        };
        assert_eq!(Method::from_target(&target), Some(Method::SendMessage));
        let argument = encoding.arguments(arguments).expect("a SendMessage");
        encoding
            .completion(&id, &stored(argument), &mut out)
            .expect("a wire type");
    }
    out
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BareCall<'a> {
    #[serde(rename = "type")]
    kind: u8,
    target: &'a str,
    arguments: [SendMessage; 1],
    invocation_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BareCompletion<'a> {
    #[serde(rename = "type")]
    kind: u8,
    invocation_id: &'a str,
    result: Message,
}

/// The shortest way there is with serde_json.
fn bare_json(bytes: &[u8]) -> Vec<u8> {
    let call: BareCall<'_> = serde_json::from_slice(&bytes[..bytes.len() - 1]).expect("sound");
    assert_eq!((call.kind, call.target), (1, "SendMessage"));
    let [argument] = call.arguments;
    let mut out = serde_json::to_vec(&BareCompletion {
        kind: 3,
        invocation_id: call.invocation_id,
        result: stored(argument),
    })
    .expect("a wire type");
    out.push(0x1e);
    out
}

/// The items of a call: its type, headers, id, target, arguments and streams.
type BarePackedCall<'a> = (
    u8,
    BTreeMap<&'a str, &'a str>,
    &'a str,
    &'a str,
    [SendMessage; 1],
    [u8; 0],
);

/// The shortest way there is with rmp-serde; the lengths before records of this size have one or two bytes.
fn bare_message_pack(bytes: &[u8]) -> Vec<u8> {
    let prefix = 1 + usize::from(bytes[0] >> 7);
    let (kind, headers, id, target, [argument], []): BarePackedCall<'_> =
        rmp_serde::from_slice(&bytes[prefix..]).expect("sound");
    assert_eq!((kind, target), (1, "SendMessage"));
    let mut out = vec![0, 0];
    let completion = (3_u8, headers, id, 3_u8, stored(argument));
    completion
        .serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map())
        .expect("a wire type");
    let length = u16::try_from(out.len() - 2).expect("short");
    let [high, low] = (length << 1).to_be_bytes();
    out[0] = low >> 1 | 0x80;
    out[1] = high;
    out
}

/// Median nanoseconds of one call of each.
fn alternate<T, U>(a: impl Fn() -> T, b: impl Fn() -> U) -> (f64, f64) {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for _ in 0..SLICES {
        of_a.push(slice(&a));
        of_b.push(slice(&b));
    }
    (median(of_a), median(of_b))
}

/// Nanoseconds of one call, over a slice.
fn slice<T>(call: impl Fn() -> T) -> f64 {
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < SLICE {
        for _ in 0..100 {
            black_box(call());
        }
        calls += 100;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
