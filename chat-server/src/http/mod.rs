//! REST: the router from `protocol::paths`, what surrounds every request, health and documentation.
//!
//! What REST needs (time-outs, panics, problem documents, CORS) surrounds REST alone: the hub has rules of its own. Request
//! ids, logs and counts surround both.

mod accounts;
mod caller;
mod client_address;
mod documentation;
mod extract;
mod invites;
mod messages;
mod observe;
mod operations;
mod origin;
mod problem;
mod rooms;
mod web;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler as _;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use chat_core::service::{Chat, Error};
use ipnet::IpNet;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::client_address::TrustedProxies;
pub use self::observe::REQUEST_ID;
pub(crate) use self::operations::READYZ;
pub use self::origin::{Origin, Origins};
use self::problem::HttpError;
pub use self::problem::PROBLEM_JSON;
use self::web::WebRoot;
pub(crate) use self::web::check as check_web_root;
use crate::config::{Network, Role, Roles};
use crate::hub::{self, HubOptions};
use crate::openapi;

/// How the calls are served: what [`router`](crate::router) has defaults for.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// What is served; default: everything.
    pub roles: Roles,
    /// Web origins that may call from a browser; default: none but the server's own.
    pub origins: Origins,
    /// Peers whose `X-Forwarded-For` counts; default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a REST request may take; default: 30 s.
    pub request_timeout: Duration,
    /// A folder of static files that answers where no call does; default: none.
    pub web_root: Option<PathBuf>,
    /// The times and bounds of the hub's connections.
    pub hub: HubOptions,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            roles: Roles::all(),
            origins: Origins::default(),
            trusted_proxies: Vec::new(),
            request_timeout: Duration::from_secs(30),
            web_root: None,
            hub: HubOptions::default(),
        }
    }
}

impl HttpOptions {
    /// What an operator has set.
    #[must_use]
    pub fn new(roles: &Roles, network: &Network) -> Self {
        Self {
            roles: roles.clone(),
            origins: network.cors_origins.iter().cloned().collect(),
            trusted_proxies: network.trusted_proxies.clone(),
            request_timeout: network.request_timeout,
            web_root: network.web_root.clone(),
            hub: HubOptions::default(),
        }
    }
}

/// The calls of `surface`, and their description.
pub(crate) fn calls(surface: &Surface) -> (Router<Chat>, OpenApi) {
    let mut calls = OpenApiRouter::new();
    if surface.roles.has(Role::Auth) {
        calls = calls.merge(accounts::profile_routes());
        if surface.has_accounts {
            calls = calls.merge(accounts::routes());
        }
    }
    if surface.roles.has(Role::Rest) {
        calls = calls
            .merge(rooms::routes())
            .merge(invites::routes())
            .merge(messages::routes());
        if surface.has_webhooks {
            calls = calls.merge(webhooks::routes());
        }
    }
    if surface.has_operations {
        calls = calls.merge(operations::routes());
    }
    let (router, document) = calls.split_for_parts();
    let mut document = openapi::complete(document);
    if surface.roles.has(Role::Realtime) {
        openapi::add_hub(&mut document);
    }
    (router, document)
}

/// Which calls there are.
#[derive(Clone, Debug)]
pub(crate) struct Surface {
    /// Those of these roles.
    pub(crate) roles: Roles,
    /// Those of a server that signs people in itself.
    pub(crate) has_accounts: bool,
    /// Those of a chat that has webhooks.
    pub(crate) has_webhooks: bool,
    /// Health and metrics.
    pub(crate) has_operations: bool,
}

/// Everything on the public port, or in a host's app.
pub(crate) fn public(chat: &Chat, options: &HttpOptions, has_operations: bool) -> Router {
    let surface = Surface {
        roles: options.roles.clone(),
        has_accounts: chat.accounts().is_some(),
        has_webhooks: chat.outgoing().is_some(),
        has_operations,
    };
    let (calls, document) = calls(&surface);
    let has_hub = options.roles.has(Role::Realtime);
    let calls = calls.merge(documentation::routes(document, has_hub));
    let calls = match &options.web_root {
        None => calls.fallback(problem::unknown_route),
        Some(folder) => calls.fallback_service(web::serve.with_state(WebRoot::new(folder))),
    };
    let mut app = rest(calls, chat, options.request_timeout);
    if let Some(cors) = options.origins.layer() {
        app = app.layer(cors);
    }
    if has_hub {
        app = app.merge(hub::routes(chat, &options.origins, &options.hub));
    }
    let proxies = TrustedProxies::from(&options.trusted_proxies[..]);
    app.layer(middleware::from_fn(observe::observe))
        .layer(middleware::from_fn_with_state(
            proxies,
            client_address::find,
        ))
}

/// Health and metrics alone.
pub(crate) fn admin(chat: &Chat, request_timeout: Duration) -> Router {
    let (calls, _) = operations::routes().split_for_parts();
    rest(
        calls.fallback(problem::unknown_route),
        chat,
        request_timeout,
    )
    .layer(middleware::from_fn(observe::observe))
}

/// What all REST calls have around them.
fn rest(calls: Router<Chat>, chat: &Chat, request_timeout: Duration) -> Router {
    calls
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(middleware::from_fn_with_state(request_timeout, in_time))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .with_state(chat.clone())
}

/// Answers 503 where there is no answer in time. What was begun may still happen.
async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let error = Error::unavailable(
                "there was no answer in time: see whether it was done, or try again",
            );
            HttpError::from(error).into_response()
        }
    }
}
