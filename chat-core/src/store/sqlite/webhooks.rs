//! Webhooks made, listed and removed, and what their owners see of the deliveries.

use sqlx::sqlite::SqliteConnection;

use super::super::{NewWebhook, Refusal, StoreError, WebhookOwner};
use super::commit::{LockedRoom, or_refuse};
use super::database::Database;
use super::fault::Fault;
use crate::model::{Delivery, DeliveryId, Timestamp, Webhook, WebhookId, WebhookSecret};
use crate::protocol::rest::Page;
use crate::store::rows::page;
use crate::store::rows::webhooks::{
    DeliveryRow, WebhookRow, delivery, select_deliveries, select_webhooks, tags, webhook,
};

/// What a call comes to: the inner error is a refusal.
type Answered<T> = Result<Result<T, Refusal>, StoreError>;

/// The room of a webhook's owner, if the owner may ask for its webhooks; null for the operator's.
async fn authorise(
    connection: &mut SqliteConnection,
    owner: WebhookOwner,
) -> Result<Result<Option<LockedRoom>, Refusal>, Fault> {
    match owner {
        WebhookOwner::Operator => Ok(Ok(None)),
        WebhookOwner::Room { room_id, by } => {
            let room = LockedRoom::administer(connection, room_id, by).await?;
            Ok(room.map(Some))
        }
    }
}

/// The webhook, if the owner has it: its room's id, and whether it is enabled.
async fn owned(
    connection: &mut SqliteConnection,
    owner: WebhookOwner,
    id: WebhookId,
) -> Result<Result<bool, Refusal>, Fault> {
    let room = or_refuse!(authorise(connection, owner).await?);
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT enabled FROM webhooks WHERE id = $1 AND room_id IS $2")
            .bind(id.0)
            .bind(room.map(|room| room.id.0))
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(enabled,)| enabled != 0).ok_or(Refusal::NotFound))
}

pub(super) async fn create(database: &Database, new: &NewWebhook<'_>) -> Answered<Webhook> {
    let mut transaction = database.begin().await?;
    let made = insert(transaction.connection(), new).await;
    transaction.finish(made).await
}

