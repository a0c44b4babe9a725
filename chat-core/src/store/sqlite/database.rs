//! The connections: one that writes, a few that read, and the transaction of the one that writes.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, FromRow};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Semaphore, SemaphorePermit};

use super::super::StoreError;
use super::fault::Fault;
use super::sends;

/// Reads at once. Each has a connection with a thread and a page cache of its own; SQLite reads are short.
const READERS: usize = 4;

/// A statement with its parameters.
///
/// Parameters are written `$1`, not `?1`: of several statements in one text, sqlx binds `$1` of each to the first value. And
/// no LIMIT is a parameter alone (`$1 + 0` does): SQLite plans by its value, so that it would parse and plan anew each time.
pub(super) type Statement<'q> = Query<'q, sqlx::Sqlite, SqliteArguments>;

/// The connections to one file.
///
/// SQLite admits one writer at a time, so there is one write connection, and who wants to write waits in line for it. Reads
/// are single statements, each its own snapshot, on connections of their own: they neither wait for a writer nor hold one
/// up. (This is not sqlx's pool: that has time-outs and pings, which cost as much as a read.)
pub(super) struct Database {
    write_options: SqliteConnectOptions,
    read_options: SqliteConnectOptions,
    /// `None` while a transaction has it, and after one that was abandoned.
    writer: AsyncMutex<Option<SqliteConnection>>,
    read_permits: Semaphore,
    idle_readers: Mutex<Vec<SqliteConnection>>,
    /// COMMITs whose answer is lost on the way, to see what becomes of them.
    #[cfg(test)]
    pub(super) unanswered: std::sync::atomic::AtomicUsize,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn new(
        writer: SqliteConnection,
        write_options: SqliteConnectOptions,
        read_options: SqliteConnectOptions,
    ) -> Self {
        Self {
            write_options,
            read_options,
            writer: AsyncMutex::new(Some(writer)),
            read_permits: Semaphore::new(READERS),
            idle_readers: Mutex::new(Vec::with_capacity(READERS)),
            #[cfg(test)]
            unanswered: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// The turn to write, with no transaction begun: the first statement must begin one.
    pub(super) async fn writer(&self) -> Result<Transaction<'_>, StoreError> {
        let mut slot = self.writer.lock().await;
        if self.read_permits.is_closed() {
            return Err(Fault::Closed.unchanged());
        }
        let connection = match slot.take() {
            Some(connection) => connection,
            None => connect_writer(&self.write_options)
                .await
                .map_err(unchanged)?,
        };
        Ok(Transaction {
            slot,
            connection,
            #[cfg(test)]
            unanswered: &self.unanswered,
        })
    }

    /// Begins a transaction that holds SQLite's write lock from the start.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        let mut transaction = self.writer().await?;
        match sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut transaction.connection)
            .await
        {
            Ok(_) => Ok(transaction),
            Err(error) => Err(transaction.abandon(error.into()).await),
        }
    }

    async fn reader(&self) -> Result<Reader<'_>, Fault> {
        let permit = self
            .read_permits
            .acquire()
            .await
            .map_err(|_| Fault::Closed)?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.read_options.connect().await?,
        };
        Ok(Reader {
            database: self,
            connection: Some(connection),
            _permit: permit,
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle_readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all rows of a statement.
    pub(super) async fn rows<T>(&self, statement: Statement<'_>) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow>,
    {
        let read = async {
            let mut reader = self.reader().await?;
            let rows = statement.fetch_all(reader.connection()?).await;
            let rows = reader.check(rows)?;
            rows.iter()
                .map(T::from_row)
                .collect::<Result<Vec<T>, _>>()
                .map_err(Fault::from)
        };
        read.await.map_err(Fault::unchanged)
    }

    /// Reads the first row of a statement.
    pub(super) async fn row<T>(&self, statement: Statement<'_>) -> Result<Option<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow>,
    {
        let read = async {
            let mut reader = self.reader().await?;
            let row = statement.fetch_optional(reader.connection()?).await;
            let row = reader.check(row)?;
            row.as_ref()
                .map(T::from_row)
                .transpose()
                .map_err(Fault::from)
        };
        read.await.map_err(Fault::unchanged)
    }

    /// Closes the connections, once those in use are done. The last one to close folds the write-ahead log into the file.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.read_permits.close();
        let mut slot = self.writer.lock().await;
        let readers = std::mem::take(&mut *self.idle());
        for reader in readers {
            reader.close().await.map_err(unchanged)?;
        }
        match slot.take() {
            Some(writer) => writer.close().await.map_err(unchanged),
            None => Ok(()),
        }
    }
}

/// Opens the connection that writes.
pub(super) async fn connect_writer(
    options: &SqliteConnectOptions,
) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    sqlx::query(sends::CREATE_RUN)
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

fn unchanged(error: sqlx::Error) -> StoreError {
    Fault::from(error).unchanged()
}

/// The turn to write.
///
/// Dropped before it is finished, by an error or because its caller's future was dropped, it takes the connection with it:
/// SQLite rolls back when a connection closes, and the next writer opens another. So nothing is ever left half done, at
/// whatever point the future stops.
pub(super) struct Transaction<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
    #[cfg(test)]
    unanswered: &'a std::sync::atomic::AtomicUsize,
}

impl Transaction<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Commits what was done, or undoes it if it failed.
    pub(super) async fn finish<T>(self, done: Result<T, Fault>) -> Result<T, StoreError> {
        match done {
            Ok(value) => {
                self.commit_with(sqlx::query("COMMIT")).await?;
                Ok(value)
            }
            Err(fault) => Err(self.abandon(fault).await),
        }
    }

    /// Runs the last statements of the transaction, of which the very last is COMMIT.
    pub(super) async fn commit_with(mut self, last: Statement<'_>) -> Result<(), StoreError> {
        let answer = last.execute(&mut self.connection).await;
        #[cfg(test)]
        let answer = self.lose(answer);
        match answer {
            Ok(_) => {
                *self.slot = Some(self.connection);
                Ok(())
            }
            Err(error) => {
                let error = Fault::from(error).committing();
                self.roll_back().await;
                Err(error)
            }
        }
    }

    /// What a COMMIT answers whose answer is to be lost.
    #[cfg(test)]
    fn lose<T>(&self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        use std::sync::atomic::Ordering::Relaxed;
        let lost = self
            .unanswered
            .try_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        if lost.is_ok() {
            return Err(sqlx::Error::WorkerCrashed);
        }
        answer
    }

    /// Undoes what was done before `fault`.
    pub(super) async fn abandon(self, fault: Fault) -> StoreError {
        self.roll_back().await;
        fault.unchanged()
    }

    async fn roll_back(mut self) {
        // SQLite may have rolled back by itself; then this fails, and a new connection costs little.
        if sqlx::query("ROLLBACK")
            .execute(&mut self.connection)
            .await
            .is_ok()
        {
            *self.slot = Some(self.connection);
        }
    }
}

/// A read connection, back in its place when dropped.
struct Reader<'a> {
    database: &'a Database,
    /// `None` once it is known to be of no more use.
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Reader<'_> {
    /// The connection; [`Database::reader`] has just put it there.
    fn connection(&mut self) -> Result<&mut SqliteConnection, Fault> {
        self.connection.as_mut().ok_or(Fault::Closed)
    }

    /// What was read. If the connection itself failed, it isn't used again.
    fn check<T>(&mut self, read: Result<T, sqlx::Error>) -> Result<T, Fault> {
        if let Err(error) = &read
            && error.as_database_error().is_none()
        {
            self.connection = None;
        }
        Ok(read?)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.database.read_permits.is_closed()
        {
            self.database.idle().push(connection);
        }
    }
}
