//! Logins: e-mail addresses and passwords.

use sqlx::sqlite::SqliteConnection;

use super::super::{Credentials, EndedSession, NewAccount, StoreError, TokenHash, UserRefusal};
use super::database::Database;
use super::fault::Fault;
use super::sessions;
use crate::model::limits::fold;
use crate::model::{SessionId, Timestamp, User, UserId};
use crate::store::rows::{self, select_credentials};

pub(super) async fn create(
    database: &Database,
    account: &NewAccount<'_>,
) -> Result<Result<User, UserRefusal>, StoreError> {
    let mut transaction = database.begin().await?;
    let created = create_in(transaction.connection(), account).await;
    transaction.finish(created).await
}

async fn create_in(
    connection: &mut SqliteConnection,
    account: &NewAccount<'_>,
) -> Result<Result<User, UserRefusal>, Fault> {
    let (email_key, username_key) = (fold(account.email), fold(account.username));
    let (email_taken, username_taken): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM accounts WHERE email_key = $1),
                EXISTS (SELECT 1 FROM accounts WHERE username_key = $2)",
    )
    .bind(email_key.clone())
    .bind(username_key.clone())
    .fetch_one(&mut *connection)
    .await?;
    if email_taken {
        return Ok(Err(UserRefusal::EmailTaken));
    }
    if username_taken {
        return Ok(Err(UserRefusal::UsernameTaken));
    }
    let (id,): (i64,) =
        sqlx::query_as("INSERT INTO users (username, created_at) VALUES ($1, $2) RETURNING id")
            .bind(account.username.to_owned())
            .bind(account.at.as_millis())
            .fetch_one(&mut *connection)
            .await?;
    sqlx::query(
        "INSERT INTO accounts (user_id, email, email_key, username_key, password_hash)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(account.email.to_owned())
    .bind(email_key)
    .bind(username_key)
    .bind(account.password_hash.to_owned())
    .execute(connection)
    .await?;
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
    let row = database
        .row(sqlx::query(BY_EMAIL).bind(fold(email)))
        .await?;
    Ok(row.map(rows::credentials))
}

pub(super) async fn credentials(
    database: &Database,
    user: UserId,
) -> Result<Option<Credentials>, StoreError> {
    const BY_ID: &str = concat!(select_credentials!(), "a.user_id = $1");
    let row = database.row(sqlx::query(BY_ID).bind(user.0)).await?;
    Ok(row.map(rows::credentials))
}

/// Replaces a password's hash; false if it was another.
async fn swap_password(
    connection: &mut SqliteConnection,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
) -> Result<bool, Fault> {
    let swapped = sqlx::query(
        "UPDATE accounts SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
    )
    .bind(user.0)
    .bind(old_hash.to_owned())
    .bind(new_hash.to_owned())
    .execute(connection)
    .await?;
    Ok(swapped.rows_affected() > 0)
}

pub(super) async fn set_password(
    database: &Database,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
    keep: Option<SessionId>,
    at: Timestamp,
) -> Result<Option<Vec<EndedSession>>, StoreError> {
    let mut transaction = database.begin().await?;
    let set = async {
        let connection = transaction.connection();
        Ok(
            if swap_password(connection, user, old_hash, new_hash).await? {
                Some(sessions::end_all(connection, user, keep, at).await?)
            } else {
                None
            },
        )
    };
    let set = set.await;
    transaction.finish(set).await
}

pub(super) async fn rehash_password(
    database: &Database,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    let swapped = swap_password(transaction.connection(), user, old_hash, new_hash).await;
    transaction.finish(swapped.map(drop)).await
}

pub(super) async fn knows_address(
    database: &Database,
    user: UserId,
    address_hash: &TokenHash,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = database
        .row(
            sqlx::query(
                "SELECT 1 FROM known_addresses WHERE user_id = $1 AND address_hash = $2 AND seen_at >= $3",
            )
            .bind(user.0)
            .bind(address_hash.to_vec())
            .bind(since.as_millis()),
        )
        .await?;
    Ok(row.is_some())
}
