//! Refresh tokens: what a client keeps, what the database keeps, and how a lost reply gets the same successor again.
//!
//! The database holds a token's SHA-256, and its successor sealed under a key that only the token itself gives. So a copy
//! of the database lets no one in, and whoever presents the token that was used last gets back the successor that its
//! first use made, on any node.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::random::Random;
use crate::store::TokenHash;

/// How long after its use the token used last still answers with the same successor.
pub const GRACE: Duration = Duration::from_secs(60);

const TOKEN_BYTES: usize = 32;

/// A refresh token: 32 random bytes, written as base64url (43 characters).
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; TOKEN_BYTES]);

impl RefreshToken {
    /// Makes a new one.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0; TOKEN_BYTES];
        random.fill(&mut bytes);
        Self(bytes)
    }

    /// Reads one as a client sends it; `None` if it has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(TOKEN_BYTES) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The text for the client: secret.
    #[must_use]
    pub fn to_text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the database knows it by.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        hash
    }

    /// Seals `successor` so that only who holds this token can [`open`](Self::open) it: AES-256-GCM, the nonce in front.
    ///
    /// # Errors
    /// None that the cryptography library has a reason for.
    pub fn seal(&self, successor: &Self, random: &dyn Random) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = successor.0.to_vec();
        self.sealing_key()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut sealed,
        )?;
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    /// The successor that [`seal`](Self::seal) sealed under this token.
    ///
    /// # Errors
    /// It was sealed under another token, or damaged.
    pub fn open(&self, sealed: &[u8]) -> Result<Self, SealError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let mut body = body.to_vec();
        let plain = self.sealing_key()?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::empty(),
            &mut body,
        )?;
        Ok(Self((&*plain).try_into().map_err(|_| SealError)?))
    }

    fn sealing_key(&self) -> Result<LessSafeKey, SealError> {
        // The token is uniformly random, so the extraction needs no salt (RFC 5869 section 3.1).
        let key = Salt::new(HKDF_SHA256, &[]).extract(&self.0);
        let key = key.expand(&[b"chat refresh successor 1"], &AES_256_GCM)?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").finish_non_exhaustive()
    }
}

/// A sealed token that can't be opened, or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed refresh token can't be opened with this one")]
pub struct SealError;

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_token_reads_back_as_written() {
        let token = RefreshToken::generate(&SystemRandom);
        let text = token.to_text();
        assert_eq!(text.len(), 43);
        assert_eq!(RefreshToken::parse(&text), Some(token));
    }

    #[test]
    fn a_token_is_not_in_debug_output() {
        let token = RefreshToken([7; 32]);
        assert_eq!(format!("{token:?}"), "RefreshToken { .. }");
    }

    proptest! {
        #[test]
        fn a_text_of_another_form_is_no_token(text in ".{0,80}") {
            if let Some(token) = RefreshToken::parse(&text) {
                prop_assert_eq!(token.to_text(), text);
            }
        }

        #[test]
        fn a_sealed_successor_opens_under_its_predecessor_alone(
            predecessor: [u8; 32], successor: [u8; 32], other: [u8; 32],
        ) {
            let predecessor = RefreshToken(predecessor);
            let successor = RefreshToken(successor);
            let sealed = predecessor.seal(&successor, &SystemRandom).expect("sealed");
            prop_assert_eq!(predecessor.open(&sealed), Ok(successor.clone()));
            prop_assume!(other != predecessor.0);
            prop_assert_eq!(RefreshToken(other).open(&sealed), Err(SealError));
            prop_assert!(sealed.windows(32).all(|w| w != successor.0));
        }

        #[test]
        fn a_damaged_seal_does_not_open(
            predecessor: [u8; 32], successor: [u8; 32], at: prop::sample::Index, bit in 0_u32..8, cut: prop::sample::Index,
        ) {
            let predecessor = RefreshToken(predecessor);
            let mut sealed = predecessor.seal(&RefreshToken(successor), &SystemRandom).expect("sealed");
            prop_assert_eq!(predecessor.open(&sealed[..cut.index(sealed.len())]), Err(SealError));
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert_eq!(predecessor.open(&sealed), Err(SealError));
        }
    }
}