async fn insert(
    connection: &mut SqliteConnection,
    new: &NewWebhook<'_>,
) -> Result<Result<Webhook, Refusal>, Fault> {
    let room = or_refuse!(authorise(connection, new.owner).await?);
    let room_id = room.as_ref().map(|room| room.id);
    if room_id.is_some() {
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM webhooks WHERE room_id = $1")
            .bind(room_id.map(|id| id.0))
            .fetch_one(&mut *connection)
            .await?;
        if count >= new.limit {
            return Ok(Err(Refusal::WebhooksPerRoom));
        }
    }
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO webhooks (room_id, url, events, secret, since_seq, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
    )
    .bind(room_id.map(|id| id.0))
    .bind(new.url.to_owned())
    .bind(tags(new.events))
    .bind(new.secret.0.clone())
    .bind(room.map_or(0, |room| room.seq.0))
    .bind(new.at.as_millis())
    .fetch_one(connection)
    .await?;
    Ok(Ok(Webhook {
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
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let read = async {
        let room = or_refuse!(authorise(connection, owner).await?);
        let rows: Vec<WebhookRow<i64>> = sqlx::query_as(concat!(
            select_webhooks!(),
            "room_id IS $1 AND id > $2 ORDER BY id LIMIT $3 + 1"
        ))
        .bind(room.map(|room| room.id.0))
        .bind(after.map_or(i64::MIN, |id| id.0))
        .bind(limit)
        .fetch_all(connection)
        .await?;
        Ok(Ok(page(rows.into_iter().map(webhook).collect(), limit)))
    };
    let read = read.await;
    transaction.finish(read).await
}

pub(super) async fn delete(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
) -> Answered<()> {
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let deleted = async {
        or_refuse!(owned(connection, owner, id).await?);
        sqlx::query("DELETE FROM webhooks WHERE id = $1")
            .bind(id.0)
            .execute(connection)
            .await?;
        Ok(Ok(()))
    };
    let deleted = deleted.await;
    transaction.finish(deleted).await
}

pub(super) async fn set_secret(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    secret: &WebhookSecret,
    old_until: Timestamp,
) -> Answered<Webhook> {
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let changed = async {
        or_refuse!(owned(connection, owner, id).await?);
        sqlx::query(
            "UPDATE webhooks SET old_secret = secret, old_secret_until = $2, secret = $3 WHERE id = $1",
        )
        .bind(id.0)
        .bind(old_until.as_millis())
        .bind(secret.0.clone())
        .execute(&mut *connection)
        .await?;
        let row = sqlx::query_as(concat!(select_webhooks!(), "id = $1"))
            .bind(id.0)
            .fetch_one(connection)
            .await?;
        Ok(Ok(webhook::<i64>(row)))
    };
    let changed = changed.await;
    transaction.finish(changed).await
}

pub(super) async fn deliveries(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    before: Option<DeliveryId>,
    limit: i64,
) -> Answered<Page<Delivery>> {
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let read = async {
        or_refuse!(owned(connection, owner, id).await?);
        let rows: Vec<DeliveryRow> = sqlx::query_as(concat!(
            select_deliveries!(),
            "webhook_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3 + 1"
        ))
        .bind(id.0)
        .bind(before.map_or(i64::MAX, |id| id.0))
        .bind(limit)
        .fetch_all(connection)
        .await?;
        Ok(Ok(page(rows.into_iter().map(delivery).collect(), limit)))
    };
    let read = read.await;
    transaction.finish(read).await
}

pub(super) async fn retry(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    delivery: DeliveryId,
    at: Timestamp,
) -> Answered<()> {
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let retried = async {
        let enabled = or_refuse!(owned(connection, owner, id).await?);
        let there: Option<(i64,)> =
            sqlx::query_as("SELECT 1 FROM deliveries WHERE id = $1 AND webhook_id = $2")
                .bind(delivery.0)
                .bind(id.0)
                .fetch_optional(&mut *connection)
                .await?;
        if there.is_none() {
            return Ok(Err(Refusal::NotFound));
        }
        if !enabled {
            return Ok(Err(Refusal::WebhookDisabled));
        }
        // A claim that ran out is nobody's: the delivery is due already.
        sqlx::query(
            "UPDATE deliveries SET state = 'pending', due_at = $2, finished_at = NULL
             WHERE id = $1 AND claim IS NULL
               AND (state = 'dead' OR state = 'pending' AND attempts > 0)",
        )
        .bind(delivery.0)
        .bind(at.as_millis())
        .execute(connection)
        .await?;
        Ok(Ok(()))
    };
    let retried = retried.await;
    transaction.finish(retried).await
}

pub(super) async fn replay(
    database: &Database,
    owner: WebhookOwner,
    id: WebhookId,
    at: Timestamp,
) -> Answered<u64> {
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let replayed = async {
        if !or_refuse!(owned(connection, owner, id).await?) {
            return Ok(Err(Refusal::WebhookDisabled));
        }
        let dead = sqlx::query(
            "UPDATE deliveries SET state = 'pending', due_at = $2, finished_at = NULL
             WHERE webhook_id = $1 AND state = 'dead'",
        )
        .bind(id.0)
        .bind(at.as_millis())
        .execute(connection)
        .await?;
        Ok(Ok(dead.rows_affected()))
    };
    let replayed = replayed.await;
    transaction.finish(replayed).await
}

pub(super) async fn any(database: &Database) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = database
        .row(sqlx::query(
            "SELECT 1 FROM webhooks WHERE enabled = 1 LIMIT 1",
        ))
        .await?;
    Ok(row.is_some())
}
