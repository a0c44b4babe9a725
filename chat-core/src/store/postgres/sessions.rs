//! Login sessions and their refresh tokens, and the list of sessions that ended.

use super::super::{EndedSession, NewSession, Rotated, Rotation, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use crate::model::{Session, SessionId, Timestamp, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{SessionRow, page, session, user};

/// Sessions that were ended together.
pub(super) fn ended_at(ids: Vec<i64>, at: Timestamp) -> Vec<EndedSession> {
    ids.into_iter()
        .map(|id| EndedSession {
            session: SessionId(id).to_string(),
            at,
        })
        .collect()
}

pub(super) async fn create(
    database: &Database,
    session: &NewSession<'_>,
) -> Result<Option<(SessionId, Vec<EndedSession>)>, StoreError> {
    let made: Vec<(i64, Vec<i64>)> = database
        .write(
            Statement::new("SELECT id, ended FROM create_session($1, $2, $3, $4, $5, $6, $7)")
                .bind(session.user_id.0)
                .bind(session.device)
                .bind(&session.refresh_hash[..])
                .bind(session.at.as_millis())
                .bind(session.expires_at.as_millis())
                .bind(session.address_hash.as_ref().map(|hash| &hash[..]))
                .bind((session.max_sessions - 1).max(0)),
        )
        .await?;
    Ok(made
        .into_iter()
        .next()
        .map(|(id, ended)| (SessionId(id), ended_at(ended, session.at))))
}

pub(super) async fn end_one(
    database: &Database,
    user: UserId,
    session: SessionId,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let (ended,) = database
        .write_one(
            Statement::new("SELECT end_session($1, $2, $3)")
                .bind(user.0)
                .bind(session.0)
                .bind(at.as_millis()),
        )
        .await?;
    Ok(ended)
}

/// `what, session, user_id, username, created_at, email, sealed_before, expires_at`
type RotatedRow = (
    String,
    i64,
    i64,
    String,
    i64,
    Option<String>,
    Option<Vec<u8>>,
    Option<i64>,
);

pub(super) async fn rotate(
    database: &Database,
    rotation: &Rotation<'_>,
) -> Result<Rotated, StoreError> {
    let rows: Vec<RotatedRow> = database
        .write(
            Statement::new(
                "SELECT what, session, user_id, username, created_at, email, sealed_before, expires_at
                 FROM rotate_session($1, $2, $3, $4, $5, $6)",
            )
            .bind(&rotation.presented[..])
            .bind(&rotation.successor[..])
            .bind(rotation.sealed_successor)
            .bind(rotation.at.as_millis())
            .bind(rotation.expires_at.as_millis())
            .bind(rotation.grace_from.as_millis()),
        )
        .await?;
    let Some((what, session, id, username, created_at, email, sealed, expires_at)) =
        rows.into_iter().next()
    else {
        return Ok(Rotated::Unknown);
    };
    let session = SessionId(session);
    let user = user((id, username, created_at, email));
    match (what.as_str(), sealed, expires_at) {
        ("fresh", _, _) => Ok(Rotated::Fresh { session, user }),
        ("again", Some(sealed_successor), Some(expires_at)) => Ok(Rotated::Again {
            session,
            user,
            sealed_successor,
            expires_at: Timestamp::from_millis(expires_at),
        }),
        ("reused", _, _) => Ok(Rotated::Reused { session }),
        _ => Err(Fault::Short.unchanged()),
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
            Statement::new(
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
    database
        .execute(
            Statement::new(
                "INSERT INTO ended_sessions (session, ended_at) VALUES ($1, $2)
             ON CONFLICT (session) DO UPDATE SET ended_at = greatest(ended_sessions.ended_at, excluded.ended_at)",
            )
            .bind(&session.session)
            .bind(session.at.as_millis()),
        )
        .await
}

pub(super) async fn ended(
    database: &Database,
    since: Timestamp,
) -> Result<Vec<EndedSession>, StoreError> {
    let rows: Vec<(String, i64)> = database
        .rows(
            Statement::new(
                "SELECT session, ended_at FROM ended_sessions WHERE ended_at >= $1 ORDER BY ended_at",
            )
            .bind(since.as_millis()),
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|(session, at)| EndedSession {
            session,
            at: Timestamp::from_millis(at),
        })
        .collect())
}
