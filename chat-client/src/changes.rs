//! Changes as any version of the server may write them.
//!
//! An event of a kind that isn't known here is skipped, but keeps its place in its room.

use chat_core::model::{Event, Seq};
use chat_core::protocol::rest::Changes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// Reads a page of `changes`.
pub(crate) fn decode_changes(body: &[u8]) -> Result<Changes> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lenient<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
        seq: Seq,
        has_more: bool,
        complete: bool,
    }
    let page: Lenient<'_> = serde_json::from_slice(body)
        .map_err(|e| Error::undecodable("a page of changes isn't as documented", e))?;
    Ok(Changes {
        items: page
            .items
            .into_iter()
            .filter_map(|item| serde_json::from_str::<Event>(item.get()).ok())
            .collect(),
        seq: page.seq,
        has_more: page.has_more,
        complete: page.complete,
    })
}
