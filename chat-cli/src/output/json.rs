//! Results as JSON: exactly the contract's objects, harmless for a terminal all the same.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use super::sanitise::is_unsafe;
use crate::exit::{Exit, Failure, Result};

/// The value in one line, its line break included.
pub(super) fn line<T: Serialize>(value: &T) -> Result<String> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Escaping);
    let written = value.serialize(&mut serializer).map_err(|e| e.to_string());
    written
        .and_then(|()| String::from_utf8(bytes).map_err(|e| e.to_string()))
        .map(|text| text + "\n")
        .map_err(|e| Failure::new(Exit::Failed, format!("the result can't be written: {e}")))
}

/// Compact, with what a terminal could obey written as `\uXXXX`: the same value to a program. serde_json does so for the
/// characters below space.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            // All of them are in the basic plane, so one escape is the whole character.
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_obey_and_a_program_the_exact_text() {
        let text = "a\x1b[2J\u{9b}2Jb\x7fc\u{202e}d\n\"é👍\\";
        let json = line(&text).expect("written");
        assert_eq!(
            json,
            "\"a\\u001b[2J\\u009b2Jb\\u007fc\\u202ed\\n\\\"é👍\\\\\"\n"
        );
        assert_eq!(serde_json::from_str::<String>(&json).expect("read"), text);
    }
}
