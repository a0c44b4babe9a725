//! By whose token a connection lives, and whose requests it takes.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::Connection;
use crate::auth::Caller;
use crate::model::Timestamp;

/// How long a connection goes on after its access token has run out.
const TOKEN_GRACE: Duration = Duration::from_secs(30);

/// Whose token the connection lives by.
#[derive(Debug)]
pub(super) struct Authority {
    /// The session of the newest token last; earlier ones stay, since polls may go on with them.
    sessions: Vec<String>,
    expires_at: Option<Timestamp>,
}

impl Authority {
    pub(super) fn of(caller: &Caller) -> Self {
        Self {
            sessions: caller.session.iter().cloned().collect(),
            expires_at: caller.expires_at,
        }
    }
}

impl Connection {
    fn authority(&self) -> MutexGuard<'_, Authority> {
        self.authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lives by another token of the same user from now on.
    pub fn renew(&self, caller: &Caller) {
        let mut authority = self.authority();
        authority.expires_at = caller.expires_at;
        if let Some(session) = &caller.session {
            authority.sessions.retain(|s| s != session);
            authority.sessions.push(session.clone());
        }
    }

    /// Whether it lives by this session's token.
    #[must_use]
    pub fn lives_by(&self, session: &str) -> bool {
        self.authority()
            .sessions
            .last()
            .is_some_and(|s| s == session)
    }

    /// Whether it has had a token of this session.
    #[must_use]
    pub fn has_had(&self, session: Option<&str>) -> bool {
        let authority = self.authority();
        match session {
            Some(session) => authority.sessions.iter().any(|s| s == session),
            None => authority.sessions.is_empty(),
        }
    }

    /// A session that it had before its present one is over.
    pub(in crate::fanout) fn forget_session(&self, session: &str) {
        self.authority().sessions.retain(|s| s != session);
    }

    /// Whether its authority goes on after `now`: it was renewed, if the token that a request brings has run out.
    #[must_use]
    pub fn outlives(&self, now: Timestamp) -> bool {
        self.authority().expires_at.is_none_or(|at| at > now)
    }

    /// Whether its token has run out long enough ago.
    pub(super) fn is_expired(&self, wall: Timestamp) -> bool {
        let expires_at = self.authority().expires_at;
        expires_at.is_some_and(|at| at.plus(TOKEN_GRACE) <= wall)
    }
}
