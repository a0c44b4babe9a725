//! How the rows of the SQL databases become what the model speaks of: what differs is the statements, not what they answer.

pub(super) mod changes;
pub(super) mod webhooks;

use serde::Deserialize;

use super::{Credentials, Job, JobKind, TokenHash};
use crate::model::{
    Invite, InviteId, LeaveReason, Member, Message, MessageId, Role, Room, RoomId, Seq, Session,
    SessionId, Timestamp, User, UserId,
};
use crate::protocol::rest::Page;

/// A truth as a database has it: PostgreSQL a boolean, SQLite 0 or 1.
pub(super) trait Truth {
    fn holds(self) -> bool;
}

impl Truth for bool {
    fn holds(self) -> bool {
        self
    }
}

impl Truth for i64 {
    fn holds(self) -> bool {
        self != 0
    }
}

/// A message as a JSON array: `id, seq, changed_seq, sender_id, sent_at, edited_at, deleted_at, client_message_id, content`,
/// as a reader may see it.
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

pub(super) fn role(is_admin: impl Truth) -> Role {
    if is_admin.holds() {
        Role::Admin
    } else {
        Role::Member
    }
}

/// `user_id, username, is_admin, joined_at`
pub(super) type MemberRow<T> = (i64, String, T, i64);

pub(super) fn member<T: Truth>(row: MemberRow<T>) -> Member {
    let (user_id, username, is_admin, joined_at) = row;
    Member {
        user_id: UserId(user_id),
        username,
        role: role(is_admin),
        joined_at: Timestamp::from_millis(joined_at),
    }
}

/// `id, name, created_at, member_count, seq, is_admin`
pub(super) type RoomRow<T> = (i64, String, i64, i64, i64, T);

pub(super) fn room<T: Truth>(row: RoomRow<T>) -> Room {
    let (id, name, created_at, member_count, seq, is_admin) = row;
    Room {
        id: RoomId(id),
        name,
        created_at: Timestamp::from_millis(created_at),
        member_count,
        seq: Seq(seq),
        role: Some(role(is_admin)),
    }
}

/// `id, created_at, expires_at, max_uses, uses`
pub(super) type InviteRow = (i64, i64, i64, Option<i64>, i64);

pub(super) fn invite(room_id: RoomId, row: InviteRow) -> Invite {
    let (id, created_at, expires_at, max_uses, uses) = row;
    Invite {
        id: InviteId(id),
        room_id,
        token: None,
        created_at: Timestamp::from_millis(created_at),
        expires_at: Timestamp::from_millis(expires_at),
        max_uses,
        uses,
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

/// Reads a [`CredentialsRow`], up to its condition.
macro_rules! select_credentials {
    () => {
        "SELECT u.id, u.username, u.created_at, a.email, a.password_hash
         FROM accounts a JOIN users u ON u.id = a.user_id WHERE "
    };
}
pub(super) use select_credentials;

/// `id, username, created_at, email, password_hash`
pub(super) type CredentialsRow = (i64, String, i64, String, String);

pub(super) fn credentials(row: CredentialsRow) -> Credentials {
    let (id, username, created_at, email, password_hash) = row;
    Credentials {
        user: user((id, username, created_at, Some(email))),
        password_hash,
    }
}

/// `id, device, created_at, last_used_at`
pub(super) type SessionRow = (i64, String, i64, i64);

pub(super) fn session((id, device, created_at, last_used_at): SessionRow) -> Session {
    Session {
        id: SessionId(id),
        device,
        created_at: Timestamp::from_millis(created_at),
        last_used_at: Timestamp::from_millis(last_used_at),
        current: false,
    }
}

/// How a job that renames stands in its row.
pub(super) const RENAMED: &str = "renamed";

/// How a job that deletes stands in its row.
pub(super) const fn deletion_kind(erase_messages: bool) -> &'static str {
    if erase_messages { "erased" } else { "deleted" }
}

/// `room_id, user_id, kind`
pub(super) type JobRow = (i64, i64, String);

pub(super) fn job((room_id, user_id, kind): JobRow) -> Job {
    Job {
        room_id: RoomId(room_id),
        user_id: UserId(user_id),
        kind: if kind == RENAMED {
            JobKind::Renamed
        } else {
            JobKind::Deleted {
                erase_messages: kind == deletion_kind(true),
            }
        },
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

/// What a host's user is found under. Hashed, so that nothing of the subject is left when the user is deleted.
pub(super) fn identity(issuer: &str, subject: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(8 + issuer.len() + subject.len());
    text.extend((issuer.len() as u64).to_be_bytes()); // so that no two pairs read alike
    text.extend(issuer.as_bytes());
    text.extend(subject.as_bytes());
    sha256(&text).to_vec()
}

/// The page of at most `limit` items, out of up to one more.
pub(super) fn page<T>(mut items: Vec<T>, limit: i64) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let has_more = items.len() > limit;
    items.truncate(limit);
    Page { items, has_more }
}
