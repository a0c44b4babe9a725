//! What went wrong inside, and what a caller is told of it.

use super::super::StoreError;

/// An error on the way to a [`StoreError`], so that `?` works on what sqlx and serde return.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A parameter can't be sent.
    #[error("a parameter can't be encoded")]
    Parameter(#[source] sqlx::error::BoxDynError),
    /// A row isn't what this version writes.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A call that always answers a row didn't.
    #[error("the database answered less than it was asked")]
    Short,
    #[error("no connection to the database was free in time")]
    Crowded,
    #[error("the database did not answer in time")]
    Late,
    #[error("the store is closed")]
    Closed,
}

/// Classes and codes of SQLSTATE (PostgreSQL, appendix A) after which the same call may succeed later.
const TRANSIENT: [&str; 10] = [
    "08",    // connection
    "25006", // read-only: a standby, or a primary that stops being one
    "40",    // serialisation failures and deadlocks
    "42883", // a function
    "42P01", // and a table that isn't there: the schema isn't migrated yet
    "53",    // too many connections, memory, disk full
    "55P03", // a lock wasn't to be had in time
    "57",    // cancelled by a time-out, shutting down, starting up
    "58",    // the system: input and output
    "72000", // snapshot too old
];

/// Those after which the same call is tried again at once: another transaction was in the way, and nothing was done.
const RETRIED: [&str; 2] = [
    "40001", // serialization_failure
    "40P01", // deadlock_detected
];

/// Those after which the server ends the connection.
const ENDING: [&str; 3] = ["57P01", "57P02", "57P03"];

pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn is_one_of(code: &str, list: &[&str]) -> bool {
    list.iter().any(|prefix| code.starts_with(prefix))
}

impl Fault {
    fn code(&self) -> Option<String> {
        match self {
            Self::Sql(error) => code(error),
            _ => None,
        }
    }

    /// Whether the connection can't be used any more.
    pub(super) fn is_of_connection(&self) -> bool {
        match (self, self.code()) {
            (_, Some(code)) => is_one_of(&code, &ENDING),
            (Self::Sql(error), None) => is_lost(error),
            (Self::Late, None) => true,
            _ => false,
        }
    }

    /// Whether nothing was done, and the same call may well succeed at once.
    pub(super) fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| is_one_of(&code, &RETRIED))
    }

    /// The error of a call that changed nothing.
    pub(super) fn unchanged(self) -> StoreError {
        let transient = match (&self, self.code()) {
            (_, Some(code)) => is_one_of(&code, &TRANSIENT),
            (Self::Sql(error), None) => is_lost(error),
            (Self::Crowded | Self::Late | Self::Closed, None) => true,
            (Self::Parameter(_) | Self::Json(_) | Self::Short, None) => false,
        };
        if transient {
            StoreError::Unavailable(Box::new(self))
        } else {
            StoreError::Failed(Box::new(self))
        }
    }

    /// The error of a call whose commit was under way. What PostgreSQL answers with an error it has not committed; without
    /// an answer nobody knows.
    pub(super) fn committing(self) -> StoreError {
        if self.code().is_none() && self.is_of_connection() {
            StoreError::Uncertain(Box::new(self))
        } else {
            self.unchanged()
        }
    }
}

/// Whether an error says that the connection is gone, or in no state to go on.
fn is_lost(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
    )
}
