//! How rows become what the model speaks of.

use serde::Deserialize;

use super::fault::Fault;
use crate::model::{
    LeaveReason, Member, Message, MessageId, Role, Room, RoomId, Seq, Timestamp, User, UserId,
};
use crate::protocol::rest::Page;
use crate::store::TokenHash;

/// A message as the stored functions write it, a JSON array: `id, seq, changed_seq, sender_id, sent_at, edited_at, deleted_at,
/// client_message_id, content`, as a reader may see it.
#[derive(Deserialize)]
pub(super) struct MessageRow(
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<String>,
    String,
);

impl MessageRow {
    pub(super) fn message(self, room_id: RoomId) -> Message {
        let Self(id, seq, changed_seq, sender_id, sent_at, edited_at, deleted_at, cmid, content) =
            self;
        Message {
            id: MessageId(id),
            room_id,
            seq: Seq(seq),
            changed_seq: Seq(changed_seq),
            sender_id: UserId(sender_id),
            content,
            sent_at: Timestamp::from_millis(sent_at),
            edited_at: edited_at.map(Timestamp::from_millis),
            deleted_at: deleted_at.map(Timestamp::from_millis),
            client_message_id: cmid,
        }
    }
}

pub(super) const fn role(is_admin: bool) -> Role {
    if is_admin { Role::Admin } else { Role::Member }
}

/// `user_id, username, is_admin, joined_at`
pub(super) type MemberRow = (i64, String, bool, i64);

pub(super) fn member((user_id, username, is_admin, joined_at): MemberRow) -> Member {
    Member {
        user_id: UserId(user_id),
        username,
        role: role(is_admin),
        joined_at: Timestamp::from_millis(joined_at),
    }
}

/// `id, name, created_at, member_count, seq, is_admin`
pub(super) type RoomRow = (i64, String, i64, i64, i64, bool);

pub(super) fn room((id, name, created_at, member_count, seq, is_admin): RoomRow) -> Room {
    Room {
        id: RoomId(id),
        name,
        created_at: Timestamp::from_millis(created_at),
        member_count,
        seq: Seq(seq),
        role: Some(role(is_admin)),
    }
}

/// `id, username, created_at, email`
pub(super) type UserRow = (i64, String, i64, Option<String>);

pub(super) fn user((id, username, created_at, email): UserRow) -> User {
    User {
        id: UserId(id),
        username,
        email,
        created_at: Timestamp::from_millis(created_at),
    }
}

/// What the column `left_reason` says.
pub(super) fn reason(text: &str) -> LeaveReason {
    match text {
        "removed" => LeaveReason::Removed,
        "accountDeleted" => LeaveReason::AccountDeleted,
        _ => LeaveReason::Left,
    }
}

pub(super) fn sha256(bytes: &[u8]) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// The page of at most `limit` items, out of up to one more.
pub(super) fn page<T>(mut items: Vec<T>, limit: i64) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let has_more = items.len() > limit;
    items.truncate(limit);
    Page { items, has_more }
}

/// Reads JSON that a stored function wrote.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    Ok(serde_json::from_str(text)?)
}
