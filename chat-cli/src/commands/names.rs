//! What users are called.

use std::collections::BTreeMap;

use chat_client::model::{Member, RoomId, UserId};
use chat_client::{Client, Error};
use futures_util::TryStreamExt as _;

use crate::exit::Result;

/// What users are called, as far as it was asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<UserId, String>,
}

impl Names {
    /// Learns what a room's members are called.
    pub(super) async fn learn_room(&mut self, client: &Client, room: RoomId) -> Result<()> {
        let mut members = std::pin::pin!(client.room(room).all_members());
        while let Some(member) = members.try_next().await? {
            self.learn_member(&member);
        }
        Ok(())
    }

    /// Learns what a member is called now.
    pub(super) fn learn_member(&mut self, member: &Member) {
        self.known.insert(member.user_id, member.username.clone());
    }

    /// Learns what a user is called, if that isn't known yet. One that the server doesn't know is called by id.
    pub(super) async fn learn(&mut self, client: &Client, user: UserId) -> Result<()> {
        if self.known.contains_key(&user) {
            return Ok(());
        }
        let name = match client.user(user).await {
            Ok(user) => user.username,
            Err(Error::Refused(refusal)) if refusal.status == 404 => format!("user {user}"),
            Err(error) => return Err(error.into()),
        };
        self.known.insert(user, name);
        Ok(())
    }

    /// What a user is called.
    pub(super) fn get(&self, user: UserId) -> String {
        match self.known.get(&user) {
            Some(name) => name.clone(),
            None => format!("user {user}"),
        }
    }
}
