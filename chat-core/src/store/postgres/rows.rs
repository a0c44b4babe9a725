//! What is PostgreSQL's own in how rows become what the model speaks of.

use serde::Deserialize;

use super::fault::Fault;
use crate::store::rows;

pub(super) type MemberRow = rows::MemberRow<bool>;
pub(super) type RoomRow = rows::RoomRow<bool>;

/// Reads JSON that a stored function wrote.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    Ok(serde_json::from_str(text)?)
}
