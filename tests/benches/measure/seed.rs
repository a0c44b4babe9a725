//! A database made ready before its server starts: users and rooms without a thousand registrations.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chat_core::auth::{Keys, SigningKey, TokenNames};
use chat_core::model::limits::Limits;
use chat_core::model::{Clock as _, RoomId, SessionId, SystemClock, Timestamp, UserId};
use chat_core::random::SystemRandom;
use chat_core::store::postgres::Postgres;
use chat_core::store::sqlite::Sqlite;
use chat_core::store::{Change, CommitContext, Outcome, Store};
use chat_test_postgres::Database;
use tempfile::TempDir;

use super::process::Process;

const DAY: Duration = Duration::from_secs(86_400);

/// A database that is being filled, and the key that its server will sign with.
pub(crate) struct Seed {
    directory: TempDir,
    store: Filling,
    keys: Keys,
    at: Timestamp,
}

/// Which database.
enum Filling {
    Sqlite(Sqlite),
    Postgres(Postgres, Database),
}

impl Filling {
    fn store(&self) -> &dyn Store {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store, _) => store,
        }
    }
}

impl Seed {
    /// On SQLite.
    pub(crate) async fn new() -> Self {
        let directory = super::directory();
        let store = Sqlite::open(directory.path().join("chat.db")).await;
        Self::on(Filling::Sqlite(store.expect("a database")), directory)
    }

    /// On an empty database of PostgreSQL's.
    pub(crate) async fn on_postgres(database: Database) -> Self {
        let store = Postgres::connect(&database.url()).await.expect("a server");
        store.migrate().await.expect("a schema");
        Self::on(Filling::Postgres(store, database), super::directory())
    }

    fn on(store: Filling, directory: TempDir) -> Self {
        Self {
            at: SystemClock.now(),
            keys: keys(&directory.path().join("key.pem")),
            directory,
            store,
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("chat.db")
    }

    pub(crate) async fn users(&self, count: usize) -> Vec<UserId> {
        users(self.store.store(), self.at, count).await
    }

    /// A room with these members, the first of them its admin.
    pub(crate) async fn room(&self, members: &[UserId]) -> RoomId {
        room(self.store.store(), self.at, members).await
    }

    /// An access token of a user's.
    pub(crate) fn token(&self, user: UserId) -> String {
        token(&self.keys, user)
    }

    /// Starts the server on what was made, without limits of rates.
    pub(crate) async fn serve(self, one_core: bool) -> Served {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let (url, database) = match self.store {
            Filling::Sqlite(store) => {
                store.close().await.expect("closed");
                (format!("sqlite:{}", path("chat.db")), None)
            }
            Filling::Postgres(store, database) => {
                store.close().await;
                (database.url(), Some(database))
            }
        };
        let process = Process::serve(
            &[
                ("CHAT_LISTEN", "127.0.0.1:0".to_owned()),
                ("CHAT_DATABASE_URL", url),
                ("CHAT_SIGNING_KEY", path("key.pem")),
                ("CHAT_RATE_LIMITS", "off".to_owned()),
                ("CHAT_LOG", "error".to_owned()),
                ("CHAT_LOG_FORMAT", "json".to_owned()),
            ],
            one_core,
        );
        Served {
            process,
            _database: database,
            _directory: self.directory,
        }
    }
}

/// A new signing key, in this file for its server.
pub(crate) fn keys(path: &Path) -> Keys {
    let random = Arc::new(SystemRandom);
    let key = SigningKey::generate(&*random).expect("a key");
    std::fs::write(path, key.to_pem()).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("its owner's alone");
    Keys::new(
        TokenNames::default(),
        Some(key),
        Arc::new(SystemClock),
        random,
    )
}

/// An access token of a user's.
pub(crate) fn token(keys: &Keys, user: UserId) -> String {
    keys.issue(user, SessionId(user.0), DAY).expect("a token")
}

/// So many users of a host.
pub(crate) async fn users(store: &dyn Store, at: Timestamp, count: usize) -> Vec<UserId> {
    let mut users = Vec::with_capacity(count);
    for n in 0..count {
        let name = format!("user-{n}");
        let user = store.identify("bench", &name, &name, at).await;
        users.push(user.expect("a store").expect("a user"));
    }
    users
}

/// A room with these members, the first of them its admin.
pub(crate) async fn room(store: &dyn Store, at: Timestamp, members: &[UserId]) -> RoomId {
    let admin = members[0];
    let create = Change::CreateRoom {
        by: admin,
        name: "a room".to_owned(),
    };
    let Outcome::Room(room) = commit(store, at, &[create]).await.remove(0) else {
        panic!("no room was made");
    };
    let mut token_hash = [0; 32];
    token_hash[..8].copy_from_slice(&room.id.0.to_be_bytes());
    let mut changes = vec![Change::CreateInvite {
        room_id: room.id,
        by: admin,
        token_hash,
        expires_at: at.plus(DAY),
        max_uses: None,
    }];
    changes.extend(members[1..].iter().map(|&user_id| Change::AcceptInvite {
        room_id: room.id,
        user_id,
        token_hash,
    }));
    commit(store, at, &changes).await;
    room.id
}

async fn commit(store: &dyn Store, at: Timestamp, changes: &[Change]) -> Vec<Outcome> {
    let ctx = CommitContext {
        at,
        limits: Limits::default(),
        outbox: None,
    };
    let committed = store.commit(&ctx, changes).await.expect("a store");
    committed
        .into_iter()
        .map(|answer| answer.expect("allowed").outcome)
        .collect()
}

/// The chat server on a seeded database, which goes with it.
pub(crate) struct Served {
    pub(crate) process: Process,
    _database: Option<Database>,
    _directory: TempDir,
}
