//! Webhooks of rooms: role rest. Role consumer delivers.

use axum::extract::State;
use chat_core::model::{Delivery, DeliveryId, RoomId, Webhook, WebhookId};
use chat_core::protocol::ErrorCode::{Conflict, Forbidden, LimitReached};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{CreateWebhook, DeliveriesQuery, ListQuery, Page};
use chat_core::service::Chat;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::extract::{Ids, Json, Query};
use super::problem::HttpResult;

pub(super) fn routes() -> OpenApiRouter<Chat> {
    OpenApiRouter::new()
        .routes(routes!(create_webhook, list_webhooks))
        .routes(routes!(delete_webhook))
        .routes(routes!(renew_webhook_secret))
        .routes(routes!(list_deliveries))
        .routes(routes!(retry_delivery))
}

/// Make a webhook
///
/// By an admin. Its secret is shown once. The room's events from now on are posted to the URL, signed by Standard Webhooks,
/// as `{"type","timestamp","data":Event}`. A URL that leads to a loopback, private, link-local or multicast address is
/// refused.
#[utoipa::path(post, path = paths::WEBHOOKS, tag = "Webhooks", security(("bearer" = [])), request_body = CreateWebhook,
    responses((status = 201, description = "The webhook, with its secret", body = Webhook)),
    extensions(("x-error-codes" = json!([Forbidden, LimitReached]))))]
async fn create_webhook(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Json(body): Json<CreateWebhook>,
) -> HttpResult<(StatusCode, Json<Webhook>)> {
    let webhook = chat.create_webhook(&caller, room, body).await?;
    Ok((StatusCode::CREATED, Json(webhook)))
}

/// List a room's webhooks
///
/// By an admin, without secrets.
#[utoipa::path(get, path = paths::WEBHOOKS, tag = "Webhooks", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, description = "A page, ordered by id", body = Page<Webhook>)),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn list_webhooks(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids(room): Ids<RoomId>,
    Query(query): Query<ListQuery>,
) -> HttpResult<Json<Page<Webhook>>> {
    Ok(Json(chat.webhooks(&caller, room, query).await?))
}

/// Remove a webhook
///
/// By an admin; what wasn't delivered isn't any more.
#[utoipa::path(delete, path = paths::WEBHOOK, tag = "Webhooks", security(("bearer" = [])),
    responses((status = 204, description = "Done")),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn delete_webhook(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, webhook)): Ids<(RoomId, WebhookId)>,
) -> HttpResult<StatusCode> {
    chat.delete_webhook(&caller, room, webhook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook a new secret
///
/// By an admin. For 24 h deliveries are signed with both.
#[utoipa::path(post, path = paths::WEBHOOK_SECRET, tag = "Webhooks", security(("bearer" = [])),
    responses((status = 200, description = "The webhook, with its new secret", body = Webhook)),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn renew_webhook_secret(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, webhook)): Ids<(RoomId, WebhookId)>,
) -> HttpResult<Json<Webhook>> {
    let webhook = chat.renew_webhook_secret(&caller, room, webhook).await?;
    Ok(Json(webhook))
}

/// List a webhook's deliveries
///
/// By an admin: what became of each event. Those that are over are kept for 8 days.
#[utoipa::path(get, path = paths::DELIVERIES, tag = "Webhooks", security(("bearer" = [])), params(DeliveriesQuery),
    responses((status = 200, description = "A page, newest first", body = Page<Delivery>)),
    extensions(("x-error-codes" = json!([Forbidden]))))]
async fn list_deliveries(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, webhook)): Ids<(RoomId, WebhookId)>,
    Query(query): Query<DeliveriesQuery>,
) -> HttpResult<Json<Page<Delivery>>> {
    let page = chat.deliveries(&caller, room, webhook, query).await?;
    Ok(Json(page))
}

/// Deliver once more
///
/// By an admin, now. No effect on a delivered or running one.
#[utoipa::path(post, path = paths::RETRY_DELIVERY, tag = "Webhooks", security(("bearer" = [])),
    responses((status = 202, description = "It will be tried")),
    extensions(("x-error-codes" = json!([Conflict, Forbidden]))))]
async fn retry_delivery(
    State(chat): State<Chat>,
    Caller(caller): Caller,
    Ids((room, webhook, delivery)): Ids<(RoomId, WebhookId, DeliveryId)>,
) -> HttpResult<StatusCode> {
    chat.retry_delivery(&caller, room, webhook, delivery)
        .await?;
    Ok(StatusCode::ACCEPTED)
}
