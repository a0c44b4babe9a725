//! Ed25519 keys of access tokens: the private one as PEM, the public ones as JWKS (RFC 8037).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::signature::{ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::protocol::rest::Jwk;
use crate::random::Random;

/// Why a key can't be used. Never holds any of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text isn't PEM.
    #[error("this is not a PEM file: it should begin with -----BEGIN PRIVATE KEY-----")]
    NotPem,
    /// It is a public key, or a certificate.
    #[error("this holds no private key: tokens can't be signed with a public key or a certificate")]
    NotPrivate,
    /// The private key is encrypted.
    #[error("this private key is encrypted: decrypt it first")]
    Encrypted,
    /// It is a private key of another algorithm.
    #[error("this is not an Ed25519 key: make one with `openssl genpkey -algorithm ed25519`")]
    WrongAlgorithm,
    /// It is damaged, or its two halves don't belong together.
    #[error("this private key is damaged")]
    Damaged,
    /// Nothing was given that could sign.
    #[error("there is no signing key")]
    NoSigningKey,
}

impl From<KeyRejected> for KeyError {
    fn from(e: KeyRejected) -> Self {
        if e.description_() == "WrongAlgorithm" {
            Self::WrongAlgorithm
        } else {
            Self::Damaged
        }
    }
}

/// The private key that signs access tokens.
pub struct SigningKey {
    pub(super) encoding: EncodingKey,
    public: VerifyKey,
}

impl SigningKey {
    /// Reads a PKCS#8 private key (RFC 5958, version 1 or 2) from PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        match pem.tag() {
            "PRIVATE KEY" => {}
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "OPENSSH PRIVATE KEY" | "DSA PRIVATE KEY" => {
                return Err(KeyError::WrongAlgorithm);
            }
            _ => return Err(KeyError::NotPrivate),
        }
        Self::from_pair(&Ed25519KeyPair::from_pkcs8(pem.contents())?)
    }

    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] if the cryptography library refuses what `random` gave, which it has no reason to.
    pub fn generate(random: &dyn Random) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        random.fill(&mut seed);
        Self::from_pair(&Ed25519KeyPair::from_seed_unchecked(&seed)?)
    }

    fn from_pair(pair: &Ed25519KeyPair) -> Result<Self, KeyError> {
        // Version 1 is what other tools read, OpenSSL among them.
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|Unspecified| KeyError::Damaged)?;
        let mut x = [0; ED25519_PUBLIC_KEY_LEN];
        x.copy_from_slice(pair.public_key().as_ref());
        Ok(Self {
            encoding: EncodingKey::from_ed_der(der.as_ref()),
            public: VerifyKey::new(x),
        })
    }

    /// The key as PEM: secret, for a file that only its owner can read.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(
            &pem::Pem::new("PRIVATE KEY", self.encoding.as_bytes()),
            config,
        )
    }

    /// Its public half.
    #[must_use]
    pub const fn verify_key(&self) -> &VerifyKey {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.public.kid)
            .finish_non_exhaustive()
    }
}

/// A public key that verifies access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyKey {
    kid: String,
    x: [u8; ED25519_PUBLIC_KEY_LEN],
}

impl VerifyKey {
    fn new(x: [u8; ED25519_PUBLIC_KEY_LEN]) -> Self {
        Self {
            kid: thumbprint(&x),
            x,
        }
    }

    /// The key of a JWK; `None` if it is of another kind, which a set may hold for others to use. A key without a `kid` goes
    /// by its thumbprint.
    #[must_use]
    pub fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let usable = jwk.kty == "OKP"
            && jwk.crv.as_deref() == Some("Ed25519")
            && jwk.usage.as_deref().is_none_or(|u| u == "sig")
            && jwk
                .alg
                .as_deref()
                .is_none_or(|a| matches!(a, "EdDSA" | "Ed25519"));
        if !usable {
            return None;
        }
        let x = BASE64_URL_SAFE_NO_PAD
            .decode(jwk.x.as_deref()?)
            .ok()?
            .try_into()
            .ok()?;
        let key = Self::new(x);
        Some(match &jwk.kid {
            Some(kid) => Self {
                kid: kid.clone(),
                ..key
            },
            None => key,
        })
    }

    /// The key as a JWK.
    #[must_use]
    pub fn to_jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            x: Some(BASE64_URL_SAFE_NO_PAD.encode(self.x)),
            kid: Some(self.kid.clone()),
            alg: Some("EdDSA".to_owned()),
            usage: Some("sig".to_owned()),
        }
    }

    /// The key's id, which tokens name in their header: an RFC 7638 thumbprint, unless a JWK said otherwise.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn decoding(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.x)
    }
}

