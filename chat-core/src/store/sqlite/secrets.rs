//! Secrets that all nodes share.

use sqlx::sqlite::SqliteConnection;

use super::super::StoreError;
use super::database::Database;
use super::fault::Fault;

const BY_NAME: &str = "SELECT value FROM secrets WHERE name = $1";

pub(super) async fn secret(
    database: &Database,
    name: &str,
    fresh: &[u8],
) -> Result<Vec<u8>, StoreError> {
    if let Some((value,)) = database
        .row(sqlx::query(BY_NAME).bind(name.to_owned()))
        .await?
    {
        return Ok(value);
    }
    let mut transaction = database.begin().await?;
    let value = keep(transaction.connection(), name, fresh).await;
    transaction.finish(value).await
}

async fn keep(
    connection: &mut SqliteConnection,
    name: &str,
    fresh: &[u8],
) -> Result<Vec<u8>, Fault> {
    sqlx::query("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(name.to_owned())
        .bind(fresh.to_vec())
        .execute(&mut *connection)
        .await?;
    let (value,) = sqlx::query_as(BY_NAME)
        .bind(name.to_owned())
        .fetch_one(connection)
        .await?;
    Ok(value)
}
