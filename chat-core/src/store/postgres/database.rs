//! The connections: some that write, some that read, and the calls on them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Arguments as _, ConnectOptions as _, Connection as _, Encode, FromRow, Type};
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore};
use tokio::time::{Instant, timeout};

use super::super::StoreError;
use super::fault::Fault;

/// How long a call waits for a connection.
const CROWDED: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long a call may take. The server's own limits are shorter, so that it mostly says itself what became of the call.
const CALL: Duration = Duration::from_secs(20);
/// The server's limit for a statement, in its notation.
const STATEMENT_TIMEOUT: &str = "15s";
/// The server's limit for waiting for a lock.
const LOCK_TIMEOUT: &str = "10s";
/// A connection that was idle for so long is asked whether it is alive before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// How often a call is made that another transaction or a lost connection came in the way of.
const ATTEMPTS: usize = 4;

/// Sets what every connection has. A plan is made once for any values: planning for each costs more than the call, and rooms
/// don't differ in how they are best read. `synchronous_commit` is turned on where it is off, since what is acknowledged must
/// be on disk; stricter settings are left.
const PREPARE_CONNECTION: &str = "SELECT
    set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";

/// A call with its parameters; it may be made again.
pub(super) struct Statement {
    sql: &'static str,
    parameters: Result<PgArguments, Fault>,
}

impl Statement {
    pub(super) fn new(sql: &'static str) -> Self {
        Self {
            sql,
            parameters: Ok(PgArguments::default()),
        }
    }

    pub(super) fn bind<'t, T>(mut self, value: T) -> Self
    where
        T: Encode<'t, sqlx::Postgres> + Type<sqlx::Postgres>,
    {
        if let Ok(parameters) = &mut self.parameters
            && let Err(error) = parameters.add(value)
        {
            self.parameters = Err(Fault::Parameter(error));
        }
        self
    }
}

/// The connections to one database.
///
/// Every call is one statement, and so one transaction and one snapshot. Reads and writes have connections of their own, so
/// that neither waits for the other. (This is not sqlx's pool: that one asks a connection whether it is alive each time it is
/// given back, which costs as much as most reads.)
pub(super) struct Database {
    options: PgConnectOptions,
    writers: Pool,
    readers: Pool,
    /// Held, shared, by each write until its answer is there.
    writing: Arc<RwLock<()>>,
    /// A write's caller went away before the answer.
    abandoned: AtomicBool,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn new(options: PgConnectOptions, writers: usize, readers: usize) -> Self {
        Self {
            options,
            writers: Pool::new(writers),
            readers: Pool::new(readers),
            writing: Arc::default(),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(super) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Reads all rows of a call.
    pub(super) async fn rows<T>(&self, call: Statement) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        let read = async {
            let parameters = call.parameters?;
            let mut attempt = 1;
            loop {
                let mut connection = self.readers.connection(&self.options).await?;
                match connection.call(call.sql, parameters.clone()).await {
                    Ok(rows) => {
                        connection.give_back();
                        return decode(&rows);
                    }
                    Err(fault) => {
                        let again = fault.is_conflict() || fault.is_of_connection();
                        connection.give_back_after(&fault);
                        if !again || attempt == ATTEMPTS {
                            return Err(fault);
                        }
                        attempt += 1;
                    }
                }
            }
        };
        read.await.map_err(Fault::unchanged)
    }

    /// Reads the first row of a call.
    pub(super) async fn row<T>(&self, call: Statement) -> Result<Option<T>, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        Ok(self.rows(call).await?.into_iter().next())
    }

