//! The hub: SignalR's endpoints, and the sessions behind them (`signalr.md` of the contract).
//!
//! `routes` answers negotiation and opens connections; [`serve`] runs one over any stream. Refusals on hub paths are
//! `text/plain`, one line `<code>: <detail>`.

mod dispatch;
mod refusal;
mod registry;
mod session;
mod socket;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chat_core::auth::Caller;
use chat_core::protocol::signalr::negotiate::{
    NegotiateRequest, NegotiateResponse, Offer, Transport,
};
use chat_core::protocol::{ErrorCode, paths};
use chat_core::service::{Chat, Error};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, VARY,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::OnceCell;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use self::refusal::Refusal;
use self::registry::{Registry, Standing};
pub use self::session::{Ids, serve};
use self::token::TokenKey;
use crate::http::Origins;
use crate::serve::{ConnectionPermit, upgrade};

/// The name of the secret that signs connection tokens, shared by all nodes.
const TOKEN_SECRET: &str = "connection-token";

/// What the hub's routes share.
#[derive(Clone, Debug)]
struct Hub {
    chat: Chat,
    origins: Origins,
    registry: Registry,
    key: Arc<OnceCell<TokenKey>>,
}

/// The routes of the hub.
pub(crate) fn routes(chat: &Chat, origins: &Origins) -> Router {
    let hub = Hub {
        chat: chat.clone(),
        origins: origins.clone(),
        registry: Registry::default(),
        key: Arc::default(),
    };
    let endpoint: MethodRouter<Hub> = any(connection);
    Router::new()
        .route(paths::NEGOTIATE, any(negotiation))
        .route(paths::HUB, endpoint)
        .with_state(hub)
}

async fn negotiation(State(hub): State<Hub>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    hub.answer(&parts, &[Method::POST], async {
        let caller = hub.authenticate(&parts).await?;
        hub.negotiate(&parts, &caller).await
    })
    .await
}

async fn connection(State(hub): State<Hub>, mut request: Request) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    hub.answer(
        &parts,
        &[Method::GET, Method::POST, Method::DELETE],
        async {
            let caller = hub.authenticate(&parts).await?;
            if parts.method == Method::GET && is_upgrade(&parts) {
                hub.upgrade(&parts, caller, upgraded).await
            } else {
                Err(hub.refuse_plain(&parts, &caller).await?)
            }
        },
    )
    .await
}

