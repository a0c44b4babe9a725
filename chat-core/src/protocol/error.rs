//! Stable error codes, and the shape errors have on the wire.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong, in a form that programs may rely on. The same codes stand in REST's problem documents and in front of
/// a hub error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// 400: malformed JSON.
    InvalidRequest,
    /// 405.
    MethodNotAllowed,
    /// 413.
    PayloadTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 401: no token, or one that isn't valid.
    Unauthenticated,
    /// 401: the access token has expired; refresh it.
    TokenExpired,
    /// 401 at login, 403 where a current password was asked for: it is wrong.
    InvalidCredentials,
    /// 401: the refresh token is not one, or is used up; log in again.
    InvalidRefreshToken,
    /// 403: the caller's role doesn't allow it.
    Forbidden,
    /// 404: also what the caller may not know of.
    NotFound,
    /// 409.
    EmailTaken,
    /// 409.
    UsernameTaken,
    /// 409: it contradicts what is there.
    Conflict,
    /// 409: a count is at its limit.
    LimitReached,
    /// 410: the invite doesn't admit any more.
    Gone,
    /// 422: a field is missing, of the wrong type or out of bounds.
    ValidationFailed,
    /// 429: wait, then try again.
    RateLimited,
    /// 503: the server can't do it now; try again.
    Unavailable,
    /// 500.
    Internal,
}

impl ErrorCode {
    /// The code as it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unauthenticated => "unauthenticated",
            Self::TokenExpired => "token_expired",
            Self::InvalidCredentials => "invalid_credentials",
            Self::InvalidRefreshToken => "invalid_refresh_token",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::EmailTaken => "email_taken",
            Self::UsernameTaken => "username_taken",
            Self::Conflict => "conflict",
            Self::LimitReached => "limit_reached",
            Self::Gone => "gone",
            Self::ValidationFailed => "validation_failed",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The code that is written `text`, if there is one.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        use serde::de::IntoDeserializer as _;
        use serde::de::value::{Error, StrDeserializer};
        let d: StrDeserializer<'_, Error> = text.into_deserializer();
        Self::deserialize(d).ok()
    }

    /// The HTTP status it goes with. `invalid_credentials` is 403 instead where a signed-in caller's current password
    /// was wrong.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated
            | Self::TokenExpired
            | Self::InvalidCredentials
            | Self::InvalidRefreshToken => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::EmailTaken | Self::UsernameTaken | Self::Conflict | Self::LimitReached => 409,
            Self::Gone => 410,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::ValidationFailed => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An RFC 9457 problem document, the body of every REST error (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI of the kind of problem; `about:blank` where `code` says all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, for a person.
    pub detail: String,
    /// What happened, for a program.
    pub code: ErrorCode,
    /// With `validation_failed`: the fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field's name on the wire, or a query parameter's.
    pub field: String,
    /// A stable code: `required`, `invalid_type`, `out_of_range`, `too_short` …
    pub code: String,
    /// What to do about it.
    pub detail: String,
}

impl FieldError {
    /// An error of `field`.
    pub fn new(
        field: impl Into<String>,
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            code: code.into(),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a field it is the value as a whole.
        let field = match self.field.as_str() {
            "" => "the value",
            field => field,
        };
        write!(f, "{field} {}", self.detail)
    }
}

/// A hub method's error: the text `"<code>: <detail>"`, for `rate_limited` and `unavailable` ending in
/// `(retry after N s)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubError {
    /// What happened, for a program; `None` for a code this version doesn't know.
    pub code: Option<ErrorCode>,
    /// What happened, for a person.
    pub detail: String,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
}

impl HubError {
    /// Reads a completion's error text. Any text is one: what has no code keeps the whole text as its detail.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (code, detail) = match text.split_once(": ") {
            Some((code, detail)) => (ErrorCode::from_wire(code), detail),
            None => (None, text),
        };
        let retry_after = detail
            .strip_suffix(" s)")
            .and_then(|rest| rest.rsplit_once("(retry after "))
            .and_then(|(_, n)| n.parse().ok())
            .map(Duration::from_secs);
        let detail = if code.is_some() { detail } else { text };
        Self {
            code,
            detail: detail.to_owned(),
            retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_serde_writes_it() {
        for code in [
            ErrorCode::InvalidRequest,
            ErrorCode::LimitReached,
            ErrorCode::Internal,
            ErrorCode::TokenExpired,
        ] {
            assert_eq!(serde_json::to_value(code).expect("written"), code.as_str());
            assert_eq!(ErrorCode::from_wire(code.as_str()), Some(code));
        }
        assert_eq!(ErrorCode::from_wire("morse"), None);
    }

    #[test]
    fn a_hub_error_reads_its_code_and_its_wait() {
        let e = HubError::parse("rate_limited: too many messages (retry after 3 s)");
        assert_eq!(
            (e.code, e.retry_after),
            (Some(ErrorCode::RateLimited), Some(Duration::from_secs(3)))
        );
        assert_eq!(
            HubError::parse("An unexpected error").detail,
            "An unexpected error"
        );
    }
}
