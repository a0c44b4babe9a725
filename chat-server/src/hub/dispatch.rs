//! What a hub message does: each method once, from its arguments to its completion.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_core::auth::Caller;
use chat_core::fanout::{Connection, End};
use chat_core::model::{RoomId, Seq};
use chat_core::protocol::ErrorCode;
use chat_core::protocol::hub::{self, Method};
use chat_core::protocol::rest;
use chat_core::protocol::signalr::{Arguments, HubMessage};
use chat_core::service::{Chat, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

/// Calls of a connection that may be with the writer at once; more wait unread.
const PIPELINE: u32 = 64;
/// Streams of a connection at once.
const STREAMS: usize = 4;
/// A stream reads its next page once no more than this waits in the connection's queue.
const STREAM_AHEAD_BYTES: usize = 64 * 1024;

/// Runs a connection's calls, one after another. Sends and other changes of one room are given to the writer without
/// waiting for those before: their completions come in order all the same. Everything else waits for them.
pub(super) struct Dispatcher {
    chat: Chat,
    connection: Arc<Connection>,
    caller: Caller,
    /// The room of the calls that are with the writer.
    pipelined: Option<RoomId>,
    /// Streams under way, by their invocation's id.
    streams: BTreeMap<String, JoinHandle<()>>,
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        for stream in self.streams.values() {
            stream.abort();
        }
    }
}

/// A call under way.
struct Call<'a> {
    id: Option<&'a str>,
    arguments: Arguments<'a>,
}

impl Dispatcher {
    pub(super) const fn new(chat: Chat, connection: Arc<Connection>, caller: Caller) -> Self {
        Self {
            chat,
            connection,
            caller,
            pipelined: None,
            streams: BTreeMap::new(),
        }
    }

    /// Whose calls it runs.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Does what a message asks for. Failures go to the caller, not up.
    pub(super) async fn dispatch(&mut self, message: HubMessage<'_>) {
        self.connection.heard(matches!(message, HubMessage::Ping));
        match message {
            HubMessage::Invocation {
                invocation_id,
                target,
                arguments,
                stream_ids,
            } => {
                let call = Call {
                    id: invocation_id.as_deref(),
                    arguments,
                };
                let done = match method(&target, &stream_ids) {
                    Ok(method) if method.is_stream() => {
                        Err(invalid("this method answers a stream: call it as one"))
                    }
                    Ok(method) => Box::pin(self.invoke(method, &call)).await,
                    Err(e) => Err(e),
                };
                if let Err(e) = done {
                    self.fail(call.id, &e).await;
                }
            }
            HubMessage::StreamInvocation {
                invocation_id,
                target,
                arguments,
                stream_ids,
            } => {
                let call = Call {
                    id: Some(&invocation_id),
                    arguments,
                };
                let begun = match method(&target, &stream_ids) {
                    Ok(Method::StreamHistory) => {
                        Box::pin(self.stream_history(&invocation_id, &call)).await
                    }
                    Ok(_) => Err(invalid("this method answers no stream: call it plainly")),
                    Err(e) => Err(e),
                };
                if let Err(e) = begun {
                    self.fail(call.id, &e).await;
                }
            }
            HubMessage::CancelInvocation { invocation_id } => {
                if let Some(stream) = self.streams.remove(&*invocation_id) {
                    stream.abort();
                    // Only once it has stopped: its completion is the last that is sent of it.
                    if stream.await.is_err() {
                        self.connection.send_record(|encoding, out| {
                            encoding.completion_void(&invocation_id, out);
                            Ok(())
                        });
                    }
                }
            }
            HubMessage::Close { .. } => {
                self.settle().await;
                self.connection.close(End::Client);
            }
            // Nothing here waits for items or completions of the client's; what belongs to resuming, the session has seen.
            _ => {}
        }
    }

    async fn invoke(&mut self, method: Method, call: &Call<'_>) -> Result<(), Error> {
        match method {
            Method::SendMessage => {
                let hub::SendMessage {
                    room_id,
                    content,
                    client_message_id,
                } = self.arguments(call)?;
                self.pipeline(room_id).await;
                let send = rest::SendMessage {
                    content,
                    client_message_id,
                };
                self.chat
                    .send_message_on(&self.caller, &self.connection, call.id, room_id, send)
                    .await
            }
            Method::EditMessage => {
                let hub::EditMessage {
                    room_id,
                    message_id,
                    content,
                } = self.arguments(call)?;
                self.pipeline(room_id).await;
                let edit = rest::EditMessage { content };
                self.chat
                    .edit_message_on(
                        &self.caller,
                        &self.connection,
                        call.id,
                        room_id,
                        message_id,
                        edit,
                    )
                    .await
            }
            Method::DeleteMessage => {
                let hub::DeleteMessage {
                    room_id,
                    message_id,
                } = self.arguments(call)?;
                self.pipeline(room_id).await;
                self.chat
                    .delete_message_on(&self.caller, &self.connection, call.id, room_id, message_id)
                    .await
            }
            Method::GetMessages => {
                let hub::GetMessages {
                    room_id,
                    before,
                    after,
                    limit,
                } = self.arguments(call)?;
                self.settle().await;
                let query = rest::HistoryQuery {
                    limit,
                    before,
                    after,
                };
                let page = self.chat.messages(&self.caller, room_id, query).await?;
                self.complete(call, &page);
                Ok(())
            }
            Method::GetChanges => {
                let hub::GetChanges {
                    room_id,
                    since,
                    from,
                    limit,
                } = self.arguments(call)?;
                self.settle().await;
                let query = rest::ChangesQuery { since, from, limit };
                let changes = self.chat.changes(&self.caller, room_id, query).await?;
                self.complete(call, &changes);
                Ok(())
            }
            Method::Authenticate => {
                let hub::Authenticate { access_token } = self.arguments(call)?;
                self.settle().await;
                let authenticated = self.authenticate(&access_token).await?;
                self.complete(call, &authenticated);
                Ok(())
            }
            Method::Ping => {
                let hub::Ping {} = self.arguments(call)?;
                self.settle().await;
                self.complete(
                    call,
                    &hub::Pong {
                        server_time: self.chat.now(),
                    },
                );
                Ok(())
            }
            Method::StreamHistory => Err(invalid("this method answers a stream: call it as one")),
        }
    }

