//! JSON as requests may have it: without duplicate keys, and not nested without end.
//!
//! A body with the same key twice means different things to different readers, so it is refused, as is one nested deeper
//! than [`JSON_DEPTH`](limits::JSON_DEPTH). A quick pass over the structure finds that out before serde_json reads the
//! values; only where a value is refused is it read once more, slowly, to name the field.

mod explain;
mod scan;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

pub(crate) use self::explain::{explain, explain_tree};
pub(crate) use self::scan::{ScanError, Scanner};
use crate::model::limits;
use crate::protocol::FieldError;

/// [`JSON_DEPTH`](limits::JSON_DEPTH), as the scanner counts.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const LEVELS: u32 = limits::JSON_DEPTH as u32;

/// Why JSON was refused. The text is one line, for the one who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON.
    #[error("not valid JSON at line {line}, column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
    },
    /// An object has a key twice, in whatever spelling.
    #[error("the key {0:?} stands twice in one object")]
    DuplicateKey(String),
    /// Nested too deeply.
    #[error("nested over {LEVELS} deep")]
    TooDeep,
    /// A field is missing or isn't what it must be. The field is empty where it is the value as a whole.
    #[error("{0}")]
    Field(FieldError),
}

/// Reads an object, a request's body for example.
///
/// # Errors
///
/// [`JsonError::Field`] if the JSON is sound but not a `T`, else one of the other variants.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, JsonError> {
    let text = checked(json, LEVELS)?;
    object(text)?;
    serde_json::from_str(text).map_err(|_| explain::<T>(text))
}

/// Refuses sound JSON that is no object: serde_json would take an array of a struct's fields for it, too.
pub(crate) fn object(json: &str) -> Result<(), JsonError> {
    if json.trim_ascii_start().starts_with('{') {
        Ok(())
    } else {
        Err(no_object())
    }
}

/// The error of a value that must be an object.
pub(crate) fn no_object() -> JsonError {
    JsonError::Field(FieldError::new("", "invalid_type", "must be an object"))
}

/// The text of `json`, unless it isn't JSON, has doubled keys anywhere, or is nested over `levels` deep.
pub(crate) fn checked(json: &[u8], levels: u32) -> Result<&str, JsonError> {
    let text = std::str::from_utf8(json).map_err(|e| malformed(json, e.valid_up_to()))?;
    let mut scanner = Scanner::new(text);
    scanner
        .value_of_distinct_keys(levels)
        .and_then(|_| scanner.end())
        .map_err(|e| match e {
            ScanError::Malformed { at } => malformed(json, at),
            ScanError::TooDeep { .. } => JsonError::TooDeep,
            ScanError::DuplicateKey(key) => JsonError::DuplicateKey(key),
        })?;
    Ok(text)
}

/// The error at byte `at`.
fn malformed(json: &[u8], at: usize) -> JsonError {
    let before = &json[..at.min(json.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |i| i + 1);
    JsonError::Malformed {
        line: 1 + memchr::memchr_iter(b'\n', before).count(),
        column: 1 + before.len() - line_start,
    }
}
