//! What is in a room, as far as its events tell.

use std::collections::BTreeMap;

use chat_core::model::{Event, Message, MessageId, Role, Seq, UserId};

/// A room as built from its events after `start`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomModel {
    /// The place after which its events were told.
    pub(crate) start: Seq,
    /// The place of the last event that was told.
    pub(crate) last: Seq,
    /// Deleted ones stay, with `deletedAt`.
    pub(crate) messages: BTreeMap<MessageId, Message>,
    /// Name and role of those who are in; `None` for those who are out.
    pub(crate) members: BTreeMap<UserId, Option<(String, Role)>>,
    pub(crate) name: Option<String>,
    pub(crate) deleted: bool,
}

impl RoomModel {
    pub(crate) fn at(start: Seq) -> Self {
        Self {
            start,
            last: start,
            ..Self::default()
        }
    }

    /// Takes a change in: insert or replace.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.last = self.last.max(event.seq());
        match event {
            Event::MessageCreated(m) | Event::MessageEdited(m) | Event::MessageDeleted(m) => {
                self.messages.insert(m.id, m.clone());
            }
            Event::MessagesDeleted { seq, sender_id, .. } => {
                self.messages
                    .retain(|_, m| m.sender_id != *sender_id || m.seq > *seq);
            }
            Event::MemberJoined { member, .. } | Event::MemberChanged { member, .. } => {
                let state = (member.username.clone(), member.role);
                self.members.insert(member.user_id, Some(state));
            }
            Event::MembersChanged { role, .. } => {
                for state in self.members.values_mut().flatten() {
                    state.1 = *role;
                }
            }
            Event::MemberLeft { user_id, .. } => {
                self.members.insert(*user_id, None);
            }
            Event::RoomChanged { room, .. } => self.name = Some(room.name.clone()),
            Event::RoomDeleted { .. } => self.deleted = true,
        }
    }

    /// The messages that are there.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &Message> {
        self.messages.values().filter(|m| m.deleted_at.is_none())
    }
}
