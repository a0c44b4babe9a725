//! One room: its messages, members and invites.

use std::fmt::Write as _;

use chat_core::model::{
    self, Invite, InviteId, Member, Message, MessageId, Role, RoomId, UserId, limits,
};
use chat_core::protocol::error::FieldError;
use chat_core::protocol::rest::{
    Changes, ChangesQuery, CreateInvite, EditMessage, HistoryQuery, ListQuery, Page, RoomName,
    SendMessage, SetRole,
};
use chat_core::protocol::{ErrorCode, hub, paths};
use futures_util::Stream;
use limits::TextError;
use serde::de::DeserializeOwned;

use crate::changes::ChangesPage;
use crate::client::Client;
use crate::error::{Error, Refusal, Result};
use crate::http::Call;
use crate::outbox::OutboxEntry;
use crate::pages::{paged, pages};
use crate::realtime::Request;

/// A handle for one room, made by [`Client::room`]. Cheap to clone. The room's own data is [`model::Room`].
///
/// Besides what is said at each call, all may fail with `not_found` when the caller isn't in the room, and as said at
/// [`Client`].
#[derive(Clone, Debug)]
pub struct Room {
    client: Client,
    id: RoomId,
}

impl Room {
    pub(crate) const fn new(client: Client, id: RoomId) -> Self {
        Self { client, id }
    }

    /// The room's id.
    #[must_use]
    pub const fn id(&self) -> RoomId {
        self.id
    }

    /// The room as it is now, with the caller's role.
    ///
    /// # Errors
    /// See [`Room`].
    pub async fn get(&self) -> Result<model::Room> {
        self.client.json(&Call::get(paths::room(self.id))).await
    }

    /// Gives the room another name. By an admin.
    ///
    /// # Errors
    /// `forbidden`, `validation_failed`
    pub async fn rename(&self, name: &str) -> Result<model::Room> {
        let call = Call::patch(paths::room(self.id)).body(&RoomName {
            name: name.to_owned(),
        });
        self.client.json(&call).await
    }

    /// Deletes the room with all that is in it. By an admin.
    ///
    /// # Errors
    /// `forbidden`
    pub async fn delete(&self) -> Result<()> {
        let call = Call::delete(paths::room(self.id));
        self.client.send(&call).await.map(drop)
    }

    /// Sends a message and waits until it is stored.
    ///
    /// It goes out under a `clientMessageId` made here, over the realtime connection if there is one, else over REST. Over
    /// the connection it survives reconnects, and messages to one room are stored in the order in which their futures are
    /// first polled, many under way at once; only where the server says that it can't take one for now (`rate_limited`, `unavailable`), those under way
    /// behind it may overtake it. Dropping the future doesn't call the message back.
    ///
    /// # Errors
    /// `validation_failed` for a text that breaks a rule; over REST also `rate_limited` and `unavailable`. After
    /// [`Timeout`](Error::Timeout) and the like it may have been stored or not. [`Error::Outbox`] when it couldn't be kept,
    /// and so wasn't sent.
    pub async fn send(&self, content: impl Into<String>) -> Result<Message> {
        let client_message_id = self.new_message_id();
        self.send_as(client_message_id, content).await
    }

    /// As [`send`](Self::send), under an id of the caller's choice, 1–64 visible ASCII characters: sent again under the
    /// same id, even by another process, a message is still stored once.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `conflict` for an id that was used for another text.
    pub async fn send_as(
        &self,
        client_message_id: impl Into<String>,
        content: impl Into<String>,
    ) -> Result<Message> {
        let (id, content) = (client_message_id.into(), content.into());
        check("clientMessageId", limits::client_message_id(&id))?;
        check("content", limits::content(&content))?;
        if let Some(hub) = self.client.hub()
            && let Some(result) = hub.send(self.id, id.clone(), content.clone()).await
        {
            return result;
        }
        let Some(outbox) = &self.client.options().outbox else {
            return self.post(&id, &content).await;
        };
        let entry = OutboxEntry {
            user_id: self.client.logged_in().await?.map(|user| user.id),
            room_id: self.id,
            client_message_id: id.clone(),
            content: content.clone(),
        };
        outbox.add(&[entry]).await.map_err(Error::Outbox)?;
        let result = self.post(&id, &content).await;
        let over = result.as_ref().err().is_none_or(Error::is_final);
        if over && let Err(error) = outbox.remove(&[id]).await {
            tracing::warn!(
                error = &*error as &dyn std::error::Error,
                "the outbox couldn't forget what was sent"
            );
        }
        result
    }

