//! The use cases of role `auth`: accounts, logins and sessions. A host with users of its own needs none of it.

mod login;
mod password;
#[cfg(all(test, feature = "testing"))]
mod tests;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use tokio::sync::{Notify, OnceCell};

use super::Error;
use super::fields::{Fields, page_limit};
use super::rates::{RateLimits, SourceAddress};
use crate::auth::{AuthError, Caller, EndedSessions, KeyError, Keys, Passwords};
use crate::model::limits::{self, Lifetimes, Limits};
use crate::model::{Clock, Session, SessionId, User};
use crate::protocol::rest::{JwkSet, ListQuery, Page, UpdateUser};
use crate::random::Random;
use crate::store::{Accounts, Credentials, EndedSession, Store, TokenHash};

/// What an [`AccountService`] is made of.
#[derive(Clone, Debug)]
pub struct AccountParts {
    /// Logins and sessions.
    pub accounts: Arc<dyn Accounts>,
    /// The same database's users.
    pub store: Arc<dyn Store>,
    /// With a key to sign access tokens.
    pub keys: Arc<Keys>,
    /// How passwords are hashed.
    pub passwords: Arc<Passwords>,
    /// Where sessions that end are noted.
    pub ended: Arc<EndedSessions>,
    /// Limits on wrong passwords and registrations.
    pub rates: Arc<RateLimits>,
    /// Woken when renaming or deleting a user left jobs in the store.
    pub jobs: Arc<Notify>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where refresh tokens come from.
    pub random: Arc<dyn Random>,
    /// How long tokens live.
    pub lifetimes: Lifetimes,
    /// How many sessions a user may have.
    pub limits: Limits,
}

impl AccountParts {
    /// Makes known on all nodes that sessions ended.
    async fn end(&self, sessions: Vec<EndedSession>) -> Result<(), Error> {
        let (store, clock) = (self.store.as_ref(), self.clock.as_ref());
        Ok(self.ended.end(store, clock, sessions).await?)
    }
}

/// Signs people in, and lets them look after their accounts.
///
/// Addresses are those that requests come from, as far as the server can tell behind its proxies.
pub struct AccountService {
    parts: AccountParts,
    address_key: OnceCell<hmac::Key>,
}

impl AccountService {
    /// The service of these parts.
    ///
    /// # Errors
    /// [`KeyError::NoSigningKey`]
    pub fn new(parts: AccountParts) -> Result<Self, KeyError> {
        if parts.keys.can_sign() {
            Ok(Self {
                parts,
                address_key: OnceCell::new(),
            })
        } else {
            Err(KeyError::NoSigningKey)
        }
    }

    /// The keys that access tokens are verified with.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        self.parts.keys.jwks()
    }

    /// Ends the caller's session: its tokens and connections end with it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn logout(&self, caller: &Caller) -> Result<(), Error> {
        // That it has ended already is what was asked for.
        self.end(caller, session(caller)?).await.map(|_| ())
    }

    /// A page of the caller's sessions, ordered by id.
    ///
    /// # Errors
    /// `validation_failed` for a limit out of bounds.
    pub async fn sessions(
        &self,
        caller: &Caller,
        query: ListQuery,
    ) -> Result<Page<Session>, Error> {
        let limit = page_limit(query.limit)?;
        let after = query.after.map(SessionId);
        let now = self.parts.clock.now();
        let current = session(caller)?;
        let accounts = &self.parts.accounts;
        let mut page = accounts.sessions(caller.user_id, now, after, limit).await?;
        for session in &mut page.items {
            session.current = session.id == current;
        }
        Ok(page)
    }

    /// Ends one of the caller's sessions, perhaps its own.
    ///
    /// # Errors
    /// `not_found` if the caller has no such session.
    pub async fn end_session(&self, caller: &Caller, session: SessionId) -> Result<(), Error> {
        if self.end(caller, session).await? {
            Ok(())
        } else {
            Err(Error::not_found())
        }
    }

    /// The caller's account.
    ///
    /// # Errors
    /// `unauthenticated` if it was deleted.
    pub async fn me(&self, caller: &Caller) -> Result<User, Error> {
        Ok(self.credentials(caller).await?.user)
    }

    /// Changes the caller's account. In each of its rooms a `MemberChanged` follows.
    ///
    /// # Errors
    /// `validation_failed`, `username_taken`
    pub async fn update_user(&self, caller: &Caller, update: UpdateUser) -> Result<User, Error> {
        if let Some(username) = update.username {
            let mut fields = Fields::default();
            fields.text("username", limits::username(&username));
            fields.finish()?;
            let store = &self.parts.store;
            store.rename_user(caller.user_id, &username).await??;
            self.parts.jobs.notify_one();
        }
        self.me(caller).await
    }

    /// False if the user has no such session.
    async fn end(&self, caller: &Caller, session: SessionId) -> Result<bool, Error> {
        let at = self.parts.clock.now();
        let accounts = &self.parts.accounts;
        let ended = accounts
            .end_user_session(caller.user_id, session, at)
            .await?;
        if ended {
            let session = session.to_string();
            self.parts.end(vec![EndedSession { session, at }]).await?;
        }
        Ok(ended)
    }

    async fn credentials(&self, caller: &Caller) -> Result<Credentials, Error> {
        let credentials = self.parts.accounts.credentials(caller.user_id).await?;
        Ok(credentials.ok_or(AuthError::Unauthenticated)?)
    }

    /// What the database keeps of an address. There are few IPv4 addresses: a bare hash of one would hide nothing.
    async fn address_hash(&self, source: SourceAddress) -> Result<TokenHash, Error> {
        let key = self
            .address_key
            .get_or_try_init(|| async {
                let mut fresh = [0; 32];
                self.parts.random.fill(&mut fresh);
                let secret = self.parts.store.secret("address", &fresh).await?;
                Ok::<_, Error>(hmac::Key::new(hmac::HMAC_SHA256, &secret))
            })
            .await?;
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(key, &source.octets()).as_ref());
        Ok(hash)
    }
}

impl fmt::Debug for AccountService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountService").finish_non_exhaustive()
    }
}

/// The session that the caller's token belongs to.
fn session(caller: &Caller) -> Result<SessionId, Error> {
    let session = caller.session.as_deref().and_then(|s| s.parse().ok());
    Ok(session.ok_or(AuthError::Unauthenticated)?)
}
