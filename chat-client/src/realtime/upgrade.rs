//! Opening a WebSocket by an HTTP request (RFC 6455 §4.1).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chat_core::protocol::signalr::negotiate::TransferFormat;
use reqwest::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::place::Place;
use super::transport::{Transport, WebSocket};
use crate::error::{Error, Result};
use crate::http::unreachable;

/// Opens a WebSocket for records of this format.
pub(crate) async fn open(place: &Place, format: TransferFormat) -> Result<Box<dyn Transport>> {
    let mut nonce = [0; 16];
    place.http.random().fill(&mut nonce);
    let key = BASE64.encode(nonce);
    let request = place
        .request(Method::GET)?
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let stream = place
        .http
        .within_timeout(async {
            let response = switched(place, request, &key).await?;
            response.upgrade().await.map_err(unreachable)
        })
        .await?;
    let socket = WebSocket::upgraded(stream, place.http.response_limit_bytes()).await;
    Ok(Box::new(socket.carrying(format)))
}

/// Sends the upgrade and checks that the server switched to what was asked for.
async fn switched(place: &Place, request: RequestBuilder, key: &str) -> Result<Response> {
    let response = request.send().await.map_err(unreachable)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        place.read(response).await?;
        return Err(Error::malformed("it didn't switch to a WebSocket"));
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accepted.map(|v| v.as_bytes()) != Some(accept(key).as_bytes()) {
        return Err(Error::malformed(
            "its WebSocket handshake has a wrong Sec-WebSocket-Accept",
        ));
    }
    Ok(response)
}

/// What the server answers to a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_is_as_in_rfc_6455() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
