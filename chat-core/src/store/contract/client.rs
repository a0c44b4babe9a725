//! A room as a client knows it, from nothing but events: what `api.md` says that a client does with each.

use std::collections::BTreeMap;

use super::Backend;
use crate::model::{Event, Member, Message, MessageId, Role, RoomId, Seq, UserId};
use crate::store::{Position, Reader, StoreError};

/// What a client holds of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) room: RoomId,
    pub(super) name: String,
    pub(super) members: BTreeMap<UserId, Member>,
    /// Those that aren't deleted.
    pub(super) messages: BTreeMap<MessageId, Message>,
    pub(super) deleted: bool,
    pub(super) seq: Seq,
}

impl Client {
    /// One that knows the room's name and nothing else yet.
    pub(super) fn new(room: RoomId, name: &str) -> Self {
        Self {
            room,
            name: name.to_owned(),
            members: BTreeMap::new(),
            messages: BTreeMap::new(),
            deleted: false,
            seq: Seq::ZERO,
        }
    }

    /// Applies the next event as it was pushed.
    pub(super) fn push(&mut self, event: &Event) {
        assert_eq!(event.seq(), self.seq.next(), "no hole: {event:?}");
        self.apply(event);
    }

    /// Applies an event, which changes the room beyond what is known.
    fn apply(&mut self, event: &Event) {
        assert_eq!(event.room_id(), self.room);
        assert!(event.seq() > self.seq, "forward: {event:?}");
        assert!(!self.deleted, "nothing follows the end: {event:?}");
        self.seq = event.seq();
        match event {
            Event::MessageCreated(message) | Event::MessageEdited(message) => {
                assert_eq!(message.deleted_at, None);
                self.messages.insert(message.id, message.clone());
            }
            Event::MessageDeleted(message) => {
                assert_eq!(message.content, "");
                assert!(message.deleted_at.is_some());
                self.messages.remove(&message.id);
            }
            Event::MessagesDeleted { seq, sender_id, .. } => {
                self.messages
                    .retain(|_, m| m.sender_id != *sender_id || m.seq > *seq);
            }
            Event::MemberJoined { member, .. } | Event::MemberChanged { member, .. } => {
                self.members.insert(member.user_id, member.clone());
            }
            Event::MembersChanged { role, .. } => {
                for member in self.members.values_mut() {
                    member.role = *role;
                }
            }
            Event::MemberLeft { user_id, .. } => {
                self.members.remove(user_id);
            }
            Event::RoomChanged { room, .. } => {
                assert_eq!(room.role, None);
                self.name.clone_from(&room.name);
            }
            Event::RoomDeleted { .. } => {
                self.deleted = true;
                self.members.clear();
                self.messages.clear();
            }
        }
    }

    /// Reads one page of `changes`, in a catch-up that began at `from`; answers whether there is more.
    pub(super) async fn read_page(
        &mut self,
        backend: &Backend,
        reader: Reader,
        from: Seq,
        limit: i64,
    ) -> Result<bool, StoreError> {
        let page = backend
            .store
            .changes(reader, self.room, self.seq, from, limit)
            .await?;
        let page = page.expect("the reader may read the room");
        assert!(page.complete, "nothing was removed");
        assert!(page.items.len() <= usize::try_from(limit).unwrap_or(0));
        for event in &page.items {
            let created = match event {
                Event::MessageCreated(message) => Some(message.seq),
                Event::MessageEdited(message) => {
                    assert!(message.seq <= from, "it is new since {from}: {event:?}");
                    None
                }
                _ => None,
            };
            assert!(created.is_none_or(|seq| seq > from), "{from}: {event:?}");
            self.apply(event);
        }
        if page.has_more {
            assert_eq!(page.seq, self.seq, "a page ends at its last item");
        }
        assert!(page.seq >= self.seq);
        self.seq = page.seq;
        Ok(page.has_more)
    }

    /// Catches up from where it stands, in pages of `limit`.
    pub(super) async fn catch_up(
        &mut self,
        backend: &Backend,
        reader: Reader,
        limit: i64,
    ) -> Result<(), StoreError> {
        let from = self.seq;
        while self.read_page(backend, reader, from, limit).await? {}
        Ok(())
    }

    /// Checks that what it holds is what the database shows to each member and to nobody else.
    pub(super) async fn assert_is_current(
        &self,
        backend: &Backend,
        everyone: &[UserId],
        limit: i64,
    ) -> Result<(), StoreError> {
        let store = &backend.store;
        let admins = self.members.values().filter(|m| m.role == Role::Admin);
        assert_eq!(self.deleted, admins.count() == 0, "an admin, or no room");
        for &user in everyone {
            let shown = store.room(user, self.room).await?;
            let Some(member) = self.members.get(&user) else {
                assert_eq!(shown, None);
                continue;
            };
            let shown = shown.expect("a member sees the room");
            assert_eq!(
                (&shown.name, shown.seq, shown.role),
                (&self.name, self.seq, Some(member.role))
            );
            assert_eq!(usize::try_from(shown.member_count), Ok(self.members.len()));
            let heads = store.memberships(user).await?;
            let head = heads.iter().find(|head| head.room_id == self.room);
            assert_eq!(head.map(|head| head.head), Some(self.seq));
        }
        if let Some(&reader) = self.members.keys().next() {
            self.assert_pages_are_current(backend, reader, limit)
                .await?;
        }
        Ok(())
    }

    async fn assert_pages_are_current(
        &self,
        backend: &Backend,
        reader: UserId,
        limit: i64,
    ) -> Result<(), StoreError> {
        let store = &backend.store;
        let mut members = Vec::new();
        loop {
            let after = members.last().map(|member: &Member| member.user_id);
            let page = store.members(reader, self.room, after, limit).await?;
            let page = page.expect("a member reads them");
            members.extend(page.items);
            if !page.has_more {
                break;
            }
        }
        assert!(members.iter().eq(self.members.values()), "{members:?}");

        let mut messages: Vec<&Message> = self.messages.values().collect();
        messages.sort_by_key(|message| message.seq);
        let mut forwards: Vec<Message> = Vec::new();
        loop {
            let position = match forwards.last() {
                Some(last) => Position::After(last.id),
                None => Position::AfterSeq(Seq::ZERO),
            };
            let page = store.messages(reader, self.room, position, limit).await?;
            let page = page.expect("a member reads them");
            forwards.extend(page.items);
            assert_eq!(page.has_more, forwards.len() < messages.len());
            if !page.has_more {
                break;
            }
        }
        assert!(forwards.iter().eq(messages.iter().copied()), "{forwards:?}");

        let mut backwards: Vec<Message> = Vec::new();
        loop {
            let position = match backwards.last() {
                Some(oldest) => Position::Before(oldest.id),
                None => Position::Newest,
            };
            let page = store.messages(reader, self.room, position, limit).await?;
            let page = page.expect("a member reads them");
            backwards.extend(page.items.into_iter().rev());
            assert_eq!(page.has_more, backwards.len() < messages.len());
            if !page.has_more {
                break;
            }
        }
        assert!(backwards.iter().rev().eq(messages), "{backwards:?}");
        Ok(())
    }
}
