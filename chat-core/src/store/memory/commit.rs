//! The changes of rooms: each checks everything first, then writes.

use aws_lc_rs::digest;

use super::database::{Changed, Database, InviteRow, MemberRow, MessageRow, RoomRow};
use crate::model::{
    Event, Invite, InviteId, LeaveReason, Message, MessageId, Role, RoomId, Seq, Timestamp, UserId,
};
use crate::store::{Change, CommitContext, Committed, JobKind, Outcome, Refusal, TokenHash};

type Answer = Result<Committed, Refusal>;

fn unchanged(outcome: Outcome) -> Committed {
    Committed {
        events: Vec::new(),
        outcome,
    }
}

fn hash(content: &str) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, content.as_bytes()).as_ref());
    hash
}

impl Database {
    pub(super) fn commit(&mut self, ctx: &CommitContext, changes: &[Change]) -> Vec<Answer> {
        changes
            .iter()
            .map(|change| {
                let answer = self.apply(ctx, change);
                if let (Some(node), Ok(committed)) = (ctx.outbox, &answer) {
                    for event in &committed.events {
                        self.outbox
                            .insert((event.room_id(), event.seq()), (node, event.clone()));
                    }
                }
                answer
            })
            .collect()
    }

    fn apply(&mut self, ctx: &CommitContext, change: &Change) -> Answer {
        match change {
            Change::SendMessage {
                room_id,
                sender_id,
                content,
                client_message_id,
            } => self.send(
                ctx.at,
                *room_id,
                *sender_id,
                content,
                client_message_id.as_deref(),
            ),
            Change::EditMessage {
                room_id,
                message_id,
                by,
                content,
            } => self.edit(ctx.at, *room_id, *message_id, *by, content),
            Change::DeleteMessage {
                room_id,
                message_id,
                by,
            } => self.delete_message(ctx.at, *room_id, *message_id, *by),
            Change::CreateRoom { by, name } => self.create_room(ctx, *by, name),
            Change::RenameRoom { room_id, by, name } => self.rename_room(*room_id, *by, name),
            Change::DeleteRoom { room_id, by } => {
                self.require_admin(*room_id, *by)?;
                let event = self.delete_room(*room_id)?;
                Ok(Committed {
                    events: vec![event],
                    outcome: Outcome::Done,
                })
            }
            Change::SetRole {
                room_id,
                by,
                user_id,
                role,
            } => self.set_role(*room_id, *by, *user_id, *role),
            Change::RemoveMember {
                room_id,
                by,
                user_id,
                delete_messages,
            } => self.remove_member(ctx.at, *room_id, *by, *user_id, *delete_messages),
            Change::CreateInvite {
                room_id,
                by,
                token_hash,
                expires_at,
                max_uses,
            } => self.create_invite(ctx, *room_id, *by, *token_hash, *expires_at, *max_uses),
            Change::RevokeInvite {
                room_id,
                by,
                invite_id,
            } => self.revoke_invite(*room_id, *by, *invite_id),
            Change::AcceptInvite {
                room_id,
                user_id,
                token_hash,
            } => self.accept_invite(ctx, *room_id, *user_id, token_hash),
            Change::RefreshMember { room_id, user_id } => {
                Ok(self.refresh_member(*room_id, *user_id))
            }
            Change::RemoveAccount {
                room_id,
                user_id,
                delete_messages,
            } => Ok(self.remove_account(ctx.at, *room_id, *user_id, *delete_messages)),
        }
    }

    fn require_member(&self, room: RoomId, user: UserId) -> Result<Role, Refusal> {
        self.present(room, user)
            .map(|row| row.role)
            .ok_or(Refusal::NotFound)
    }

    pub(super) fn require_admin(&self, room: RoomId, user: UserId) -> Result<(), Refusal> {
        match self.require_member(room, user)? {
            Role::Admin => Ok(()),
            Role::Member => Err(Refusal::Forbidden),
        }
    }

    fn require_user(&self, user: UserId) -> Result<(), Refusal> {
        match self.users.get(&user) {
            Some(row) if !row.deleted => Ok(()),
            _ => Err(Refusal::NotFound),
        }
    }

    fn room_mut(&mut self, room: RoomId) -> Result<&mut RoomRow, Refusal> {
        self.rooms.get_mut(&room).ok_or(Refusal::NotFound)
    }

