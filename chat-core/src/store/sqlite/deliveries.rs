//! Events that become deliveries, and what becomes of those.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::SqliteConnection;

use super::super::{
    Attempt, AttemptOutcome, Backlog, Claim, ClaimId, Claimed, StoreError, WebhookSweep,
};
use super::database::Database;
use super::fault::Fault;
use crate::model::{Event, RoomId, Seq, Timestamp};
use crate::store::rows::webhooks::{ClaimedRow, claimed, read_tags};
use crate::store::webhooks::place::Place;

pub(super) async fn offer(
    database: &Database,
    events: &[Event],
    at: Timestamp,
) -> Result<u64, StoreError> {
    let mut rooms: BTreeMap<RoomId, BTreeMap<Seq, &Event>> = BTreeMap::new();
    for event in events {
        let room = rooms.entry(event.room_id()).or_default();
        room.insert(event.seq(), event);
    }
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let offered = async {
        let mut made = 0;
        for (room_id, events) in rooms {
            made += offer_room(connection, room_id, &events, at).await?;
        }
        Ok(made)
    };
    let offered = offered.await;
    transaction.finish(offered).await
}

/// The deliveries of a room's events.
async fn offer_room(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    events: &BTreeMap<Seq, &Event>,
    at: Timestamp,
) -> Result<u64, Fault> {
    let webhooks: Vec<(i64, Option<String>, i64)> = sqlx::query_as(
        "SELECT id, events, since_seq FROM webhooks WHERE room_id = $1 AND enabled = 1
         UNION ALL
         SELECT id, events, since_seq FROM webhooks WHERE room_id IS NULL AND enabled = 1",
    )
    .bind(room_id.0)
    .fetch_all(&mut *connection)
    .await?;
    let Some((&first, _)) = events.first_key_value() else {
        return Ok(0);
    };
    if webhooks.is_empty() {
        return Ok(0);
    }
    let mut place = place(connection, room_id)
        .await?
        .unwrap_or_else(|| Place::before(first));
    place.take(events.keys().copied(), at);
    sqlx::query(
        "INSERT INTO webhook_places (room_id, seq, missing, held_until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (room_id) DO UPDATE
         SET seq = excluded.seq, missing = excluded.missing, held_until = excluded.held_until",
    )
    .bind(room_id.0)
    .bind(place.seq.0)
    .bind(place.missing)
    .bind(place.held_until.as_millis())
    .execute(&mut *connection)
    .await?;

    let mut rows = Vec::new();
    for (webhook, tags, since) in &webhooks {
        let tags = tags.as_deref().map(read_tags);
        for (seq, event) in events {
            let wanted = tags.as_ref().is_none_or(|t| t.contains(&event.kind()));
            if wanted && seq.0 > *since {
                let text = serde_json::to_string(event)?;
                rows.push((webhook, seq, event.kind().as_str(), text));
            }
        }
    }
    let made = sqlx::query(
        "INSERT INTO deliveries (webhook_id, room_id, seq, kind, event, created_at)
         SELECT value ->> 0, $2, value ->> 1, value ->> 2, value ->> 3, $3 FROM json_each($1) WHERE true
         ON CONFLICT DO NOTHING",
    )
    .bind(serde_json::to_string(&rows)?)
    .bind(room_id.0)
    .bind(at.as_millis())
    .execute(&mut *connection)
    .await?
    .rows_affected();
    for (webhook, _, _) in &webhooks {
        promote(connection, *webhook, room_id, place.due(at)).await?;
    }
    if events
        .values()
        .any(|e| matches!(e, Event::RoomDeleted { .. }))
    {
        sqlx::query("UPDATE webhooks SET room_deleted = 1 WHERE room_id = $1")
            .bind(room_id.0)
            .execute(&mut *connection)
            .await?;
        sqlx::query("DELETE FROM webhook_places WHERE room_id = $1")
            .bind(room_id.0)
            .execute(connection)
            .await?;
    }
    Ok(made)
}

async fn place(connection: &mut SqliteConnection, room_id: RoomId) -> Result<Option<Place>, Fault> {
    let row: Option<(i64, i64, i64)> =
        sqlx::query_as("SELECT seq, missing, held_until FROM webhook_places WHERE room_id = $1")
            .bind(room_id.0)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(seq, missing, held_until)| Place {
        seq: Seq(seq),
        missing,
        held_until: Timestamp::from_millis(held_until),
    }))
}

