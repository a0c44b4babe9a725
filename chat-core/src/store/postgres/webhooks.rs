//! Webhooks made, listed and removed, and what their owners see of the deliveries.

use super::super::{NewWebhook, Refusal, StoreError, WebhookOwner};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::json;
use crate::model::{Delivery, DeliveryId, RoomId, Timestamp, Webhook, WebhookId, WebhookSecret};
use crate::protocol::rest::Page;
use crate::store::rows::page;
use crate::store::rows::webhooks::{DeliveryRow, WebhookRow, delivery, tags, webhook};

/// What a call comes to: the inner error is a refusal.
type Answered<T> = Result<Result<T, Refusal>, StoreError>;

/// A call for an owner: the room and who asks, or null and null for the operator.
fn asked_by(sql: &'static str, owner: WebhookOwner) -> Statement {
    let (room, by) = match owner {
        WebhookOwner::Operator => (None, None),
        WebhookOwner::Room { room_id, by } => (Some(room_id.0), Some(by.0)),
    };
    Statement::new(sql).bind(room).bind(by)
}

/// Why not, as the stored functions say it.
fn refusal(name: &str) -> Result<Refusal, StoreError> {
    Ok(match name {
        "notFound" => Refusal::NotFound,
        "forbidden" => Refusal::Forbidden,
        "webhooksPerRoom" => Refusal::WebhooksPerRoom,
        "webhookDisabled" => Refusal::WebhookDisabled,
        _ => return Err(Fault::Short.unchanged()),
    })
}

/// The answer of a call that says why not, or else a value.
fn answer<T>((why_not, value): (Option<String>, Option<T>)) -> Answered<T> {
    match (why_not, value) {
        (Some(name), _) => refusal(&name).map(Err),
        (None, Some(value)) => Ok(Ok(value)),
        (None, None) => Err(Fault::Short.unchanged()),
    }
}

pub(super) async fn create(database: &Database, new: &NewWebhook<'_>) -> Answered<Webhook> {
    let (id, why_not): (Option<i64>, Option<String>) = database
        .write_one(
            asked_by(
                "SELECT id, refusal FROM create_webhook($1, $2, $3, $4, $5, $6, $7)",
                new.owner,
            )
            .bind(new.url)
            .bind(tags(new.events))
            .bind(&new.secret.0)
            .bind(new.at.as_millis())
            .bind(new.limit),
        )
        .await?;
    let room_id: Option<RoomId> = match new.owner {
        WebhookOwner::Operator => None,
        WebhookOwner::Room { room_id, .. } => Some(room_id),
    };
    Ok(answer((why_not, id))?.map(|id| Webhook {
        id: WebhookId(id),
        room_id,
        url: new.url.to_owned(),
        events: new.events.map(<[_]>::to_vec),
        secret: None,
        enabled: true,
        created_at: new.at,
    }))
}

pub(super) async fn read_page(
    database: &Database,
    owner: WebhookOwner,
    after: Option<WebhookId>,
    limit: i64,
) -> Answered<Page<Webhook>> {
    let row = database
        .one(
            asked_by(
                "SELECT refusal, items::text FROM read_webhooks($1, $2, $3, $4)",
                owner,
            )
            .bind(after.map_or(i64::MIN, |id| id.0))
            .bind(limit),
        )
        .await?;
    let text: String = match answer(row)? {
        Ok(text) => text,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let rows: Vec<WebhookRow<bool>> = json(&text).map_err(Fault::unchanged)?;
    Ok(Ok(page(rows.into_iter().map(webhook).collect(), limit)))
}

pub(super) async fn delete(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
) -> Answered<()> {
    let (why_not,): (Option<String>,) = database
        .write_one(asked_by("SELECT delete_webhook($1, $2, $3)", owner).bind(id.0))
        .await?;
    answer((why_not, Some(())))
}

pub(super) async fn set_secret(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    secret: &WebhookSecret,
    old_until: Timestamp,
) -> Answered<Webhook> {
    let row = database
        .write_one(
            asked_by(
                "SELECT refusal, item::text FROM set_webhook_secret($1, $2, $3, $4, $5)",
                owner,
            )
            .bind(id.0)
            .bind(&secret.0)
            .bind(old_until.as_millis()),
        )
        .await?;
    let text: String = match answer(row)? {
        Ok(text) => text,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let row: WebhookRow<bool> = json(&text).map_err(Fault::unchanged)?;
    Ok(Ok(webhook(row)))
}

pub(super) async fn deliveries(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    before: Option<DeliveryId>,
    limit: i64,
) -> Answered<Page<Delivery>> {
    let row = database
        .one(
            asked_by(
                "SELECT refusal, items::text FROM read_deliveries($1, $2, $3, $4, $5)",
                owner,
            )
            .bind(id.0)
            .bind(before.map_or(i64::MAX, |id| id.0))
            .bind(limit),
        )
        .await?;
    let text: String = match answer(row)? {
        Ok(text) => text,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let rows: Vec<DeliveryRow> = json(&text).map_err(Fault::unchanged)?;
    Ok(Ok(page(rows.into_iter().map(delivery).collect(), limit)))
}

pub(super) async fn retry(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    delivery: DeliveryId,
    at: Timestamp,
) -> Answered<()> {
    let (why_not,): (Option<String>,) = database
        .write_one(
            asked_by("SELECT retry_delivery($1, $2, $3, $4, $5)", owner)
                .bind(id.0)
                .bind(delivery.0)
                .bind(at.as_millis()),
        )
        .await?;
    answer((why_not, Some(())))
}

pub(super) async fn replay(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    at: Timestamp,
) -> Answered<u64> {
    let row: (Option<String>, Option<i64>) = database
        .write_one(
            asked_by(
                "SELECT refusal, replayed FROM replay_webhook($1, $2, $3, $4)",
                owner,
            )
            .bind(id.0)
            .bind(at.as_millis()),
        )
        .await?;
    Ok(answer(row)?.map(i64::unsigned_abs))
}

pub(super) async fn any(database: &Database) -> Result<bool, StoreError> {
    let (any,): (bool,) = database
        .one(Statement::new(
            "SELECT EXISTS (SELECT 1 FROM webhooks WHERE enabled)",
        ))
        .await?;
    Ok(any)
}
