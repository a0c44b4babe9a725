//! Which connection tokens this node has seen: one opens one connection, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chat_core::model::Timestamp;

use super::token::Claims;

/// The tokens that opened a connection here, by the connection's public id.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    active: bool,
    /// Until then the token could still be presented.
    expires_at: Timestamp,
}

/// What a token's connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not opened yet.
    Fresh,
    /// Open.
    Active,
    /// Over.
    Ended,
}

/// The place of an open connection; dropped when it ends.
#[derive(Debug)]
pub(super) struct Place {
    registry: Registry,
    connection_id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(entry) = self.registry.lock().get_mut(&self.connection_id) {
            entry.active = false;
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of this connection here.
    pub(super) fn standing(&self, connection_id: &str) -> Standing {
        match self.lock().get(connection_id) {
            None => Standing::Fresh,
            Some(Entry { active: true, .. }) => Standing::Active,
            Some(Entry { active: false, .. }) => Standing::Ended,
        }
    }

    /// Opens the connection that a token is for.
    ///
    /// # Errors
    /// It was opened before.
    pub(super) fn open(&self, claims: &Claims, now: Timestamp) -> Result<Place, Standing> {
        let mut entries = self.lock();
        entries.retain(|_, e| e.active || e.expires_at > now);
        if let Some(entry) = entries.get(&claims.connection_id) {
            return Err(if entry.active {
                Standing::Active
            } else {
                Standing::Ended
            });
        }
        let entry = Entry {
            active: true,
            expires_at: claims.expires_at,
        };
        entries.insert(claims.connection_id.clone(), entry);
        Ok(Place {
            registry: self.clone(),
            connection_id: claims.connection_id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use chat_core::model::UserId;

    use super::*;

    #[test]
    fn a_token_opens_one_connection_once() {
        let registry = Registry::default();
        let (now, expires_at) = (
            Timestamp::from_millis(1_000),
            Timestamp::from_millis(16_000),
        );
        let claims = Claims {
            connection_id: "c".into(),
            user_id: UserId(1),
            session: None,
            expires_at,
        };
        assert_eq!(registry.standing("c"), Standing::Fresh);
        let place = registry.open(&claims, now).expect("fresh");
        assert_eq!(
            registry.open(&claims, now).expect_err("open"),
            Standing::Active
        );
        drop(place);
        assert_eq!(
            registry.open(&claims, now).expect_err("used"),
            Standing::Ended
        );
        assert_eq!(registry.standing("c"), Standing::Ended);
    }
}
