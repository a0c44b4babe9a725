//! The memory of verified access tokens: a signature is checked once, however many requests bring the same token.

use std::collections::HashMap;

use super::AccessClaims;

/// Verified tokens to remember, twice over: about 4 MiB at most.
const REMEMBERED: usize = 16 * 1024;

/// The tokens verified of late, under their SHA-256: nothing in here is a secret, and a token that isn't the same to the
/// last bit isn't found. Two generations make a bounded memory that keeps what is in use.
#[derive(Default)]
pub(super) struct Verified {
    young: HashMap<[u8; 32], AccessClaims>,
    old: HashMap<[u8; 32], AccessClaims>,
}

impl Verified {
    pub(super) fn get(&mut self, hash: &[u8; 32]) -> Option<AccessClaims> {
        if let Some(claims) = self.young.get(hash) {
            return Some(*claims);
        }
        let claims = self.old.remove(hash)?;
        self.insert(*hash, claims);
        Some(claims)
    }

    pub(super) fn insert(&mut self, hash: [u8; 32], claims: AccessClaims) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, claims);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SessionId, Timestamp, UserId};

    #[test]
    fn the_memory_of_verified_tokens_is_bounded_and_keeps_what_is_in_use() {
        let mut verified = Verified::default();
        let claims = AccessClaims {
            user_id: UserId(7),
            session_id: SessionId(9),
            expires_at: Timestamp::default(),
        };
        let hash = |n: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_le_bytes());
            hash
        };
        verified.insert(hash(0), claims);
        for n in 1..10 * REMEMBERED {
            verified.insert(hash(n), claims);
            assert!(verified.young.len() + verified.old.len() <= 2 * REMEMBERED);
            if n % (REMEMBERED / 2) == 0 {
                assert!(verified.get(&hash(0)).is_some(), "after {n}");
            }
        }
        assert_eq!(verified.get(&hash(1)), None);
    }
}
