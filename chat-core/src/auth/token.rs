//! Access tokens: EdDSA JWTs (RFC 7519, RFC 8037), signed by one key and verified by any number of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::AuthError;
use super::key::{KeyError, SigningKey, VerifyKey};
use crate::model::{Clock, SessionId, Timestamp, UserId};
use crate::protocol::rest::JwkSet;
use crate::random::Random;

/// The `typ` of an access token (RFC 9068), so that nothing else that a key may sign passes as one.
const TYPE: &str = "at+jwt";

/// The longest token that is looked at. Ours have about 400 characters.
const MAX_LENGTH: usize = 4 * 1024;

/// Verified tokens to remember, twice over: about 1 MiB.
const REMEMBERED: usize = 4 * 1024;

/// Who issues access tokens, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenNames {
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
}

impl Default for TokenNames {
    fn default() -> Self {
        Self {
            issuer: "chat".to_owned(),
            audience: "chat".to_owned(),
        }
    }
}

/// What an access token says, once verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// `sub`: whose it is.
    pub user_id: UserId,
    /// `sid`: the session it belongs to.
    pub session_id: SessionId,
    /// `exp`: when it ends.
    pub expires_at: Timestamp,
}

#[derive(Serialize)]
struct IssuedClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// `iss` and `aud` are checked by the library.
#[derive(Deserialize)]
struct ReadClaims {
    sub: String,
    sid: String,
    exp: i64,
}

/// The keys of access tokens: at most one that signs, and all that verify.
///
/// A key is rotated in three steps, each on all nodes before the next: trust the new one, sign with it, and once the old
/// one's last token has run out, stop trusting it.
///
/// There is no clock leeway: a token ends with its `exp`. It is refused early at worst, by a node whose clock is ahead, and
/// then its owner refreshes it.
pub struct Keys {
    names: TokenNames,
    signing: Option<SigningKey>,
    verify: RwLock<BTreeMap<String, TrustedKey>>,
    validation: Validation,
    verified: Mutex<Verified>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

struct TrustedKey {
    key: VerifyKey,
    decoding: DecodingKey,
}

impl From<VerifyKey> for TrustedKey {
    fn from(key: VerifyKey) -> Self {
        Self {
            decoding: key.decoding(),
            key,
        }
    }
}

impl Keys {
    /// Keys that verify with `signing`, if there is one, and with what [`Keys::trust`] adds.
    #[must_use]
    pub fn new(
        names: TokenNames,
        signing: Option<SigningKey>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&names.issuer]);
        validation.set_audience(&[&names.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library asks the system for the time; ours comes from the clock.
        validation.validate_exp = false;
        let keys = Self {
            names,
            verify: RwLock::default(),
            validation,
            verified: Mutex::default(),
            clock,
            random,
            signing,
        };
        keys.trust(&JwkSet::default());
        keys
    }

    /// Verifies with the keys of this set from now on, and with the signing key, and with no others. Keys of a kind that
    /// access tokens don't use are passed over; answers how many weren't.
    pub fn trust(&self, set: &JwkSet) -> usize {
        let keys: Vec<VerifyKey> = set.keys.iter().filter_map(VerifyKey::from_jwk).collect();
        let usable = keys.len();
        let own = self.signing.as_ref().map(|s| s.verify_key().clone());
        let trusted = keys
            .into_iter()
            .chain(own)
            .map(|key| (key.kid().to_owned(), TrustedKey::from(key)))
            .collect();
        let mut verify = self.verify.write().unwrap_or_else(PoisonError::into_inner);
        *verify = trusted;
        // Under the same lock: a verification under way can't remember what a key said that is trusted no more.
        self.remembered(Verified::clear);
        usable
    }

    /// Whether there is a key to sign with.
    #[must_use]
    pub const fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    /// The public keys, those for verification alone included.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        let verify = self.verify.read().unwrap_or_else(PoisonError::into_inner);
        JwkSet {
            keys: verify.values().map(|k| k.key.to_jwk()).collect(),
        }
    }

