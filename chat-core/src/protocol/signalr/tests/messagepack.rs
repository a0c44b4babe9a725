//! MessagePack records: byte for byte, and as they must not be.

mod forms;
mod properties;
mod refused;
mod vectors;

use super::*;

pub(super) const MESSAGE_PACK: Encoding = Encoding::MessagePack;

/// The bytes of `"95 01 80"`.
fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("two digits"))
        .collect()
}

/// As [`bytes`] reads it.
fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// What `write` appends.
fn appended(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// The only record in `framed`, without its length.
fn record(framed: &[u8]) -> Vec<u8> {
    let mut input = framed;
    let record = RecordReader::new(usize::MAX)
        .next(MESSAGE_PACK, &mut input)
        .expect("a length")
        .unwrap_or_else(|| panic!("{} is not whole", hex(framed)));
    assert!(input.is_empty(), "one record");
    record.into_owned()
}

/// A message that must be readable and known.
fn message(record: &[u8]) -> HubMessage<'_> {
    match MESSAGE_PACK.decode(record) {
        Ok(Some(message)) => message,
        other => panic!("{} is read as {other:?}", hex(record)),
    }
}

/// A value as rmp-serde writes it, with names.
fn packed(value: &impl serde::Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("a value")
}
