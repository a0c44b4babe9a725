//! Users: profiles, hosts' identities, renaming and deletion, and the jobs that follow.

use super::super::{EndedSession, Job, StoreError, UserRefusal};
use super::database::{Database, Statement};
use super::sessions;
use crate::model::limits::fold;
use crate::model::{DELETED_USERNAME, Timestamp, User, UserId};
use crate::store::rows::{JobRow, UserRow, identity, job, user};

pub(super) async fn read(
    database: &Database,
    caller: UserId,
    id: UserId,
) -> Result<Option<User>, StoreError> {
    let call = Statement::new("SELECT id, username, created_at, email FROM read_user($1, $2)")
        .bind(caller.0)
        .bind(id.0);
    let row: Option<UserRow> = database.row(call).await?;
    Ok(row.map(user))
}

/// A host's name as PostgreSQL can hold it: its text has no NUL.
fn storable(name: &str) -> String {
    name.replace('\0', "\u{fffd}")
}

pub(super) async fn identify(
    database: &Database,
    issuer: &str,
    subject: &str,
    name: &str,
    at: Timestamp,
) -> Result<Option<UserId>, StoreError> {
    let identity = identity(issuer, subject);
    let living = |(id, deleted_at): (i64, Option<i64>)| deleted_at.is_none().then_some(UserId(id));
    let known = Statement::new("SELECT id, deleted_at FROM users WHERE identity = $1");
    if let Some(row) = database.row(known.bind(&identity)).await? {
        return Ok(living(row));
    }
    let made = database
        .write_one(
            Statement::new("SELECT id, deleted_at FROM identify_user($1, $2, $3)")
                .bind(&identity)
                .bind(storable(name))
                .bind(at.as_millis()),
        )
        .await?;
    Ok(living(made))
}

pub(super) async fn rename(
    database: &Database,
    id: UserId,
    username: &str,
) -> Result<Result<User, UserRefusal>, StoreError> {
    let (refusal,): (Option<String>,) = database
        .write_one(
            Statement::new("SELECT rename_user($1, $2, $3)")
                .bind(id.0)
                .bind(storable(username))
                .bind(fold(username)),
        )
        .await?;
    match refusal.as_deref() {
        None => {}
        Some("username") => return Ok(Err(UserRefusal::UsernameTaken)),
        Some(_) => return Ok(Err(UserRefusal::NotFound)),
    }
    // Deleted meanwhile it is shown as it is now.
    Ok(read(database, id, id).await?.ok_or(UserRefusal::NotFound))
}

pub(super) async fn delete(
    database: &Database,
    id: UserId,
    erase_messages: bool,
    at: Timestamp,
) -> Result<Option<Vec<EndedSession>>, StoreError> {
    let (ended,): (Option<Vec<i64>>,) = database
        .write_one(
            Statement::new("SELECT delete_user($1, $2, $3, $4)")
                .bind(id.0)
                .bind(DELETED_USERNAME)
                .bind(erase_messages)
                .bind(at.as_millis()),
        )
        .await?;
    Ok(ended.map(|ids| sessions::ended_at(ids, at)))
}

pub(super) async fn jobs(database: &Database, limit: i64) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> = database
        .rows(
            Statement::new("SELECT room_id, user_id, kind FROM jobs ORDER BY id LIMIT $1")
                .bind(limit),
        )
        .await?;
    Ok(rows.into_iter().map(job).collect())
}
