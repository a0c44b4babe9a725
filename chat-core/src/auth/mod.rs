//! Who is asking: passwords, access tokens and sessions, and the trait under which a host brings its own.

mod ended;
mod key;
mod local;
mod password;
mod refresh;
mod token;
mod verified;

use std::fmt;

use async_trait::async_trait;

use crate::model::{Timestamp, UserId};
use crate::protocol::ErrorCode;

pub use self::ended::{EndedSessions, watch};
pub use self::key::{KeyError, SigningKey, VerifyKey};
pub use self::local::LocalAuthenticator;
pub use self::password::{PasswordCost, PasswordError, Passwords, Verdict};
pub use self::refresh::{GRACE, RefreshToken, SealError};
pub use self::token::{AccessClaims, Keys, TokenNames};

/// Who is asking, once an [`Authenticator`]'s answer was mapped to a user of this database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The session that the token belongs to, as its authenticator names it.
    pub session: Option<String>,
    /// When the token's authority ends; `None`: with the session only.
    pub expires_at: Option<Timestamp>,
}

/// What an [`Authenticator`] says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who vouches: with `subject` it names a user. [`Identity::LOCAL`] is this server's own accounts, whose subject is the
    /// user's id.
    pub issuer: String,
    /// The user's id there, text of any kind.
    pub subject: String,
    /// What to call the user when first seen.
    pub name: String,
    /// The session there, so that ending it closes its connections.
    pub session: Option<String>,
    /// When this authority ends.
    pub expires_at: Option<Timestamp>,
}

impl Identity {
    /// The issuer of accounts that live in this database.
    pub const LOCAL: &'static str = "";

    /// A host's user, known by name as `name` when first seen, whose authority ends with the request or its connection.
    pub fn new(
        issuer: impl Into<String>,
        subject: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            subject: subject.into(),
            name: name.into(),
            session: None,
            expires_at: None,
        }
    }
}

/// Tells who sends a request.
///
/// ```
/// use chat_core::auth::{AuthError, Authenticator, Identity};
///
/// #[derive(Debug)]
/// struct MyAuth;
///
/// #[async_trait::async_trait]
/// impl Authenticator for MyAuth {
///     async fn authenticate(&self, request: &http::request::Parts) -> Result<Identity, AuthError> {
///         let user = request.headers.get("x-my-user").and_then(|v| v.to_str().ok()).ok_or(AuthError::Unauthenticated)?;
///         Ok(Identity::new("my-app", user, user))
///     }
/// }
/// ```
#[async_trait]
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// Who sends this request. On hub paths the token may also stand in the query as `access_token`, which arrives here as
    /// an `Authorization: Bearer` header like any other.
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Identity, AuthError>;

    /// Who a bare access token is of: the hub's `Authenticate` call renews a connection with it.
    ///
    /// The default puts it into an `Authorization: Bearer` header.
    async fn authenticate_token(&self, token: &str) -> Result<Identity, AuthError> {
        let request = http::Request::builder()
            .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
            .body(())
            .map_err(|_| AuthError::Unauthenticated)?;
        self.authenticate(&request.into_parts().0).await
    }

    /// Whether it can tell anyone apart by now. While it can't, the chat isn't [ready](crate::service::Chat::ready).
    fn is_ready(&self) -> bool {
        true
    }
}

/// Why nobody is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No token, or one that is not valid.
    #[error("no valid access token was sent")]
    Unauthenticated,
    /// The token was valid once.
    #[error("the access token has expired: refresh it")]
    TokenExpired,
    /// Whoever vouches can't be asked now.
    #[error("the caller can't be authenticated now")]
    Unavailable,
}

impl AuthError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::TokenExpired => ErrorCode::TokenExpired,
            Self::Unavailable => ErrorCode::Unavailable,
        }
    }
}
