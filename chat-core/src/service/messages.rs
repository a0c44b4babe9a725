//! Messages: send, edit, delete, read, catch up.

use std::sync::Arc;

use super::fields::page_limit;
use super::rooms::unexpected;
use super::writer::Reply;
use super::{Chat, Error};
use crate::auth::Caller;
use crate::fanout::{Completes, Connection};
use crate::model::{Event, Message, MessageId, RoomId, Seq, limits};
use crate::protocol::FieldError;
use crate::protocol::rest::{Changes, ChangesQuery, EditMessage, HistoryQuery, Page, SendMessage};
use crate::store::{Change, Committed, Outcome, Position, Reader};

/// Items that one page of a stream reads.
const STREAM_PAGE: i64 = 100;

/// What became of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message, as it is now.
    pub message: Message,
    /// Whether this send made it; false if its `clientMessageId` was stored before.
    pub created: bool,
}

impl Chat {
    /// Sends a message; when this returns it is saved.
    ///
    /// # Errors
    /// `validation_failed`, `rate_limited`, `not_found`, `conflict`, `unavailable`.
    pub async fn send_message(
        &self,
        caller: &Caller,
        room_id: RoomId,
        send: SendMessage,
    ) -> Result<Sent, Error> {
        let Committed { events, outcome } = self
            .writer()
            .write(self.send_change(caller, room_id, send)?)
            .await?;
        let created = matches!(outcome, Outcome::Event);
        Ok(Sent {
            message: message(events, outcome)?,
            created,
        })
    }

    /// Sends a message for a hub connection, whose completion comes in its place among the room's events. When this
    /// returns the send is on its way and counts among [`Connection::calls_in_flight`].
    ///
    /// # Errors
    /// What is known before it is queued: `validation_failed`, `rate_limited`, `unavailable`.
    pub async fn send_message_on(
        &self,
        caller: &Caller,
        connection: &Arc<Connection>,
        invocation_id: Option<&str>,
        room_id: RoomId,
        send: SendMessage,
    ) -> Result<(), Error> {
        let change = self.send_change(caller, room_id, send)?;
        self.submit_on(connection, invocation_id, change).await
    }

    /// Edits a message for a hub connection; see [`Chat::send_message_on`].
    ///
    /// # Errors
    /// What is known before it is queued.
    pub async fn edit_message_on(
        &self,
        caller: &Caller,
        connection: &Arc<Connection>,
        invocation_id: Option<&str>,
        room_id: RoomId,
        message_id: MessageId,
        edit: EditMessage,
    ) -> Result<(), Error> {
        let change = Self::edit_change(caller, room_id, message_id, edit)?;
        self.submit_on(connection, invocation_id, change).await
    }

    /// Deletes a message for a hub connection; see [`Chat::send_message_on`].
    ///
    /// # Errors
    /// What is known before it is queued.
    pub async fn delete_message_on(
        &self,
        caller: &Caller,
        connection: &Arc<Connection>,
        invocation_id: Option<&str>,
        room_id: RoomId,
        message_id: MessageId,
    ) -> Result<(), Error> {
        let change = Change::DeleteMessage {
            room_id,
            message_id,
            by: caller.user_id,
        };
        self.submit_on(connection, invocation_id, change).await
    }

    async fn submit_on(
        &self,
        connection: &Arc<Connection>,
        invocation_id: Option<&str>,
        change: Change,
    ) -> Result<(), Error> {
        let completes = Completes {
            connection: Arc::clone(connection),
            invocation_id: invocation_id.map(Into::into),
        };
        connection.call_started();
        let submitted = self
            .writer()
            .submit(change, Reply::Connection(completes))
            .await;
        if submitted.is_err() {
            connection.call_ended();
        }
        submitted
    }

    fn send_change(
        &self,
        caller: &Caller,
        room_id: RoomId,
        send: SendMessage,
    ) -> Result<Change, Error> {
        let SendMessage {
            content,
            client_message_id,
        } = send;
        let mut errors = Vec::new();
        if let Err(e) = limits::content(&content) {
            errors.push(FieldError::new("content", e.code(), e.detail()));
        }
        if let Some(Err(e)) = client_message_id.as_deref().map(limits::client_message_id) {
            errors.push(FieldError::new("clientMessageId", e.code(), e.detail()));
        }
        if !errors.is_empty() {
            return Err(Error::fields(errors));
        }
        self.rates().send(caller.user_id)?;
        Ok(Change::SendMessage {
            room_id,
            sender_id: caller.user_id,
            content,
            client_message_id,
        })
    }

