//! Connecting to a server, and bringing its database to this version's schema.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{MigrateError as Migrating, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};
use tokio::time::{Instant, sleep};

use super::super::{BoxError, StoreError};
use super::database::{Database, Statement, connect};
use super::fault::{Fault, code};

/// How long a server that isn't there, or still starts, is waited for.
const STARTING: Duration = Duration::from_secs(10);
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a migration waits for a lock that others hold, before it gives way to them and fails.
const MIGRATION_LOCK_TIMEOUT: &str = "SET lock_timeout = '30s'";

/// The schema, step by step: version, name, SQL. A step must leave what the version before it uses as it is: that one goes
/// on serving meanwhile.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (
        1,
        "schema",
        include_str!("../../../migrations/postgres/0001_schema.sql"),
    ),
    (
        2,
        "commit",
        include_str!("../../../migrations/postgres/0002_commit.sql"),
    ),
    (
        3,
        "reads",
        include_str!("../../../migrations/postgres/0003_reads.sql"),
    ),
    (
        4,
        "accounts",
        include_str!("../../../migrations/postgres/0004_accounts.sql"),
    ),
    (
        5,
        "sweep",
        include_str!("../../../migrations/postgres/0005_sweep.sql"),
    ),
    (
        6,
        "webhooks",
        include_str!("../../../migrations/postgres/0006_webhooks.sql"),
    ),
    (
        7,
        "sends_by_index",
        include_str!("../../../migrations/postgres/0007_sends_by_index.sql"),
    ),
];

/// The schema that this version needs.
const NEEDED: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Why a database could not be opened or migrated, in words for whoever runs it. None of them holds the password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL can't be read.
    #[error("is not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url,
    /// The server can't be reached, or refuses to talk.
    #[error("{server}: can't be reached")]
    Unreachable {
        /// `host:port/database`
        server: String,
        /// What the system said.
        #[source]
        source: BoxError,
    },
    /// The server doesn't let this user into this database.
    #[error("{server}: refuses the connection")]
    Refused {
        /// `host:port/database`
        server: String,
        /// What the server said.
        #[source]
        source: BoxError,
    },
    /// A step of the schema could not be taken. Those before it are kept; the same call goes on from there.
    #[error("{server}: can't be brought to this version's schema")]
    Migration {
        /// `host:port/database`
        server: String,
        /// What the server said.
        #[source]
        source: BoxError,
    },
}

/// Connects; see [`Postgres::connect`](super::Postgres::connect).
pub(super) async fn open(url: &str, writers: usize, readers: usize) -> Result<Database, OpenError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| OpenError::Url)? // what the parser says may quote the URL
        .application_name("chat")
        .disable_statement_logging();
    let give_up = Instant::now() + STARTING;
    loop {
        match connect(&options).await {
            Ok(connection) => {
                // It was to see that it can be had; what the server makes of the goodbye doesn't matter.
                let _ = connection.close().await;
                return Ok(Database::new(options, writers, readers));
            }
            Err(fault) => {
                let error = open_error(&options, fault);
                if !matches!(error, OpenError::Unreachable { .. }) || Instant::now() >= give_up {
                    return Err(error);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

fn server(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

fn open_error(options: &PgConnectOptions, fault: Fault) -> OpenError {
    let server = server(options);
    let refused = match &fault {
        // All but that it is shutting down or starting up.
        Fault::Sql(error) => code(error).is_some_and(|code| !code.starts_with("57P0")),
        _ => false,
    };
    let source = Box::new(fault);
    if refused {
        OpenError::Refused { server, source }
    } else {
        OpenError::Unreachable { server, source }
    }
}

/// Brings the database to this version's schema; see [`Postgres::migrate`](super::Postgres::migrate).
pub(super) async fn migrate(database: &Database) -> Result<(), OpenError> {
    let options = database.options();
    let mut connection = options
        .connect()
        .await
        .map_err(|e| open_error(options, e.into()))?;
    let migrated = run_migrations(&mut connection).await;
    // The advisory lock goes with the connection at the latest.
    let _ = connection.close().await;
    migrated.map_err(|error| OpenError::Migration {
        server: server(options),
        source: error.into(),
    })
}

async fn run_migrations(connection: &mut PgConnection) -> Result<(), Migrating> {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.into());
    // A newer version's schema serves this version too.
    migrator.set_ignore_missing(true);
    sqlx::raw_sql(MIGRATION_LOCK_TIMEOUT)
        .execute(&mut *connection)
        .await?;
    // What `Migrator::run` does; but that one's future isn't `Send`, for all the compiler can tell. It takes a lock, so that
    // of several that start at once one works and the others find it done.
    migrator.run_direct(None, connection, false).await
}

/// Whether the database has the schema that this version needs, or a newer one.
pub(super) async fn check_schema(database: &Database) -> Result<(), StoreError> {
    let applied =
        Statement::new("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success");
    let found = match database.one::<(i64,)>(applied).await {
        Ok((found,)) => found,
        Err(error) => {
            // An empty database doesn't say what it has.
            let empty = Statement::new("SELECT to_regclass('_sqlx_migrations') IS NULL");
            match database.one(empty).await {
                Ok((true,)) => 0,
                _ => return Err(error),
            }
        }
    };
    if found < NEEDED {
        return Err(StoreError::OldSchema {
            found,
            needed: NEEDED,
        });
    }
    Ok(())
}