/// Has the room's first untried delivery to a webhook be due, and no other, unless one is under way.
async fn promote(
    connection: &mut SqliteConnection,
    webhook: i64,
    room_id: RoomId,
    due: Timestamp,
) -> Result<(), Fault> {
    let first: Option<(i64, i64)> = sqlx::query_as(
        "SELECT min(seq), max(claim IS NOT NULL) FROM deliveries
         WHERE webhook_id = $1 AND room_id = $2 AND state = 'pending' AND attempts = 0
         HAVING count(*) > 0",
    )
    .bind(webhook)
    .bind(room_id.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((first, 0)) = first else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE deliveries SET due_at = iif(seq = $3, $4, NULL)
         WHERE webhook_id = $1 AND room_id = $2 AND state = 'pending' AND attempts = 0
           AND (seq = $3 OR due_at IS NOT NULL)",
    )
    .bind(webhook)
    .bind(room_id.0)
    .bind(first)
    .bind(due.as_millis())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn claim(
    database: &Database,
    claim: &Claim<'_>,
) -> Result<Vec<Claimed>, StoreError> {
    let busy: Vec<i64> = claim.busy.iter().map(|id| id.0).collect();
    let busy = serde_json::to_string(&busy).map_err(|e| Fault::from(e).unchanged())?;
    // Most looks find nothing, and a look needs no turn to write.
    let due: Vec<(i64,)> = database
        .rows(
            sqlx::query(
                "SELECT d.id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
                 WHERE d.due_at IS NOT NULL AND d.due_at <= $1 AND w.enabled = 1
                   AND d.webhook_id NOT IN (SELECT value FROM json_each($2))
                 ORDER BY d.due_at, d.id LIMIT $3 + 0",
            )
            .bind(claim.at.as_millis())
            .bind(busy)
            .bind(claim.limit),
        )
        .await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let due: Vec<i64> = due.into_iter().map(|(id,)| id).collect();
    let mut transaction = database.begin().await?;
    let taken = take(transaction.connection(), claim, &due).await;
    transaction.finish(taken).await
}

async fn take(
    connection: &mut SqliteConnection,
    claim: &Claim<'_>,
    due: &[i64],
) -> Result<Vec<Claimed>, Fault> {
    let due = serde_json::to_string(due)?;
    sqlx::query(
        "UPDATE deliveries SET claim = $1, due_at = $2
         WHERE id IN (SELECT value FROM json_each($4)) AND due_at <= $3",
    )
    .bind(claim.id.0)
    .bind(claim.until.as_millis())
    .bind(claim.at.as_millis())
    .bind(due.clone())
    .execute(&mut *connection)
    .await?;
    let rows: Vec<ClaimedRow> = sqlx::query_as(
        "SELECT d.id, w.id, w.url, w.secret, iif(w.old_secret_until > $2, w.old_secret, NULL),
                d.attempts, d.event, d.created_at
         FROM json_each($3) e JOIN deliveries d ON d.id = e.value JOIN webhooks w ON w.id = d.webhook_id
         WHERE d.claim = $1 ORDER BY e.key",
    )
    .bind(claim.id.0)
    .bind(claim.at.as_millis())
    .bind(due)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(claimed).collect::<Result<_, _>>()?)
}

pub(super) async fn finish(
    database: &Database,
    claim: ClaimId,
    attempts: &[Attempt],
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    let connection = transaction.connection();
    let finished = async {
        for attempt in attempts {
            finish_one(connection, claim, attempt, at).await?;
        }
        Ok(())
    };
    let finished = finished.await;
    transaction.finish(finished).await
}

async fn finish_one(
    connection: &mut SqliteConnection,
    claim: ClaimId,
    attempt: &Attempt,
    at: Timestamp,
) -> Result<(), Fault> {
    let (state, due_at, finished_at) = match attempt.outcome {
        AttemptOutcome::Delivered => ("delivered", None, Some(at)),
        AttemptOutcome::Again(due) => ("pending", Some(due), None),
        AttemptOutcome::Dead | AttemptOutcome::Gone => ("dead", None, Some(at)),
        AttemptOutcome::Released => {
            sqlx::query(
                "UPDATE deliveries SET claim = NULL, due_at = $3 WHERE id = $1 AND claim = $2",
            )
            .bind(attempt.delivery.0)
            .bind(claim.0)
            .bind(at.as_millis())
            .execute(connection)
            .await?;
            return Ok(());
        }
    };
    let row: Option<(i64, i64, i64)> = sqlx::query_as(
        "UPDATE deliveries SET claim = NULL, attempts = attempts + 1, state = $3, due_at = $4, finished_at = $5,
             last_status = $6, last_error = $7, event = iif($3 = 'delivered', '', event)
         WHERE id = $1 AND claim = $2 RETURNING webhook_id, room_id, attempts",
    )
    .bind(attempt.delivery.0)
    .bind(claim.0)
    .bind(state)
    .bind(due_at.map(Timestamp::as_millis))
    .bind(finished_at.map(Timestamp::as_millis))
    .bind(attempt.status.map(i64::from))
    .bind(attempt.error.clone())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((webhook, room_id, attempts)) = row else {
        return Ok(());
    };
    if attempt.outcome == AttemptOutcome::Gone {
        sqlx::query("UPDATE webhooks SET enabled = 0 WHERE id = $1")
            .bind(webhook)
            .execute(&mut *connection)
            .await?;
    }
    if attempts == 1 {
        let room_id = RoomId(room_id);
        let place = place(connection, room_id).await?;
        let due = place.map_or(at, |place| place.due(at));
        promote(connection, webhook, room_id, due).await?;
    }
    Ok(())
}

