//! Connection tokens: what negotiate decided, signed, so that any node can open the connection and none keeps state for it.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chat_core::auth::Caller;
use chat_core::model::{Timestamp, UserId};

/// Random bytes of a connection's public id.
const ID_BYTES: usize = 16;
/// Bytes of what is signed before the session: id, user, expiry, and whether the connection outlives its sockets.
const FIXED: usize = ID_BYTES + 8 + 8 + 1;
/// Bytes of the signature.
const TAG: usize = 32;

/// Signs and verifies the tokens.
#[derive(Debug)]
pub(super) struct TokenKey(hmac::Key);

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// The connection's public id.
    pub(super) connection_id: String,
    pub(super) user_id: UserId,
    pub(super) session: Option<String>,
    /// From then on the token opens nothing.
    pub(super) expires_at: Timestamp,
    /// Stateful reconnect was asked for, and granted.
    pub(super) is_resumable: bool,
}

impl TokenKey {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A token that opens one connection of this caller for as long as `lifetime`.
    pub(super) fn issue(
        &self,
        id: [u8; ID_BYTES],
        caller: &Caller,
        now: Timestamp,
        lifetime: Duration,
        is_resumable: bool,
    ) -> String {
        let mut bytes = Vec::with_capacity(FIXED + TAG);
        bytes.extend_from_slice(&id);
        bytes.extend_from_slice(&caller.user_id.0.to_be_bytes());
        bytes.extend_from_slice(&now.plus(lifetime).as_millis().to_be_bytes());
        bytes.push(u8::from(is_resumable));
        bytes.extend_from_slice(caller.session.as_deref().unwrap_or_default().as_bytes());
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token says, if it is one of ours: however old, since it names the connection that it has opened.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        hmac::verify(&self.0, signed, tag).ok()?;
        let (id, rest) = signed.split_first_chunk::<ID_BYTES>()?;
        let (user, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (is_resumable, session) = rest.split_first()?;
        let expires_at = Timestamp::from_millis(i64::from_be_bytes(*expires));
        let session = std::str::from_utf8(session).ok()?;
        Some(Claims {
            connection_id: public_id(*id),
            user_id: UserId(i64::from_be_bytes(*user)),
            session: (!session.is_empty()).then(|| session.to_owned()),
            expires_at,
            is_resumable: *is_resumable == 1,
        })
    }
}

impl Claims {
    /// Whether this caller negotiated.
    pub(super) fn is_of(&self, caller: &Caller) -> bool {
        self.user_id == caller.user_id && self.session == caller.session
    }
}

/// The public name of a connection: 22 characters.
pub(super) fn public_id(id: [u8; ID_BYTES]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            user_id: UserId(7),
            session: Some("9".into()),
            expires_at: None,
        }
    }

    #[test]
    fn a_token_says_whose_connection_it_opens_and_until_when() {
        let (key, now) = (TokenKey::new(&[1; 32]), Timestamp::from_millis(1_000_000));
        let lifetime = Duration::from_secs(15);
        let token = key.issue([3; 16], &caller(), now, lifetime, true);
        let claims = key.verify(&token).expect("valid");
        let expected = Claims {
            connection_id: public_id([3; 16]),
            user_id: UserId(7),
            session: Some("9".into()),
            expires_at: now.plus(lifetime),
            is_resumable: true,
        };
        assert_eq!(claims, expected);
        assert!(claims.is_of(&caller()));
        for other in [
            Caller {
                user_id: UserId(8),
                ..caller()
            },
            Caller {
                session: None,
                ..caller()
            },
        ] {
            assert!(!claims.is_of(&other));
        }
    }

    #[test]
    fn a_token_that_was_touched_or_is_of_another_key_says_nothing() {
        let (key, now) = (TokenKey::new(&[1; 32]), Timestamp::from_millis(1_000_000));
        let token = key.issue([3; 16], &caller(), now, Duration::from_secs(15), false);
        assert_eq!(TokenKey::new(&[2; 32]).verify(&token), None);
        for at in 0..token.len() {
            let mut touched = token.clone().into_bytes();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).expect("ASCII");
            // The last character's unused bits are refused by the strict decoder.
            assert_eq!(key.verify(&touched), None, "at {at}");
        }
        for garbage in ["", "A", "AAAA", &"A".repeat(200), "é", "===="] {
            assert_eq!(key.verify(garbage), None, "{garbage}");
        }
    }
}
