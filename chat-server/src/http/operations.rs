//! Health and metrics, on the public port or one of their own.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat_core::service::Chat;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::HttpResult;
use crate::telemetry;

/// Whether the process is alive.
const HEALTHZ: &str = "/healthz";
/// Whether it can serve.
pub(crate) const READYZ: &str = "/readyz";
/// What it has counted.
const METRICS: &str = "/metrics";
/// All of them.
pub(super) const PATHS: [&str; 3] = [HEALTHZ, READYZ, METRICS];

pub(super) fn routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new()
        .routes(routes!(get_health))
        .routes(routes!(get_readiness))
        .routes(routes!(get_metrics))
}

fn text(content_type: &'static str, body: String) -> Response {
    (
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")],
        body,
    )
        .into_response()
}

/// Whether the process is alive
#[utoipa::path(get, path = HEALTHZ, tag = "Operations",
    responses((status = 200, description = "It is", content_type = "text/plain", body = String)))]
async fn get_health() -> Response {
    text("text/plain", "ok\n".to_owned())
}

/// Whether the server can serve
///
/// Its database answers, and it isn't draining.
#[utoipa::path(get, path = READYZ, tag = "Operations",
    responses((status = 200, description = "It can", content_type = "text/plain", body = String)))]
async fn get_readiness(State(chat): State<Chat>) -> HttpResult<Response> {
    chat.ready().await?;
    Ok(text("text/plain", "ready\n".to_owned()))
}

/// What the server has counted
///
/// In Prometheus' text format.
#[utoipa::path(get, path = METRICS, tag = "Operations",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String)))]
async fn get_metrics(State(chat): State<Chat>) -> Response {
    telemetry::record(&chat).await;
    text("text/plain; version=0.0.4", telemetry::metrics().render())
}
