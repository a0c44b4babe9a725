//! Events on their way to the bus, and the leases of the nodes that publish them.

use super::super::{NodeId, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::json;
use crate::model::{Event, RoomId, Seq, Timestamp};

pub(super) async fn read(
    database: &Database,
    node: NodeId,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let rows: Vec<(String,)> = database
        .rows(
            Statement::new(
                "SELECT event FROM outbox WHERE node = $1 ORDER BY room_id, seq LIMIT $2",
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
    let (rooms, places): (Vec<i64>, Vec<i64>) =
        published.iter().map(|(room, seq)| (room.0, seq.0)).unzip();
    database
        .execute(
            Statement::new(
                "DELETE FROM outbox o USING unnest($1::bigint[], $2::bigint[]) AS p (room_id, seq)
                 WHERE o.room_id = p.room_id AND o.seq = p.seq",
            )
            .bind(rooms)
            .bind(places),
        )
        .await
}

pub(super) async fn lease(
    database: &Database,
    node: NodeId,
    until: Timestamp,
) -> Result<(), StoreError> {
    database
        .execute(
            Statement::new(
                "INSERT INTO leases (node, valid_until) VALUES ($1, $2)
                 ON CONFLICT (node) DO UPDATE SET valid_until = excluded.valid_until",
            )
            .bind(node.0)
            .bind(until.as_millis()),
        )
        .await
}

pub(super) async fn take_over(
    database: &Database,
    node: NodeId,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let (taken,): (i64,) = database
        .write_one(
            Statement::new("SELECT take_over($1, $2)")
                .bind(node.0)
                .bind(at.as_millis()),
        )
        .await?;
    Ok(u64::try_from(taken).unwrap_or(0))
}
