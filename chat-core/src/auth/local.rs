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

    fn is_ready(&self) -> bool {
        self.keys.can_verify()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::{SigningKey, TokenNames};
    use crate::model::{Clock as _, ManualClock, SessionId, UserId};
    use crate::random::SystemRandom;

    fn request(headers: &[&str]) -> Parts {
        let mut request = http::Request::new(());
        for value in headers {
            let value = value.parse().expect("a header's value");
            request.headers_mut().append(AUTHORIZATION, value);
        }
        request.into_parts().0
    }

    #[tokio::test]
    async fn a_caller_is_known_by_the_one_bearer_token_it_sends() {
        let clock = ManualClock::shared();
        let signing = SigningKey::generate(&SystemRandom).expect("generated");
        let keys = Arc::new(Keys::new(
            TokenNames::default(),
            Some(signing),
            Arc::clone(&clock) as _,
            Arc::new(SystemRandom),
        ));
        let lifetime = Duration::from_secs(900);
        let token = keys
            .issue(UserId(7), SessionId(9), lifetime)
            .expect("signed");
        let authenticator = LocalAuthenticator::new(keys);
        let authenticate =
            async |headers: &[&str]| authenticator.authenticate(&request(headers)).await;

        let bearer = format!("Bearer {token}");
        let expected = Identity {
            issuer: Identity::LOCAL.to_owned(),
            subject: "7".to_owned(),
            name: String::new(),
            session: Some("9".to_owned()),
            expires_at: Some(clock.now().plus(lifetime)),
        };
        assert_eq!(authenticate(&[&bearer]).await, Ok(expected.clone()));
        let lower = format!("bearer  {token}");
        assert_eq!(authenticate(&[&lower]).await, Ok(expected.clone()));
        assert_eq!(authenticator.authenticate_token(&token).await, Ok(expected));

        let refused = Err(AuthError::Unauthenticated);
        assert_eq!(authenticate(&[]).await, refused);
        assert_eq!(authenticate(&["Bearer"]).await, refused);
        assert_eq!(authenticate(&["Bearer "]).await, refused);
        assert_eq!(authenticate(&[&token]).await, refused);
        assert_eq!(authenticate(&[&format!("Basic {token}")]).await, refused);
        assert_eq!(authenticate(&[&bearer, &bearer]).await, refused);

        clock.advance(lifetime);
        assert_eq!(authenticate(&[&bearer]).await, Err(AuthError::TokenExpired));
    }
}
