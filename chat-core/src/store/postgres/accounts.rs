//! Logins: e-mail addresses and passwords.

use super::super::{Credentials, EndedSession, NewAccount, StoreError, TokenHash, UserRefusal};
use super::database::{Database, Statement};
use super::sessions;
use crate::model::limits::fold;
use crate::model::{SessionId, Timestamp, User, UserId};
use crate::store::rows::{self, select_credentials};

pub(super) async fn create(
    database: &Database,
    account: &NewAccount<'_>,
) -> Result<Result<User, UserRefusal>, StoreError> {
    let (id, taken): (Option<i64>, Option<String>) = database
        .write_one(
            Statement::new("SELECT id, taken FROM create_account($1, $2, $3, $4, $5, $6)")
                .bind(account.email)
                .bind(fold(account.email))
                .bind(account.username)
                .bind(fold(account.username))
                .bind(account.password_hash)
                .bind(account.at.as_millis()),
        )
        .await?;
    let Some(id) = id else {
        return Ok(Err(match taken.as_deref() {
            Some("email") => UserRefusal::EmailTaken,
            _ => UserRefusal::UsernameTaken,
        }));
    };
    Ok(Ok(User {
        id: UserId(id),
        username: account.username.to_owned(),
        email: Some(account.email.to_owned()),
        created_at: account.at,
    }))
}

pub(super) async fn credentials_by_email(
    database: &Database,
    email: &str,
) -> Result<Option<Credentials>, StoreError> {
    const BY_EMAIL: &str = concat!(select_credentials!(), "a.email_key = $1");
    let call = Statement::new(BY_EMAIL).bind(fold(email));
    Ok(database.row(call).await?.map(rows::credentials))
}

pub(super) async fn credentials(
    database: &Database,
    user: UserId,
) -> Result<Option<Credentials>, StoreError> {
    const BY_ID: &str = concat!(select_credentials!(), "a.user_id = $1");
    let call = Statement::new(BY_ID).bind(user.0);
    Ok(database.row(call).await?.map(rows::credentials))
}

pub(super) async fn set_password(
    database: &Database,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
    keep: Option<SessionId>,
    at: Timestamp,
) -> Result<Option<Vec<EndedSession>>, StoreError> {
    let (ended,): (Option<Vec<i64>>,) = database
        .write_one(
            Statement::new("SELECT set_password($1, $2, $3, $4, $5)")
                .bind(user.0)
                .bind(old_hash)
                .bind(new_hash)
                .bind(keep.map(|id| id.0))
                .bind(at.as_millis()),
        )
        .await?;
    Ok(ended.map(|ids| sessions::ended_at(ids, at)))
}

pub(super) async fn rehash_password(
    database: &Database,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
) -> Result<(), StoreError> {
    database
        .execute(
            Statement::new(
                "UPDATE accounts SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
            )
            .bind(user.0)
            .bind(old_hash)
            .bind(new_hash),
        )
        .await
}

pub(super) async fn knows_address(
    database: &Database,
    user: UserId,
    address_hash: &TokenHash,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let (known,): (bool,) = database
        .one(
            Statement::new(
                "SELECT EXISTS (SELECT 1 FROM known_addresses
                     WHERE user_id = $1 AND address_hash = $2 AND seen_at >= $3)",
            )
            .bind(user.0)
            .bind(&address_hash[..])
            .bind(since.as_millis()),
        )
        .await?;
    Ok(known)
}