/// RFC 7638: SHA-256 of the required members in lexical order, without white space.
fn thumbprint(x: &[u8; ED25519_PUBLIC_KEY_LEN]) -> String {
    let x = BASE64_URL_SAFE_NO_PAD.encode(x);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom as LibraryRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    use super::*;
    use crate::random::SystemRandom;

    fn generate() -> SigningKey {
        SigningKey::generate(&SystemRandom).expect("generated")
    }

    #[test]
    fn a_key_reads_back_from_its_pem() {
        let key = generate();
        let read = SigningKey::from_pem(&key.to_pem()).expect("read");
        assert_eq!(read.verify_key(), key.verify_key());
        assert_eq!(read.encoding.as_bytes(), key.encoding.as_bytes());
    }

    #[test]
    fn both_versions_of_pkcs8_are_read() {
        let pair = Ed25519KeyPair::generate().expect("generated");
        for der in [pair.to_pkcs8v1(), pair.to_pkcs8()] {
            let der = der.expect("written");
            let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
            let key = SigningKey::from_pem(&text).expect("read");
            assert_eq!(key.verify_key().x, pair.public_key().as_ref());
        }
    }

    #[test]
    fn what_openssl_makes_is_read() {
        // RFC 8410 section 10.3, and its public key from section 10.1.
        let text = "-----BEGIN PRIVATE KEY-----\n\
                    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                    -----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(text).expect("read");
        assert_eq!(
            key.verify_key().to_jwk().x.as_deref(),
            Some("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE")
        );
        assert_eq!(key.to_pem(), text);
    }

    #[test]
    fn a_bad_key_is_refused_with_its_reason() {
        let ec =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &LibraryRandom::new())
                .expect("generated");
        let pem = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
        let good = generate();
        let mut torn = good.encoding.as_bytes().to_vec();
        torn.truncate(20);
        for (text, reason) in [
            (String::new(), KeyError::NotPem),
            ("not a key".to_owned(), KeyError::NotPem),
            (pem("PUBLIC KEY", b"\x30"), KeyError::NotPrivate),
            (pem("CERTIFICATE", b"\x30"), KeyError::NotPrivate),
            (pem("ENCRYPTED PRIVATE KEY", b"\x30"), KeyError::Encrypted),
            (pem("EC PRIVATE KEY", b"\x30"), KeyError::WrongAlgorithm),
            (pem("PRIVATE KEY", ec.as_ref()), KeyError::WrongAlgorithm),
            (pem("PRIVATE KEY", &torn), KeyError::Damaged),
            (pem("PRIVATE KEY", b""), KeyError::Damaged),
        ] {
            assert_eq!(SigningKey::from_pem(&text).err(), Some(reason), "{text}");
        }
    }

    #[test]
    fn a_private_key_is_not_in_debug_output() {
        let key = generate();
        let shown = format!("{key:?}");
        assert!(shown.contains(key.verify_key().kid()));
        let pem = key.to_pem();
        let secret = pem.lines().nth(1).expect("the key's line");
        assert!(!shown.contains(&secret[24..]));
        let bytes = format!("{:?}", key.encoding.as_bytes());
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])));
    }

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // RFC 8037 appendix A.3.
        let jwk = Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            x: Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned()),
            kid: None,
            alg: None,
            usage: None,
        };
        let key = VerifyKey::from_jwk(&jwk).expect("usable");
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.to_jwk().x, jwk.x);
    }

    #[test]
    fn keys_of_another_kind_are_left_out() {
        let good = generate().verify_key().to_jwk();
        assert!(VerifyKey::from_jwk(&good).is_some());
        for other in [
            Jwk {
                kty: "RSA".to_owned(),
                ..good.clone()
            },
            Jwk {
                crv: Some("X25519".to_owned()),
                ..good.clone()
            },
            Jwk {
                alg: Some("ES256".to_owned()),
                ..good.clone()
            },
            Jwk {
                usage: Some("enc".to_owned()),
                ..good.clone()
            },
            Jwk {
                x: Some("AAAA".to_owned()),
                ..good.clone()
            },
            Jwk { x: None, ..good },
        ] {
            assert_eq!(VerifyKey::from_jwk(&other), None, "{other:?}");
        }
    }
}
