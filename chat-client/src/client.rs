//! The client: the account it is logged in to, and the way to its rooms.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chat_core::model::{self, RoomId, Session, SessionId, User, UserId};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{
    AcceptInvite, ChangePassword, DeleteAccount, ListQuery, Login as LoginBody, Page, Register,
    RoomName, Tokens, UpdateUser,
};
use futures_util::Stream;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::http::{Call, Http, decode};
use crate::login::Login;
use crate::options::{ClientBuilder, Options};
use crate::outbox::OutboxEntry;
use crate::pages::pages;
use crate::realtime::connector::HttpConnector;
use crate::realtime::{Connect, Connector, Hub};
use crate::room::Room;

/// A client of one server, under one login. Cheap to clone; clones share the login and the realtime connection.
///
/// Every call may fail with [`Error::Refused`], [`Unreachable`](Error::Unreachable), [`Timeout`](Error::Timeout) or
/// [`Malformed`](Error::Malformed), and those that need a login with [`NotLoggedIn`](Error::NotLoggedIn) or
/// [`SessionEnded`](Error::SessionEnded). Dropping a call's future cancels the wait, not what the server does.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    http: Arc<Http>,
    login: Login,
    /// The realtime connection's task, while there is one. Locked only to look.
    hub: Mutex<Option<Hub>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Sets up a client of the server at `server`, such as `https://chat.example` or `http://127.0.0.1:8080/chat`.
    pub fn builder(server: &str) -> ClientBuilder {
        ClientBuilder::new(server)
    }

    pub(crate) fn new(options: Options) -> Result<Self> {
        let http = Arc::new(Http::new(options.clone()));
        let login = Login::new(&options.login, Arc::clone(&http));
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                http,
                login,
                hub: Mutex::new(None),
            }),
        })
    }

    /// Makes an account. It doesn't log in.
    ///
    /// # Errors
    /// `email_taken`, `username_taken`, or `validation_failed` with the fields that break a rule.
    pub async fn register(&self, email: &str, username: &str, password: &str) -> Result<User> {
        let call = Call::post(paths::register()).body(&Register {
            email: email.to_owned(),
            username: username.to_owned(),
            password: password.to_owned(),
        });
        self.inner.http.json(&call, None).await
    }

    /// Logs in and keeps the tokens in the token store, instead of those it held. `device` is what the list of sessions
    /// calls this login, 1–64 characters.
    ///
    /// # Errors
    /// `invalid_credentials`, or `rate_limited` after too many wrong passwords. [`Error::TokenStore`] when the login stood
    /// but couldn't be kept: it is then in use until the process ends.
    pub async fn login(&self, email: &str, password: &str, device: Option<&str>) -> Result<User> {
        let call = Call::post(paths::login()).body(&LoginBody {
            email: email.to_owned(),
            password: password.to_owned(),
            device: device.map(str::to_owned),
        });
        let tokens: Tokens = self.inner.http.json(&call, None).await?;
        let user = tokens.user.clone();
        self.inner.login.begin(tokens).await?;
        Ok(user)
    }

    /// Ends the session at the server and forgets the login. If the server can't be reached the login is kept, so that it
    /// can be tried again; a session that is over already is no error.
    ///
    /// # Errors
    /// See [`Client`]; [`Error::TokenStore`] when the session ended but the store couldn't be cleared.
    pub async fn logout(&self) -> Result<()> {
        let call = Call::post(paths::logout()).repeatable();
        match self.send(&call).await {
            Ok(_) | Err(Error::SessionEnded(_)) => {}
            Err(error) if error.is_unauthenticated() => {}
            Err(error) => return Err(error),
        }
        self.inner.login.end().await
    }

    /// Who is logged in, by the token store alone: nothing is asked of the server. `None` for a client with a fixed
    /// access token.
    ///
    /// # Errors
    /// [`Error::TokenStore`]
    pub async fn logged_in(&self) -> Result<Option<User>> {
        self.inner.login.user().await
    }

    /// The account, with its e-mail address.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn me(&self) -> Result<User> {
        self.json(&Call::get(paths::me())).await
    }

    /// Gives the account another username.
    ///
    /// # Errors
    /// `username_taken` or `validation_failed`.
    pub async fn set_username(&self, username: &str) -> Result<User> {
        let call = Call::patch(paths::me()).body(&UpdateUser {
            username: Some(username.to_owned()),
        });
        self.json(&call).await
    }

    /// Changes the password. Every other session ends.
    ///
    /// # Errors
    /// `invalid_credentials` when `current` is wrong, `validation_failed` when `new` breaks a rule.
    pub async fn change_password(&self, current: &str, new: &str) -> Result<()> {
        let call = Call::post(paths::password()).body(&ChangePassword {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
        });
        self.send(&call).await.map(drop)
    }

    /// Deletes the account and forgets the login. Its messages stay unless `erase_messages`.
    ///
    /// # Errors
    /// `invalid_credentials` when the password is wrong.
    pub async fn delete_account(&self, password: &str, erase_messages: bool) -> Result<()> {
        let mut call = Call::delete(paths::me())
            .body(&DeleteAccount {
                password: password.to_owned(),
            })
            .query("eraseMessages", erase_messages.then_some(true));
        // After a lost answer the account is gone, and what the repetition is told about its token isn't worth acting on.
        call.repeatable = false;
        self.send(&call).await?;
        self.inner.login.end().await
    }

    /// A page of the account's sessions, ordered by id.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn sessions(&self, query: ListQuery) -> Result<Page<Session>> {
        self.list(paths::sessions(), query).await
    }

    /// All of the account's sessions, page by page.
    pub fn all_sessions(&self) -> impl Stream<Item = Result<Session>> + Send + use<> {
        let client = self.clone();
        pages(
            move |query| {
                let client = client.clone();
                async move { client.sessions(query).await }
            },
            |session| session.id.0,
        )
    }

    /// Ends one of the account's sessions: its tokens and connections.
    ///
    /// # Errors
    /// `not_found`
    pub async fn end_session(&self, id: SessionId) -> Result<()> {
        self.send(&Call::delete(paths::session(id))).await.map(drop)
    }

    /// The public profile of someone who shares a room with the caller, or did.
    ///
    /// # Errors
    /// `not_found`
    pub async fn user(&self, id: UserId) -> Result<User> {
        self.json(&Call::get(paths::user(id))).await
    }

    /// Makes a room, whose admin the caller is.
    ///
    /// # Errors
    /// `validation_failed`, or `limit_reached` for someone in too many rooms.
    pub async fn create_room(&self, name: &str) -> Result<model::Room> {
        let call = Call::post(paths::rooms()).body(&RoomName {
            name: name.to_owned(),
        });
        self.json(&call).await
    }

    /// A page of the caller's rooms, ordered by id.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn rooms(&self, query: ListQuery) -> Result<Page<model::Room>> {
        self.list(paths::rooms(), query).await
    }

    /// All of the caller's rooms, page by page.
    pub fn all_rooms(&self) -> impl Stream<Item = Result<model::Room>> + Send + use<> {
        let client = self.clone();
        pages(
            move |query| {
                let client = client.clone();
                async move { client.rooms(query).await }
            },
            |room| room.id.0,
        )
    }

    /// Joins the room that an invite's token admits to. For a member already in it this is no error.
    ///
    /// # Errors
    /// `not_found` for an unknown token, `gone` for one that admits no more, `limit_reached` for a full room, `rate_limited`
    /// after too many unknown ones.
    pub async fn accept_invite(&self, token: &str) -> Result<model::Room> {
        let call = Call::post(paths::accept_invite())
            .body(&AcceptInvite {
                token: token.to_owned(),
            })
            .repeatable();
        self.json(&call).await
    }

    /// A handle for the room with this id. Nothing is asked of the server: whether the room is there, its calls tell.
    #[must_use]
    pub fn room(&self, id: RoomId) -> Room {
        Room::new(self.clone(), id)
    }

    /// Opens the realtime connection: the stream of what happens in the user's rooms. While it stands, messages are sent
    /// over it as well. A client has one at a time.
    ///
    /// ```no_run
    /// # async fn run(client: chat_client::Client) -> chat_client::Result<()> {
    /// use chat_client::ClientEvent;
    /// use futures_util::StreamExt as _;
    ///
    /// let mut connection = client.connect().await?;
    /// while let Some(event) = connection.next().await {
    ///     if let ClientEvent::Event(event) = event {
    ///         println!("{event:?}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future's: [`Error::AlreadyConnected`], [`Error::Outbox`], or why the first try failed, unless
    /// [`retry_first`](Connect::retry_first) is set.
    pub fn connect(&self) -> Connect {
        Connect::new(self.clone())
    }

    /// Sends what the outbox holds, over REST, oldest first, and returns how many were sent. A connection does this by
    /// itself. What is refused for good is dropped; `refused` hears of it.
    ///
    /// # Errors
    /// The first that isn't final: what wasn't sent yet stays.
    pub async fn flush_outbox(&self, mut refused: impl FnMut(OutboxEntry, Error)) -> Result<usize> {
        let Some(outbox) = &self.options().outbox else {
            return Ok(0);
        };
        let user_id = self.logged_in().await?.map(|user| user.id);
        let mut sent = 0;
        for entry in outbox.load().await.map_err(Error::Outbox)? {
            if entry.user_id.is_some() && entry.user_id != user_id {
                continue;
            }
            let room = self.room(entry.room_id);
            match room.post(&entry.client_message_id, &entry.content).await {
                Ok(_) => sent += 1,
                Err(error) if error.is_final() => refused(entry.clone(), error),
                Err(error) => return Err(error),
            }
            let done = [entry.client_message_id];
            outbox.remove(&done).await.map_err(Error::Outbox)?;
        }
        Ok(sent)
    }

    /// Makes `hub` the client's connection.
    pub(crate) fn attach(&self, hub: Hub) -> Result<()> {
        let mut slot = self
            .inner
            .hub
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(Hub::is_open) {
            return Err(Error::AlreadyConnected);
        }
        *slot = Some(hub);
        Ok(())
    }

    /// The realtime connection, if there is one, whether it stands now or is being made again.
    pub(crate) fn hub(&self) -> Option<Hub> {
        let slot = self
            .inner
            .hub
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slot.clone().filter(Hub::is_open)
    }

    pub(crate) fn login_handle(&self) -> Login {
        self.inner.login.clone()
    }

    pub(crate) fn connector(&self) -> Arc<dyn Connector> {
        match &self.options().connector {
            Some(connector) => Arc::clone(connector),
            None => Arc::new(HttpConnector::new(
                Arc::clone(&self.inner.http),
                self.options().negotiate,
                self.options().realtime.encoding.transfer_format(),
                self.options().transports.clone(),
            )),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: String,
        query: ListQuery,
    ) -> Result<Page<T>> {
        let call = Call::get(path)
            .query("limit", query.limit)
            .query("after", query.after);
        self.json(&call).await
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T> {
        decode(&self.send(call).await?)
    }

    /// Sends a call under the login, once more with a renewed token if the first is refused.
    pub(crate) async fn send(&self, call: &Call) -> Result<Bytes> {
        let token = self.inner.login.token().await?.token;
        match self.inner.http.send(call, Some(&token)).await {
            Err(error) if error.is_unauthenticated() => {
                let token = self.inner.login.renewed(&token).await?.token;
                self.inner.http.send(call, Some(&token)).await
            }
            result => result,
        }
    }
}
