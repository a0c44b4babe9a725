//! From the configuration to a running chat.

use std::sync::Arc;

use chat_core::auth::{Keys, LocalAuthenticator, TokenNames};
use chat_core::model::SystemClock;
use chat_core::random::SystemRandom;
use chat_core::service::Chat;
use chat_core::store::sqlite::Sqlite;

use crate::config::{self, Config, Role};
use crate::keys;
use crate::serve::StartError;

/// Opens the database, made or migrated where that is due.
pub(crate) async fn database(config: &Config) -> Result<Sqlite, StartError> {
    Sqlite::open(&config.storage.sqlite)
        .await
        .map_err(|e| StartError::caused("the database ", &e))
}

/// Starts the chat of `config` on this database.
pub(crate) async fn chat(config: &Config, database: &Sqlite) -> Result<Chat, StartError> {
    let keys = Arc::new(token_keys(config)?);
    let builder = Chat::builder()
        .store(database.clone())
        .limits(config.limits.clone())
        .rates(config.rates.clone())
        .lifetimes(config.auth.lifetimes)
        .retention(config.storage.retention);
    let builder = if config.roles.has(Role::Auth) {
        builder.accounts(database.clone(), keys)
    } else {
        builder.authenticator(LocalAuthenticator::new(keys))
    };
    builder
        .start()
        .await
        .map_err(|e| StartError::caused("", &e))
}

/// The keys that access tokens are signed and verified with: only role auth signs.
fn token_keys(config: &Config) -> Result<Keys, StartError> {
    let auth = &config.auth;
    let verify = auth
        .verify_keys
        .as_deref()
        .map(keys::read_set)
        .transpose()?;
    let signing = if config.roles.has(Role::Auth) {
        Some(keys::read_or_make(&auth.signing_key)?)
    } else if verify.is_none() {
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
    if let Some(set) = &verify {
        keys.trust(set);
    }
    Ok(keys)
}
