//! The login, and where it is kept between runs.

mod file;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::model::{Timestamp, User};
use chat_core::protocol::rest::Tokens;
use serde::{Deserialize, Serialize};

pub use self::file::FileTokenStore;
use crate::error::Source;

/// A login: the tokens of a session, and whose they are. Times are this machine's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The account, as it was when the tokens were last renewed.
    pub user: User,
    /// For the `Authorization` header.
    pub access_token: String,
    /// When the access token ends.
    pub access_expires_at: Timestamp,
    /// Rotates with each use.
    pub refresh_token: String,
    /// When the refresh token ends, if unused.
    pub refresh_expires_at: Timestamp,
}

impl Credentials {
    /// What the server answered, at `now`.
    pub(crate) fn new(tokens: Tokens, now: Timestamp) -> Self {
        Self {
            user: tokens.user,
            access_token: tokens.access_token,
            access_expires_at: now.plus(seconds(tokens.expires_in)),
            refresh_token: tokens.refresh_token,
            refresh_expires_at: now.plus(seconds(tokens.refresh_expires_in)),
        }
    }
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(u64::try_from(n).unwrap_or(0))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user.id)
            .field("access_expires_at", &self.access_expires_at)
            .field("refresh_expires_at", &self.refresh_expires_at)
            .finish_non_exhaustive()
    }
}

/// Keeps a login between runs.
///
/// Several processes may share one store, such as a file: each reads it again before it refreshes, and the server
/// gives those who refresh at the same moment the same successor. A store therefore needs no lock, but what `load` returns
/// must be something that was saved whole.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// The login that was last saved, unless it was cleared since.
    ///
    /// # Errors
    /// When the store can't be read. What can be read but makes no sense is an error as well.
    async fn load(&self) -> Result<Option<Credentials>, Source>;

    /// Keeps this login instead of what was there. Once it returns, the login must survive the process.
    ///
    /// # Errors
    /// When it couldn't be kept. What was there before must then still be there.
    async fn save(&self, credentials: &Credentials) -> Result<(), Source>;

    /// Forgets the login. Forgetting none is no error.
    ///
    /// # Errors
    /// When it may still be there.
    async fn clear(&self) -> Result<(), Source>;
}

/// Keeps the login in memory: it ends with the process.
#[derive(Debug, Default)]
pub struct MemoryTokenStore(Mutex<Option<Credentials>>);

impl MemoryTokenStore {
    /// A store that holds this login.
    #[must_use]
    pub const fn with(credentials: Credentials) -> Self {
        Self(Mutex::new(Some(credentials)))
    }

    fn set(&self, credentials: Option<Credentials>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

#[async_trait]
impl TokenStore for MemoryTokenStore {
    async fn load(&self) -> Result<Option<Credentials>, Source> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    async fn save(&self, credentials: &Credentials) -> Result<(), Source> {
        self.set(Some(credentials.clone()));
        Ok(())
    }

    async fn clear(&self) -> Result<(), Source> {
        self.set(None);
        Ok(())
    }
}

/// An access token from elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// For the `Authorization` header.
    pub token: String,
    /// When it ends by this machine's clock, if that is known: the realtime connection then asks for the next in time.
    pub expires_at: Option<Timestamp>,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Gives access tokens that don't come from this API's login.
#[async_trait]
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A token to use now. It is asked for before each call, so a source keeps what it has.
    ///
    /// `refused` is a token of the source's that the server doesn't take any more, or that is about to end: another is
    /// wanted. Many calls may ask at once. Where there is no other, the same is returned; the call then fails with
    /// [`Error::SessionEnded`](crate::Error::SessionEnded).
    ///
    /// # Errors
    /// When none can be had for now.
    async fn access_token(&self, refused: Option<&str>) -> Result<AccessToken, Source>;
}

/// One token for ever.
pub(crate) struct FixedToken(pub(crate) String);

impl fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedToken")
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn access_token(&self, _refused: Option<&str>) -> Result<AccessToken, Source> {
        Ok(AccessToken {
            token: self.0.clone(),
            expires_at: None,
        })
    }
}