impl Hub {
    /// Answers a request of a hub path: preflights, foreign origins and wrong methods first, and CORS on everything.
    async fn answer(
        &self,
        parts: &Parts,
        methods: &[Method],
        answer: impl Future<Output = Result<Response, Refusal>>,
    ) -> Response {
        let origin = parts.headers.get(ORIGIN);
        let allowed = origin.is_none_or(|o| is_own(o, parts) || self.origins.allow(o));
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

    /// Who asks: by the header, or by `access_token` in the query, since browsers can't set headers on WebSockets.
    async fn authenticate(&self, parts: &Parts) -> Result<Caller, Refusal> {
        if self.chat.is_draining() {
            return Err(Error::unavailable("the server is draining: connect again").into());
        }
        let mut request = parts.clone();
        if !request.headers.contains_key(AUTHORIZATION)
            && let Some(token) = query_value(parts, "access_token")
        {
            let bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                Refusal::new(ErrorCode::Unauthenticated, "no valid access token was sent")
            })?;
            request.headers.insert(AUTHORIZATION, bearer);
        }
        Ok(self.chat.authenticate(&request).await?)
    }

    async fn key(&self) -> Result<&TokenKey, Error> {
        self.key
            .get_or_try_init(|| async { Ok(TokenKey::new(&self.chat.secret(TOKEN_SECRET).await?)) })
            .await
    }

    async fn negotiate(&self, parts: &Parts, caller: &Caller) -> Result<Response, Refusal> {
        let answer = match NegotiateRequest::from_query(query(parts)) {
            Err(e) => NegotiateResponse::from(e),
            Ok(request) => {
                let mut id = [0; 16];
                self.chat.fill_random(&mut id);
                let token = self.key().await?.issue(id, caller, self.chat.now());
                let (connection_id, connection_token) = if request.version == 0 {
                    (token, None)
                } else {
                    (token::public_id(id), Some(token))
                };
                NegotiateResponse::Offer(Offer {
                    negotiate_version: request.version,
                    connection_id,
                    connection_token,
                    use_stateful_reconnect: false,
                    available_transports: vec![Transport::WebSockets.into()],
                })
            }
        };
        let body = serde_json::to_vec(&answer).map_err(Error::internal)?;
        Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
    }

    /// Opens a connection over a WebSocket (RFC 6455, section 4.2).
    async fn upgrade(
        &self,
        parts: &Parts,
        caller: Caller,
        upgraded: hyper::upgrade::OnUpgrade,
    ) -> Result<Response, Refusal> {
        let accept = accept_key(parts).ok_or(Refusal::new(
            ErrorCode::InvalidRequest,
            "this is no valid WebSocket upgrade (RFC 6455, version 13)",
        ))?;
        let now = self.chat.now();
        let (public_id, place) = match query_value(parts, "id").filter(|id| !id.is_empty()) {
            None => {
                let mut id = [0; 16];
                self.chat.fill_random(&mut id);
                (token::public_id(id), None)
            }
            Some(token) => {
                let claims = self.claims(&token, &caller).await?;
                let place =
                    self.registry
                        .open(&claims, now)
                        .map_err(|standing| match standing {
                            Standing::Active => Refusal::status(
                                409,
                                ErrorCode::Conflict,
                                "this connection is open already",
                            ),
                            Standing::Fresh | Standing::Ended => Refusal::no_connection(),
                        })?;
                (claims.connection_id, Some(place))
            }
        };
        let ids = Ids {
            number: self.chat.fanout().number(),
            public_id,
        };
        let chat = self.chat.clone();
        // The stream outlives its HTTP connection, and its place among all connections with it.
        let permit = parts.extensions.get::<ConnectionPermit>().cloned();
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            match upgrade::tcp(upgraded) {
                Ok((stream, read)) => session::serve_tcp(chat, caller, ids, stream, read).await,
                Err(upgraded) => {
                    serve(chat, caller, ids, hyper_util::rt::TokioIo::new(upgraded)).await;
                }
            }
            drop((place, permit));
        });
        let headers = [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_ACCEPT, accept.as_str()),
        ];
        Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
    }

    /// What a token that the caller presents is for; another user's or session's is as unknown as none.
    async fn claims(&self, token: &str, caller: &Caller) -> Result<token::Claims, Refusal> {
        let claims = self
            .key()
            .await?
            .verify(token, self.chat.now())
            .ok_or_else(Refusal::no_connection)?;
        if claims.user_id == caller.user_id && claims.session == caller.session {
            Ok(claims)
        } else {
            Err(Refusal::no_connection())
        }
    }

    /// Why a request that is no upgrade is refused: WebSockets are the one transport here (signalr.md, section 2).
    async fn refuse_plain(&self, parts: &Parts, caller: &Caller) -> Result<Refusal, Refusal> {
        let Some(token) = query_value(parts, "id").filter(|id| !id.is_empty()) else {
            return Ok(Refusal::new(
                ErrorCode::InvalidRequest,
                "a connection id is required",
            ));
        };
        let claims = self.claims(&token, caller).await?;
        Ok(
            match (&parts.method, self.registry.standing(&claims.connection_id)) {
                (_, Standing::Fresh | Standing::Ended) => Refusal::no_connection(),
                (&Method::POST, Standing::Active) => Refusal::new(
                    ErrorCode::MethodNotAllowed,
                    "a WebSocket connection takes no POST",
                ),
                (&Method::DELETE, Standing::Active) => Refusal::new(
                    ErrorCode::InvalidRequest,
                    "only a long-polling connection is ended by DELETE",
                ),
                (_, Standing::Active) => {
                    Refusal::new(ErrorCode::InvalidRequest, "the transport can't change")
                }
            },
        )
    }
}

/// Whether the page that asks was served from here.
fn is_own(origin: &HeaderValue, parts: &Parts) -> bool {
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

/// Whether a header's comma-separated list has this word, in any case.
fn has_token(parts: &Parts, name: &http::HeaderName, word: &str) -> bool {
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
fn accept_key(parts: &Parts) -> Option<String> {
    let version = parts.headers.get(SEC_WEBSOCKET_VERSION)?;
    let key = parts.headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    let is_key = BASE64_STANDARD
        .decode(key)
        .is_ok_and(|nonce| nonce.len() == 16);
    (version == "13" && is_key).then(|| derive_accept_key(key))
}

fn query(
    parts: &Parts,
) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> {
    form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

/// The value of a query key, compared in any case.
fn query_value(parts: &Parts, key: &str) -> Option<String> {
    query(parts)
        .find(|(k, _)| k.eq_ignore_ascii_case(key))
        .map(|(_, v)| v.into_owned())
}
