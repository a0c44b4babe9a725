//! The one error of the use cases, with its stable code.

use std::time::Duration;

use crate::auth::{AuthError, PasswordError};
use crate::model::limits::TextError;
use crate::protocol::signalr::ArgumentsError;
use crate::protocol::strict_json::JsonError;
use crate::protocol::{ErrorCode, FieldError};
use crate::store::{Refusal, StoreError, UserRefusal};

/// Why a call wasn't done. What a caller may read is [`Error::code`] and [`Error::detail`]; the cause behind
/// [`std::error::Error::source`] is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Error {
    code: ErrorCode,
    status: u16,
    detail: String,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
    #[source]
    source: Option<crate::store::BoxError>,
}

impl Error {
    /// An error of `code`; `detail` tells a person what to do next.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            fields: Vec::new(),
            retry_after: None,
            source: None,
        }
    }

    /// `not_found`, the same for what isn't there and what the caller may not know of.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            ErrorCode::NotFound,
            "there is no such thing, or you have no access to it",
        )
    }

    /// `validation_failed` of one field.
    pub fn field(field: &str, code: &str, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError::new(field, code, detail)])
    }

    /// `validation_failed` of these fields.
    #[must_use]
    pub fn fields(fields: Vec<FieldError>) -> Self {
        let detail = fields
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            fields,
            ..Self::new(ErrorCode::ValidationFailed, detail)
        }
    }

    /// `validation_failed` of a text.
    #[must_use]
    pub fn text(field: &str, error: TextError) -> Self {
        Self::field(field, error.code(), error.detail())
    }

    /// `rate_limited`.
    pub fn rate_limited(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::RateLimited, detail)
        }
    }

    /// `unavailable`, worth another try after a second.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(ErrorCode::Unavailable, detail)
        }
    }

    /// `internal`: what failed is for the log alone.
    pub fn internal(source: impl Into<crate::store::BoxError>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(ErrorCode::Internal, "something failed inside the server")
        }
    }

    /// `invalid_credentials` of a login (401), the same for an unknown address and a wrong password.
    #[must_use]
    pub fn invalid_credentials() -> Self {
        Self::new(
            ErrorCode::InvalidCredentials,
            "the e-mail address or the password is wrong",
        )
    }

    /// `invalid_credentials` of a caller who is signed in, and whose current password is another (403).
    #[must_use]
    pub fn wrong_password() -> Self {
        Self {
            status: 403,
            ..Self::new(ErrorCode::InvalidCredentials, "the password is wrong")
        }
    }

    /// The same for another caller, without the cause.
    pub(crate) fn again(&self) -> Self {
        Self {
            code: self.code,
            status: self.status,
            detail: self.detail.clone(),
            fields: self.fields.clone(),
            retry_after: self.retry_after,
            source: None,
        }
    }

    /// What happened, for a program.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The HTTP status: the code's, but 403 for [`Error::wrong_password`].
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// What happened and what to do, for a person. One line, without inner detail.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields of a `validation_failed`.
    #[must_use]
    pub fn field_errors(&self) -> &[FieldError] {
        &self.fields
    }

    /// How long to wait before another try, with `rate_limited` and `unavailable`.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whole seconds of [`Error::retry_after`], at least 1: `Retry-After` and the hub's `(retry after N s)`.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|d| {
            d.as_millis()
                .div_ceil(1000)
                .max(1)
                .try_into()
                .unwrap_or(u64::MAX)
        })
    }

    /// The hub's error text: `"<code>: <detail>"`, with `(retry after N s)` where there is a wait.
    #[must_use]
    pub fn hub_text(&self) -> String {
        match self.retry_after_seconds() {
            Some(n) => format!("{}: {} (retry after {n} s)", self.code, self.detail),
            None => format!("{}: {}", self.code, self.detail),
        }
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        if let StoreError::OldSchema { .. } = e {
            Self::unavailable(e.to_string())
        } else if e.is_retryable() {
            Self {
                source: Some(Box::new(e)),
                ..Self::unavailable("the database can't be used now: try again")
            }
        } else {
            Self::internal(e)
        }
    }
}

impl From<JsonError> for Error {
    fn from(e: JsonError) -> Self {
        match e {
            JsonError::Field(field) => Self::fields(vec![field]),
            _ => Self::new(ErrorCode::InvalidRequest, e.to_string()),
        }
    }
}

