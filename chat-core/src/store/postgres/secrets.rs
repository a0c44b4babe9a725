//! Secrets that all nodes share.

use super::super::StoreError;
use super::database::{Database, Statement};

pub(super) async fn secret(
    database: &Database,
    name: &str,
    fresh: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let kept = Statement::new("SELECT value FROM secrets WHERE name = $1").bind(name);
    if let Some((value,)) = database.row(kept).await? {
        return Ok(value);
    }
    let call = Statement::new("SELECT share_secret($1, $2)")
        .bind(name)
        .bind(fresh);
    let (value,) = database.write_one(call).await?;
    Ok(value)
}
