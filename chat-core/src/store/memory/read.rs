//! The reads of rooms: each from one state.

use std::ops::Bound;

use super::database::{Changed, Database, RoomRow};
use crate::model::{
    Event, Invite, InviteId, Member, Message, MessageId, Role, Room, RoomId, Seq, Timestamp, User,
    UserId,
};
use crate::protocol::rest::{Changes, Page};
use crate::store::{Joined, Membership, Position, Reader, Refusal};

/// The first `limit` of `items`, and whether there are more.
pub(super) fn page<T>(items: impl Iterator<Item = T>, limit: i64) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut items: Vec<T> = items.take(limit.saturating_add(1)).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    Page { items, has_more }
}

impl Database {
    pub(super) fn memberships(&self, user: UserId) -> Vec<Membership> {
        self.heads(&self.rooms_of(user).collect::<Vec<_>>())
    }

    pub(super) fn joined(&self, users: &[UserId]) -> Vec<Joined> {
        let of = |&user_id: &UserId| {
            self.rooms_of(user_id).filter_map(move |room_id| {
                let seq = self.present(room_id, user_id)?.joined;
                Some(Joined {
                    user_id,
                    room_id,
                    seq,
                })
            })
        };
        users.iter().flat_map(of).collect()
    }

    pub(super) fn heads(&self, rooms: &[RoomId]) -> Vec<Membership> {
        rooms
            .iter()
            .filter_map(|&room_id| {
                let head = self.rooms.get(&room_id)?.head;
                Some(Membership { room_id, head })
            })
            .collect()
    }

    pub(super) fn rooms_page(&self, user: UserId, after: Option<RoomId>, limit: i64) -> Page<Room> {
        let rooms = self
            .rooms_of(user)
            .filter(|&room| Some(room) > after)
            .filter_map(|room| self.room_view(room, Some(user)));
        page(rooms, limit)
    }

    pub(super) fn members_page(
        &self,
        caller: UserId,
        room: RoomId,
        after: Option<UserId>,
        limit: i64,
    ) -> Option<Page<Member>> {
        self.present(room, caller)?;
        let members = self
            .present_in(room)
            .filter(|&(user, _)| Some(user) > after)
            .filter_map(|(user, _)| self.member(room, user));
        Some(page(members, limit))
    }

    pub(super) fn invites_page(
        &self,
        caller: UserId,
        room: RoomId,
        at: Timestamp,
        after: Option<InviteId>,
        limit: i64,
    ) -> Result<Page<Invite>, Refusal> {
        match self.present(room, caller).map(|row| row.role) {
            None => return Err(Refusal::NotFound),
            Some(Role::Member) => return Err(Refusal::Forbidden),
            Some(Role::Admin) => {}
        }
        let mut invites: Vec<Invite> = self
            .open_invites(room, at)
            .map(|row| row.invite.clone())
            .filter(|invite| Some(invite.id) > after)
            .collect();
        invites.sort_by_key(|invite| invite.id);
        Ok(page(invites.into_iter(), limit))
    }

    pub(super) fn invite_room(&self, token_hash: &[u8; 32]) -> Option<RoomId> {
        let room = self.invites.get(token_hash)?.invite.room_id;
        self.live_room(room).map(|_| room)
    }

    pub(super) fn messages_page(
        &self,
        caller: UserId,
        room: RoomId,
        position: Position,
        limit: i64,
    ) -> Option<Page<Message>> {
        self.present(room, caller)?;
        let room = self.live_room(room)?;
        let place = |id: MessageId| room.message_places.get(&id).copied();
        let newest_first = |end: Bound<Seq>| {
            let mut page = page(room.visible((Bound::Unbounded, end)).rev(), limit);
            page.items.reverse();
            page
        };
        let oldest_first = |start: Seq| {
            page(
                room.visible((Bound::Excluded(start), Bound::Unbounded)),
                limit,
            )
        };
        Some(match position {
            Position::Newest => newest_first(Bound::Unbounded),
            Position::Before(id) => newest_first(Bound::Excluded(place(id)?)),
            Position::After(id) => oldest_first(place(id)?),
            Position::AfterSeq(seq) => oldest_first(seq),
        })
    }

