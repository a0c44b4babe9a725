//! Logins and sessions.

use super::database::{Database, Login, Replaced, SessionRow, UserRow};
use crate::model::limits::fold;
use crate::model::{Session, SessionId, Timestamp, User, UserId};
use crate::protocol::rest::Page;
use crate::store::{Credentials, EndedSession, Rotated, TokenHash, UserRefusal};

/// [`NewSession`](crate::store::NewSession) with its texts owned.
pub(super) struct OwnedSession {
    pub(super) user_id: UserId,
    pub(super) device: String,
    pub(super) refresh_hash: TokenHash,
    pub(super) at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) address_hash: Option<TokenHash>,
    pub(super) max_sessions: i64,
}

/// [`Rotation`](crate::store::Rotation) with its bytes owned.
pub(super) struct OwnedRotation {
    pub(super) presented: TokenHash,
    pub(super) successor: TokenHash,
    pub(super) sealed_successor: Vec<u8>,
    pub(super) at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) grace_from: Timestamp,
}

impl Database {
    pub(super) fn create_account(
        &mut self,
        email: &str,
        username: &str,
        password_hash: &str,
        at: Timestamp,
    ) -> Result<User, UserRefusal> {
        let (folded_email, folded_username) = (fold(email), fold(username));
        if self.emails.contains_key(&folded_email) {
            return Err(UserRefusal::EmailTaken);
        }
        if self.usernames.contains_key(&folded_username) {
            return Err(UserRefusal::UsernameTaken);
        }
        let id = UserId(self.next_id());
        self.emails.insert(folded_email, id);
        self.usernames.insert(folded_username, id);
        self.users.insert(
            id,
            UserRow {
                username: username.to_owned(),
                created_at: at,
                deleted: false,
                login: Some(Login {
                    email: email.to_owned(),
                    password_hash: password_hash.to_owned(),
                }),
            },
        );
        self.user_view(id, true).ok_or(UserRefusal::NotFound)
    }

    pub(super) fn credentials_by_email(&self, email: &str) -> Option<Credentials> {
        self.credentials(*self.emails.get(&fold(email))?)
    }

    pub(super) fn credentials(&self, user: UserId) -> Option<Credentials> {
        let login = self.users.get(&user)?.login.as_ref()?;
        Some(Credentials {
            user: self.user_view(user, true)?,
            password_hash: login.password_hash.clone(),
        })
    }

    /// Replaces a password's hash; false if it was another.
    pub(super) fn swap_password(&mut self, user: UserId, old: &str, new: &str) -> bool {
        match self.users.get_mut(&user).and_then(|row| row.login.as_mut()) {
            Some(login) if login.password_hash == old => {
                new.clone_into(&mut login.password_hash);
                true
            }
            _ => false,
        }
    }

