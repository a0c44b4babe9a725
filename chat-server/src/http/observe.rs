//! What is kept of every request: its id, a span that log lines within it belong to, and its count and duration.
//!
//! Neither the query, nor headers, nor bodies are ever logged: tokens travel there.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument as _;

use super::client_address::ClientAddress;
use crate::telemetry::metric;

/// The header of a request's id: taken from the request where it is sound, made where it isn't, and sent back.
pub const REQUEST_ID: &str = "x-request-id";

/// What a route that doesn't exist is counted as.
const NO_ROUTE: &str = "none";

/// Surrounds everything else.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or_else(
        || NO_ROUTE.into(),
        |path| std::sync::Arc::<str>::from(path.as_str()),
    );
    let client = request.extensions().get::<ClientAddress>().map(|a| a.0);
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = method.as_str(),
        route = &*route,
        client = client.map(tracing::field::display),
    );
    request
        .headers_mut()
        .insert(HeaderName::from_static(REQUEST_ID), id.clone());

    let mut response = next.run(request).instrument(span.clone()).await;

    response
        .headers_mut()
        .insert(HeaderName::from_static(REQUEST_ID), id);
    let status = response.status().as_u16();
    let duration = began.elapsed();
    span.in_scope(|| {
        tracing::debug!(
            status,
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
    });
    let method = known_method(&method);
    metrics::counter!(metric::HTTP_REQUESTS, "method" => method, "route" => route.to_string(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!(metric::HTTP_REQUEST_DURATION, "method" => method, "route" => route.to_string())
        .record(duration);
    response
}

/// A method by its name, so that invented ones don't each make a time series.
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The request's own id if it is 1 to 128 of ASCII letters, digits, `_ . -`, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sound = |v: &&HeaderValue| {
        (1..=128).contains(&v.len())
            && v.as_bytes()
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    };
    match headers.get(REQUEST_ID).filter(sound) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()))
            .unwrap_or(HeaderValue::from_static("none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsound_request_id_is_replaced() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                REQUEST_ID,
                HeaderValue::from_bytes(value).expect("a header"),
            );
            request_id(&headers)
        };
        assert_eq!(with(b"a-1_B.2"), "a-1_B.2");
        for unsound in [&b""[..], b"a b", b"a\"b", &[b'a'; 129], b"\xff"] {
            let made = with(unsound);
            assert_eq!(made.len(), 32, "{unsound:?}");
            assert_ne!(made, request_id(&HeaderMap::new()));
        }
    }
}
