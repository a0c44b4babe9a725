//! Hub messages as MessagePack records (specification: `HubProtocol.md`, "MessagePack (MsgPack) encoding").
//!
//! A record is one array behind its length. Reading: a value of any width is taken, an integral float is an integer, nil is an
//! absent member, and items beyond those that a message has are skipped; `headers` are skipped too, never kept: some clients
//! copy their `Authorization` header into every call. Writing: objects are maps with string keys, of the same names as in JSON;
//! an integer takes its shortest form, but never an unsigned 64-bit one where a signed one holds it, which some clients don't
//! read as an integer; a time is text.

mod cursor;
mod deserialize;
mod read;
mod serialize;
mod write;

pub(super) use self::read::*;
pub(super) use self::write::*;
