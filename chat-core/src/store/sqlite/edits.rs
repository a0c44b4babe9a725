//! Messages edited and deleted.

use sqlx::sqlite::SqliteConnection;

use super::super::{Committed, Outcome, Refusal};
use super::commit::{Answer, LockedRoom, or_refuse, unchanged};
use super::fault::Fault;
use super::rows::{join_erasure, json, message_json};
use crate::model::{Event, Message, MessageId, Role, RoomId, Timestamp, UserId};
use crate::store::TokenHash;
use crate::store::rows::{MessageRow, sha256};

/// A message that isn't deleted, and the hash of its first content if that is kept already.
struct Undeleted {
    message: Message,
    first_hash: Option<Vec<u8>>,
}

impl Undeleted {
    async fn load(
        connection: &mut SqliteConnection,
        room: RoomId,
        id: MessageId,
    ) -> Result<Result<Self, Refusal>, Fault> {
        let row: Option<(String, Option<Vec<u8>>)> = sqlx::query_as(concat!(
            "SELECT ",
            message_json!(),
            ", m.first_hash FROM message_places p
             JOIN messages m ON m.room_id = p.room_id AND m.seq = p.seq",
            join_erasure!(),
            "WHERE p.id = $2 AND p.room_id = $1 AND m.deleted_at IS NULL AND e.seq IS NULL"
        ))
        .bind(room.0)
        .bind(id.0)
        .fetch_optional(connection)
        .await?;
        let Some((message, first_hash)) = row else {
            return Ok(Err(Refusal::NotFound));
        };
        Ok(Ok(Self {
            message: json::<MessageRow>(&message)?.message(room),
            first_hash,
        }))
    }

    /// What a repeated send is compared with once the content is another: its first. Without a `clientMessageId` none will
    /// ask.
    fn first_hash(&mut self) -> Option<Vec<u8>> {
        self.message.client_message_id.as_ref()?;
        let hash = self.first_hash.take();
        Some(hash.unwrap_or_else(|| {
            let hash: TokenHash = sha256(self.message.content.as_bytes());
            hash.to_vec()
        }))
    }
}

pub(super) async fn edit(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room_id: RoomId,
    message_id: MessageId,
    by: UserId,
    content: &str,
) -> Result<Answer, Fault> {
    let (mut room, _) = or_refuse!(LockedRoom::enter(connection, room_id, by).await?);
    let mut found = or_refuse!(Undeleted::load(connection, room_id, message_id).await?);
    if found.message.sender_id != by {
        return Ok(Err(Refusal::Forbidden));
    }
    if found.message.content == content {
        return Ok(Ok(unchanged(Outcome::Message(found.message))));
    }
    let first_hash = found.first_hash();
    let message = Message {
        changed_seq: room.next(),
        content: content.to_owned(),
        edited_at: Some(at),
        ..found.message
    };
    write(connection, &message, first_hash).await?;
    room.save(connection).await?;
    Ok(Ok(Committed {
        events: vec![Event::MessageEdited(message)],
        outcome: Outcome::Event,
    }))
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room_id: RoomId,
    message_id: MessageId,
    by: UserId,
) -> Result<Answer, Fault> {
    let (mut room, role) = or_refuse!(LockedRoom::enter(connection, room_id, by).await?);
    let mut found = or_refuse!(Undeleted::load(connection, room_id, message_id).await?);
    if found.message.sender_id != by && role != Role::Admin {
        return Ok(Err(Refusal::Forbidden));
    }
    let first_hash = found.first_hash();
    let message = Message {
        changed_seq: room.next(),
        content: String::new(),
        deleted_at: Some(at),
        ..found.message
    };
    write(connection, &message, first_hash).await?;
    room.save(connection).await?;
    Ok(Ok(Committed {
        events: vec![Event::MessageDeleted(message)],
        outcome: Outcome::Event,
    }))
}

async fn write(
    connection: &mut SqliteConnection,
    message: &Message,
    first_hash: Option<Vec<u8>>,
) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE messages SET changed_seq = $3, edited_at = $4, deleted_at = $5, content = $6, first_hash = $7
         WHERE room_id = $1 AND seq = $2",
    )
    .bind(message.room_id.0)
    .bind(message.seq.0)
    .bind(message.changed_seq.0)
    .bind(message.edited_at.map(Timestamp::as_millis))
    .bind(message.deleted_at.map(Timestamp::as_millis))
    .bind(message.content.clone())
    .bind(first_hash)
    .execute(connection)
    .await?;
    Ok(())
}
