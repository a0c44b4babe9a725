//! Login sessions and their refresh tokens, and the list of sessions that ended.

use sqlx::sqlite::SqliteConnection;

use super::super::{EndedSession, NewSession, Rotated, Rotation, StoreError};
use super::database::Database;
use super::fault::Fault;
use super::users;
use crate::model::{Session, SessionId, Timestamp, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{SessionRow, page, session};

pub(super) async fn create(
    database: &Database,
    session: &NewSession<'_>,
) -> Result<Option<(SessionId, Vec<EndedSession>)>, StoreError> {
    let mut transaction = database.begin().await?;
    let created = create_in(transaction.connection(), session).await;
    transaction.finish(created).await
}

async fn create_in(
    connection: &mut SqliteConnection,
    new: &NewSession<'_>,
) -> Result<Option<(SessionId, Vec<EndedSession>)>, Fault> {
    if users::living(connection, new.user_id).await?.is_none() {
        return Ok(None);
    }
    let too_many: Vec<(i64,)> = sqlx::query_as(
        "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
         ORDER BY last_used_at DESC, id DESC LIMIT -1 OFFSET $3",
    )
    .bind(new.user_id.0)
    .bind(new.at.as_millis())
    .bind((new.max_sessions - 1).max(0))
    .fetch_all(&mut *connection)
    .await?;
    let ids = too_many.into_iter().map(|(id,)| SessionId(id)).collect();
    let ended = end(connection, ids, new.at).await?;
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO sessions (user_id, device, created_at, last_used_at, expires_at, refresh_hash)
         VALUES ($1, $2, $3, $3, $4, $5) RETURNING id",
    )
    .bind(new.user_id.0)
    .bind(new.device.to_owned())
    .bind(new.at.as_millis())
    .bind(new.expires_at.as_millis())
    .bind(new.refresh_hash.to_vec())
    .fetch_one(&mut *connection)
    .await?;
    if let Some(address_hash) = new.address_hash {
        sqlx::query(
            "INSERT INTO known_addresses (user_id, address_hash, seen_at) VALUES ($1, $2, $3)
             ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(new.user_id.0)
        .bind(address_hash.to_vec())
        .bind(new.at.as_millis())
        .execute(connection)
        .await?;
    }
    Ok(Some((SessionId(id), ended)))
}

/// Ends sessions and notes them.
async fn end(
    connection: &mut SqliteConnection,
    ids: Vec<SessionId>,
    at: Timestamp,
) -> Result<Vec<EndedSession>, Fault> {
    if !ids.is_empty() {
        sqlx::query(
            "UPDATE sessions SET ended_at = $2 WHERE id IN (SELECT value FROM json_each($1));
             INSERT INTO ended_sessions (session, ended_at) SELECT CAST(value AS TEXT), $2 FROM json_each($1)
             WHERE TRUE ON CONFLICT DO NOTHING",
        )
        .bind(serde_json::to_string(&ids)?)
        .bind(at.as_millis())
        .execute(connection)
        .await?;
    }
    Ok(ids
        .into_iter()
        .map(|id| EndedSession {
            session: id.to_string(),
            at,
        })
        .collect())
}

/// Ends all sessions of a user but `keep`.
pub(super) async fn end_all(
    connection: &mut SqliteConnection,
    user: UserId,
    keep: Option<SessionId>,
    at: Timestamp,
) -> Result<Vec<EndedSession>, Fault> {
    let ids: Vec<(i64,)> = sqlx::query_as(
        "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND id IS NOT $3",
    )
    .bind(user.0)
    .bind(at.as_millis())
    .bind(keep.map(|id| id.0))
    .fetch_all(&mut *connection)
    .await?;
    let ids = ids.into_iter().map(|(id,)| SessionId(id)).collect();
    end(connection, ids, at).await
}

pub(super) async fn end_one(
    database: &Database,
    user: UserId,
    session: SessionId,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = database.begin().await?;
    let ended = end_owned(transaction.connection(), user, session, at).await;
    transaction.finish(ended).await
}

async fn end_owned(
    connection: &mut SqliteConnection,
    user: UserId,
    session: SessionId,
    at: Timestamp,
) -> Result<bool, Fault> {
    let owned: Option<(i64,)> = sqlx::query_as(
        "SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL",
    )
    .bind(session.0)
    .bind(user.0)
    .fetch_optional(&mut *connection)
    .await?;
    if owned.is_some() {
        end(connection, vec![session], at).await?;
    }
    Ok(owned.is_some())
}

pub(super) async fn rotate(
    database: &Database,
    rotation: &Rotation<'_>,
) -> Result<Rotated, StoreError> {
    let mut transaction = database.begin().await?;
    let rotated = rotate_in(transaction.connection(), rotation).await;
    transaction.finish(rotated).await
}

/// Finds the session of a token, current or spent: its id, user, expiry, whether the token is current or the one before, when
/// that was replaced, and the sealed successor.
pub(super) const BY_TOKEN: &str = "
    SELECT id, user_id, expires_at, TRUE AS is_current, FALSE AS is_last, replaced_at, sealed_successor
    FROM sessions WHERE refresh_hash = $1 AND ended_at IS NULL
    UNION ALL
    SELECT s.id, s.user_id, s.expires_at, FALSE, t.is_last, s.replaced_at, s.sealed_successor
    FROM spent_tokens t JOIN sessions s ON s.id = t.session_id
    WHERE t.token_hash = $1 AND s.ended_at IS NULL";

type TokenRow = (i64, i64, i64, bool, bool, Option<i64>, Option<Vec<u8>>);

async fn rotate_in(
    connection: &mut SqliteConnection,
    rotation: &Rotation<'_>,
) -> Result<Rotated, Fault> {
    let row: Option<TokenRow> = sqlx::query_as(BY_TOKEN)
        .bind(rotation.presented.to_vec())
        .fetch_optional(&mut *connection)
        .await?;
    let Some((id, user_id, expires_at, is_current, is_last, replaced_at, sealed)) = row else {
        return Ok(Rotated::Unknown);
    };
    let session = SessionId(id);
    let Some(user) = users::living(connection, UserId(user_id)).await? else {
        return Ok(Rotated::Unknown);
    };
    if expires_at <= rotation.at.as_millis() {
        return Ok(Rotated::Unknown);
    }
    if is_current {
        sqlx::query(
            "UPDATE spent_tokens SET is_last = 0 WHERE session_id = $1 AND is_last = 1;
             INSERT INTO spent_tokens (session_id, token_hash, is_last) VALUES ($1, $2, 1);
             UPDATE sessions SET refresh_hash = $3, sealed_successor = $4, replaced_at = $5,
                 last_used_at = $5, expires_at = $6
             WHERE id = $1",
        )
        .bind(id)
        .bind(rotation.presented.to_vec())
        .bind(rotation.successor.to_vec())
        .bind(rotation.sealed_successor.to_vec())
        .bind(rotation.at.as_millis())
        .bind(rotation.expires_at.as_millis())
        .execute(connection)
        .await?;
        return Ok(Rotated::Fresh { session, user });
    }
    let in_grace = replaced_at.is_some_and(|at| at >= rotation.grace_from.as_millis());
    match sealed {
        Some(sealed_successor) if is_last && in_grace => Ok(Rotated::Again {
            session,
            user,
            sealed_successor,
            expires_at: Timestamp::from_millis(expires_at),
        }),
        _ => {
            end(connection, vec![session], rotation.at).await?;
            Ok(Rotated::Reused { session })
        }
    }
}

pub(super) async fn read_page(
    database: &Database,
    user: UserId,
    at: Timestamp,
    after: Option<SessionId>,
    limit: i64,
) -> Result<Page<Session>, StoreError> {
    let rows: Vec<SessionRow> = database
        .rows(
            sqlx::query(
                "SELECT id, device, created_at, last_used_at FROM sessions
                 WHERE user_id = $1 AND id > $2 AND ended_at IS NULL AND expires_at > $3
                 ORDER BY id LIMIT $4 + 1",
            )
            .bind(user.0)
            .bind(after.map_or(i64::MIN, |id| id.0))
            .bind(at.as_millis())
            .bind(limit),
        )
        .await?;
    Ok(page(rows.into_iter().map(session).collect(), limit))
}

pub(super) async fn note_ended(
    database: &Database,
    session: &EndedSession,
) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    let noted = sqlx::query(
        "INSERT INTO ended_sessions (session, ended_at) VALUES ($1, $2)
             ON CONFLICT (session) DO UPDATE SET ended_at = max(ended_sessions.ended_at, excluded.ended_at)",
    )
    .bind(session.session.clone())
    .bind(session.at.as_millis())
    .execute(transaction.connection())
    .await;
    transaction
        .finish(noted.map(drop).map_err(Fault::from))
        .await
}

pub(super) const ENDED: &str =
    "SELECT session, ended_at FROM ended_sessions WHERE ended_at >= $1 ORDER BY ended_at";

pub(super) async fn ended(
    database: &Database,
    since: Timestamp,
) -> Result<Vec<EndedSession>, StoreError> {
    let rows: Vec<(String, i64)> = database
        .rows(sqlx::query(ENDED).bind(since.as_millis()))
        .await?;
    Ok(rows
        .into_iter()
        .map(|(session, at)| EndedSession {
            session,
            at: Timestamp::from_millis(at),
        })
        .collect())
}