impl From<ArgumentsError> for Error {
    fn from(e: ArgumentsError) -> Self {
        match e {
            ArgumentsError::Argument(JsonError::Field(field)) => Self::fields(vec![field]),
            _ => Self::new(ErrorCode::ValidationFailed, e.to_string()),
        }
    }
}

impl From<Refusal> for Error {
    fn from(r: Refusal) -> Self {
        let (code, detail) = match r {
            Refusal::NotFound => return Self::not_found(),
            Refusal::Forbidden => (
                ErrorCode::Forbidden,
                "your role in the room doesn't allow this",
            ),
            Refusal::ClientMessageIdReused => (
                ErrorCode::Conflict,
                "this clientMessageId was first sent with another content: use a new one",
            ),
            Refusal::LastAdmin => (
                ErrorCode::Conflict,
                "the last admin can't step down: make someone else admin first",
            ),
            Refusal::InviteGone => (
                ErrorCode::Gone,
                "this invite doesn't admit you any more: ask for a new one",
            ),
            Refusal::RoomsPerUser => (
                ErrorCode::LimitReached,
                "you are in as many rooms as allowed: leave one first",
            ),
            Refusal::MembersPerRoom => (
                ErrorCode::LimitReached,
                "the room has as many members as allowed",
            ),
            Refusal::InvitesPerRoom => (
                ErrorCode::LimitReached,
                "the room has as many open invites as allowed: revoke one first",
            ),
            Refusal::WebhooksPerRoom => (
                ErrorCode::LimitReached,
                "the room has as many webhooks as allowed: remove one first",
            ),
            Refusal::WebhookDisabled => (
                ErrorCode::Conflict,
                "the receiver has disabled this webhook with 410: make a new one",
            ),
        };
        Self::new(code, detail)
    }
}

impl From<UserRefusal> for Error {
    fn from(r: UserRefusal) -> Self {
        match r {
            UserRefusal::EmailTaken => Self::new(
                ErrorCode::EmailTaken,
                "there is an account with this e-mail address",
            ),
            UserRefusal::UsernameTaken => Self::new(
                ErrorCode::UsernameTaken,
                "this username is taken: choose another",
            ),
            UserRefusal::NotFound => Self::not_found(),
        }
    }
}

impl From<PasswordError> for Error {
    fn from(e: PasswordError) -> Self {
        match e {
            PasswordError::Busy => {
                Self::unavailable("too many passwords are being checked: try again")
            }
            PasswordError::Failed(_) => Self::internal(e),
        }
    }
}

impl From<AuthError> for Error {
    fn from(e: AuthError) -> Self {
        match e {
            AuthError::Unavailable => Self::unavailable(e.to_string()),
            AuthError::Unauthenticated | AuthError::TokenExpired => {
                Self::new(e.code(), e.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::hub::SendMessage;
    use crate::protocol::signalr::{Encoding, Raw};
    use crate::protocol::strict_json;

    #[test]
    fn json_is_an_invalid_request_until_it_is_json() {
        for (body, code, detail) in [
            (
                "{",
                ErrorCode::InvalidRequest,
                "not valid JSON at line 1, column 2",
            ),
            (
                r#"{"a":1,"a":1}"#,
                ErrorCode::InvalidRequest,
                "the key \"a\" stands twice in one object",
            ),
            (
                r#"{"roomId":7}"#,
                ErrorCode::ValidationFailed,
                "content is missing",
            ),
            (
                "[]",
                ErrorCode::ValidationFailed,
                "the value must be an object",
            ),
        ] {
            let e: Error = strict_json::parse::<SendMessage>(body.as_bytes())
                .expect_err(body)
                .into();
            assert_eq!((e.code(), e.detail()), (code, detail));
        }
    }

    #[test]
    fn refused_arguments_are_always_a_failed_validation() {
        for (arguments, text) in [
            (
                "[]",
                "validation_failed: the method takes one argument, not 0",
            ),
            (
                r#"[{"content":"a"}]"#,
                "validation_failed: roomId is missing",
            ),
            (
                r#"[{"a":1,"a":1}]"#,
                "validation_failed: the key \"a\" stands twice in one object",
            ),
        ] {
            let arguments = Raw(arguments.as_bytes()).into();
            let e: Error = Encoding::Json
                .arguments::<SendMessage>(arguments)
                .expect_err("refused")
                .into();
            assert_eq!(e.hub_text(), text);
        }
    }
}