    pub(super) fn message(
        &self,
        caller: UserId,
        room: RoomId,
        message: MessageId,
    ) -> Option<Message> {
        self.present(room, caller)?;
        let room = self.live_room(room)?;
        let row = room.messages.get(room.message_places.get(&message)?)?;
        row.message
            .deleted_at
            .is_none()
            .then(|| row.message.clone())
    }

    pub(super) fn changes(
        &self,
        reader: Reader,
        room_id: RoomId,
        since: Seq,
        from: Seq,
        limit: i64,
    ) -> Option<Changes> {
        if let Reader::Member(user) = reader {
            self.present(room_id, user)?;
        }
        let room = self.rooms.get(&room_id)?;
        let head = room.head;
        if since > head {
            return Some(Changes {
                items: Vec::new(),
                seq: head,
                has_more: false,
                complete: false,
            });
        }
        if room.deleted {
            let event = Event::RoomDeleted { room_id, seq: head };
            return Some(Changes {
                items: (since < head).then_some(event).into_iter().collect(),
                seq: head,
                has_more: false,
                complete: true,
            });
        }
        let items = room
            .changed
            .range((Bound::Excluded(since), Bound::Unbounded))
            .filter_map(|(&seq, changed)| self.event(room_id, room, seq, *changed, from));
        let Page { items, has_more } = page(items, limit);
        Some(Changes {
            seq: match items.last() {
                Some(last) if has_more => last.seq(),
                _ => head,
            },
            items,
            has_more,
            complete: from >= room.pruned,
        })
    }

    /// What stands at `seq`, as it is now, for someone whose catch-up began at `from`.
    fn event(
        &self,
        room_id: RoomId,
        room: &RoomRow,
        seq: Seq,
        changed: Changed,
        from: Seq,
    ) -> Option<Event> {
        Some(match changed {
            Changed::Message(place) => {
                let message = room.messages.get(&place)?.message.clone();
                if message.deleted_at.is_some() {
                    Event::MessageDeleted(message)
                } else if place > from {
                    Event::MessageCreated(message)
                } else {
                    Event::MessageEdited(message)
                }
            }
            Changed::Member(user_id) => {
                let row = self.members.get(&(room_id, user_id))?;
                let member = self.member(room_id, user_id)?;
                match row.left {
                    Some((_, reason)) => Event::MemberLeft {
                        room_id,
                        seq,
                        user_id,
                        reason,
                    },
                    None if row.joined > from => Event::MemberJoined {
                        room_id,
                        seq,
                        member,
                    },
                    None => Event::MemberChanged {
                        room_id,
                        seq,
                        member,
                    },
                }
            }
            Changed::Name => Event::RoomChanged {
                room_id,
                seq,
                room: self.room_view(room_id, None)?,
            },
            Changed::MessagesDeleted(sender_id) => Event::MessagesDeleted {
                room_id,
                seq,
                sender_id,
            },
            Changed::Roles(role) => Event::MembersChanged { room_id, seq, role },
        })
    }

    pub(super) fn user(&self, caller: UserId, user: UserId) -> Option<User> {
        let known = caller == user
            || self.ever_rooms_of(caller).any(|room| {
                let mine = self.members.get(&(room, caller));
                let theirs = self.members.get(&(room, user));
                matches!((mine, theirs), (Some(mine), Some(theirs))
                    if mine.left.is_none_or(|(seq, _)| theirs.first_joined < seq))
            });
        known.then(|| self.user_view(user, caller == user))?
    }
}

impl RoomRow {
    /// The messages between two places that history shows, oldest first.
    fn visible(
        &self,
        places: (Bound<Seq>, Bound<Seq>),
    ) -> impl DoubleEndedIterator<Item = Message> + '_ {
        self.messages
            .range(places)
            .map(|(_, row)| &row.message)
            .filter(|message| message.deleted_at.is_none())
            .cloned()
    }
}
