//! Access tokens: EdDSA JWTs (RFC 7519, RFC 8037), signed by one key and verified by any number of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::AuthError;
use super::key::{KeyError, SigningKey, VerifyKey};
use super::verified::Verified;
use crate::model::{Clock, SessionId, Timestamp, UserId};
use crate::protocol::rest::JwkSet;
use crate::random::Random;

/// The `typ` of an access token (RFC 9068), so that nothing else that a key may sign passes as one.
const TYPE: &str = "at+jwt";

/// The longest token that is looked at. Ours have about 400 characters.
const MAX_LENGTH: usize = 4 * 1024;

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
    /// Whether it was said whom to trust.
    told: AtomicBool,
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
            told: AtomicBool::new(signing.is_some()),
            validation,
            verified: Mutex::default(),
            clock,
            random,
            signing,
        };
        keys.replace(&JwkSet::default());
        keys
    }

    /// Verifies with the keys of this set from now on, and with the signing key, and with no others. Keys of a kind that
    /// access tokens don't use are passed over; answers how many weren't.
    pub fn trust(&self, set: &JwkSet) -> usize {
        let usable = self.replace(set);
        self.told.store(true, Ordering::Release);
        usable
    }

    fn replace(&self, set: &JwkSet) -> usize {
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

    /// Whether it was said whom to trust: there is a signing key, or [`trust`](Self::trust) was called.
    #[must_use]
    pub fn can_verify(&self) -> bool {
        self.told.load(Ordering::Acquire)
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
    /// [`AuthError::TokenExpired`] for one that was good once, [`AuthError::Unavailable`] until it was said whom to trust,
    /// [`AuthError::Unauthenticated`] for any other.
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
        if !self.can_verify() {
            return Err(AuthError::Unavailable);
        }
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

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::ManualClock;
    use crate::random::SystemRandom;

    const LIFETIME: Duration = Duration::from_secs(900);
    const USER: UserId = UserId(7);
    const SESSION: SessionId = SessionId(9);

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom).expect("generated")
    }

    fn keys_with(signing: Option<SigningKey>, clock: &Arc<ManualClock>) -> Keys {
        Keys::new(
            TokenNames::default(),
            signing,
            Arc::clone(clock) as _,
            Arc::new(SystemRandom),
        )
    }

    fn keys() -> (Keys, Arc<ManualClock>) {
        let clock = ManualClock::shared();
        (keys_with(Some(key()), &clock), clock)
    }

    fn issue(keys: &Keys) -> String {
        keys.issue(USER, SESSION, LIFETIME).expect("signed")
    }

    fn part(value: &Value) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn read(part: &str) -> Value {
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice(&json).expect("JSON")
    }

    /// A token of any header and claims, signed by the key that `keys` sign with.
    fn forge(keys: &Keys, header: &Value, claims: &Value) -> String {
        let signing = keys.signing.as_ref().expect("they sign");
        let message = format!("{}.{}", part(header), part(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &signing.encoding, Algorithm::EdDSA)
                .expect("signed");
        format!("{message}.{signature}")
    }

    fn good_parts(keys: &Keys) -> (Value, Value) {
        let token = issue(keys);
        let mut parts = token.split('.').map(str::to_owned);
        let mut next = || read(&parts.next().expect("a part"));
        (next(), next())
    }

    fn with(value: &Value, member: &str, to: Value) -> Value {
        let mut value = value.clone();
        value[member] = to;
        value
    }

    fn without(value: &Value, member: &str) -> Value {
        let mut value = value.clone();
        value.as_object_mut().expect("an object").remove(member);
        value
    }

    #[test]
    fn a_token_says_what_the_contract_lists() {
        let (keys, clock) = keys();
        let now = clock.now().as_seconds();
        let (header, claims) = good_parts(&keys);
        let kid = keys.jwks().keys[0].kid.clone();
        assert_eq!(header, json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid}));
        assert_eq!(claims["jti"].as_str().map(str::len), Some(22));
        assert_eq!(
            without(&claims, "jti"),
            json!({"iss": "chat", "aud": "chat", "sub": "7", "sid": "9", "iat": now, "exp": now + 900})
        );
    }

    #[test]
    fn two_tokens_are_never_the_same() {
        let (keys, _) = keys();
        assert_ne!(issue(&keys), issue(&keys));
    }

    #[test]
    fn a_token_ends_with_its_exp_and_not_before() {
        let (keys, clock) = keys();
        clock.advance(Duration::from_millis(1));
        let token = issue(&keys);
        for _ in 0..2 {
            let claims = keys.verify(&token).expect("good");
            assert_eq!((claims.user_id, claims.session_id), (USER, SESSION));
        }
        clock.advance(LIFETIME);
        assert!(keys.verify(&token).is_ok(), "it lives as long as promised");
        clock.advance(Duration::from_millis(999));
        assert_eq!(keys.verify(&token), Err(AuthError::TokenExpired));
        let elsewhere = keys_with(None, &clock);
        elsewhere.trust(&keys.jwks());
        assert_eq!(elsewhere.verify(&token), Err(AuthError::TokenExpired));
    }

    #[test]
    fn an_old_token_that_was_never_good_has_not_expired() {
        let (keys, clock) = keys();
        let stranger = keys_with(Some(key()), &clock);
        let token = issue(&stranger);
        clock.advance(LIFETIME * 2);
        assert_eq!(keys.verify(&token), Err(AuthError::Unauthenticated));
    }

    #[test]
    fn only_the_algorithm_of_the_key_is_taken() {
        let (keys, _) = keys();
        let (header, claims) = good_parts(&keys);
        let x = keys.jwks().keys[0].x.clone().expect("a public key");
        let public = BASE64_URL_SAFE_NO_PAD.decode(&x).expect("base64url");
        for algorithm in ["HS256", "HS384", "HS512"] {
            let header = with(&header, "alg", algorithm.into());
            let message = format!("{}.{}", part(&header), part(&claims));
            let named = algorithm.parse().expect("an algorithm");
            for secret in [public.as_slice(), x.as_bytes()] {
                let key = EncodingKey::from_secret(secret);
                let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, named);
                let token = format!("{message}.{}", signature.expect("signed"));
                assert_eq!(keys.verify(&token), Err(AuthError::Unauthenticated));
            }
        }
        for algorithm in ["none", "None", "ES256", "RS256", "EdDSA "] {
            let header = with(&header, "alg", algorithm.into());
            let signed = forge(&keys, &header, &claims);
            assert_eq!(keys.verify(&signed), Err(AuthError::Unauthenticated));
            let unsigned = format!("{}.{}.", part(&header), part(&claims));
            assert_eq!(keys.verify(&unsigned), Err(AuthError::Unauthenticated));
        }
    }

    #[test]
    fn what_the_key_signed_for_another_purpose_is_no_access_token() {
        let (keys, _) = keys();
        let (header, claims) = good_parts(&keys);
        assert!(keys.verify(&forge(&keys, &header, &claims)).is_ok());
        let bad_headers = [
            with(&header, "typ", "JWT".into()),
            without(&header, "typ"),
            with(&header, "kid", "another".into()),
            without(&header, "kid"),
            with(&header, "crit", json!(["b64"])),
        ];
        for header in bad_headers {
            let token = forge(&keys, &header, &claims);
            assert_eq!(
                keys.verify(&token),
                Err(AuthError::Unauthenticated),
                "{header}"
            );
        }
        let bad_claims = [
            with(&claims, "iss", "another".into()),
            with(&claims, "aud", "another".into()),
            with(&claims, "aud", json!([])),
            with(&claims, "sub", json!(7)),
            with(&claims, "sub", "seven".into()),
            with(&claims, "sid", "".into()),
            with(&claims, "exp", "tomorrow".into()),
            without(&claims, "iss"),
            without(&claims, "aud"),
            without(&claims, "sub"),
            without(&claims, "sid"),
            without(&claims, "exp"),
        ];
        for claims in bad_claims {
            let token = forge(&keys, &header, &claims);
            assert_eq!(
                keys.verify(&token),
                Err(AuthError::Unauthenticated),
                "{claims}"
            );
        }
    }

    #[test]
    fn who_was_not_told_whom_to_trust_refuses_nobody_for_good() {
        let (signing, clock) = keys();
        let verifying = keys_with(None, &clock);
        let token = issue(&signing);
        assert!(!verifying.can_verify());
        assert_eq!(verifying.verify(&token), Err(AuthError::Unavailable));
        verifying.trust(&signing.jwks());
        assert!(verifying.can_verify());
        assert!(verifying.verify(&token).is_ok());
    }

    #[test]
    fn keys_are_rotated_without_a_token_being_refused() {
        let clock = ManualClock::shared();
        let (old, new) = (key(), key());
        let new_public = JwkSet {
            keys: vec![new.verify_key().to_jwk()],
        };
        let before = keys_with(Some(old), &clock);
        let old_token = issue(&before);
        let old_public = before.jwks();

        assert_eq!(before.trust(&new_public), 1);
        assert_eq!(before.jwks().keys.len(), 2, "its own key stays trusted");
        let after = keys_with(Some(new), &clock);
        after.trust(&old_public);
        let new_token = issue(&after);
        for node in [&before, &after] {
            assert!(node.verify(&old_token).is_ok());
            assert!(node.verify(&new_token).is_ok());
        }
    }

    #[test]
    fn a_key_no_longer_trusted_verifies_nothing_not_even_what_it_did_before() {
        let (keys, clock) = keys();
        let elsewhere = keys_with(None, &clock);
        elsewhere.trust(&keys.jwks());
        let token = issue(&keys);
        assert!(elsewhere.verify(&token).is_ok());
        elsewhere.trust(&JwkSet::default());
        assert_eq!(elsewhere.verify(&token), Err(AuthError::Unauthenticated));
        assert!(!elsewhere.can_sign());
        assert_eq!(
            elsewhere.issue(USER, SESSION, LIFETIME),
            Err(KeyError::NoSigningKey)
        );
    }

    #[test]
    fn a_set_of_keys_of_all_kinds_is_read() {
        let (keys, clock) = keys();
        let mut set: Value = serde_json::to_value(keys.jwks()).expect("written");
        let others = json!([
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "key_ops": ["verify"]},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "use": "sig"},
        ]);
        let members = set["keys"].as_array_mut().expect("a list");
        members.extend(others.as_array().expect("a list").iter().cloned());
        let set: JwkSet = serde_json::from_value(set).expect("read");
        let elsewhere = keys_with(None, &clock);
        assert_eq!(elsewhere.trust(&set), 1);
        assert!(elsewhere.verify(&issue(&keys)).is_ok());
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let (keys, _) = keys();
        let shown = format!("{keys:?}");
        let pem = keys.signing.as_ref().expect("they sign").to_pem();
        let secret = pem.lines().nth(1).expect("the key's line");
        assert!(!shown.contains(&secret[24..]), "{shown}");
    }

    proptest! {
        #[test]
        fn a_token_with_any_character_changed_is_refused(at: prop::sample::Index, to in "[A-Za-z0-9_.-]") {
            let (keys, _) = keys();
            let token = issue(&keys);
            prop_assert!(keys.verify(&token).is_ok());
            let at = at.index(token.len());
            prop_assume!(token[at..=at] != to);
            let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assert_eq!(keys.verify(&changed), Err(AuthError::Unauthenticated));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,200}") {
            prop_assert_eq!(keys().0.verify(&text), Err(AuthError::Unauthenticated));
        }
    }
}
