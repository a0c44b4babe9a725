//! What a request on a hub path says in its head.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::transport::Ask;

/// What a request to the hub itself wants, if its method is GET, POST or DELETE.
pub(super) fn ask(parts: &Parts) -> Ask {
    match parts.method {
        Method::POST => Ask::Post,
        Method::DELETE => Ask::Delete,
        _ if is_upgrade(parts) => Ask::Upgrade,
        _ if accepts_events(parts) => Ask::Stream,
        _ => Ask::Poll,
    }
}

/// The token of the connection that it is about; an empty one is none.
pub(super) fn connection_token(parts: &Parts) -> Option<String> {
    query_value(parts, "id").filter(|id| !id.is_empty())
}

/// The access token: of the header, or else of the query, since browsers can't set headers on WebSockets and streams.
pub(super) fn access_token(parts: &Parts) -> Option<Cow<'_, str>> {
    match parts.headers.get(AUTHORIZATION) {
        Some(header) => {
            let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            is_bearer.then(|| Cow::Borrowed(token.trim()))
        }
        None => query_value(parts, "access_token").map(Cow::Owned),
    }
}

/// Whether the page that asks was served from here.
pub(super) fn is_own(origin: &HeaderValue, parts: &Parts) -> bool {
    let host = parts
        .headers
        .get(HOST)
        .and_then(|h| h.to_str().ok())
        .or(parts.uri.authority().map(|a| a.as_str()));
    let origin = origin
        .to_str()
        .ok()
        .and_then(|o| o.split_once("://"))
        .map(|(_, authority)| authority);
    matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

fn is_upgrade(parts: &Parts) -> bool {
    has_token(parts, &CONNECTION, "upgrade") && has_token(parts, &UPGRADE, "websocket")
}

/// Whether an entry of `Accept` is a stream of events, whatever its parameters.
fn accepts_events(parts: &Parts) -> bool {
    parts
        .headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|entry| entry.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Whether a header's comma-separated list has this word, in any case.
fn has_token(parts: &Parts, name: &HeaderName, word: &str) -> bool {
    parts
        .headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| {
            v.split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
}

/// The answer to a valid upgrade's key.
pub(super) fn accept_key(parts: &Parts) -> Option<String> {
    let version = parts.headers.get(SEC_WEBSOCKET_VERSION)?;
    let key = parts.headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    let is_key = BASE64_STANDARD
        .decode(key)
        .is_ok_and(|nonce| nonce.len() == 16);
    (version == "13" && is_key).then(|| derive_accept_key(key))
}

/// The decoded pairs of the query.
pub(super) fn query(parts: &Parts) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

/// The value of a query key, compared in any case.
fn query_value(parts: &Parts, key: &str) -> Option<String> {
    query(parts)
        .find(|(k, _)| k.eq_ignore_ascii_case(key))
        .map(|(_, v)| v.into_owned())
}
