//! Hub messages as JSON records.
//!
//! Reading (specification: `HubProtocol.md`, "JSON Encoding"): members in any order, the last of a doubled one counts,
//! unknown ones are skipped, and what a message's type doesn't ask for isn't looked at. `headers` are skipped too, never
//! kept: some clients copy their `Authorization` header into every call. Writing: `type` first, in the order of the
//! official JavaScript client, and no member that is `null`, which clients don't take.

mod read;
mod write;

pub(super) use self::read::*;
pub(super) use self::write::*;