    /// Signs a token that lives at least `lifetime`, in whole seconds.
    ///
    /// # Errors
    /// [`KeyError::NoSigningKey`], or [`KeyError::Damaged`] if the library can't sign.
    pub fn issue(
        &self,
        user_id: UserId,
        session_id: SessionId,
        lifetime: Duration,
    ) -> Result<String, KeyError> {
        let signing = self.signing.as_ref().ok_or(KeyError::NoSigningKey)?;
        let now = self.clock.now();
        let mut jti = [0; 16];
        self.random.fill(&mut jti);
        let claims = IssuedClaims {
            iss: &self.names.issuer,
            aud: &self.names.audience,
            sub: user_id.to_string(),
            sid: session_id.to_string(),
            iat: now.as_seconds(),
            // Rounded up, so that it lives as long as its owner is told.
            exp: now.plus(lifetime + Duration::from_millis(999)).as_seconds(),
            jti: BASE64_URL_SAFE_NO_PAD.encode(jti),
        };
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(signing.verify_key().kid().to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, &claims, &signing.encoding).map_err(|_| KeyError::Damaged)
    }

    /// Verifies a token: its signature by a trusted key, its type, issuer, audience and time. Whether its session was ended
    /// is [`EndedSessions`](super::EndedSessions)' to say.
    ///
    /// # Errors
    /// [`AuthError::TokenExpired`] for one that was good once, [`AuthError::Unauthenticated`] for any other.
    pub fn verify(&self, token: &str) -> Result<AccessClaims, AuthError> {
        if token.len() > MAX_LENGTH {
            return Err(AuthError::Unauthenticated);
        }
        // The signature costs a hundred times what the hash does, and the same token comes with every request.
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let claims = match self.remembered(|verified| verified.get(&hash)) {
            Some(claims) => claims,
            None => self.verify_signature(token, hash)?,
        };
        if self.clock.now() < claims.expires_at {
            Ok(claims)
        } else {
            Err(AuthError::TokenExpired)
        }
    }

    fn verify_signature(&self, token: &str, hash: [u8; 32]) -> Result<AccessClaims, AuthError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Unauthenticated)?;
        // RFC 7515 section 4.1.11: extensions that aren't understood must be refused, and none is.
        if header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
            return Err(AuthError::Unauthenticated);
        }
        let kid = header.kid.ok_or(AuthError::Unauthenticated)?;
        let verify = self.verify.read().unwrap_or_else(PoisonError::into_inner);
        let trusted = verify.get(&kid).ok_or(AuthError::Unauthenticated)?;
        let ReadClaims { sub, sid, exp } =
            jsonwebtoken::decode(token, &trusted.decoding, &self.validation)
                .map_err(|_| AuthError::Unauthenticated)?
                .claims;
        let claims = AccessClaims {
            user_id: sub.parse().map_err(|_| AuthError::Unauthenticated)?,
            session_id: sid.parse().map_err(|_| AuthError::Unauthenticated)?,
            expires_at: Timestamp::from_millis(exp.saturating_mul(1000)),
        };
        self.remembered(|verified| verified.insert(hash, claims));
        Ok(claims)
    }

    fn remembered<T>(&self, f: impl FnOnce(&mut Verified) -> T) -> T {
        f(&mut self.verified.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("names", &self.names)
            .field("signing", &self.signing)
            .finish_non_exhaustive()
    }
}

/// The tokens verified of late, under their SHA-256: nothing in here is a secret, and a token that isn't the same to the
/// last bit isn't found. Two generations make a bounded memory that keeps what is in use.
#[derive(Default)]
struct Verified {
    young: HashMap<[u8; 32], AccessClaims>,
    old: HashMap<[u8; 32], AccessClaims>,
}

impl Verified {
    fn get(&mut self, hash: &[u8; 32]) -> Option<AccessClaims> {
        if let Some(claims) = self.young.get(hash) {
            return Some(*claims);
        }
        let claims = self.old.remove(hash)?;
        self.insert(*hash, claims);
        Some(claims)
    }

    fn insert(&mut self, hash: [u8; 32], claims: AccessClaims) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, claims);
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
