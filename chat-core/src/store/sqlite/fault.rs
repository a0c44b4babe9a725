//! What went wrong inside, and what a caller is told of it.

use super::super::StoreError;

/// An error on the way to a [`StoreError`], so that `?` works on what sqlx and serde return.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A row isn't what this version writes.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the store is closed")]
    Closed,
}

/// Primary result codes (`sqlite3.h`) after which the same call may succeed: the file is locked, the disk is full, can't be
/// read or written, or memory is short.
const TRANSIENT: [i32; 9] = [
    5,  // SQLITE_BUSY
    6,  // SQLITE_LOCKED
    7,  // SQLITE_NOMEM
    8,  // SQLITE_READONLY
    9,  // SQLITE_INTERRUPT
    10, // SQLITE_IOERR
    13, // SQLITE_FULL
    14, // SQLITE_CANTOPEN
    15, // SQLITE_PROTOCOL
];

/// SQLite's result code, without what its extension says.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}

impl Fault {
    /// The error of a call that changed nothing.
    pub(super) fn unchanged(self) -> StoreError {
        let transient = match &self {
            Self::Sql(error) => match primary_code(error) {
                Some(code) => TRANSIENT.contains(&code),
                None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
            },
            Self::Json(_) => false,
            Self::Closed => true,
        };
        if transient {
            StoreError::Unavailable(Box::new(self))
        } else {
            StoreError::Failed(Box::new(self))
        }
    }

    /// The error of a call whose COMMIT was under way. What SQLite answers with an error it has not committed; without an
    /// answer of SQLite nobody knows.
    pub(super) fn committing(self) -> StoreError {
        match &self {
            Self::Sql(error) if primary_code(error).is_none() => {
                StoreError::Uncertain(Box::new(self))
            }
            _ => self.unchanged(),
        }
    }
}
