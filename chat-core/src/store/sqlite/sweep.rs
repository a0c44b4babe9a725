//! Cleaning, a bounded step at a time: what is erased, deleted, past retention or no longer of use.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use super::super::{INVITE_KEPT, StoreError, SweepContext};
use super::database::Database;
use super::fault::Fault;
use crate::model::Timestamp;
use crate::store::rows::sha256;

/// Rows of a room looked at for each one that may be touched, when one sender's messages are searched for: looking is cheap
/// beside a commit.
const LOOKED_AT: i64 = 20;

/// How long an address is known after its last login.
const ADDRESS_KEPT: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn step(database: &Database, ctx: &SweepContext) -> Result<bool, StoreError> {
    let mut transaction = database.begin().await?;
    let more = clean(transaction.connection(), ctx).await;
    transaction.finish(more).await
}

async fn clean(connection: &mut SqliteConnection, ctx: &SweepContext) -> Result<bool, Fault> {
    let mut step = Step {
        connection,
        left: ctx.max_rows,
        more: false,
    };
    step.scrub().await?;
    step.purge_rooms().await?;
    if let Some(retain_from) = ctx.retain_from {
        step.prune(retain_from).await?;
    }
    step.forget(ctx).await?;
    // A step that used up its rows may have left some: the next one tells.
    Ok(step.more || step.left <= 0)
}

struct Step<'a> {
    connection: &'a mut SqliteConnection,
    /// Rows that may still be touched.
    left: i64,
    /// Something is known to be left.
    more: bool,
}

