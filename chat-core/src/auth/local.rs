//! The authenticator of a server's own accounts.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::{AuthError, Authenticator, Identity, Keys};

/// Knows callers by the access tokens that [`Keys`] signed, in an `Authorization: Bearer` header (RFC 6750).
#[derive(Clone, Debug)]
pub struct LocalAuthenticator {
    keys: Arc<Keys>,
}

impl LocalAuthenticator {
    /// An authenticator that takes what `keys` verify.
    #[must_use]
    pub const fn new(keys: Arc<Keys>) -> Self {
        Self { keys }
    }
}

#[async_trait]
impl Authenticator for LocalAuthenticator {
    async fn authenticate(&self, request: &Parts) -> Result<Identity, AuthError> {
        self.authenticate_token(bearer(request)?).await
    }

    async fn authenticate_token(&self, token: &str) -> Result<Identity, AuthError> {
        let claims = self.keys.verify(token)?;
        Ok(Identity {
            issuer: Identity::LOCAL.to_owned(),
            subject: claims.user_id.to_string(),
            name: String::new(),
            session: Some(claims.session_id.to_string()),
            expires_at: Some(claims.expires_at),
        })
    }
}

/// The token of the one `Authorization: Bearer` header. With two of them nobody can say who is asking.
fn bearer(request: &Parts) -> Result<&str, AuthError> {
    let mut values = request.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(AuthError::Unauthenticated);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .ok_or(AuthError::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_matches(' '))
    } else {
        Err(AuthError::Unauthenticated)
    }
}