    fn has_room_for_one_more(&self, ctx: &CommitContext, user: UserId) -> Result<(), Refusal> {
        let limit = usize::try_from(ctx.limits.rooms_per_user).unwrap_or(0);
        if self.rooms_of(user).count() < limit {
            Ok(())
        } else {
            Err(Refusal::RoomsPerUser)
        }
    }

    fn send(
        &mut self,
        at: Timestamp,
        room_id: RoomId,
        sender_id: UserId,
        content: &str,
        client_message_id: Option<&str>,
    ) -> Answer {
        self.require_member(room_id, sender_id)?;
        let first_content = hash(content);
        let id = MessageId(self.next_id());
        let room = self.room_mut(room_id)?;
        let sent_as = client_message_id.map(|text| (sender_id, text.to_owned()));
        if let Some(key) = &sent_as
            && let Some(row) = room.sent.get(key).and_then(|at| room.messages.get(at))
        {
            return if row.first_content == first_content {
                Ok(unchanged(Outcome::Message(row.message.clone())))
            } else {
                Err(Refusal::ClientMessageIdReused)
            };
        }
        let seq = room.place(None, Changed::Message);
        let message = Message {
            id,
            room_id,
            seq,
            changed_seq: seq,
            sender_id,
            content: content.to_owned(),
            sent_at: at,
            edited_at: None,
            deleted_at: None,
            client_message_id: client_message_id.map(str::to_owned),
        };
        room.message_places.insert(id, seq);
        room.messages.insert(
            seq,
            MessageRow {
                message: message.clone(),
                first_content,
            },
        );
        if let Some(key) = sent_as {
            room.sent.insert(key, seq);
        }
        Ok(Committed {
            events: vec![Event::MessageCreated(message)],
            outcome: Outcome::Event,
        })
    }

    fn edit(
        &mut self,
        at: Timestamp,
        room_id: RoomId,
        message_id: MessageId,
        by: UserId,
        content: &str,
    ) -> Answer {
        self.require_member(room_id, by)?;
        let room = self.room_mut(room_id)?;
        let message = room.undeleted(message_id)?;
        if message.sender_id != by {
            return Err(Refusal::Forbidden);
        }
        if message.content == content {
            return Ok(unchanged(Outcome::Message(message.clone())));
        }
        let message = room.change_message(message_id, |message| {
            content.clone_into(&mut message.content);
            message.edited_at = Some(at);
        })?;
        Ok(Committed {
            events: vec![Event::MessageEdited(message)],
            outcome: Outcome::Event,
        })
    }

    fn delete_message(
        &mut self,
        at: Timestamp,
        room_id: RoomId,
        message_id: MessageId,
        by: UserId,
    ) -> Answer {
        let role = self.require_member(room_id, by)?;
        let room = self.room_mut(room_id)?;
        if room.undeleted(message_id)?.sender_id != by && role != Role::Admin {
            return Err(Refusal::Forbidden);
        }
        let message = room.change_message(message_id, |message| erase(message, at))?;
        Ok(Committed {
            events: vec![Event::MessageDeleted(message)],
            outcome: Outcome::Event,
        })
    }

    fn create_room(&mut self, ctx: &CommitContext, by: UserId, name: &str) -> Answer {
        self.require_user(by)?;
        self.has_room_for_one_more(ctx, by)?;
        let id = RoomId(self.next_id());
        self.rooms.insert(id, RoomRow::new(name, ctx.at));
        let event = self.join(id, by, Role::Admin, ctx.at)?;
        Ok(Committed {
            events: vec![event],
            outcome: Outcome::Room(self.room_view(id, Some(by)).ok_or(Refusal::NotFound)?),
        })
    }

    fn rename_room(&mut self, room_id: RoomId, by: UserId, name: &str) -> Answer {
        self.require_admin(room_id, by)?;
        let room = self.room_mut(room_id)?;
        let mut events = Vec::new();
        if room.name != name {
            name.clone_into(&mut room.name);
            let last = room
                .changed
                .iter()
                .find_map(|(&seq, changed)| (*changed == Changed::Name).then_some(seq));
            let seq = room.place(last, |_| Changed::Name);
            let room = self.room_view(room_id, None).ok_or(Refusal::NotFound)?;
            events.push(Event::RoomChanged { room_id, seq, room });
        }
        Ok(Committed {
            events,
            outcome: Outcome::Room(self.room_view(room_id, Some(by)).ok_or(Refusal::NotFound)?),
        })
    }