impl Step<'_> {
    /// Runs a deletion of at most `$1` rows, with `$2`.
    async fn delete(&mut self, sql: &'static str, parameter: i64) -> Result<i64, Fault> {
        if self.left <= 0 {
            return Ok(0);
        }
        let deleted = sqlx::query(sql)
            .bind(self.left)
            .bind(parameter)
            .execute(&mut *self.connection)
            .await?
            .rows_affected();
        let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
        self.left -= deleted;
        Ok(deleted)
    }

    /// Empties messages that a bulk deletion took.
    async fn scrub(&mut self) -> Result<(), Fault> {
        while self.left > 0 {
            let erasure: Option<(i64, i64, i64, i64, i64)> = sqlx::query_as(
                "SELECT room_id, sender_id, seq, erased_at, scrubbed_to FROM erasures LIMIT 1",
            )
            .fetch_optional(&mut *self.connection)
            .await?;
            let Some((room_id, sender_id, seq, erased_at, scrubbed_to)) = erasure else {
                return Ok(());
            };
            if !self
                .scrub_one(room_id, sender_id, seq, erased_at, scrubbed_to)
                .await?
            {
                self.more = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Goes on with one bulk deletion; true if that is done.
    async fn scrub_one(
        &mut self,
        room_id: i64,
        sender_id: i64,
        seq: i64,
        erased_at: i64,
        scrubbed_to: i64,
    ) -> Result<bool, Fault> {
        let looked_at = self.left.saturating_mul(LOOKED_AT);
        let rows: Vec<(i64, Option<String>)> = sqlx::query_as(
            "SELECT seq, iif(client_message_id IS NOT NULL AND first_hash IS NULL, content, NULL) FROM (
                 SELECT * FROM messages WHERE room_id = $1 AND seq > $2 AND seq < $3 ORDER BY seq LIMIT $4
             )
             WHERE sender_id = $5 AND deleted_at IS NULL ORDER BY seq LIMIT $6",
        )
        .bind(room_id)
        .bind(scrubbed_to)
        .bind(seq)
        .bind(looked_at)
        .bind(sender_id)
        .bind(self.left)
        .fetch_all(&mut *self.connection)
        .await?;
        let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let reached: Option<i64> = if found == self.left {
            rows.last().map(|(seq, _)| *seq)
        } else {
            // All that was looked at: its last row, if there may be more behind.
            sqlx::query_as(
                "SELECT seq FROM messages WHERE room_id = $1 AND seq > $2 AND seq < $3
                 ORDER BY seq LIMIT 1 OFFSET $4 - 1",
            )
            .bind(room_id)
            .bind(scrubbed_to)
            .bind(seq)
            .bind(looked_at)
            .fetch_optional(&mut *self.connection)
            .await?
            .map(|(seq,)| seq)
        };
        let hashes: Vec<(i64, Option<String>)> = rows
            .into_iter()
            .map(|(seq, content)| (seq, content.map(|text| hex(&sha256(text.as_bytes())))))
            .collect();
        sqlx::query(
            "UPDATE messages SET content = '', deleted_at = $3, first_hash = coalesce(first_hash, unhex(h.value ->> 1))
             FROM json_each($2) h WHERE messages.room_id = $1 AND messages.seq = h.value ->> 0",
        )
        .bind(room_id)
        .bind(serde_json::to_string(&hashes)?)
        .bind(erased_at)
        .execute(&mut *self.connection)
        .await?;
        self.left -= found;
        let sql = if reached.is_some() {
            "UPDATE erasures SET scrubbed_to = $3 WHERE room_id = $1 AND sender_id = $2"
        } else {
            "DELETE FROM erasures WHERE room_id = $1 AND sender_id = $2"
        };
        sqlx::query(sql)
            .bind(room_id)
            .bind(sender_id)
            .bind(reached)
            .execute(&mut *self.connection)
            .await?;
        Ok(reached.is_none())
    }

    /// Removes deleted rooms with what is in them. Who was in them stays.
    async fn purge_rooms(&mut self) -> Result<(), Fault> {
        while self.left > 0 {
            let room: Option<(i64,)> = sqlx::query_as(
                "SELECT id FROM rooms WHERE deleted_seq IS NOT NULL ORDER BY id LIMIT 1",
            )
            .fetch_optional(&mut *self.connection)
            .await?;
            let Some((room,)) = room else { return Ok(()) };
            sqlx::query("DELETE FROM erasures WHERE room_id = $1; DELETE FROM bulk_changes WHERE room_id = $1")
                .bind(room)
                .execute(&mut *self.connection)
                .await?;
            self.remove_messages(
                "SELECT room_id, seq, id, changed_seq FROM messages WHERE room_id = $2 ORDER BY seq LIMIT $1",
                room,
            )
            .await?;
            self.delete(
                "DELETE FROM invites WHERE id IN (SELECT id FROM invites WHERE room_id = $2 LIMIT $1)",
                room,
            )
            .await?;
            // With rows left to touch, all of the room's are gone.
            self.delete("DELETE FROM rooms WHERE id = $2 AND $1 > 0", room)
                .await?;
        }
        Ok(())
    }

    /// Removes messages that are past retention, and notes up to where `changes` is incomplete now.
    async fn prune(&mut self, retain_from: Timestamp) -> Result<(), Fault> {
        self.remove_messages(
            "SELECT p.room_id, p.seq, p.id, m.changed_seq
             FROM message_places p JOIN messages m ON m.room_id = p.room_id AND m.seq = p.seq
             WHERE p.sent_at < $2 ORDER BY p.sent_at LIMIT $1",
            retain_from.as_millis(),
        )
        .await
    }

    /// Removes the messages that a statement finds: at most `$1`, with `$2`; their `room_id, seq, id, changed_seq`.
    async fn remove_messages(&mut self, sql: &'static str, parameter: i64) -> Result<(), Fault> {
        if self.left <= 0 {
            return Ok(());
        }
        let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(sql)
            .bind(self.left)
            .bind(parameter)
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.is_empty() {
            return Ok(());
        }
        self.left -= i64::try_from(rows.len()).unwrap_or(i64::MAX);
        sqlx::query(
            "DELETE FROM messages WHERE (room_id, seq) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1));
             DELETE FROM message_places WHERE id IN (SELECT value ->> 2 FROM json_each($1));
             UPDATE rooms SET pruned_seq = max(pruned_seq, gone.changed_seq) FROM (
                 SELECT value ->> 0 AS room_id, max(value ->> 3) AS changed_seq FROM json_each($1) GROUP BY 1
             ) gone WHERE rooms.id = gone.room_id",
        )
        .bind(serde_json::to_string(&rows)?)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// Removes what has no use any more, by its time.
    async fn forget(&mut self, ctx: &SweepContext) -> Result<(), Fault> {
        let at = ctx.at.as_millis();
        self.delete(
            "DELETE FROM invites WHERE id IN (SELECT id FROM invites WHERE expires_at <= $2 LIMIT $1)",
            ctx.at.minus(INVITE_KEPT).as_millis(),
        )
        .await?;
        // A session's spent tokens go before it: there may be many.
        for (tokens, sessions) in [
            (
                "DELETE FROM spent_tokens WHERE (session_id, token_hash) IN (
                     SELECT t.session_id, t.token_hash FROM sessions s CROSS JOIN spent_tokens t ON t.session_id = s.id
                     WHERE s.expires_at <= $2 LIMIT $1)",
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at <= $2 LIMIT $1)",
            ),
            (
                "DELETE FROM spent_tokens WHERE (session_id, token_hash) IN (
                     SELECT t.session_id, t.token_hash FROM sessions s CROSS JOIN spent_tokens t ON t.session_id = s.id
                     WHERE s.ended_at <= $2 LIMIT $1)",
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ended_at <= $2 LIMIT $1)",
            ),
        ] {
            self.delete(tokens, at).await?;
            self.delete(sessions, at).await?;
        }
        self.delete(
            "DELETE FROM ended_sessions WHERE session IN (
                 SELECT session FROM ended_sessions WHERE ended_at < $2 LIMIT $1)",
            ctx.forget_ended_before.as_millis(),
        )
        .await?;
        self.delete(
            "DELETE FROM known_addresses WHERE (user_id, address_hash) IN (
                 SELECT user_id, address_hash FROM known_addresses WHERE seen_at < $2 LIMIT $1)",
            ctx.at.minus(ADDRESS_KEPT).as_millis(),
        )
        .await?;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