pub(super) async fn backlog(database: &Database) -> Result<Backlog, StoreError> {
    let row: Option<(i64, Option<i64>)> = database
        .row(sqlx::query(
            "SELECT count(*), min(iif(d.attempts = 0, d.created_at, NULL))
             FROM webhooks w CROSS JOIN deliveries d ON d.webhook_id = w.id
             WHERE d.state = 'pending' AND w.enabled = 1",
        ))
        .await?;
    let (pending, oldest) = row.unwrap_or_default();
    Ok(Backlog {
        pending,
        oldest_untried: oldest.map(Timestamp::from_millis),
    })
}

pub(super) async fn sweep(database: &Database, ctx: &WebhookSweep) -> Result<bool, StoreError> {
    let mut transaction = database.begin().await?;
    let swept = clean(transaction.connection(), ctx).await;
    transaction.finish(swept).await
}

async fn clean(connection: &mut SqliteConnection, ctx: &WebhookSweep) -> Result<bool, Fault> {
    let orphans = orphans(connection).await?;
    let mut touched = 0;
    for webhook in orphans {
        touched += delete_of(connection, webhook, ctx.max_rows).await?;
        if touched >= ctx.max_rows {
            return Ok(true);
        }
    }
    for (sql, parameter) in [
        (
            "UPDATE deliveries SET state = 'dead', due_at = NULL, claim = NULL, finished_at = $2,
                 last_error = coalesce(last_error, 'the webhook is disabled')
             WHERE id IN (SELECT d.id FROM webhooks w CROSS JOIN deliveries d ON d.webhook_id = w.id
                          WHERE w.enabled = 0 AND d.state = 'pending' LIMIT $1 + 0)",
            ctx.at.as_millis(),
        ),
        (
            "DELETE FROM deliveries WHERE id IN (
                 SELECT id FROM deliveries WHERE finished_at IS NOT NULL AND finished_at < $2 LIMIT $1 + 0)",
            ctx.forget_before.as_millis(),
        ),
        (
            "DELETE FROM webhooks WHERE id IN (
                 SELECT id FROM webhooks w WHERE room_deleted = 1 AND NOT EXISTS (
                     SELECT 1 FROM deliveries d WHERE d.webhook_id = w.id AND d.state = 'pending') LIMIT $1 + 0)
                 AND $2 = 0",
            0,
        ),
    ] {
        let rows = sqlx::query(sql)
            .bind(ctx.max_rows)
            .bind(parameter)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        if rows > 0 {
            // There may be more, and what was done may make more to do.
            return Ok(true);
        }
    }
    Ok(false)
}

/// Webhooks that are gone and have deliveries left: the ids one by one, from the index.
async fn orphans(connection: &mut SqliteConnection) -> Result<BTreeSet<i64>, Fault> {
    let rows: Vec<(i64,)> = sqlx::query_as(
        "WITH RECURSIVE owners (id) AS (
             SELECT min(webhook_id) FROM deliveries
             UNION ALL
             SELECT (SELECT min(d.webhook_id) FROM deliveries d WHERE d.webhook_id > owners.id)
             FROM owners WHERE owners.id IS NOT NULL
         )
         SELECT id FROM owners WHERE id IS NOT NULL AND id NOT IN (SELECT w.id FROM webhooks w)",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

async fn delete_of(
    connection: &mut SqliteConnection,
    webhook: i64,
    limit: i64,
) -> Result<i64, Fault> {
    let rows = sqlx::query(
        "DELETE FROM deliveries WHERE id IN (
             SELECT id FROM deliveries WHERE webhook_id = $1 LIMIT $2 + 0)",
    )
    .bind(webhook)
    .bind(limit)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(i64::try_from(rows).unwrap_or(i64::MAX))
}