    /// Reads the only row of a call.
    pub(super) async fn one<T>(&self, call: Statement) -> Result<T, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        only(self.row(call).await?)
    }

    /// Makes a call that writes; answers its rows.
    ///
    /// It runs in a task of its own, to its end even if the caller goes away; writes that begin after that wait for it, so
    /// that whoever goes on finds it done or not done, and never about to be.
    pub(super) async fn write<T>(&self, call: Statement) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        if self.abandoned.load(Ordering::Relaxed) {
            // Forgotten only once none is under way: who gives up waiting here leaves it to the next.
            let _none = self.writing.write().await;
            self.abandoned.store(false, Ordering::Relaxed);
        }
        let parameters = call.parameters.map_err(Fault::unchanged)?;
        let mut connection = self
            .writers
            .connection(&self.options)
            .await
            .map_err(Fault::unchanged)?;
        let writing = Arc::clone(&self.writing).read_owned().await;
        let task = tokio::spawn(async move {
            let mut attempt = 1;
            let rows = loop {
                match connection.call(call.sql, parameters.clone()).await {
                    Ok(rows) => {
                        connection.give_back();
                        break Ok(rows);
                    }
                    // Rolled back because another transaction was in the way.
                    Err(fault) if fault.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                    Err(fault) => {
                        connection.give_back_after(&fault);
                        break Err(fault);
                    }
                }
            };
            drop(writing);
            rows
        });
        let mut patience = Patience(Some(&self.abandoned));
        let rows = task.await;
        patience.0 = None;
        let rows = rows
            .unwrap_or(Err(Fault::Late)) // the runtime is going down
            .map_err(Fault::committing)?;
        decode(&rows).map_err(Fault::unchanged)
    }

    /// Makes a call that writes and answers a row.
    pub(super) async fn write_one<T>(&self, call: Statement) -> Result<T, StoreError>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        only(self.write(call).await?.into_iter().next())
    }

    /// Makes a call that writes and answers nothing.
    pub(super) async fn execute(&self, call: Statement) -> Result<(), StoreError> {
        self.write::<()>(call).await.map(drop)
    }

    /// Closes the connections, once writes under way are done.
    pub(super) async fn close(&self) {
        drop(self.writing.write().await);
        self.writers.close().await;
        self.readers.close().await;
    }
}

fn only<T>(row: Option<T>) -> Result<T, StoreError> {
    row.ok_or_else(|| Fault::Short.unchanged())
}

fn decode<T>(rows: &[PgRow]) -> Result<Vec<T>, Fault>
where
    T: for<'r> FromRow<'r, PgRow>,
{
    Ok(rows.iter().map(T::from_row).collect::<Result<_, _>>()?)
}

/// Notes that a caller went away, when dropped armed.
struct Patience<'a>(Option<&'a AtomicBool>);

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if let Some(abandoned) = self.0 {
            abandoned.store(true, Ordering::Relaxed);
        }
    }
}

/// Opens a connection of the store's kind.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Fault> {
    let connected = timeout(CONNECTING, async {
        let mut connection = options.connect().await?;
        sqlx::query(PREPARE_CONNECTION)
            .bind(STATEMENT_TIMEOUT)
            .bind(LOCK_TIMEOUT)
            .persistent(false)
            .execute(&mut connection)
            .await?;
        Ok(connection)
    });
    connected.await.unwrap_or(Err(Fault::Late))
}

/// Connections that are used one call at a time.
struct Pool(Arc<Shared>);

struct Shared {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(connections: usize) -> Self {
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(connections.max(1))),
            idle: Mutex::default(),
        }))
    }

    async fn connection(&self, options: &PgConnectOptions) -> Result<Pooled, Fault> {
        let permit = timeout(CROWDED, Arc::clone(&self.0.permits).acquire_owned())
            .await
            .map_err(|_| Fault::Crowded)?
            .map_err(|_| Fault::Closed)?;
        let connection = loop {
            let idle = self.0.idle().pop();
            let Some(mut idle) = idle else {
                break connect(options).await?;
            };
            if idle.since.elapsed() < TRUSTED
                || matches!(
                    timeout(CONNECTING, idle.connection.ping()).await,
                    Ok(Ok(()))
                )
            {
                break idle.connection;
            }
        };
        Ok(Pooled {
            connection,
            pool: Arc::clone(&self.0),
            _permit: permit,
        })
    }

    async fn close(&self) {
        self.0.permits.close();
        let idle = std::mem::take(&mut *self.0.idle());
        for idle in idle {
            // One that can't say goodbye is gone as well.
            let _ = timeout(CONNECTING, idle.connection.close()).await;
        }
    }
}

/// A connection in use. Dropped without being given back it is closed: what is left of an answer would confuse the next call.
struct Pooled {
    connection: PgConnection,
    pool: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    async fn call(
        &mut self,
        sql: &'static str,
        parameters: PgArguments,
    ) -> Result<Vec<PgRow>, Fault> {
        let call = sqlx::query_with(sql, parameters).fetch_all(&mut self.connection);
        Ok(timeout(CALL, call).await.map_err(|_| Fault::Late)??)
    }

    fn give_back(self) {
        if !self.pool.permits.is_closed() {
            self.pool.idle().push(Idle {
                connection: self.connection,
                since: Instant::now(),
            });
        }
    }

    /// After a call that failed: if the connection did, the others that lie idle are most likely lost as well.
    fn give_back_after(self, fault: &Fault) {
        if fault.is_of_connection() {
            self.pool.idle().clear();
        } else {
            self.give_back();
        }
    }
}