    /// Lives by another token of the same user from now on.
    async fn authenticate(&mut self, access_token: &str) -> Result<hub::Authenticated, Error> {
        let caller = self.chat.authenticate_token(access_token).await?;
        if caller.user_id != self.caller.user_id {
            return Err(Error::new(
                ErrorCode::Forbidden,
                "this token is another user's: open a connection for it",
            ));
        }
        self.chat.renew(&self.connection, &caller)?;
        let now = self.chat.now();
        let expires_in = caller
            .expires_at
            // Whole seconds that are left for sure.
            .map_or(i64::MAX, |at| (at.as_millis() - now.as_millis()) / 1000);
        self.caller = caller;
        Ok(hub::Authenticated {
            expires_in: expires_in.clamp(0, chat_core::model::MAX_INTEGER),
        })
    }

    /// Begins a stream of a room's messages; it runs beside later calls, only as fast as the connection takes it.
    async fn stream_history(&mut self, id: &str, call: &Call<'_>) -> Result<(), Error> {
        let hub::StreamHistory { room_id, since } = self.arguments(call)?;
        self.settle().await;
        self.streams.retain(|_, stream| !stream.is_finished());
        if self.streams.contains_key(id) {
            return Err(Error::new(
                ErrorCode::Conflict,
                "a stream with this id is under way",
            ));
        }
        if self.streams.len() >= STREAMS {
            return Err(Error::new(
                ErrorCode::LimitReached,
                "too many streams at once: wait for one to end",
            ));
        }
        // The first page is read in turn, so that a stranger's call fails in its place.
        let mut since = since.unwrap_or(Seq::ZERO);
        let mut page = self
            .chat
            .messages_after(&self.caller, room_id, since)
            .await?;
        let (chat, connection, caller, id) = (
            self.chat.clone(),
            Arc::clone(&self.connection),
            self.caller.clone(),
            id.to_owned(),
        );
        let stream = tokio::spawn({
            let id = id.clone();
            async move {
                loop {
                    for message in &page.items {
                        since = message.seq;
                        connection
                            .send_record(|encoding, out| encoding.stream_item(&id, message, out));
                    }
                    if !page.has_more {
                        connection.send_record(|encoding, out| {
                            encoding.completion_void(&id, out);
                            Ok(())
                        });
                        return;
                    }
                    connection.drained_to(STREAM_AHEAD_BYTES).await;
                    page = match chat.messages_after(&caller, room_id, since).await {
                        Ok(page) => page,
                        Err(e) => return connection.complete_error(&id, &e.hub_text()),
                    };
                }
            }
        });
        self.streams.insert(id, stream);
        Ok(())
    }

    fn arguments<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, Error> {
        Ok(self.connection.wire().encoding.arguments(call.arguments)?)
    }

    fn complete(&self, call: &Call<'_>, result: &impl Serialize) {
        if let Some(id) = call.id {
            self.connection.complete(id, result);
        }
    }

    async fn fail(&mut self, id: Option<&str>, error: &Error) {
        if error.code() == ErrorCode::Internal {
            tracing::error!(error = error as &dyn std::error::Error, "a hub call failed");
        }
        self.settle().await;
        if let Some(id) = id {
            self.connection.complete_error(id, &error.hub_text());
        }
    }

    /// Makes sure that only calls of this room are with the writer, and not too many.
    async fn pipeline(&mut self, room_id: RoomId) {
        if self.pipelined != Some(room_id) {
            self.settle().await;
            self.pipelined = Some(room_id);
        }
        self.until_in_flight(PIPELINE - 1).await;
    }

    /// Waits until the writer has answered all calls.
    async fn settle(&mut self) {
        self.until_in_flight(0).await;
        self.pipelined = None;
    }

    async fn until_in_flight(&self, most: u32) {
        while self.connection.calls_in_flight() > most && !self.connection.is_closed() {
            self.connection.woken().await;
        }
    }
}

fn method(target: &str, stream_ids: &[std::borrow::Cow<'_, str>]) -> Result<Method, Error> {
    let method = Method::from_target(target)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, "there is no such method"))?;
    if stream_ids.is_empty() {
        Ok(method)
    } else {
        Err(invalid("this method takes no streams"))
    }
}

fn invalid(detail: &str) -> Error {
    Error::new(ErrorCode::ValidationFailed, detail)
}