    pub(super) fn set_password(
        &mut self,
        user: UserId,
        old: &str,
        new: &str,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Option<Vec<EndedSession>> {
        self.swap_password(user, old, new)
            .then(|| self.end_sessions_of(user, keep, at))
    }

    /// Ends a session and notes it.
    fn end(&mut self, session: SessionId, at: Timestamp) -> EndedSession {
        self.sessions.remove(&session);
        self.refresh_tokens.retain(|_, owner| *owner != session);
        let ended = EndedSession {
            session: session.to_string(),
            at,
        };
        self.end_session(&ended);
        ended
    }

    pub(super) fn end_session(&mut self, ended: &EndedSession) {
        let at = self
            .ended_sessions
            .entry(ended.session.clone())
            .or_default();
        *at = ended.at.max(*at);
    }

    pub(super) fn end_sessions_of(
        &mut self,
        user: UserId,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Vec<EndedSession> {
        let ids: Vec<SessionId> = self
            .living_sessions(user, at)
            .map(|(id, _)| id)
            .filter(|&id| Some(id) != keep)
            .collect();
        ids.into_iter().map(|id| self.end(id, at)).collect()
    }

    /// A user's sessions that live at a moment, by id.
    fn living_sessions(
        &self,
        user: UserId,
        at: Timestamp,
    ) -> impl Iterator<Item = (SessionId, &SessionRow)> + '_ {
        self.sessions
            .iter()
            .filter(move |(_, row)| row.user_id == user && at < row.expires_at)
            .map(|(&id, row)| (id, row))
    }

    pub(super) fn create_session(
        &mut self,
        new: &OwnedSession,
    ) -> Option<(SessionId, Vec<EndedSession>)> {
        self.users.get(&new.user_id).filter(|row| !row.deleted)?;
        let mut by_use: Vec<(Timestamp, SessionId)> = self
            .living_sessions(new.user_id, new.at)
            .map(|(id, row)| (row.last_used_at, id))
            .collect();
        by_use.sort_unstable();
        let keep = usize::try_from(new.max_sessions - 1).unwrap_or(0);
        by_use.truncate(by_use.len().saturating_sub(keep));
        let ended = by_use
            .into_iter()
            .map(|(_, id)| self.end(id, new.at))
            .collect();
        let id = SessionId(self.next_id());
        self.sessions.insert(
            id,
            SessionRow {
                user_id: new.user_id,
                device: new.device.clone(),
                created_at: new.at,
                last_used_at: new.at,
                expires_at: new.expires_at,
                refresh_hash: new.refresh_hash,
                replaced: None,
            },
        );
        self.refresh_tokens.insert(new.refresh_hash, id);
        if let Some(address) = new.address_hash {
            self.addresses.insert((new.user_id, address), new.at);
        }
        Some((id, ended))
    }

    pub(super) fn rotate(&mut self, rotation: &OwnedRotation) -> Rotated {
        let Some(&session) = self.refresh_tokens.get(&rotation.presented) else {
            return Rotated::Unknown;
        };
        let Some(row) = self
            .sessions
            .get_mut(&session)
            .filter(|row| rotation.at < row.expires_at)
        else {
            return Rotated::Unknown;
        };
        let user_id = row.user_id;
        if row.refresh_hash == rotation.presented {
            row.replaced = Some(Replaced {
                refresh_hash: rotation.presented,
                at: rotation.at,
                sealed_successor: rotation.sealed_successor.clone(),
            });
            row.refresh_hash = rotation.successor;
            row.last_used_at = rotation.at;
            row.expires_at = rotation.expires_at;
            self.refresh_tokens.insert(rotation.successor, session);
            return match self.user_view(user_id, true) {
                Some(user) => Rotated::Fresh { session, user },
                None => Rotated::Unknown,
            };
        }
        let again = row
            .replaced
            .as_ref()
            .filter(|replaced| {
                replaced.refresh_hash == rotation.presented && replaced.at >= rotation.grace_from
            })
            .map(|replaced| (replaced.sealed_successor.clone(), row.expires_at));
        match (again, self.user_view(user_id, true)) {
            (Some((sealed_successor, expires_at)), Some(user)) => Rotated::Again {
                session,
                user,
                sealed_successor,
                expires_at,
            },
            _ => {
                self.end(session, rotation.at);
                Rotated::Reused { session }
            }
        }
    }

    pub(super) fn sessions_page(
        &self,
        user: UserId,
        at: Timestamp,
        after: Option<SessionId>,
        limit: i64,
    ) -> Page<Session> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let mut items: Vec<Session> = self
            .living_sessions(user, at)
            .filter(|&(id, _)| Some(id) > after)
            .take(limit.saturating_add(1))
            .map(|(id, row)| Session {
                id,
                device: row.device.clone(),
                created_at: row.created_at,
                last_used_at: row.last_used_at,
                current: false,
            })
            .collect();
        let has_more = items.len() > limit;
        items.truncate(limit);
        Page { items, has_more }
    }

    pub(super) fn end_user_session(
        &mut self,
        user: UserId,
        session: SessionId,
        at: Timestamp,
    ) -> bool {
        let owned = self
            .sessions
            .get(&session)
            .is_some_and(|row| row.user_id == user);
        if owned {
            self.end(session, at);
        }
        owned
    }

    pub(super) fn knows_address(
        &self,
        user: UserId,
        address: &TokenHash,
        since: Timestamp,
    ) -> bool {
        self.addresses
            .get(&(user, *address))
            .is_some_and(|&at| at >= since)
    }
}