    /// Sends a message over REST.
    pub(crate) async fn post(&self, client_message_id: &str, content: &str) -> Result<Message> {
        let call = Call::post(paths::messages(self.id))
            .body(&SendMessage {
                content: content.to_owned(),
                client_message_id: Some(client_message_id.to_owned()),
            })
            .repeatable();
        self.client.json(&call).await
    }

    /// An id under which a message can be sent: 128 random bits in hexadecimal.
    #[must_use]
    pub fn new_message_id(&self) -> String {
        let mut bytes = [0; 16];
        self.client.options().random.fill(&mut bytes);
        bytes.iter().fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// A page of messages, oldest first: the newest without `before` and `after`.
    ///
    /// # Errors
    /// `not_found` also when `before` or `after` names no message of this room.
    pub async fn history(&self, query: HistoryQuery) -> Result<Page<Message>> {
        let request = Request::Messages(hub::GetMessages {
            room_id: self.id,
            before: query.before,
            after: query.after,
            limit: query.limit,
        });
        if let Some(page) = self.over_hub(request).await {
            return page;
        }
        let call = Call::get(paths::messages(self.id))
            .query("limit", query.limit)
            .query("before", query.before)
            .query("after", query.after);
        self.client.json(&call).await
    }

    /// All messages after one, or from the start, oldest first, page by page.
    pub fn messages_after(
        &self,
        after: Option<MessageId>,
    ) -> impl Stream<Item = Result<Message>> + Send + use<> {
        let room = self.clone();
        paged(
            move |next| {
                let room = room.clone();
                let query = HistoryQuery {
                    limit: Some(*limits::PAGE_LIMIT.end()),
                    after: next.or(after).or(Some(MessageId(0))),
                    before: None,
                };
                async move { room.history(query).await }
            },
            |message: &Message| message.id,
        )
    }

    /// One message.
    ///
    /// # Errors
    /// `not_found`, also for a deleted one.
    pub async fn message(&self, id: MessageId) -> Result<Message> {
        let call = Call::get(paths::message(self.id, id));
        self.client.json(&call).await
    }

    /// Gives a message other content. By its author.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `validation_failed`
    pub async fn edit(&self, id: MessageId, content: impl Into<String>) -> Result<Message> {
        let content = content.into();
        check("content", limits::content(&content))?;
        let request = Request::Edit(hub::EditMessage {
            room_id: self.id,
            message_id: id,
            content: content.clone(),
        });
        if let Some(message) = self.over_hub(request).await {
            return message;
        }
        let call = Call::patch(paths::message(self.id, id)).body(&EditMessage { content });
        self.client.json(&call).await
    }

    /// Deletes a message. By its author or an admin.
    ///
    /// # Errors
    /// `forbidden`, `not_found`
    pub async fn delete_message(&self, id: MessageId) -> Result<()> {
        let request = Request::Delete(hub::DeleteMessage {
            room_id: self.id,
            message_id: id,
        });
        if let Some(message) = self.over_hub::<Message>(request).await {
            return message.map(drop);
        }
        let call = Call::delete(paths::message(self.id, id));
        self.client.send(&call).await.map(drop)
    }

    /// A page of what changed after `query.since`. [`Client::connect`] does this where it has to.
    ///
    /// # Errors
    /// See [`Room`].
    pub async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        let request = Request::Changes(hub::GetChanges {
            room_id: self.id,
            since: query.since,
            from: query.from,
            limit: query.limit,
        });
        if let Some(page) = self.over_hub::<ChangesPage>(request).await {
            return page.map(Changes::from);
        }
        let call = Call::get(paths::changes(self.id))
            .query("since", Some(query.since))
            .query("from", query.from)
            .query("limit", query.limit);
        let page: ChangesPage = self.client.json(&call).await?;
        Ok(page.into())
    }