    /// Lets nobody be in the room any more.
    fn delete_room(&mut self, room_id: RoomId) -> Result<Event, Refusal> {
        let room = self.room_mut(room_id)?;
        room.head = room.head.next();
        room.deleted = true;
        room.member_count = 0;
        let seq = room.head;
        for row in self.members_mut(room_id) {
            row.left.get_or_insert((seq, LeaveReason::Left));
        }
        Ok(Event::RoomDeleted { room_id, seq })
    }

    fn members_mut(&mut self, room: RoomId) -> impl Iterator<Item = &mut MemberRow> + '_ {
        self.members
            .range_mut((room, UserId(i64::MIN))..=(room, UserId(i64::MAX)))
            .map(|(_, row)| row)
    }

    fn admins(&self, room: RoomId) -> usize {
        self.present_in(room)
            .filter(|(_, row)| row.role == Role::Admin)
            .count()
    }

    fn set_role(&mut self, room_id: RoomId, by: UserId, user: UserId, role: Role) -> Answer {
        self.require_admin(room_id, by)?;
        let now = self.require_member(room_id, user)?;
        let mut events = Vec::new();
        if now != role {
            if now == Role::Admin && user != by {
                return Err(Refusal::Forbidden);
            }
            if now == Role::Admin && self.admins(room_id) == 1 {
                return Err(Refusal::LastAdmin);
            }
            if let Some(row) = self.members.get_mut(&(room_id, user)) {
                row.role = role;
            }
            events.push(self.member_changed(room_id, user)?);
        }
        Ok(Committed {
            events,
            outcome: Outcome::Member(self.member(room_id, user).ok_or(Refusal::NotFound)?),
        })
    }

    /// Gives a member its next place.
    fn move_member(&mut self, room_id: RoomId, user: UserId) -> Result<Seq, Refusal> {
        let Self { rooms, members, .. } = self;
        let room = rooms.get_mut(&room_id).ok_or(Refusal::NotFound)?;
        let row = members.get_mut(&(room_id, user)).ok_or(Refusal::NotFound)?;
        row.changed = room.place(Some(row.changed), |_| Changed::Member(user));
        Ok(row.changed)
    }

    fn member_changed(&mut self, room_id: RoomId, user: UserId) -> Result<Event, Refusal> {
        let seq = self.move_member(room_id, user)?;
        let member = self.member(room_id, user).ok_or(Refusal::NotFound)?;
        Ok(Event::MemberChanged {
            room_id,
            seq,
            member,
        })
    }

    fn join(
        &mut self,
        room_id: RoomId,
        user: UserId,
        role: Role,
        at: Timestamp,
    ) -> Result<Event, Refusal> {
        let room = self.room_mut(room_id)?;
        room.member_count += 1;
        let next = room.head.next();
        let row = self
            .members
            .entry((room_id, user))
            .or_insert_with(|| MemberRow {
                role,
                joined_at: at,
                first_joined: next,
                joined: next,
                changed: Seq::ZERO,
                left: None,
                removed: Seq::ZERO,
            });
        row.role = role;
        row.joined_at = at;
        row.joined = next;
        row.left = None;
        self.rooms_of.insert((user, room_id));
        let seq = self.move_member(room_id, user)?;
        let member = self.member(room_id, user).ok_or(Refusal::NotFound)?;
        Ok(Event::MemberJoined {
            room_id,
            seq,
            member,
        })
    }

    fn remove_member(
        &mut self,
        at: Timestamp,
        room_id: RoomId,
        by: UserId,
        user: UserId,
        delete_messages: bool,
    ) -> Answer {
        let reason = if by == user {
            self.require_member(room_id, by)?;
            LeaveReason::Left
        } else {
            self.require_admin(room_id, by)?;
            if self.require_member(room_id, user)? == Role::Admin {
                return Err(Refusal::Forbidden);
            }
            LeaveReason::Removed
        };
        Ok(Committed {
            events: self.depart(at, room_id, user, reason, delete_messages)?,
            outcome: Outcome::Done,
        })
    }

    /// Takes someone out of a room, with all that follows from it.
    fn depart(
        &mut self,
        at: Timestamp,
        room_id: RoomId,
        user: UserId,
        reason: LeaveReason,
        delete_messages: bool,
    ) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        let room = self.room_mut(room_id)?;
        if delete_messages {
            events.extend(room.delete_all_of(room_id, user, at));
        }
        room.member_count -= 1;
        let empty = room.member_count == 0;
        let seq = self.move_member(room_id, user)?;
        if let Some(row) = self.members.get_mut(&(room_id, user)) {
            row.left = Some((seq, reason));
            if reason == LeaveReason::Removed {
                row.removed = seq;
            }
        }
        events.push(Event::MemberLeft {
            room_id,
            seq,
            user_id: user,
            reason,
        });
        if empty {
            events.push(self.delete_room(room_id)?);
        } else if self.admins(room_id) == 0 {
            let role = Role::Admin;
            for row in self.members_mut(room_id) {
                row.role = role;
            }
            let seq = self
                .room_mut(room_id)?
                .place(None, |_| Changed::Roles(role));
            events.push(Event::MembersChanged { room_id, seq, role });
        }
        Ok(events)
    }

    fn create_invite(
        &mut self,
        ctx: &CommitContext,
        room_id: RoomId,
        by: UserId,
        token_hash: TokenHash,
        expires_at: Timestamp,
        max_uses: Option<i64>,
    ) -> Answer {
        self.require_admin(room_id, by)?;
        let limit = usize::try_from(ctx.limits.invites_per_room).unwrap_or(0);
        if self.open_invites(room_id, ctx.at).count() >= limit {
            return Err(Refusal::InvitesPerRoom);
        }
        let invite = Invite {
            id: InviteId(self.next_id()),
            room_id,
            token: None,
            created_at: ctx.at,
            expires_at,
            max_uses,
            uses: 0,
        };
        let made_at_seq = self.room_mut(room_id)?.head;
        self.invites.insert(
            token_hash,
            InviteRow {
                invite: invite.clone(),
                made_at_seq,
                revoked: false,
            },
        );
        Ok(unchanged(Outcome::Invite(invite)))
    }

    /// The invites of a room that admit someone, in no order that matters.
    pub(super) fn open_invites(
        &self,
        room: RoomId,
        at: Timestamp,
    ) -> impl Iterator<Item = &InviteRow> + '_ {
        self.invites
            .values()
            .filter(move |row| row.invite.room_id == room && row.admits(at))
    }

    fn revoke_invite(&mut self, room_id: RoomId, by: UserId, invite_id: InviteId) -> Answer {
        self.require_admin(room_id, by)?;
        let row = self
            .invites
            .values_mut()
            .find(|row| row.invite.id == invite_id && row.invite.room_id == room_id)
            .filter(|row| !row.revoked)
            .ok_or(Refusal::NotFound)?;
        row.revoked = true;
        Ok(unchanged(Outcome::Done))
    }

    fn accept_invite(
        &mut self,
        ctx: &CommitContext,
        room_id: RoomId,
        user: UserId,
        token_hash: &TokenHash,
    ) -> Answer {
        self.require_user(user)?;
        let row = self
            .invites
            .get(token_hash)
            .filter(|row| row.invite.room_id == room_id)
            .ok_or(Refusal::NotFound)?;
        let room = self.live_room(room_id).ok_or(Refusal::NotFound)?;
        if let Some(room) = self.room_view(room_id, Some(user)) {
            return Ok(unchanged(Outcome::Room(room)));
        }
        let removed = self
            .members
            .get(&(room_id, user))
            .map_or(Seq::ZERO, |member| member.removed);
        if !row.admits(ctx.at) || row.made_at_seq < removed {
            return Err(Refusal::InviteGone);
        }
        self.has_room_for_one_more(ctx, user)?;
        if room.member_count >= ctx.limits.members_per_room {
            return Err(Refusal::MembersPerRoom);
        }
        if let Some(row) = self.invites.get_mut(token_hash) {
            row.invite.uses += 1;
        }
        let event = self.join(room_id, user, Role::Member, ctx.at)?;
        Ok(Committed {
            events: vec![event],
            outcome: Outcome::Room(
                self.room_view(room_id, Some(user))
                    .ok_or(Refusal::NotFound)?,
            ),
        })
    }

    /// Takes a job off the list; false if it isn't on it.
    fn finish_job(&mut self, room_id: RoomId, user_id: UserId, kind: JobKind) -> bool {
        let found = self
            .jobs
            .iter()
            .find(|(_, job)| job.room_id == room_id && job.user_id == user_id && job.kind == kind)
            .map(|(&age, _)| age);
        found.is_some_and(|age| self.jobs.remove(&age).is_some())
    }

    fn refresh_member(&mut self, room_id: RoomId, user: UserId) -> Committed {
        let mut committed = unchanged(Outcome::Done);
        if self.finish_job(room_id, user, JobKind::Renamed) && self.present(room_id, user).is_some()
        {
            committed.events.extend(self.member_changed(room_id, user));
        }
        committed
    }

    fn remove_account(
        &mut self,
        at: Timestamp,
        room_id: RoomId,
        user: UserId,
        erase_messages: bool,
    ) -> Committed {
        let mut committed = unchanged(Outcome::Done);
        if !self.finish_job(room_id, user, JobKind::Deleted { erase_messages }) {
            return committed;
        }
        if self.present(room_id, user).is_some() {
            let events = self.depart(
                at,
                room_id,
                user,
                LeaveReason::AccountDeleted,
                erase_messages,
            );
            committed.events = events.unwrap_or_default();
        } else if erase_messages
            && let Some(room) = self.rooms.get_mut(&room_id).filter(|room| !room.deleted)
        {
            committed
                .events
                .extend(room.delete_all_of(room_id, user, at));
        }
        committed
    }
}

