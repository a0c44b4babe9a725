//! The hub: SignalR's endpoints, and the sessions behind them (`signalr.md` of the contract).
//!
//! `routes` answers negotiation and takes requests to the hub: `transport` decides what each leads to, `registry` knows the
//! connections. A session runs over a WebSocket (`websocket`; [`serve`] runs one over any stream) or over requests of their own
//! (`carried`, by a `channel`). Refusals on hub paths are `text/plain`, one line `<code>: <detail>`.

mod answers;
mod carried;
mod channel;
mod cors;
mod dispatch;
mod inbox;
mod options;
mod refusal;
mod registry;
mod request;
mod resumable;
mod session;
mod slot;
mod socket;
mod token;
mod transport;
mod upgrade;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use chat_core::auth::Caller;
use chat_core::protocol::signalr::negotiate::{
    NegotiateRequest, NegotiateResponse, Offer, Transport,
};
use chat_core::protocol::{ErrorCode, paths};
use chat_core::service::{Chat, Error};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use self::carried::Outlet;
use self::channel::{Channel, Fingerprint};
pub use self::options::HubOptions;
use self::refusal::Refusal;
use self::registry::{Granted, Place, Registry};
pub use self::session::Ids;
use self::session::Opening;
use self::token::{Claims, TokenKey};
use self::transport::Ask;
use self::upgrade::Upgraded;
pub use self::websocket::serve;
use crate::http::Origins;

/// The name of the secret that signs connection tokens, shared by all nodes.
const TOKEN_SECRET: &str = "connection-token";
/// The ways to connect, in the order in which clients try them.
const TRANSPORTS: [Transport; 3] = [
    Transport::WebSockets,
    Transport::ServerSentEvents,
    Transport::LongPolling,
];

/// What the hub's routes share.
#[derive(Clone, Debug)]
struct Hub {
    chat: Chat,
    origins: Origins,
    options: HubOptions,
    registry: Registry,
    key: Arc<OnceCell<TokenKey>>,
}

/// Who asks, with which token.
#[derive(Debug)]
struct Asker {
    caller: Caller,
    token: Option<Fingerprint>,
}

/// The routes of the hub.
pub(crate) fn routes(chat: &Chat, origins: &Origins, options: &HubOptions) -> Router {
    let hub = Hub {
        chat: chat.clone(),
        origins: origins.clone(),
        options: options.clone(),
        registry: Registry::new(options.channels),
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
    let answer = async {
        let asker = hub.authenticate(&parts, None).await?;
        hub.negotiate(&parts, &asker.caller).await
    };
    cors::answer(&hub.origins, &parts, &[Method::POST], answer).await
}

async fn connection(State(hub): State<Hub>, mut request: Request) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let methods = [Method::GET, Method::POST, Method::DELETE];
    let answer = hub.connection(&parts, upgraded, body);
    cors::answer(&hub.origins, &parts, &methods, answer).await
}

