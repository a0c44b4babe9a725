//! Logins and sessions: the second storage trait.

use std::fmt;

use async_trait::async_trait;

use super::{EndedSession, StoreError, TokenHash, UserRefusal};
use crate::model::{Session, SessionId, Timestamp, User, UserId};
use crate::protocol::rest::Page;

/// A registration.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// As written by its owner; unique under [`fold`](crate::model::limits::fold).
    pub email: &'a str,
    /// As written by its owner; unique under [`fold`](crate::model::limits::fold).
    pub username: &'a str,
    /// A PHC string.
    pub password_hash: &'a str,
    /// When.
    pub at: Timestamp,
}

impl fmt::Debug for NewAccount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccount")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What a login is checked against.
#[derive(Clone)]
pub struct Credentials {
    /// Whose, with `email`.
    pub user: User,
    /// A PHC string.
    pub password_hash: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user.id)
            .finish_non_exhaustive()
    }
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Whose.
    pub user_id: UserId,
    /// What to call it.
    pub device: &'a str,
    /// The hash of its refresh token.
    pub refresh_hash: TokenHash,
    /// When.
    pub at: Timestamp,
    /// When the refresh token runs out.
    pub expires_at: Timestamp,
    /// The hash of the address it came from, for [`Accounts::knows_address`].
    pub address_hash: Option<TokenHash>,
    /// Sessions to keep: of more, those longest unused end.
    pub max_sessions: i64,
}

/// A use of a refresh token.
#[derive(Clone, Debug)]
pub struct Rotation<'a> {
    /// The hash of the token that was presented.
    pub presented: TokenHash,
    /// The hash of its successor, if it is the current one.
    pub successor: TokenHash,
    /// The successor itself, sealed under a key that only the presented token gives.
    pub sealed_successor: &'a [u8],
    /// When.
    pub at: Timestamp,
    /// When the successor runs out.
    pub expires_at: Timestamp,
    /// A token that was replaced at or after this moment still answers with the same successor.
    pub grace_from: Timestamp,
}

/// What a use of a refresh token did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It was the current token, and the successor of the [`Rotation`] is now.
    Fresh {
        /// The session.
        session: SessionId,
        /// Its user, with `email`.
        user: User,
    },
    /// It was the one before, replaced not long ago: here is its successor again, as it was sealed then.
    Again {
        /// The session.
        session: SessionId,
        /// Its user, with `email`.
        user: User,
        /// What the first use stored.
        sealed_successor: Vec<u8>,
        /// When that successor runs out.
        expires_at: Timestamp,
    },
    /// It was an older one, or the one before too late: somebody else has it. The session is ended by this call.
    Reused {
        /// The session that ended.
        session: SessionId,
    },
    /// It is no refresh token of a session that lives.
    Unknown,
}

/// Logins and sessions: what role `auth` needs beside [`Store`](super::Store), in the same database.
#[async_trait]
pub trait Accounts: Send + Sync + fmt::Debug {
    /// Makes an account. Of two at once with one address or name, one is refused; if both are taken, for the address.
    async fn create_account(
        &self,
        account: &NewAccount<'_>,
    ) -> Result<Result<User, UserRefusal>, StoreError>;

    /// The account of an e-mail address, compared under [`fold`](crate::model::limits::fold).
    async fn credentials_by_email(&self, email: &str) -> Result<Option<Credentials>, StoreError>;

    /// The account of an id; `None` if there is none, it is deleted, or it is a host's user.
    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, StoreError>;

    /// Replaces the password's hash, if it still is `old_hash`, and ends every session but `keep`; answers those, which are
    /// noted for [`Store::ended_sessions`](super::Store::ended_sessions), or `None` if the hash was another or there is no such account.
    async fn set_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError>;

    /// Replaces a password's hash by a stronger one of the same password, if it still is `old_hash`; no session ends.
    async fn rehash_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
    ) -> Result<(), StoreError>;

    /// Makes a session, and ends the longest unused of too many; answers it with those that ended, which are noted for
    /// [`Store::ended_sessions`](super::Store::ended_sessions). Expired ones don't count. `None` if the user is unknown or deleted.
    async fn create_session(
        &self,
        session: &NewSession<'_>,
    ) -> Result<Option<(SessionId, Vec<EndedSession>)>, StoreError>;

    /// Uses a refresh token, in one compare-and-set: of many uses of the current one at once, one is
    /// [`Rotated::Fresh`] and the others [`Rotated::Again`]. A session that ended, or is at or past its expiry, is
    /// [`Rotated::Unknown`] whichever token was presented. Hashes of older tokens are kept, as many as tell a reuse for the
    /// session's life. A session that ends by reuse is noted for [`Store::ended_sessions`](super::Store::ended_sessions).
    async fn rotate(&self, rotation: &Rotation<'_>) -> Result<Rotated, StoreError>;

    /// A page of a user's sessions that live at `at`, ordered by id; `current` is false in all.
    async fn sessions(
        &self,
        user: UserId,
        at: Timestamp,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Page<Session>, StoreError>;

    /// Ends a session of a user and notes it for [`Store::ended_sessions`](super::Store::ended_sessions); false if there is none such.
    async fn end_user_session(
        &self,
        user: UserId,
        session: SessionId,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Whether the account logged in from this address at or after `since`, also if that session has ended.
    async fn knows_address(
        &self,
        user: UserId,
        address_hash: &TokenHash,
        since: Timestamp,
    ) -> Result<bool, StoreError>;
}