fn erase(message: &mut Message, at: Timestamp) {
    message.content.clear();
    message.deleted_at = Some(at);
}

impl RoomRow {
    fn new(name: &str, at: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            created_at: at,
            head: Seq::ZERO,
            member_count: 0,
            deleted: false,
            pruned: Seq::ZERO,
            messages: Default::default(),
            message_places: Default::default(),
            sent: Default::default(),
            changed: Default::default(),
        }
    }

    /// Takes the next place for something that changes, and gives up the one where it stood.
    fn place(&mut self, before: Option<Seq>, what: impl FnOnce(Seq) -> Changed) -> Seq {
        if let Some(before) = before {
            self.changed.remove(&before);
        }
        self.head = self.head.next();
        self.changed.insert(self.head, what(self.head));
        self.head
    }

    fn undeleted(&self, id: MessageId) -> Result<&Message, Refusal> {
        self.message_places
            .get(&id)
            .and_then(|place| self.messages.get(place))
            .map(|row| &row.message)
            .filter(|message| message.deleted_at.is_none())
            .ok_or(Refusal::NotFound)
    }

    fn change_message(
        &mut self,
        id: MessageId,
        change: impl FnOnce(&mut Message),
    ) -> Result<Message, Refusal> {
        let message = self.undeleted(id)?;
        let (created, last) = (message.seq, message.changed_seq);
        let seq = self.place(Some(last), |_| Changed::Message(created));
        let row = self.messages.get_mut(&created).ok_or(Refusal::NotFound)?;
        change(&mut row.message);
        row.message.changed_seq = seq;
        Ok(row.message.clone())
    }

    /// Deletes all that a user wrote, in one change; nothing if there is nothing.
    fn delete_all_of(&mut self, room_id: RoomId, user: UserId, at: Timestamp) -> Option<Event> {
        let mut any = false;
        for row in self.messages.values_mut() {
            if row.message.sender_id == user && row.message.deleted_at.is_none() {
                erase(&mut row.message, at);
                any = true;
            }
        }
        any.then(|| Event::MessagesDeleted {
            room_id,
            seq: self.place(None, |_| Changed::MessagesDeleted(user)),
            sender_id: user,
        })
    }
}

impl InviteRow {
    fn admits(&self, at: Timestamp) -> bool {
        let Invite {
            expires_at,
            max_uses,
            uses,
            ..
        } = self.invite;
        !self.revoked && at < expires_at && max_uses.is_none_or(|max| uses < max)
    }
}
