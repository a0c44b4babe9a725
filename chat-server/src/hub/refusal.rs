//! A refusal on a hub path.

use axum::response::{IntoResponse, Response};
use chat_core::protocol::ErrorCode;
use chat_core::service::Error;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// Answered as `text/plain`, one line `<code>: <detail>`: clients show it as it is.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    text: String,
    retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, detail: &str) -> Self {
        Self::status(code.status(), code, detail)
    }

    pub(super) fn status(status: u16, code: ErrorCode, detail: &str) -> Self {
        Self {
            status,
            text: format!("{code}: {detail}"),
            retry_after: None,
        }
    }

    /// The status that it is answered with.
    #[cfg(test)]
    pub(super) const fn code(&self) -> u16 {
        self.status
    }

    /// The connection isn't there, or isn't the caller's: it can't tell which.
    pub(super) fn no_connection() -> Self {
        Self::new(
            ErrorCode::NotFound,
            "there is no connection with this id: negotiate again",
        )
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self {
            status: e.status(),
            text: format!("{}: {}", e.code(), e.detail()),
            retry_after: e.retry_after_seconds(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (
            status,
            [(CONTENT_TYPE, "text/plain; charset=utf-8")],
            self.text,
        )
            .into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
