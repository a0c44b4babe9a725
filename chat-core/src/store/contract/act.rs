//! Short forms of changes, and the times at which they happen.

use std::time::Duration;

use crate::model::limits::Limits;
use crate::model::{InviteId, MessageId, Role, RoomId, Timestamp, UserId};
use crate::store::{Change, CommitContext, TokenHash};

/// `seconds` after the moment at which every test begins.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_123).plus(Duration::from_secs(seconds))
}

/// Later than any test goes.
pub(super) fn far_off() -> Timestamp {
    at(100 * 365 * 86_400)
}

/// What a batch at a moment is committed with: the default limits and no outbox.
pub(super) fn ctx(at: Timestamp) -> CommitContext {
    CommitContext {
        at,
        limits: Limits::default(),
        outbox: None,
    }
}

/// The same under other limits.
pub(super) fn limited(limits: Limits) -> CommitContext {
    CommitContext {
        limits,
        ..ctx(at(0))
    }
}

pub(super) fn send(room_id: RoomId, sender_id: UserId, content: &str) -> Change {
    Change::SendMessage {
        room_id,
        sender_id,
        content: content.to_owned(),
        client_message_id: None,
    }
}

pub(super) fn send_as(room_id: RoomId, sender_id: UserId, content: &str, id: &str) -> Change {
    Change::SendMessage {
        room_id,
        sender_id,
        content: content.to_owned(),
        client_message_id: Some(id.to_owned()),
    }
}

pub(super) fn edit(room_id: RoomId, by: UserId, message_id: MessageId, content: &str) -> Change {
    Change::EditMessage {
        room_id,
        message_id,
        by,
        content: content.to_owned(),
    }
}

pub(super) fn delete(room_id: RoomId, by: UserId, message_id: MessageId) -> Change {
    Change::DeleteMessage {
        room_id,
        message_id,
        by,
    }
}

pub(super) fn create_room(by: UserId, name: &str) -> Change {
    Change::CreateRoom {
        by,
        name: name.to_owned(),
    }
}

pub(super) fn rename_room(room_id: RoomId, by: UserId, name: &str) -> Change {
    Change::RenameRoom {
        room_id,
        by,
        name: name.to_owned(),
    }
}

pub(super) fn delete_room(room_id: RoomId, by: UserId) -> Change {
    Change::DeleteRoom { room_id, by }
}

pub(super) fn set_role(room_id: RoomId, by: UserId, user_id: UserId, role: Role) -> Change {
    Change::SetRole {
        room_id,
        by,
        user_id,
        role,
    }
}

pub(super) fn remove(room_id: RoomId, by: UserId, user_id: UserId) -> Change {
    Change::RemoveMember {
        room_id,
        by,
        user_id,
        delete_messages: false,
    }
}

pub(super) fn remove_with_messages(room_id: RoomId, by: UserId, user_id: UserId) -> Change {
    Change::RemoveMember {
        room_id,
        by,
        user_id,
        delete_messages: true,
    }
}

pub(super) fn leave(room_id: RoomId, user_id: UserId) -> Change {
    remove(room_id, user_id, user_id)
}

pub(super) fn leave_with_messages(room_id: RoomId, user_id: UserId) -> Change {
    remove_with_messages(room_id, user_id, user_id)
}

pub(super) fn invite(
    room_id: RoomId,
    by: UserId,
    token_hash: TokenHash,
    expires_at: Timestamp,
    max_uses: Option<i64>,
) -> Change {
    Change::CreateInvite {
        room_id,
        by,
        token_hash,
        expires_at,
        max_uses,
    }
}

pub(super) fn revoke(room_id: RoomId, by: UserId, invite_id: InviteId) -> Change {
    Change::RevokeInvite {
        room_id,
        by,
        invite_id,
    }
}

pub(super) fn accept(room_id: RoomId, user_id: UserId, token_hash: TokenHash) -> Change {
    Change::AcceptInvite {
        room_id,
        user_id,
        token_hash,
    }
}
