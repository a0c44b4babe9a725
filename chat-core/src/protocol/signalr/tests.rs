//! Records as clients write them, whole and cut, and as they must not be.

mod edges;
mod members;
mod messagepack;
mod properties;
mod stateful;
mod wire;

use super::*;

const JSON: Encoding = Encoding::Json;

fn decode(record: &str) -> Result<Option<HubMessage<'_>>, DecodeError> {
    JSON.decode(record.as_bytes())
}

/// A message that must be readable and known.
fn message(record: &str) -> HubMessage<'_> {
    match decode(record) {
        Ok(Some(message)) => message,
        other => panic!("{record} is read as {other:?}"),
    }
}

/// A message as a record without its separator.
fn encoded(message: &HubMessage<'_>) -> String {
    written(|out| JSON.encode(message, out))
}

/// A record without its separator.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    assert_eq!(out.pop(), Some(RECORD_SEPARATOR));
    assert!(!out.contains(&RECORD_SEPARATOR), "one record");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// All records that a reader finds in `pieces`.
fn records(reader: &mut RecordReader, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut found = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(record) = reader.next(JSON, &mut piece)? {
            found.push(record.into_owned());
        }
        assert!(piece.is_empty(), "all of the input is taken");
    }
    Ok(found)
}
