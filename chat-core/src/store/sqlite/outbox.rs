//! Events on their way to the bus, and the leases of the nodes that publish them.

use sqlx::sqlite::SqliteConnection;

use super::super::{Committed, NodeId, Refusal, StoreError};
use super::database::Database;
use super::fault::Fault;
use super::rows::json;
use crate::model::{Event, RoomId, Seq, Timestamp};

/// The events of a batch as the parameter of an insert: `[[room, seq, event]…]`.
pub(super) fn rows(answers: &[Result<Committed, Refusal>]) -> Result<String, Fault> {
    let mut rows = Vec::new();
    for event in answers.iter().flatten().flat_map(|done| &done.events) {
        rows.push((event.room_id(), event.seq(), serde_json::to_string(event)?));
    }
    Ok(serde_json::to_string(&rows)?)
}

/// Writes the events of a batch.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    node: NodeId,
    answers: &[Result<Committed, Refusal>],
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO outbox (room_id, seq, node, event)
         SELECT value ->> 0, value ->> 1, $2, value ->> 2 FROM json_each($1)",
    )
    .bind(rows(answers)?)
    .bind(node.0)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn read(
    database: &Database,
    node: NodeId,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let rows: Vec<(String,)> = database
        .rows(
            sqlx::query(
                "SELECT event FROM outbox WHERE node = $1 ORDER BY room_id, seq LIMIT $2 + 0",
            )
            .bind(node.0)
            .bind(limit),
        )
        .await?;
    rows.iter()
        .map(|(event,)| json(event))
        .collect::<Result<_, _>>()
        .map_err(Fault::unchanged)
}

pub(super) async fn delete(
    database: &Database,
    published: &[(RoomId, Seq)],
) -> Result<(), StoreError> {
    let keys = serde_json::to_string(published).map_err(|e| Fault::from(e).unchanged())?;
    let mut transaction = database.begin().await?;
    let done = sqlx::query(
        "DELETE FROM outbox WHERE (room_id, seq) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))",
    )
    .bind(keys)
    .execute(transaction.connection())
    .await;
    transaction
        .finish(done.map(drop).map_err(Fault::from))
        .await
}

pub(super) async fn lease(
    database: &Database,
    node: NodeId,
    until: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    let done = sqlx::query(
        "INSERT INTO leases (node, valid_until) VALUES ($1, $2)
         ON CONFLICT (node) DO UPDATE SET valid_until = excluded.valid_until",
    )
    .bind(node.0)
    .bind(until.as_millis())
    .execute(transaction.connection())
    .await;
    transaction
        .finish(done.map(drop).map_err(Fault::from))
        .await
}

pub(super) async fn take_over(
    database: &Database,
    node: NodeId,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let mut transaction = database.begin().await?;
    let taken = take(transaction.connection(), node, at).await;
    transaction.finish(taken).await
}

async fn take(
    connection: &mut SqliteConnection,
    node: NodeId,
    at: Timestamp,
) -> Result<u64, Fault> {
    let taken = sqlx::query(
        // The owners one by one, from the index: a long outbox has few.
        "WITH RECURSIVE owners (node) AS (
             SELECT min(node) FROM outbox
             UNION ALL
             SELECT (SELECT min(o.node) FROM outbox o WHERE o.node > owners.node)
             FROM owners WHERE owners.node IS NOT NULL
         )
         UPDATE outbox SET node = $1
         WHERE node IN (
             SELECT node FROM owners
             WHERE node <> $1 AND node NOT IN (SELECT node FROM leases WHERE valid_until >= $2)
         )",
    )
    .bind(node.0)
    .bind(at.as_millis())
    .execute(&mut *connection)
    .await?
    .rows_affected();
    // A node that is gone for good has no rows any more, so nothing asks for its lease again; one that was only paused
    // makes it anew.
    sqlx::query("DELETE FROM leases WHERE node <> $1 AND valid_until < $2")
        .bind(node.0)
        .bind(at.as_millis())
        .execute(connection)
        .await?;
    Ok(taken)
}
