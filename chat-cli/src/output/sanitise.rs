//! Text that others wrote, made harmless for a terminal.
//!
//! Control characters go (ESC, which begins the sequences that move the cursor, set titles or fill the clipboard; the C1
//! set, which does the same in one character), and so do those that turn the direction of writing, with which a name could
//! pass for another. What follows an ESC stays to be seen.

/// Whether a character does something to a terminal rather than being shown by it.
pub(super) fn is_unsafe(c: char) -> bool {
    // Unicode's Cc, then the line and paragraph separators and the directional formatting of UAX #9.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text as one line: white space of any kind is a space.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
            c if is_unsafe(c) => None,
            c => Some(c),
        })
        .collect()
}

/// The text as the lines it has. Tabs are spaces, so that they can't break what is aligned.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(line).collect()
}

/// The text as one field among others: backslash, line break and tab are written `\\`, `\n` and `\t`.
pub(super) fn field(text: &str) -> String {
    let mut field = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => field.push_str("\\\\"),
            '\n' => field.push_str("\\n"),
            '\t' => field.push_str("\\t"),
            c if is_unsafe(c) => {}
            c => field.push(c),
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clears a screen, sets a title, fills the clipboard, in one byte or two, and what turns the writing round.
    const ATTACK: &str = "a\x1b[2Jb\x1b]0;title\x07c\u{9b}2Jd\re\u{202e}f\x7fg\u{2066}h";

    #[test]
    fn no_character_that_a_terminal_obeys_is_left() {
        for text in [line(ATTACK), field(ATTACK), lines(ATTACK).join("\n")] {
            assert_eq!(text, "a[2Jb]0;titlec2Jdefgh");
        }
    }

    #[test]
    fn what_is_only_unusual_stays() {
        let text = "naïve 👩‍👩‍👧 שלום 日本語 e\u{301}";
        assert_eq!(line(text), text);
    }

    #[test]
    fn a_field_never_breaks_its_line() {
        assert_eq!(field("a\tb\nc\\n"), "a\\tb\\nc\\\\n");
    }
}