    /// Gives a message other content, by its author.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `unavailable`.
    pub async fn edit_message(
        &self,
        caller: &Caller,
        room_id: RoomId,
        message_id: MessageId,
        edit: EditMessage,
    ) -> Result<Message, Error> {
        let committed = self
            .writer()
            .write(Self::edit_change(caller, room_id, message_id, edit)?)
            .await?;
        message(committed.events, committed.outcome)
    }

    fn edit_change(
        caller: &Caller,
        room_id: RoomId,
        message_id: MessageId,
        edit: EditMessage,
    ) -> Result<Change, Error> {
        limits::content(&edit.content).map_err(|e| Error::text("content", e))?;
        Ok(Change::EditMessage {
            room_id,
            message_id,
            by: caller.user_id,
            content: edit.content,
        })
    }

    /// Deletes a message, by its author or an admin. Answers its tombstone.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `unavailable`.
    pub async fn delete_message(
        &self,
        caller: &Caller,
        room_id: RoomId,
        message_id: MessageId,
    ) -> Result<Message, Error> {
        let committed = self
            .writer()
            .write(Change::DeleteMessage {
                room_id,
                message_id,
                by: caller.user_id,
            })
            .await?;
        message(committed.events, committed.outcome)
    }

    /// A page of a room's messages, oldest first, without deleted ones: the newest, or one named by a message.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `unavailable`.
    pub async fn messages(
        &self,
        caller: &Caller,
        room: RoomId,
        query: HistoryQuery,
    ) -> Result<Page<Message>, Error> {
        let limit = page_limit(query.limit)?;
        let position = match (query.before, query.after) {
            (Some(_), Some(_)) => {
                return Err(Error::field(
                    "before",
                    "conflicting",
                    "and after can't be given together: give one",
                ));
            }
            (Some(MessageId(0)), None) => {
                return Err(Error::field(
                    "before",
                    "out_of_range",
                    "must name a message: leave it out for the newest page",
                ));
            }
            (Some(message), None) => Position::Before(message),
            (None, Some(MessageId(0))) => Position::AfterSeq(Seq::ZERO),
            (None, Some(message)) => Position::After(message),
            (None, None) => Position::Newest,
        };
        self.store()
            .messages(caller.user_id, room, position, limit)
            .await?
            .ok_or_else(Error::not_found)
    }

    /// A page of a room's messages after a place, for streaming its history page by page.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn messages_after(
        &self,
        caller: &Caller,
        room: RoomId,
        since: Seq,
    ) -> Result<Page<Message>, Error> {
        if since < Seq::ZERO {
            return Err(negative("since"));
        }
        let position = Position::AfterSeq(since);
        self.store()
            .messages(caller.user_id, room, position, STREAM_PAGE)
            .await?
            .ok_or_else(Error::not_found)
    }

    /// One message.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn message(
        &self,
        caller: &Caller,
        room: RoomId,
        message: MessageId,
    ) -> Result<Message, Error> {
        self.store()
            .message(caller.user_id, room, message)
            .await?
            .ok_or_else(Error::not_found)
    }

    /// The current state of all that changed in a room after a place.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `unavailable`.
    pub async fn changes(
        &self,
        caller: &Caller,
        room: RoomId,
        query: ChangesQuery,
    ) -> Result<Changes, Error> {
        let limit = page_limit(query.limit)?;
        let from = query.from.unwrap_or(query.since);
        if query.since < Seq::ZERO {
            return Err(negative("since"));
        }
        if from < Seq::ZERO || from > query.since {
            return Err(Error::field(
                "from",
                "out_of_range",
                "must be from 0 to since",
            ));
        }
        let reader = Reader::Member(caller.user_id);
        self.store()
            .changes(reader, room, query.since, from, limit)
            .await?
            .ok_or_else(Error::not_found)
    }
}

fn negative(field: &str) -> Error {
    Error::field(field, "out_of_range", "must be 0 or more")
}

fn message(events: Vec<Event>, outcome: Outcome) -> Result<Message, Error> {
    match (outcome, events.into_iter().next()) {
        (Outcome::Message(m), _) => Ok(m),
        (
            Outcome::Event,
            Some(Event::MessageCreated(m) | Event::MessageEdited(m) | Event::MessageDeleted(m)),
        ) => Ok(m),
        (other, _) => Err(unexpected(&other)),
    }
}
