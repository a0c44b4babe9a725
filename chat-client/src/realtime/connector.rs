//! The way to the hub: negotiation, then a WebSocket.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chat_core::protocol::signalr::negotiate::{
    AvailableTransport, NEGOTIATE_VERSION, NegotiateResponse, Redirect, TransferFormat,
    Transport as Offered,
};
use chat_core::protocol::{HubError, paths};
use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::transport::{Transport, WebSocket};
use crate::error::{Error, Refusal, Result};
use crate::http::{Http, bearer, below, decode, unreachable};

/// How often the server may send the client elsewhere, as in the official clients.
const REDIRECTS: usize = 100;

/// Opens the transport of a hub connection. An application gives its own to connect in another way than over the network:
/// in one process with the server, or through a tunnel.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug {
    /// Opens a new transport to the hub under this access token, up to where the hub protocol's handshake begins.
    ///
    /// # Errors
    /// [`Error::Refused`] when the server answered; with status 401 the client tries again with a renewed token.
    /// [`Error::Unreachable`] or [`Error::Timeout`] when it didn't.
    async fn connect(&self, access_token: &str) -> Result<Box<dyn Transport>>;
}

/// Connects over HTTP.
#[derive(Debug)]
pub(crate) struct HttpConnector {
    http: Arc<Http>,
    negotiate: bool,
    format: TransferFormat,
}

#[async_trait]
impl Connector for HttpConnector {
    async fn connect(&self, access_token: &str) -> Result<Box<dyn Transport>> {
        let hub = below(self.http.server(), paths::HUB);
        if self.negotiate {
            let place = self.negotiate(hub, access_token).await?;
            self.open(place.url, &place.access_token).await
        } else {
            self.open(hub, access_token).await
        }
    }
}

/// Where negotiation led to.
struct Place {
    url: Url,
    access_token: String,
}

impl HttpConnector {
    /// Connects to carry records of this format.
    pub(crate) const fn new(http: Arc<Http>, negotiate: bool, format: TransferFormat) -> Self {
        Self {
            http,
            negotiate,
            format,
        }
    }

    /// Asks where to connect, following the server's directions.
    async fn negotiate(&self, hub: Url, access_token: &str) -> Result<Place> {
        let mut place = Place {
            url: hub,
            access_token: access_token.to_owned(),
        };
        for _ in 0..=REDIRECTS {
            match self.negotiate_at(&place).await? {
                NegotiateResponse::Offer(offer) => {
                    if offer.use_stateful_reconnect {
                        return Err(Error::malformed(
                            "it grants a stateful reconnect that wasn't asked for",
                        ));
                    }
                    let fits = |t: &AvailableTransport| {
                        t.transport == Offered::WebSockets
                            && t.transfer_formats.contains(&self.format)
                    };
                    if !offer.available_transports.iter().any(fits) {
                        return Err(Error::malformed("it offers no WebSocket for this encoding"));
                    }
                    place.url.query_pairs_mut().append_pair("id", offer.id());
                    return Ok(place);
                }
                NegotiateResponse::Redirect(redirect) => follow(&mut place, redirect)?,
                NegotiateResponse::Error { error } => {
                    return Err(Error::malformed(format!("negotiation failed: {error}")));
                }
            }
        }
        Err(Error::malformed("it sends the client around in circles"))
    }

    async fn negotiate_at(&self, place: &Place) -> Result<NegotiateResponse> {
        let mut url = below(&place.url, "/negotiate");
        url.query_pairs_mut()
            .append_pair("negotiateVersion", &NEGOTIATE_VERSION.to_string());
        let request = self
            .http
            .client()?
            .post(url)
            .header(AUTHORIZATION, bearer(&place.access_token)?)
            .header(CONTENT_LENGTH, 0);
        let (status, headers, body) = self
            .http
            .within_timeout(async {
                let response = request.send().await.map_err(unreachable)?;
                let status = response.status();
                let headers = response.headers().clone();
                Ok((status, headers, self.http.read(response).await?))
            })
            .await?;
        if status.is_success() {
            decode(&body)
        } else {
            Err(self.refusal(status, &headers, &body))
        }
    }

