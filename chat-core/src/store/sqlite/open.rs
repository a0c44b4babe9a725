//! Opening the file: made if missing, checked to be ours, brought to this version's schema.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};

use super::super::BoxError;
use super::database::{Database, connect_writer};
use super::fault::primary_code;

/// What stands in a database's header to say whose it is: `chat`.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"chat");

/// How long a statement waits for another process that has the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages that the log holds before they are written into the file. The default, 1,000, makes every second large batch do it.
const CHECKPOINT_PAGES: &str = "4000";

/// The schema, step by step: version, name, SQL.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (
        1,
        "chat",
        include_str!("../../../migrations/sqlite/0001_chat.sql"),
    ),
    (
        2,
        "webhooks",
        include_str!("../../../migrations/sqlite/0002_webhooks.sql"),
    ),
];

/// Why a database could not be opened, in words for whoever runs it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory it is to be in doesn't exist.
    #[error("{}: there is no such directory to hold it", .path.display())]
    NoDirectory {
        /// The database.
        path: PathBuf,
    },
    /// The file or its directory may not be read and written.
    #[error("{}: no permission to read and write it", .path.display())]
    PermissionDenied {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: BoxError,
    },
    /// It is a file of another kind.
    #[error("{}: is not a SQLite database", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It is a database of another program.
    #[error("{}: is a database of another program", .path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A newer version of this program has changed its schema.
    #[error(
        "{}: was written by a newer version of this program (it has schema {found}, this one knows {known})",
        .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The schema it has.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// Anything else, as the database says it.
    #[error("{}: can't be opened", .path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: BoxError,
    },
}

/// Opens the database of a path; see [`Sqlite::open`](super::Sqlite::open).
pub(super) async fn open(path: &Path) -> Result<Database, OpenError> {
    let failed = |source: BoxError| OpenError::Failed {
        path: path.to_owned(),
        source,
    };
    create(path)?;
    // SQLite takes a name that begins with `file:` for a URI; an absolute path doesn't.
    let absolute = std::path::absolute(path).map_err(|e| failed(e.into()))?;
    let plain = SqliteConnectOptions::new()
        .filename(absolute)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(256) // more than there are statements
        .row_buffer_size(128) // a whole page of rows without waiting for the reader
        .disable_statement_logging();

    // Before anything is set: switching to WAL would already change a file that isn't ours.
    let mut connection = plain.connect().await.map_err(|e| open_error(path, e))?;
    let fresh = is_fresh(&mut connection, path).await?;
    connection.close().await.map_err(|e| open_error(path, e))?;

    let options = plain
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(false); // there are none, see the schema
    let write_options = options
        .clone()
        .synchronous(SqliteSynchronous::Full) // a commit is on disk before it is answered
        .pragma("cache_size", "-32768") // KiB
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("temp_store", "MEMORY")
        .pragma("secure_delete", "FAST") // zeroes deleted content where that costs no further page
        .thread_name(|_| "sqlite-writer".to_owned());
    let read_options = options
        .pragma("cache_size", "-8192")
        .pragma("query_only", "ON")
        .thread_name(|n| format!("sqlite-reader-{n}"));

    let mut writer = connect_writer(&write_options)
        .await
        .map_err(|e| open_error(path, e))?;
    if fresh {
        let pragma = format!("PRAGMA application_id = {APPLICATION_ID}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(pragma))
            .execute(&mut writer)
            .await
            .map_err(|e| open_error(path, e))?;
    }
    migrate(&mut writer, path).await?;
    Ok(Database::new(writer, write_options, read_options))
}

/// Makes the file where there is none, for its owner alone (SQLite gives its log the same mode), and says what is wrong with
/// the path in better words than SQLite's "unable to open database file".
fn create(path: &Path) -> Result<(), OpenError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true);
    let opened = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.create_new(true).open(path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                created => created,
            }
        }
        opened => opened,
    };
    let Err(error) = opened else { return Ok(()) };
    let path = path.to_owned();
    Err(match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::NoDirectory { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::PermissionDenied {
                path,
                source: error.into(),
            }
        }
        io::ErrorKind::IsADirectory => OpenError::NotADatabase { path },
        _ => OpenError::Failed {
            path,
            source: error.into(),
        },
    })
}

/// Whether nothing is in the database yet.
async fn is_fresh(connection: &mut SqliteConnection, path: &Path) -> Result<bool, OpenError> {
    let (application_id, tables): (i32, i64) = sqlx::query_as(
        "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id",
    )
    .fetch_one(connection)
    .await
    .map_err(|e| open_error(path, e))?;
    match application_id {
        APPLICATION_ID => Ok(false),
        0 if tables == 0 => Ok(true),
        _ => Err(OpenError::Foreign {
            path: path.to_owned(),
        }),
    }
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    // What `Migrator::run` does; but that one's future isn't `Send`, for all the compiler can tell.
    let migrated = Migrator::with_migrations(migrations.into())
        .run_direct(None, connection, false)
        .await;
    match migrated {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: MIGRATIONS[MIGRATIONS.len() - 1].0,
        }),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(open_error(path, error))
        }
        Err(error) => Err(OpenError::Failed {
            path: path.to_owned(),
            source: error.into(),
        }),
    }
}

fn open_error(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&error) {
        Some(26) => OpenError::NotADatabase { path }, // SQLITE_NOTADB
        Some(3 | 8 | 14) => OpenError::PermissionDenied {
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN: the directory can't hold the log
            path,
            source: error.into(),
        },
        _ => OpenError::Failed {
            path,
            source: error.into(),
        },
    }
}
