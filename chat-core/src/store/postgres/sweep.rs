//! Cleaning, a bounded step at a time: what is erased, deleted, past retention or no longer of use.

use std::time::Duration;

use super::super::{INVITE_KEPT, StoreError, SweepContext};
use super::database::{Database, Statement};

/// How long an address is known after its last login.
const ADDRESS_KEPT: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn step(database: &Database, ctx: &SweepContext) -> Result<bool, StoreError> {
    let (more,) = database
        .write_one(
            Statement::new("SELECT sweep_step($1, $2, $3, $4, $5, $6)")
                .bind(ctx.at.as_millis())
                .bind(ctx.retain_from.map(|at| at.as_millis()))
                .bind(ctx.forget_ended_before.as_millis())
                .bind(ctx.at.minus(INVITE_KEPT).as_millis())
                .bind(ctx.at.minus(ADDRESS_KEPT).as_millis())
                .bind(ctx.max_rows),
        )
        .await?;
    Ok(more)
}
