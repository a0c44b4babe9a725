//! Sizes, counts and the rules of text. Characters are Unicode scalar values.

use std::time::Duration;

/// Characters of a room name, after trimming.
pub const ROOM_NAME_CHARS: std::ops::RangeInclusive<usize> = 1..=64;
/// Characters of a message.
pub const CONTENT_CHARS: std::ops::RangeInclusive<usize> = 1..=4_000;
/// Visible ASCII characters of a `clientMessageId`.
pub const CLIENT_MESSAGE_ID_CHARS: std::ops::RangeInclusive<usize> = 1..=64;
/// Characters of a username made by `register`.
pub const USERNAME_CHARS: std::ops::RangeInclusive<usize> = 2..=32;
/// Characters of a password.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=256;
/// Characters of an e-mail address.
pub const EMAIL_MAX_CHARS: usize = 254;
/// Characters of a session's device.
pub const DEVICE_CHARS: std::ops::RangeInclusive<usize> = 1..=64;
/// Items of a page.
pub const PAGE_LIMIT: std::ops::RangeInclusive<i64> = 1..=100;
/// Items of a page whose size wasn't asked for.
pub const PAGE_LIMIT_DEFAULT: i64 = 50;
/// Seconds an invite may live.
pub const INVITE_EXPIRES_SECONDS: std::ops::RangeInclusive<i64> = 60..=2_592_000;
/// Seconds an invite lives when nothing was said: 7 days.
pub const INVITE_EXPIRES_SECONDS_DEFAULT: i64 = 604_800;
/// How many an invite may admit.
pub const INVITE_MAX_USES: std::ops::RangeInclusive<i64> = 1..=10_000;
/// Bytes of a REST body.
pub const REST_BODY_BYTES: usize = 64 * 1024;
/// Bytes of one hub record, framing included.
pub const HUB_RECORD_BYTES: usize = 64 * 1024;
/// Levels of nesting in JSON, the outermost counted.
pub const JSON_DEPTH: usize = 32;

/// Counts that an operator may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rooms one user can be in.
    pub rooms_per_user: i64,
    /// Members one room can have.
    pub members_per_room: i64,
    /// Invites of one room that still admit someone.
    pub invites_per_room: i64,
    /// Sessions of one user; the one longest unused ends.
    pub sessions_per_user: i64,
    /// Webhooks of one room.
    pub webhooks_per_room: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms_per_user: 1_000,
            members_per_room: 10_000,
            invites_per_room: 100,
            sessions_per_user: 50,
            webhooks_per_room: 20,
        }
    }
}

/// Rates that an operator may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Whether any rate is limited at all; off for load tests.
    pub enabled: bool,
    /// Messages a second a user may send in the long run.
    pub sends_per_second: u32,
    /// Messages a user may send at once.
    pub sends_burst: u32,
    /// Unknown invites a minute a user may try.
    pub unknown_invites_per_minute: u32,
    /// Wrong passwords a minute, for an account and for an address.
    pub wrong_passwords_per_minute: u32,
    /// Registrations a minute an address.
    pub registrations_per_minute: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            enabled: true,
            sends_per_second: 20,
            sends_burst: 60,
            unknown_invites_per_minute: 10,
            wrong_passwords_per_minute: 10,
            registrations_per_minute: 30,
        }
    }
}

/// How long tokens live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An access token.
    pub access: Duration,
    /// A refresh token.
    pub refresh: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(900),
            refresh: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Why a text was refused. [`TextError::detail`] says it to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// Fewer characters than the minimum.
    TooShort(usize),
    /// More characters than the maximum.
    TooLong(usize),
    /// Nothing but white space.
    Blank,
    /// A control character.
    Control,
    /// A character outside of what is allowed.
    Character,
    /// Not of the form asked for.
    Form,
}

