//! What a host app does without a request: for its own users, in its own words.

use std::sync::PoisonError;

use super::{Chat, Error, IDENTITIES};
use crate::auth::{AuthError, Caller};
use crate::model::{Message, RoomId, User, UserId};
use crate::protocol::rest::SendMessage;
use crate::store::EndedSession;

impl Chat {
    /// The user of a host's `(issuer, subject)`, made at first sight with that name.
    ///
    /// # Errors
    /// `unauthenticated` if that user was deleted, `unavailable`.
    pub async fn identify(
        &self,
        issuer: String,
        subject: String,
        name: &str,
    ) -> Result<UserId, Error> {
        let identities = &self.0.identities;
        let key = (issuer, subject);
        if let Some(user) = identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(*user);
        }
        let user = self
            .store()
            .identify(&key.0, &key.1, name, self.now())
            .await?
            .ok_or(AuthError::Unauthenticated)?;
        let mut identities = identities.lock().unwrap_or_else(PoisonError::into_inner);
        if identities.len() >= IDENTITIES {
            identities.clear();
        }
        identities.insert(key, user);
        Ok(user)
    }

    /// Sends a message as a user, who must be in the room: a bot's or the app's own words.
    ///
    /// # Errors
    /// As [`Chat::send_message`].
    pub async fn send(
        &self,
        user_id: UserId,
        room: RoomId,
        content: impl Into<String>,
    ) -> Result<Message, Error> {
        let caller = Caller {
            user_id,
            session: None,
            expires_at: None,
        };
        let send = SendMessage {
            content: content.into(),
            client_message_id: None,
        };
        Ok(self.send_message(&caller, room, send).await?.message)
    }

    /// Ends a session of the host's, on all nodes: its tokens are refused, its connections close.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn end_session(&self, session: impl Into<String>) -> Result<(), Error> {
        let ended = EndedSession {
            session: session.into(),
            at: self.now(),
        };
        self.store().end_session(&ended).await?;
        self.0.end(vec![ended]).await
    }

    /// Gives a user another name; the members of each of its rooms are told.
    ///
    /// # Errors
    /// `not_found`, `username_taken` for an account that registered here, `unavailable`.
    pub async fn rename_user(&self, user: UserId, username: &str) -> Result<User, Error> {
        let user = self.store().rename_user(user, username).await??;
        self.0.jobs.notify_one();
        Ok(user)
    }

    /// Deletes a user: its sessions and connections end, its memberships go, and with `erase_messages` all it wrote.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn delete_user(&self, user: UserId, erase_messages: bool) -> Result<(), Error> {
        let ended = self
            .store()
            .delete_user(user, erase_messages, self.now())
            .await?
            .ok_or_else(Error::not_found)?;
        self.0
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, id| *id != user);
        self.0.end(ended).await?;
        self.0.fanout.close_user(user);
        self.0.jobs.notify_one();
        Ok(())
    }
}
