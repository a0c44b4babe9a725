//! From the configuration to a running chat.

use std::sync::Arc;

use chat_core::auth::{Keys, LocalAuthenticator, TokenNames};
#[cfg(feature = "postgres")]
use chat_core::bus::PostgresBus;
#[cfg(feature = "kafka")]
use chat_core::bus::kafka::KafkaBus;
use chat_core::model::SystemClock;
use chat_core::protocol::rest::JwkSet;
use chat_core::random::SystemRandom;
use chat_core::service::{Chat, ChatBuilder};
#[cfg(feature = "postgres")]
use chat_core::store::postgres::Postgres;
use chat_core::store::sqlite::Sqlite;
use chat_core::store::{Accounts, Store, StoreError, Webhooks};

#[cfg(any(feature = "kafka", feature = "postgres"))]
use crate::config::Bus;
use crate::config::{self, Config, Role, VerifyKeys};
use crate::serve::StartError;
use crate::{keys, verify_keys};

/// The database of a server, opened.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// A file of this process's own, with this version's schema.
    Sqlite(Sqlite),
    /// A server, whatever its schema.
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
}

impl Database {
    /// Opens the database; a file is made or migrated where that is due.
    pub(crate) async fn open(database: &config::Database) -> Result<Self, StartError> {
        let caused = |e: &dyn std::error::Error| StartError::caused("the database ", e);
        match database {
            config::Database::Sqlite(path) => Sqlite::open(path)
                .await
                .map(Self::Sqlite)
                .map_err(|e| caused(&e)),
            #[cfg(feature = "postgres")]
            config::Database::Postgres(url) => Postgres::connect(url)
                .await
                .map(Self::Postgres)
                .map_err(|e| caused(&e)),
        }
    }

    /// Brings it to this version's schema.
    pub(crate) async fn migrate(&self) -> Result<(), StartError> {
        match self {
            Self::Sqlite(_) => Ok(()), // as soon as it is opened
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database
                .migrate()
                .await
                .map_err(|e| StartError::caused("the database ", &e)),
        }
    }

    /// The webhooks that are kept in it.
    pub(crate) fn webhooks(&self) -> Arc<dyn Webhooks> {
        match self {
            Self::Sqlite(database) => Arc::new(database.clone()),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => Arc::new(database.clone()),
        }
    }

    /// Closes it, once what is under way is written.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                database.close().await;
                Ok(())
            }
        }
    }

    /// Starts the chat of `config` on it, with these keys. On a PostgreSQL server whose schema is older than this version
    /// needs the chat is unready until someone migrates it.
    pub(crate) async fn start(&self, config: &Config, keys: Arc<Keys>) -> Result<Chat, StartError> {
        let started = match self {
            Self::Sqlite(database) => {
                let builder = builder(config, database, keys);
                on_bus(builder, config, self)?.start().await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                let builder = builder(config, database, keys);
                let builder = on_bus(builder, config, self)?;
                match database.check_schema().await {
                    Ok(()) => builder.start().await,
                    Err(e) => {
                        tracing::warn!(
                            error = &e as &dyn std::error::Error,
                            "not ready: the database hasn't this version's schema, or can't say: `chat-server migrate` brings it there"
                        );
                        builder.start_unready()
                    }
                }
            }
        };
        started.map_err(|e| StartError::caused("", &e))
    }
}

fn builder<D>(config: &Config, database: &D, keys: Arc<Keys>) -> ChatBuilder
where
    D: Store + Accounts + Webhooks + Clone + 'static,
{
    let mut builder = Chat::builder()
        .store(database.clone())
        .webhooks(database.clone(), config.webhook_targets)
        .limits(config.limits.clone())
        .rates(config.rates.clone())
        .lifetimes(config.auth.lifetimes)
        .retention(config.storage.retention);
    let roles = &config.roles;
    if !roles.has(Role::Realtime) {
        builder = builder.without_connections();
        if !roles.has(Role::Rest) {
            builder = builder.without_rooms();
        }
    }
    if roles.has(Role::Auth) {
        builder.accounts(database.clone(), keys)
    } else {
        builder.authenticator(LocalAuthenticator::new(keys))
    }
}

fn on_bus(
    builder: ChatBuilder,
    config: &Config,
    database: &Database,
) -> Result<ChatBuilder, StartError> {
    match (&config.storage.bus, database) {
        #[cfg(feature = "kafka")]
        (Bus::Kafka(settings), _) => {
            let bus = KafkaBus::new(settings.clone()).map_err(|e| StartError::caused("", &e))?;
            Ok(builder.bus(bus))
        }
        #[cfg(feature = "postgres")]
        (Bus::Postgres, Database::Postgres(database)) => {
            Ok(builder.bus(PostgresBus::new(database)))
        }
        _ => Ok(builder),
    }
}

/// The keys that access tokens are signed and verified with: only role auth signs. With them, what their source said, if it
/// was read.
pub(crate) async fn token_keys(config: &Config) -> Result<(Keys, Option<JwkSet>), StartError> {
    let auth = &config.auth;
    let roles = &config.roles;
    let has_callers = [Role::Auth, Role::Rest, Role::Realtime]
        .iter()
        .any(|role| roles.has(*role));
    let verify = match &auth.verify_keys {
        // A file that can't be read is a mistake; who answers a URL may only be late.
        Some(source @ VerifyKeys::File(_)) => Some(verify_keys::read(source).await?),
        Some(VerifyKeys::Url(_)) | None => None,
    };
    let signing = if roles.has(Role::Auth) {
        Some(match config.storage.database {
            config::Database::Sqlite(_) => keys::read_or_make(&auth.signing_key)?,
            // Others verify what is signed with it: a key of its own would lock out whoever signed in elsewhere.
            #[cfg(feature = "postgres")]
            config::Database::Postgres(_) => keys::read(&auth.signing_key)?,
        })
    } else if auth.verify_keys.is_none() && has_callers {
        return Err(StartError::new(format!(
            "{}: must be set where role auth isn't run: {}",
            config::keys::VERIFY_KEYS.variable(),
            config::keys::VERIFY_KEYS.allowed
        )));
    } else {
        None
    };
    let names = TokenNames {
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
    };
    let keys = Keys::new(
        names,
        signing,
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    );
    match &verify {
        Some(set) => {
            keys.trust(set);
        }
        // Nobody is to be trusted where nobody can call.
        None if !has_callers => {
            keys.trust(&JwkSet::default());
        }
        None => {}
    }
    Ok((keys, verify))
}