impl TextError {
    /// The stable code of the field's error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort(_) => "too_short",
            Self::TooLong(_) => "too_long",
            Self::Blank => "blank",
            Self::Control | Self::Character => "invalid_character",
            Self::Form => "invalid_format",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn detail(self) -> String {
        match self {
            Self::TooShort(min) => format!("must have at least {min} characters"),
            Self::TooLong(max) => format!("must have at most {max} characters"),
            Self::Blank => "must not be only white space".to_owned(),
            Self::Control => "must not contain control characters".to_owned(),
            Self::Character => "contains a character that is not allowed".to_owned(),
            Self::Form => "is not of the expected form".to_owned(),
        }
    }
}

fn count(text: &str, bounds: &std::ops::RangeInclusive<usize>) -> Result<(), TextError> {
    // A text is at most four bytes a character: the count is needed only where bytes don't decide.
    if text.len() > bounds.end() * 4 {
        return Err(TextError::TooLong(*bounds.end()));
    }
    let n = if text.is_ascii() {
        text.len()
    } else {
        text.chars().count()
    };
    if n < *bounds.start() {
        Err(TextError::TooShort(*bounds.start()))
    } else if n > *bounds.end() {
        Err(TextError::TooLong(*bounds.end()))
    } else {
        Ok(())
    }
}

/// Checks a message's content: 1–4,000 characters, not only white space, no control characters but newline and tab.
///
/// # Errors
/// The rule that it breaks.
pub fn content(text: &str) -> Result<(), TextError> {
    count(text, &CONTENT_CHARS)?;
    if text
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        return Err(TextError::Control);
    }
    if text.trim().is_empty() {
        return Err(TextError::Blank);
    }
    Ok(())
}

/// Checks a room's name and returns it trimmed.
///
/// # Errors
/// The rule that it breaks.
pub fn room_name(text: &str) -> Result<&str, TextError> {
    let name = text.trim();
    count(name, &ROOM_NAME_CHARS)?;
    if name.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    Ok(name)
}

/// Checks a `clientMessageId`: 1–64 visible ASCII characters.
///
/// # Errors
/// The rule that it breaks.
pub fn client_message_id(text: &str) -> Result<(), TextError> {
    count(text, &CLIENT_MESSAGE_ID_CHARS)?;
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(TextError::Character)
    }
}

/// Checks a username: 2–32 of ASCII letters, digits, `_ . -`.
///
/// # Errors
/// The rule that it breaks.
pub fn username(text: &str) -> Result<(), TextError> {
    count(text, &USERNAME_CHARS)?;
    if text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        Ok(())
    } else {
        Err(TextError::Character)
    }
}

/// Checks an e-mail address: at most 254 characters, one @ with something on both sides, no white space or control
/// characters.
///
/// # Errors
/// The rule that it breaks.
pub fn email(text: &str) -> Result<(), TextError> {
    count(text, &(1..=EMAIL_MAX_CHARS))?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(TextError::Character);
    }
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
        {
            Ok(())
        }
        _ => Err(TextError::Form),
    }
}

/// The form under which two e-mail addresses or usernames are the same.
#[must_use]
pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// Checks a password: 8–256 characters.
///
/// # Errors
/// The rule that it breaks.
pub fn password(text: &str) -> Result<(), TextError> {
    count(text, &PASSWORD_CHARS)
}

/// Checks a session's device: 1–64 characters, no control characters.
///
/// # Errors
/// The rule that it breaks.
pub fn device(text: &str) -> Result<(), TextError> {
    count(text, &DEVICE_CHARS)?;
    if text.chars().any(char::is_control) {
        Err(TextError::Control)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_counted_in_characters_and_kept_as_it_is() {
        assert_eq!(content(&"😀".repeat(4_000)), Ok(()));
        assert_eq!(content(&"😀".repeat(4_001)), Err(TextError::TooLong(4_000)));
        assert_eq!(content("a\n\tb"), Ok(()));
        assert_eq!(content("a\u{1b}[31mb"), Err(TextError::Control));
        assert_eq!(content("a\u{85}b"), Err(TextError::Control));
        assert_eq!(content(" \n\u{3000}"), Err(TextError::Blank));
        assert_eq!(content(""), Err(TextError::TooShort(1)));
    }

    #[test]
    fn an_address_has_one_at_with_something_on_both_sides() {
        assert_eq!(email("a@b"), Ok(()));
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a\u{7f}@b"] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }
}
