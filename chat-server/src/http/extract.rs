//! What handlers take from a request. Refusals are problem documents, and come in the order of a handler's arguments.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use chat_core::model::{MAX_INTEGER, limits};
use chat_core::protocol::ErrorCode;
use chat_core::protocol::strict_json::{self, JsonError};
use chat_core::service::Error;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::HttpError;

/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// A body of JSON: of a request, read strictly, or of an answer.
pub(crate) struct Json<T>(pub(crate) T);

impl<S, T> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(HttpError::new(
                ErrorCode::UnsupportedMediaType,
                "send JSON, uncompressed, with `Content-Type: application/json`",
            ));
        }
        let bytes = read(&parts.headers, body).await?;
        match strict_json::parse(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(JsonError::Field(field)) => Err(Error::fields(vec![field]).into()),
            Err(e) => Err(HttpError::new(ErrorCode::InvalidRequest, e.to_string())),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        // Answers hold what only the caller may see.
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
        ];
        match serde_json::to_vec(&self.0) {
            Ok(body) => (headers, body).into_response(),
            Err(e) => HttpError::from(Error::internal(e)).into_response(),
        }
    }
}

/// Whether a body is said to be JSON (RFC 6839's `+json` too), and not compressed.
fn is_json(headers: &HeaderMap) -> bool {
    let compressed = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
    let text = |v: &HeaderValue| v.to_str().unwrap_or_default().to_ascii_lowercase();
    let media_type = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    is_json && !compressed
}

/// Refuses a body that is said to be too long, whether it is read or not.
pub(super) fn check_length(headers: &HeaderMap) -> Result<(), HttpError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    match length.map(str::parse::<u64>) {
        Some(Ok(length)) if length > limits::REST_BODY_BYTES as u64 => Err(too_large()),
        _ => Ok(()),
    }
}

fn too_large() -> HttpError {
    HttpError::new(
        ErrorCode::PayloadTooLarge,
        format!("a body has at most {} bytes", limits::REST_BODY_BYTES),
    )
}

async fn read(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, HttpError> {
    check_length(headers)?;
    let body = Limited::new(body, limits::REST_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(HttpError::new(
            ErrorCode::InvalidRequest,
            "the body ended early",
        )),
        Err(_) => Err(HttpError::new(
            ErrorCode::InvalidRequest,
            "the body took too long to arrive",
        )),
    }
}

/// The query. Its parameters are integers, `true` and `false`; unknown ones are ignored.
pub(crate) struct Query<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, HttpError> {
    let mut object = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = match &*value {
            "true" => true.into(),
            "false" => false.into(),
            digits => match integer(digits) {
                Some(n) => n.into(),
                None => digits.into(),
            },
        };
        if object.insert(name.clone().into_owned(), value).is_some() {
            let name: String = name.chars().take(64).collect();
            return Err(Error::field(&name, "duplicate", "stands twice in the query").into());
        }
    }
    let object = serde_json::to_vec(&object).unwrap_or_default();
    strict_json::parse(&object).map_err(|e| match e {
        JsonError::Field(field) => Error::fields(vec![field]).into(),
        other => Error::field("", "invalid", other.to_string()).into(),
    })
}

/// A decimal integer; one too large for any id is nobody's.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    }))
}

/// The ids in the path, in its order; 404 where one is no id.
pub(crate) struct Ids<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Ids<T>
where
    T: FromIds,
    S: Send + Sync,
{
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        params
            .and_then(|params| {
                // A host may have mounted the router below parameters of its own: ours are the last ones.
                let all: Vec<_> = params.iter().map(|(_, text)| text).collect();
                let own = all.get(all.len().checked_sub(T::COUNT)?..)?;
                let ids: Option<Vec<_>> = own.iter().map(|text| path_id(text)).collect();
                T::from_ids(&ids?)
            })
            .map(Self)
            .ok_or_else(|| Error::not_found().into())
    }
}

/// One id, or more.
pub(crate) trait FromIds: Sized {
    /// How many there are.
    const COUNT: usize;
    /// Makes them of `COUNT` integers.
    fn from_ids(ids: &[i64]) -> Option<Self>;
}

macro_rules! from_ids {
    ($($id:ident),*) => { $(
        impl FromIds for chat_core::model::$id {
            const COUNT: usize = 1;

            fn from_ids(ids: &[i64]) -> Option<Self> {
                match ids {
                    [id] => Some(Self(*id)),
                    _ => None,
                }
            }
        }
    )* };
}
from_ids!(
    RoomId, UserId, SessionId, MessageId, InviteId, WebhookId, DeliveryId
);

impl<A: FromIds, B: FromIds> FromIds for (A, B) {
    const COUNT: usize = A::COUNT + B::COUNT;

    fn from_ids(ids: &[i64]) -> Option<Self> {
        let (a, b) = ids.split_at_checked(A::COUNT)?;
        Some((A::from_ids(a)?, B::from_ids(b)?))
    }
}

impl<A: FromIds, B: FromIds, C: FromIds> FromIds for (A, B, C) {
    const COUNT: usize = A::COUNT + B::COUNT + C::COUNT;

    fn from_ids(ids: &[i64]) -> Option<Self> {
        let (a, rest) = ids.split_at_checked(A::COUNT)?;
        let (b, c) = rest.split_at_checked(B::COUNT)?;
        Some((A::from_ids(a)?, B::from_ids(b)?, C::from_ids(c)?))
    }
}

/// An id as we write it: a positive decimal number without sign or leading zeros.
fn path_id(text: &str) -> Option<i64> {
    let id = text
        .parse()
        .ok()
        .filter(|id| (1..=MAX_INTEGER).contains(id))?;
    (id.to_string() == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use chat_core::protocol::rest::{ChangesQuery, HistoryQuery, RemoveMemberQuery};

    use super::*;

    #[test]
    fn only_what_we_would_write_is_an_id() {
        assert_eq!(path_id("7"), Some(7));
        for other in [
            "0",
            "07",
            "+7",
            "-7",
            "7.0",
            "",
            "me",
            "9007199254740992",
            "٧",
        ] {
            assert_eq!(path_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_query_reads_integers_and_switches() {
        let history: HistoryQuery = query("limit=5&before=7&x=y").map_err(|_| ()).expect("read");
        assert_eq!(
            (history.limit, history.before.map(|id| id.0)),
            (Some(5), Some(7))
        );
        let remove: RemoveMemberQuery = query("deleteMessages=true").map_err(|_| ()).expect("read");
        assert!(remove.delete_messages);
        let history: HistoryQuery = query("after=99999999999999999999")
            .map_err(|_| ())
            .expect("read");
        assert_eq!(history.after.map(|id| id.0), Some(i64::MAX));
    }

    #[test]
    fn a_query_that_is_wrong_is_refused() {
        for text in [
            "limit=x",
            "limit=",
            "limit=1&limit=1",
            "limit=1.5",
            "limit=true",
            "after=%FF",
        ] {
            assert!(query::<HistoryQuery>(text).is_err(), "{text}");
        }
        assert!(query::<ChangesQuery>("").is_err(), "since is missing");
        assert!(query::<RemoveMemberQuery>("deleteMessages=1").is_err());
    }
}
