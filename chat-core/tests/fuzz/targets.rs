//! What is done with the bytes of a fuzzer, whoever drives it: `tests/fuzz.rs` in the ordinary tests, libFuzzer in the
//! repository's `tests/fuzz`. A target fails by panicking.

use chat_core::model::limits::HUB_RECORD_BYTES;
use chat_core::model::{Event, Message};
use chat_core::protocol::hub::{Authenticate, GetChanges, GetMessages, Ping, SendMessage};
use chat_core::protocol::signalr::handshake::{HandshakeRequest, HandshakeResponse};
use chat_core::protocol::signalr::negotiate::TransferFormat;
use chat_core::protocol::signalr::{CompletionResult, Encoding, HubMessage, Raw, RecordReader};

/// A connection's input in JSON.
pub(crate) fn json(bytes: &[u8]) {
    connection(Encoding::Json, bytes);
}

/// A connection's input in MessagePack.
pub(crate) fn messagepack(bytes: &[u8]) {
    connection(Encoding::MessagePack, bytes);
}

/// A connection's input from its handshake on, and a server's answer to one.
pub(crate) fn handshake(bytes: &[u8]) {
    let _ = HandshakeResponse::parse(bytes);
    let mut reader = RecordReader::new(HUB_RECORD_BYTES);
    let mut input = bytes;
    let Ok(Some(record)) = reader.next(Encoding::Json, &mut input) else {
        return;
    };
    let formats = [TransferFormat::Text, TransferFormat::Binary];
    match HandshakeRequest::parse(&record).and_then(|request| request.encoding(&formats)) {
        Ok(encoding) => connection(encoding, input),
        Err(error) => {
            let mut answer = Vec::new();
            HandshakeResponse::from(&error).encode(&mut answer);
            let record = answer.strip_suffix(b"\x1e").expect("one record");
            let read = HandshakeResponse::parse(record).expect("our own");
            assert_eq!(read.error, Some(error.to_string()));
        }
    }
}

/// The same records are found however the input is cut, and what can be read of them is written and read back.
fn connection(encoding: Encoding, bytes: &[u8]) {
    let whole = records(encoding, &[bytes]);
    let middle = bytes.len() / 2;
    assert_eq!(
        whole,
        records(encoding, &[&bytes[..middle], &bytes[middle..]])
    );
    let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, records(encoding, &one_by_one));
    for record in whole {
        take(encoding, &record);
    }
    // Bytes that no reader has cut, too.
    take(encoding, bytes);
}

fn records(encoding: Encoding, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut reader = RecordReader::new(HUB_RECORD_BYTES);
    let mut found = Vec::new();
    for mut piece in pieces.iter().copied() {
        loop {
            match reader.next(encoding, &mut piece) {
                Ok(Some(record)) => found.push(record.into_owned()),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
        assert!(piece.is_empty(), "all of the input is taken");
        assert!(reader.held_bytes() <= HUB_RECORD_BYTES);
    }
    found
}

fn take(encoding: Encoding, record: &[u8]) {
    let Ok(Some(message)) = encoding.decode(record) else {
        return;
    };
    let mut written = Vec::new();
    encoding.encode(&message, &mut written);
    let again = records_of_any_length(encoding, &written);
    assert_eq!(encoding.decode(&again), Ok(Some(message.clone())));
    match message {
        HubMessage::Invocation { arguments, .. }
        | HubMessage::StreamInvocation { arguments, .. } => {
            let _ = encoding.arguments::<SendMessage>(arguments);
            let _ = encoding.arguments::<GetMessages>(arguments);
            let _ = encoding.arguments::<GetChanges>(arguments);
            let _ = encoding.arguments::<Authenticate>(arguments);
            let _ = encoding.event_argument::<Message>(arguments);
            // Sound for us is the same whether the reader has said so or not.
            assert_eq!(
                encoding.arguments::<Ping>(arguments),
                encoding.arguments::<Ping>(arguments.raw().into())
            );
        }
        HubMessage::StreamItem { item: value, .. }
        | HubMessage::Completion {
            result: CompletionResult::Value(value),
            ..
        } => {
            let _ = encoding.value::<Event>(value);
            read_back(encoding, value);
        }
        _ => {}
    }
}

/// The one record that we have written.
fn records_of_any_length(encoding: Encoding, written: &[u8]) -> Vec<u8> {
    let mut input = written;
    let record = RecordReader::new(usize::MAX)
        .next(encoding, &mut input)
        .expect("our own")
        .expect("whole")
        .into_owned();
    assert!(input.is_empty(), "one record");
    record
}

/// A value that can be read is the same once written and read again.
fn read_back(encoding: Encoding, value: Raw<'_>) {
    if let Ok(value) = encoding.value::<serde_json::Value>(value) {
        let mut written = Vec::new();
        encoding
            .encode_value(&value, &mut written)
            .expect("a value of JSON");
        let again = encoding.value::<serde_json::Value>(Raw(&written));
        assert_eq!(again, Ok(value));
    }
}
