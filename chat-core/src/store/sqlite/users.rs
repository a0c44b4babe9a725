//! Users: profiles, hosts' identities, renaming and deletion, and the jobs that follow.

use sqlx::sqlite::SqliteConnection;

use super::super::{EndedSession, Job, StoreError, UserRefusal};
use super::database::Database;
use super::fault::Fault;
use super::sessions;
use crate::model::limits::fold;
use crate::model::{DELETED_USERNAME, RoomId, Timestamp, User, UserId};
use crate::store::rows::{JobRow, RENAMED, UserRow, deletion_kind, identity, job, user};

pub(super) const PROFILE: &str =
    "SELECT id, username, created_at, iif(id = $1, email, NULL) AS email
    FROM users LEFT JOIN accounts ON user_id = id
    WHERE id = $2 AND (id = $1 OR EXISTS (
        SELECT 1 FROM members c JOIN members t ON t.room_id = c.room_id AND t.user_id = $2
        WHERE c.user_id = $1 AND (c.left_seq IS NULL OR t.first_joined_seq < c.left_seq)))";

pub(super) async fn read(
    database: &Database,
    caller: UserId,
    id: UserId,
) -> Result<Option<User>, StoreError> {
    let row: Option<UserRow> = database
        .row(sqlx::query(PROFILE).bind(caller.0).bind(id.0))
        .await?;
    Ok(row.map(user))
}

pub(super) const BY_IDENTITY: &str = "SELECT id, deleted_at FROM users WHERE identity = $1";

pub(super) async fn identify(
    database: &Database,
    issuer: &str,
    subject: &str,
    name: &str,
    at: Timestamp,
) -> Result<Option<UserId>, StoreError> {
    let identity = identity(issuer, subject);
    let living = |(id, deleted_at): (i64, Option<i64>)| deleted_at.is_none().then_some(UserId(id));
    if let Some(row) = database
        .row(sqlx::query(BY_IDENTITY).bind(identity.clone()))
        .await?
    {
        return Ok(living(row));
    }
    let mut transaction = database.begin().await?;
    let row = add_identity(transaction.connection(), identity, name, at).await;
    Ok(living(transaction.finish(row).await?))
}

async fn add_identity(
    connection: &mut SqliteConnection,
    identity: Vec<u8>,
    name: &str,
    at: Timestamp,
) -> Result<(i64, Option<i64>), Fault> {
    sqlx::query(
        "INSERT INTO users (username, created_at, identity) VALUES ($1, $2, $3)
         ON CONFLICT (identity) DO NOTHING",
    )
    .bind(name.to_owned())
    .bind(at.as_millis())
    .bind(identity.clone())
    .execute(&mut *connection)
    .await?;
    Ok(sqlx::query_as(BY_IDENTITY)
        .bind(identity)
        .fetch_one(connection)
        .await?)
}

/// A user who isn't deleted, with its address.
pub(super) async fn living(
    connection: &mut SqliteConnection,
    id: UserId,
) -> Result<Option<User>, Fault> {
    let row: Option<UserRow> = sqlx::query_as(
        "SELECT id, username, created_at, email FROM users LEFT JOIN accounts ON user_id = id
         WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(id.0)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(user))
}

pub(super) async fn rename(
    database: &Database,
    id: UserId,
    username: &str,
) -> Result<Result<User, UserRefusal>, StoreError> {
    let mut transaction = database.begin().await?;
    let renamed = rename_in(transaction.connection(), id, username).await;
    transaction.finish(renamed).await
}

async fn rename_in(
    connection: &mut SqliteConnection,
    id: UserId,
    username: &str,
) -> Result<Result<User, UserRefusal>, Fault> {
    let Some(mut user) = living(connection, id).await? else {
        return Ok(Err(UserRefusal::NotFound));
    };
    if user.username == username {
        return Ok(Ok(user));
    }
    if user.email.is_some() {
        let renamed =
            sqlx::query("UPDATE OR IGNORE accounts SET username_key = $2 WHERE user_id = $1")
                .bind(id.0)
                .bind(fold(username))
                .execute(&mut *connection)
                .await?;
        if renamed.rows_affected() == 0 {
            return Ok(Err(UserRefusal::UsernameTaken));
        }
    }
    sqlx::query(
        "UPDATE users SET username = $2 WHERE id = $1;
         INSERT INTO jobs (user_id, room_id, kind)
         SELECT user_id, room_id, $3 FROM members WHERE user_id = $1 AND left_seq IS NULL ORDER BY room_id
         ON CONFLICT DO NOTHING",
    )
    .bind(id.0)
    .bind(username.to_owned())
    .bind(RENAMED)
    .execute(connection)
    .await?;
    username.clone_into(&mut user.username);
    Ok(Ok(user))
}

pub(super) async fn delete(
    database: &Database,
    id: UserId,
    erase_messages: bool,
    at: Timestamp,
) -> Result<Option<Vec<EndedSession>>, StoreError> {
    let mut transaction = database.begin().await?;
    let ended = delete_in(transaction.connection(), id, erase_messages, at).await;
    transaction.finish(ended).await
}

async fn delete_in(
    connection: &mut SqliteConnection,
    id: UserId,
    erase_messages: bool,
    at: Timestamp,
) -> Result<Option<Vec<EndedSession>>, Fault> {
    if living(connection, id).await?.is_none() {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE users SET username = $2, deleted_at = $3 WHERE id = $1;
         DELETE FROM accounts WHERE user_id = $1;
         DELETE FROM known_addresses WHERE user_id = $1;
         DELETE FROM jobs WHERE user_id = $1;
         INSERT INTO jobs (user_id, room_id, kind)
         SELECT m.user_id, m.room_id, $4 FROM members m JOIN rooms r ON r.id = m.room_id
         WHERE m.user_id = $1 AND r.deleted_seq IS NULL AND ($5 OR m.left_seq IS NULL) ORDER BY m.room_id",
    )
    .bind(id.0)
    .bind(DELETED_USERNAME)
    .bind(at.as_millis())
    .bind(deletion_kind(erase_messages))
    .bind(erase_messages)
    .execute(&mut *connection)
    .await?;
    Ok(Some(sessions::end_all(connection, id, None, at).await?))
}

pub(super) async fn jobs(database: &Database, limit: i64) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> = database
        .rows(
            sqlx::query("SELECT room_id, user_id, kind FROM jobs ORDER BY id LIMIT $1 + 0")
                .bind(limit),
        )
        .await?;
    Ok(rows.into_iter().map(job).collect())
}

/// Takes a job off the list; false if it isn't on it.
pub(super) async fn finish_job(
    connection: &mut SqliteConnection,
    room: RoomId,
    user: UserId,
    kind: &'static str,
) -> Result<bool, Fault> {
    let done = sqlx::query("DELETE FROM jobs WHERE user_id = $1 AND room_id = $2 AND kind = $3")
        .bind(user.0)
        .bind(room.0)
        .bind(kind)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}
