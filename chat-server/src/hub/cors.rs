//! CORS on hub paths (signalr.md, section 1), where credentials are allowed and every answer can be read by an allowed page.

use axum::response::{IntoResponse, Response};
use chat_core::protocol::ErrorCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::refusal::Refusal;
use super::request::is_own;
use crate::http::Origins;

/// Answers a request of a hub path: preflights, foreign origins and wrong methods first, and CORS on everything.
pub(super) async fn answer(
    origins: &Origins,
    parts: &Parts,
    methods: &[Method],
    answer: impl Future<Output = Result<Response, Refusal>>,
) -> Response {
    let origin = parts.headers.get(ORIGIN);
    let allowed = origin.is_none_or(|o| is_own(o, parts) || origins.allow(o));
    let mut response = if parts.method == Method::OPTIONS && origin.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else if !allowed {
        Refusal::new(ErrorCode::Forbidden, "this web origin may not connect").into_response()
    } else if !methods.contains(&parts.method) {
        let mut response =
            Refusal::new(ErrorCode::MethodNotAllowed, "use another method").into_response();
        let allow = methods
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    } else {
        answer.await.unwrap_or_else(IntoResponse::into_response)
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
            if parts.method == Method::OPTIONS {
                headers.insert(
                    ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("GET, POST, DELETE"),
                );
                headers.insert(
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::from_static(
                        "authorization, content-type, x-requested-with, x-signalr-user-agent",
                    ),
                );
            }
        }
    }
    response
}
