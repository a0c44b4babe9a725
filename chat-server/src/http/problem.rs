//! The only place where an error becomes a response: RFC 9457 problem documents.

use std::error::Error as _;

use axum::response::{IntoResponse, Response};
use chat_core::protocol::{ErrorCode, Problem};
use chat_core::service::Error;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What a handler answers.
pub(crate) type HttpResult<T> = Result<T, HttpError>;

/// An error on its way out over HTTP.
#[derive(Debug)]
pub(crate) struct HttpError {
    error: Box<Error>,
    status: StatusCode,
}

impl HttpError {
    /// An error of `code`; `detail` tells a person what to do next.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Error::new(code, detail).into()
    }

    /// The error of a call whose caller was known: a wrong password is then no failed login, but a thing that this caller
    /// may not do.
    pub(crate) fn of_signed_in(error: Error) -> Self {
        let forbidden = error.code() == ErrorCode::InvalidCredentials;
        let error = Self::from(error);
        if forbidden {
            Self {
                status: StatusCode::FORBIDDEN,
                ..error
            }
        } else {
            error
        }
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code().status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            error: Box::new(error),
            status,
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let Self { error, status } = self;
        log(&error);
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: error.detail().to_owned(),
            code: error.code(),
            errors: error.field_errors().to_vec(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = error.retry_after_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Logs what is the server's fault, once, with all that lies behind it. The request's span says the rest.
fn log(error: &Error) {
    let mut causes = String::new();
    let mut cause = error.source();
    while let Some(e) = cause {
        if !causes.is_empty() {
            causes.push_str(": ");
        }
        causes.push_str(&e.to_string());
        cause = e.source();
    }
    match error.code() {
        ErrorCode::Internal => tracing::error!(causes, "a request failed: {error}"),
        ErrorCode::Unavailable => tracing::warn!(causes, "a request was put off: {error}"),
        _ => {}
    }
}

/// No route has this path.
pub(super) async fn unknown_route() -> HttpError {
    HttpError::new(ErrorCode::NotFound, "there is nothing at this path")
}

/// The path has other methods; the router adds `Allow`.
pub(super) async fn unknown_method() -> HttpError {
    HttpError::new(
        ErrorCode::MethodNotAllowed,
        "this path doesn't answer to this method: see the Allow header",
    )
}

/// A handler panicked. The panic itself was logged where it happened.
#[allow(clippy::needless_pass_by_value)] // the signature is the layer's
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    HttpError::new(ErrorCode::Internal, "something failed inside the server").into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wrong_password_is_401_at_login_and_403_for_someone_signed_in() {
        let wrong = || Error::new(ErrorCode::InvalidCredentials, "wrong");
        let login = HttpError::from(wrong()).into_response();
        assert_eq!(login.status(), 401);
        assert_eq!(login.headers()[WWW_AUTHENTICATE], "Bearer");
        let signed_in = HttpError::of_signed_in(wrong()).into_response();
        assert_eq!(signed_in.status(), 403);
        assert!(!signed_in.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[test]
    fn a_wait_is_said_in_whole_seconds_rounded_up() {
        let error = Error::rate_limited("slow down", Duration::from_millis(1_001));
        assert_eq!(
            HttpError::from(error).into_response().headers()[RETRY_AFTER],
            "2"
        );
    }
}
