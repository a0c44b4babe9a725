//! Events that become deliveries, and what becomes of those.

use super::super::{
    Attempt, AttemptOutcome, Backlog, Claim, ClaimId, Claimed, OFFER_HOLD, StoreError, WebhookSweep,
};
use super::database::{Database, Statement};
use super::fault::Fault;
use crate::model::{Event, Timestamp};
use crate::store::rows::webhooks::{ClaimedRow, claimed};

pub(super) async fn offer(
    database: &Database,
    events: &[Event],
    at: Timestamp,
) -> Result<u64, StoreError> {
    let rooms: Vec<i64> = events.iter().map(|event| event.room_id().0).collect();
    let seqs: Vec<i64> = events.iter().map(|event| event.seq().0).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind().as_str()).collect();
    let bodies = events
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Fault::from(e).unchanged())?;
    let hold = i64::try_from(OFFER_HOLD.as_millis()).unwrap_or(i64::MAX);
    let (made,): (i64,) = database
        .write_one(
            Statement::new("SELECT offer_events($1, $2, $3, $4, $5, $6)")
                .bind(rooms)
                .bind(seqs)
                .bind(kinds)
                .bind(bodies)
                .bind(at.as_millis())
                .bind(hold),
        )
        .await?;
    Ok(made.unsigned_abs())
}

pub(super) async fn claim(
    database: &Database,
    claim: &Claim<'_>,
) -> Result<Vec<Claimed>, StoreError> {
    let busy: Vec<i64> = claim.busy.iter().map(|id| id.0).collect();
    let rows: Vec<ClaimedRow> = database
        .write(
            Statement::new(
                "SELECT id, webhook_id, url, secret, old_secret, attempts, event, created_at
                 FROM claim_deliveries($1, $2, $3, $4, $5)",
            )
            .bind(claim.id.0)
            .bind(claim.at.as_millis())
            .bind(claim.until.as_millis())
            .bind(claim.limit)
            .bind(busy),
        )
        .await?;
    rows.into_iter()
        .map(claimed)
        .collect::<Result<_, _>>()
        .map_err(|e| Fault::from(e).unchanged())
}

const fn outcome_name(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Delivered => "delivered",
        AttemptOutcome::Again(_) => "again",
        AttemptOutcome::Dead => "dead",
        AttemptOutcome::Gone => "gone",
        AttemptOutcome::Released => "released",
    }
}

pub(super) async fn finish(
    database: &Database,
    claim: ClaimId,
    attempts: &[Attempt],
    at: Timestamp,
) -> Result<(), StoreError> {
    let ids: Vec<i64> = attempts.iter().map(|a| a.delivery.0).collect();
    let outcomes: Vec<&str> = attempts.iter().map(|a| outcome_name(a.outcome)).collect();
    let dues: Vec<Option<i64>> = attempts
        .iter()
        .map(|attempt| match attempt.outcome {
            AttemptOutcome::Again(due) => Some(due.as_millis()),
            _ => None,
        })
        .collect();
    let statuses: Vec<Option<i64>> = attempts.iter().map(|a| a.status.map(i64::from)).collect();
    let errors: Vec<Option<&str>> = attempts.iter().map(|a| a.error.as_deref()).collect();
    database
        .execute(
            Statement::new("SELECT finish_deliveries($1, $2, $3, $4, $5, $6, $7)")
                .bind(claim.0)
                .bind(ids)
                .bind(outcomes)
                .bind(dues)
                .bind(statuses)
                .bind(errors)
                .bind(at.as_millis()),
        )
        .await
}

pub(super) async fn backlog(database: &Database) -> Result<Backlog, StoreError> {
    let (pending, oldest): (i64, Option<i64>) = database
        .one(Statement::new(
            "SELECT pending, oldest_untried FROM webhook_backlog()",
        ))
        .await?;
    Ok(Backlog {
        pending,
        oldest_untried: oldest.map(Timestamp::from_millis),
    })
}

pub(super) async fn sweep(database: &Database, ctx: &WebhookSweep) -> Result<bool, StoreError> {
    let (more,) = database
        .write_one(
            Statement::new("SELECT sweep_webhooks($1, $2, $3)")
                .bind(ctx.at.as_millis())
                .bind(ctx.forget_before.as_millis())
                .bind(ctx.max_rows),
        )
        .await?;
    Ok(more)
}