impl Hub {
    /// Answers a request to the hub itself.
    async fn connection(
        &self,
        parts: &Parts,
        upgraded: hyper::upgrade::OnUpgrade,
        body: Body,
    ) -> Result<Response, Refusal> {
        let id = request::connection_token(parts);
        let asker = self.authenticate(parts, id.as_deref()).await?;
        let ask = request::ask(parts);
        let accept = match ask {
            Ask::Upgrade => Some(request::accept_key(parts).ok_or(Refusal::new(
                ErrorCode::InvalidRequest,
                "this is no valid WebSocket upgrade (RFC 6455, version 13)",
            ))?),
            _ => None,
        };
        let Some(id) = id else {
            let Some(accept) = accept else {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "a connection id is required",
                ));
            };
            if self.chat.is_draining() {
                return Err(draining().into());
            }
            let mut random = [0; 16];
            self.chat.fill_random(&mut random);
            let opening = self.opening(asker.caller, token::public_id(random), None);
            return Ok(upgrade::answer(
                parts,
                &accept,
                Upgraded::Opens(Box::new(opening)),
                upgraded,
            ));
        };
        let claims = self.claims(&id).await?.ok_or_else(Refusal::no_connection)?;
        let granted = self.registry.ask(
            &claims,
            ask,
            &asker.caller,
            self.chat.now(),
            self.chat.is_draining(),
        )?;
        self.carry(granted, claims, asker, body, |what| {
            upgrade::answer(parts, &accept.unwrap_or_default(), what, upgraded)
        })
        .await
    }

    /// Does what a request was let in to.
    async fn carry(
        &self,
        granted: Granted,
        claims: Claims,
        asker: Asker,
        body: Body,
        upgrade: impl FnOnce(Upgraded) -> Response,
    ) -> Result<Response, Refusal> {
        let Asker { caller, token } = asker;
        let remember = |channel: &Channel| {
            if let Some(token) = token {
                channel.remember(token, &caller);
            }
        };
        match granted {
            Granted::WebSocket(place, posted) => {
                let mut opening = self.opening(caller, claims.connection_id, Some(place));
                opening.is_resumable = claims.is_resumable;
                if let Some(channel) = posted {
                    channel.claimed.cancel();
                    opening.posted = channel.inbox.close_and_take().into();
                    channel.close();
                }
                Ok(upgrade(Upgraded::Opens(Box::new(opening))))
            }
            Granted::Resume(slot, turn) => Ok(upgrade(Upgraded::Resumes(slot, turn))),
            Granted::Stream(place, channel) => {
                remember(&channel);
                channel.claimed.cancel();
                let opening = self.opening(caller, claims.connection_id, Some(place));
                let (events, response) = answers::stream();
                tokio::spawn(carried::serve(opening, channel, Outlet::Stream(events)));
                Ok(response)
            }
            Granted::Polls(place, channel) => {
                remember(&channel);
                channel.claimed.cancel();
                // Begun before the session, so that it finds the connection polled.
                let poll = channel.poll();
                let id = claims.connection_id;
                let opening = self.opening(caller, id.clone(), Some(place));
                tokio::spawn(carried::serve(opening, channel, Outlet::Polls));
                Ok(self.poll(poll, &id).await)
            }
            Granted::Poll(channel) => {
                remember(&channel);
                Ok(self.poll(channel.poll(), &claims.connection_id).await)
            }
            Granted::Post(channel) => {
                remember(&channel);
                take(&channel, body).await
            }
            Granted::FirstPost(channel, left) => {
                remember(&channel);
                let unclaimed = (self.registry.clone(), Arc::clone(&channel));
                tokio::spawn(async move {
                    let (registry, channel) = unclaimed;
                    tokio::select! {
                        biased;
                        () = channel.claimed.cancelled() => {}
                        () = sleep(left) => {
                            if registry.end_unclaimed(&claims.connection_id) {
                                channel.close();
                            }
                        }
                    }
                });
                take(&channel, body).await
            }
            Granted::End(channel) => {
                channel.close();
                Ok(StatusCode::ACCEPTED.into_response())
            }
        }
    }

    /// Answers a poll once there is something to answer.
    async fn poll(&self, poll: channel::Poll, connection_id: &str) -> Response {
        let answer = poll.answer(self.options.poll).await;
        if matches!(answer, transport::PollAnswer::Over) {
            // Whoever knows doesn't come back: the id is gone before the answer is there.
            self.registry.end(connection_id);
            poll.told_over();
        }
        answers::poll(poll, answer)
    }

    fn opening(&self, caller: Caller, public_id: String, place: Option<Place>) -> Opening {
        Opening {
            chat: self.chat.clone(),
            caller,
            ids: Ids {
                number: self.chat.fanout().number(),
                public_id,
            },
            options: self.options.clone(),
            place,
            posted: Bytes::new(),
            is_resumable: false,
            permit: None,
        }
    }

    /// Who asks. `id` names the connection that the request is about: one that was renewed by a newer token goes on taking
    /// those that its requests came with, of sessions that aren't over, since clients keep theirs.
    async fn authenticate(&self, parts: &Parts, id: Option<&str>) -> Result<Asker, Refusal> {
        let sent = request::access_token(parts);
        let token = sent.as_deref().map(Fingerprint::of);
        let mut request = parts.clone();
        if !request.headers.contains_key(AUTHORIZATION)
            && let Some(sent) = sent
        {
            let bearer = HeaderValue::try_from(format!("Bearer {sent}")).map_err(|_| {
                Refusal::new(ErrorCode::Unauthenticated, "no valid access token was sent")
            })?;
            request.headers.insert(AUTHORIZATION, bearer);
        }
        let refused = match self.chat.authenticate(&request).await {
            Ok(caller) => return Ok(Asker { caller, token }),
            Err(e) => e,
        };
        if matches!(
            refused.code(),
            ErrorCode::Unauthenticated | ErrorCode::TokenExpired
        ) && let (Some(token), Some(id)) = (token, id)
            && let Some(claims) = self.claims(id).await?
            && let Some(caller) =
                self.registry
                    .recall(&claims.connection_id, token, self.chat.now())
            && let Some(session) = &caller.session
            && !self.chat.is_session_ended(session)
        {
            let token = Some(token);
            return Ok(Asker { caller, token });
        }
        Err(refused.into())
    }

    async fn key(&self) -> Result<&TokenKey, Error> {
        self.key
            .get_or_try_init(|| async { Ok(TokenKey::new(&self.chat.secret(TOKEN_SECRET).await?)) })
            .await
    }

    /// What a connection token says, if it is one.
    async fn claims(&self, id: &str) -> Result<Option<Claims>, Error> {
        Ok(self.key().await?.verify(id))
    }

    async fn negotiate(&self, parts: &Parts, caller: &Caller) -> Result<Response, Refusal> {
        if self.chat.is_draining() {
            return Err(draining().into());
        }
        let answer = match NegotiateRequest::from_query(request::query(parts)) {
            Err(e) => NegotiateResponse::from(e),
            Ok(request) => {
                let mut id = [0; 16];
                self.chat.fill_random(&mut id);
                let (now, lifetime) = (self.chat.now(), self.options.disconnect);
                let is_resumable = request.stateful_reconnect;
                let key = self.key().await?;
                let token = key.issue(id, caller, now, lifetime, is_resumable);
                let (connection_id, connection_token) = if request.version == 0 {
                    (token, None)
                } else {
                    (token::public_id(id), Some(token))
                };
                NegotiateResponse::Offer(Offer {
                    negotiate_version: request.version,
                    connection_id,
                    connection_token,
                    use_stateful_reconnect: is_resumable,
                    available_transports: TRANSPORTS.map(Into::into).to_vec(),
                })
            }
        };
        let body = serde_json::to_vec(&answer).map_err(Error::internal)?;
        Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
    }
}

fn draining() -> Error {
    Error::unavailable("the server is draining: connect again")
}

/// Takes a body as the connection's input, piece by piece: any number of records, each with its own limit.
async fn take(channel: &Channel, mut body: Body) -> Result<Response, Refusal> {
    let taking = async {
        let _turn = channel.posting.lock().await;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refusal::new(ErrorCode::InvalidRequest, "the body could not be read")
            })?;
            if let Some(bytes) = frame.data_ref() {
                let taken = channel.inbox.push(bytes).await;
                taken.map_err(|_| Refusal::no_connection())?;
            }
        }
        Ok(StatusCode::OK.into_response())
    };
    tokio::select! {
        biased;
        () = channel.over.cancelled() => Err(Refusal::no_connection()),
        taken = taking => taken,
    }
}