    /// Opens a WebSocket (RFC 6455 §4.1).
    async fn open(&self, url: Url, access_token: &str) -> Result<Box<dyn Transport>> {
        let mut nonce = [0; 16];
        self.http.random().fill(&mut nonce);
        let key = BASE64.encode(nonce);
        let request = self
            .http
            .client()?
            .get(url)
            .header(AUTHORIZATION, bearer(access_token)?)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let stream = self
            .http
            .within_timeout(async {
                let response = self.switched(request, &key).await?;
                response.upgrade().await.map_err(unreachable)
            })
            .await?;
        let socket = WebSocket::upgraded(stream, self.http.response_limit_bytes()).await;
        Ok(Box::new(socket.carrying(self.format)))
    }

    /// Sends the upgrade and checks that the server switched to what was asked for.
    async fn switched(&self, request: RequestBuilder, key: &str) -> Result<Response> {
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let headers = response.headers().clone();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = self.http.read(response).await?;
            return Err(if status.is_success() {
                Error::malformed("it didn't switch to a WebSocket")
            } else {
                self.refusal(status, &headers, &body)
            });
        }
        if headers.get(SEC_WEBSOCKET_ACCEPT).map(|v| v.as_bytes()) != Some(accept(key).as_bytes()) {
            return Err(Error::malformed(
                "its WebSocket handshake has a wrong Sec-WebSocket-Accept",
            ));
        }
        Ok(response)
    }

    /// A refusal on a hub path: one line `<code>: <detail>`.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Error {
        let mut refusal = self.http.refusal(status, headers, body);
        let is_text = headers
            .get(CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"text/plain"));
        if is_text && let Ok(text) = std::str::from_utf8(body) {
            let said = HubError::parse(text.trim_end());
            if said.code.is_some() {
                refusal = Refusal {
                    code: said.code,
                    detail: said.detail,
                    retry_after: refusal.retry_after.or(said.retry_after),
                    ..refusal
                };
            }
        }
        refusal.into()
    }
}

/// Goes where the server sends us, but neither to a less safe place, nor with this server's token to another one.
fn follow(place: &mut Place, redirect: Redirect) -> Result<()> {
    let url = Url::parse(&redirect.url)
        .map_err(|e| Error::undecodable("it sends the client to what is no URL", e))?;
    let safe = url.scheme() == "https" || url.scheme() == "http" && place.url.scheme() == "http";
    if !safe {
        return Err(Error::malformed(
            "it sends the client to a place without TLS",
        ));
    }
    match redirect.access_token {
        Some(token) => place.access_token = token,
        None if url.origin() == place.url.origin() => {}
        None => {
            return Err(Error::malformed(
                "it sends the client to another host without a token for it",
            ));
        }
    }
    place.url = url;
    Ok(())
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

    fn place(url: &str) -> Place {
        Place {
            url: Url::parse(url).expect("a URL"),
            access_token: "ours".into(),
        }
    }

    fn redirect(url: &str, token: Option<&str>) -> Redirect {
        Redirect {
            url: url.into(),
            access_token: token.map(str::to_owned),
        }
    }

    #[test]
    fn our_token_goes_to_no_other_host() {
        let mut here = place("https://a.example/v1/hub");
        assert!(follow(&mut here, redirect("https://b.example/hub", None)).is_err());
        assert!(follow(&mut here, redirect("https://a.example/other", None)).is_ok());
        assert!(follow(&mut here, redirect("https://b.example/hub", Some("theirs"))).is_ok());
        assert_eq!(here.access_token, "theirs");
    }

    #[test]
    fn a_safe_connection_stays_safe() {
        let mut here = place("https://a.example/v1/hub");
        assert!(follow(&mut here, redirect("http://a.example/hub", Some("t"))).is_err());
    }
}