    /// Makes a call over the realtime connection. `None` where it must go over REST: there is none, or it was lost meanwhile,
    /// and doing it twice is no harm.
    async fn over_hub<T: DeserializeOwned>(&self, request: Request) -> Option<Result<T>> {
        match self.client.hub()?.call(request).await? {
            Err(Error::ConnectionLost(_) | Error::Closed) => None,
            result => Some(result),
        }
    }

    /// A page of the members, ordered by user id.
    ///
    /// # Errors
    /// See [`Room`].
    pub async fn members(&self, query: ListQuery) -> Result<Page<Member>> {
        self.client.list(paths::members(self.id), query).await
    }

    /// All members, page by page.
    pub fn all_members(&self) -> impl Stream<Item = Result<Member>> + Send + use<> {
        let room = self.clone();
        pages(
            move |query| {
                let room = room.clone();
                async move { room.members(query).await }
            },
            |member| member.user_id.0,
        )
    }

    /// Makes someone an admin or a plain member. By an admin; no one demotes another admin.
    ///
    /// # Errors
    /// `forbidden`, and `conflict` for the last admin who would step down.
    pub async fn set_role(&self, user: UserId, role: Role) -> Result<Member> {
        let call = Call::patch(paths::member(self.id, user)).body(&SetRole { role });
        self.client.json(&call).await
    }

    /// Removes a member who isn't an admin, with all they wrote here if `delete_messages`. By an admin.
    ///
    /// # Errors
    /// `forbidden`, `not_found`
    pub async fn remove(&self, user: UserId, delete_messages: bool) -> Result<()> {
        self.remove_at(paths::member(self.id, user), delete_messages)
            .await
    }

    /// Leaves the room, and deletes all the caller wrote here if `delete_messages`. The last one out deletes the room.
    ///
    /// # Errors
    /// See [`Room`].
    pub async fn leave(&self, delete_messages: bool) -> Result<()> {
        self.remove_at(paths::member_me(self.id), delete_messages)
            .await
    }

    async fn remove_at(&self, path: String, delete_messages: bool) -> Result<()> {
        let call = Call::delete(path).query("deleteMessages", delete_messages.then_some(true));
        self.client.send(&call).await.map(drop)
    }

    /// Makes an invite. Its token is shown this once. By an admin.
    ///
    /// # Errors
    /// `forbidden`, `validation_failed`, and `limit_reached` with too many open ones.
    pub async fn create_invite(&self, invite: CreateInvite) -> Result<Invite> {
        let call = Call::post(paths::invites(self.id)).body(&invite);
        self.client.json(&call).await
    }

    /// A page of the invites that still admit someone, without their tokens, ordered by id. By an admin.
    ///
    /// # Errors
    /// `forbidden`
    pub async fn invites(&self, query: ListQuery) -> Result<Page<Invite>> {
        self.client.list(paths::invites(self.id), query).await
    }

    /// All invites that still admit someone, page by page. By an admin.
    pub fn all_invites(&self) -> impl Stream<Item = Result<Invite>> + Send + use<> {
        let room = self.clone();
        pages(
            move |query| {
                let room = room.clone();
                async move { room.invites(query).await }
            },
            |invite| invite.id.0,
        )
    }

    /// Revokes an invite. By an admin.
    ///
    /// # Errors
    /// `forbidden`, `not_found`
    pub async fn revoke_invite(&self, id: InviteId) -> Result<()> {
        let call = Call::delete(paths::invite(self.id, id));
        self.client.send(&call).await.map(drop)
    }
}

/// Refuses a text as the server would, before it goes out: one that is far too long would end the connection.
fn check(field: &str, result: Result<(), TextError>) -> Result<()> {
    result.map_err(|error| {
        Refusal {
            code: Some(ErrorCode::ValidationFailed),
            status: ErrorCode::ValidationFailed.status(),
            detail: "the message breaks a rule".to_owned(),
            errors: vec![FieldError::new(field, error.code(), error.detail())],
            retry_after: None,
        }
        .into()
    })
}
