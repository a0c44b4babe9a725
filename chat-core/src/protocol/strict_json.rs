//! JSON as requests may have it: without duplicate keys, and not nested without end.
//!
//! A body with the same key twice means different things to different readers, so it is refused, as is one nested deeper
//! than [`JSON_DEPTH`](limits::JSON_DEPTH). That is found in a quick pass over the structure before serde_json reads the
//! values; only where a value is refused is the body read once more, slowly, to name the field.

mod explain;

use std::borrow::Cow;

use serde::de::DeserializeOwned;

pub(crate) use self::explain::explain;
use crate::model::limits;
use crate::protocol::FieldError;

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
    #[error("nested over {} deep", limits::JSON_DEPTH)]
    TooDeep,
    /// A field is missing or isn't what it must be. The field is empty where it is the value as a whole.
    #[error("{0}")]
    Field(FieldError),
}

/// Reads a value.
///
/// # Errors
///
/// [`JsonError::Field`] if the JSON is sound but not a `T`, else one of the other variants.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, JsonError> {
    check_within(json, limits::JSON_DEPTH)?;
    serde_json::from_slice(json).map_err(|_| explain::<T>(json))
}

/// Levels that [`check_within`] can look at.
const MAX_LEVELS: usize = limits::JSON_DEPTH + 1;

/// Refuses duplicate keys wherever they are, and nesting of over `levels`. All else that may be wrong with `json` is left
/// to the parser that reads it next; only what it takes to find keys is looked at.
pub(crate) fn check_within(json: &[u8], levels: usize) -> Result<(), JsonError> {
    // Keys of all open objects, the innermost's last.
    let mut keys: Vec<Cow<'_, [u8]>> = Vec::new();
    // For each open container, where an object's keys begin; `None` for an array.
    let mut open = [None; MAX_LEVELS];
    let open = &mut open[..levels];
    let mut depth = 0;
    let mut key_next = false;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let (end, escaped) = string_end(json, at).ok_or_else(|| malformed(json, at))?;
                if key_next {
                    let key = &json[at - 1..=end];
                    keys.push(if escaped {
                        let text: String =
                            serde_json::from_slice(key).map_err(|_| malformed(json, at))?;
                        Cow::Owned(text.into_bytes())
                    } else {
                        Cow::Borrowed(&key[1..key.len() - 1])
                    });
                    key_next = false;
                }
                at = end + 1;
            }
            b'{' | b'[' => {
                key_next = byte == b'{';
                let slot = open.get_mut(depth).ok_or(JsonError::TooDeep)?;
                *slot = key_next.then_some(keys.len());
                depth += 1;
            }
            b'}' | b']' => {
                key_next = false;
                depth = depth.checked_sub(1).ok_or_else(|| malformed(json, at))?;
                if let Some(first) = open[depth] {
                    distinct(&mut keys[first..])?;
                    keys.truncate(first);
                }
            }
            b',' => key_next = depth > 0 && open[depth - 1].is_some(),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `json` is nested at most `levels` deep, its outermost array or object counted.
pub(crate) fn is_nested_within(json: &[u8], levels: usize) -> bool {
    // Text with few brackets can't be nested deeply, and nearly all has few.
    let brackets = json.iter().filter(|b| matches!(b, b'{' | b'[')).count();
    if brackets <= levels {
        return true;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => match string_end(json, at) {
                Some((end, _)) => at = end + 1,
                None => return true,
            },
            b'{' | b'[' => {
                depth += 1;
                if depth > levels {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Where the string that begins at `at` (behind its quote) has its closing quote, and whether it has escapes.
fn string_end(json: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Objects of up to this many keys are compared pair by pair.
const FEW_KEYS: usize = 12;

/// Refuses a key that is there twice. Sorts the keys if there are many, so that 64 KiB of keys cost no more than reading
/// them.
fn distinct(keys: &mut [Cow<'_, [u8]>]) -> Result<(), JsonError> {
    let twice = if keys.len() <= FEW_KEYS {
        (1..keys.len()).find(|&i| keys[..i].contains(&keys[i]))
    } else {
        keys.sort_unstable();
        (1..keys.len()).find(|&i| keys[i - 1] == keys[i])
    };
    match twice {
        None => Ok(()),
        Some(i) => {
            let key = String::from_utf8_lossy(&keys[i]);
            Err(JsonError::DuplicateKey(key.chars().take(64).collect()))
        }
    }
}

/// The error at byte `at`.
fn malformed(json: &[u8], at: usize) -> JsonError {
    let before = &json[..at.min(json.len())];
    JsonError::Malformed {
        line: 1 + memchr::memchr_iter(b'\n', before).count(),
        column: before.len() - memchr::memrchr(b'\n', before).map_or(0, |i| i + 1),
    }
}
