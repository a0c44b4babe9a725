//! A backend under test, and the acts that most tests begin with.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::act::{accept, at, create_room, ctx, far_off, invite, send};
use crate::model::{Event, Message, Role, RoomId, Seq, UserId};
use crate::store::{
    Accounts, Change, CommitContext, Committed, Outcome, Position, Reader, Refusal, Store,
    StoreError, TokenHash, Webhooks,
};

type Reopening = Pin<Box<dyn Future<Output = Backend> + Send>>;

/// A backend under test, fresh and empty.
pub struct Backend {
    pub(super) store: Arc<dyn Store>,
    accounts: Option<Arc<dyn Accounts>>,
    webhooks: Option<Arc<dyn Webhooks>>,
    reopen: Option<Box<dyn FnOnce() -> Reopening + Send>>,
    /// What must live as long as the store: a folder, a database server.
    _kept: Option<Box<dyn Any + Send>>,
    tokens: AtomicU64,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.store).finish()
    }
}

impl Backend {
    /// A store without accounts.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            accounts: None,
            webhooks: None,
            reopen: None,
            _kept: None,
            tokens: AtomicU64::new(0),
        }
    }

    /// A store that has accounts too.
    pub fn with_accounts<S: Store + Accounts + 'static>(store: Arc<S>) -> Self {
        Self {
            accounts: Some(Arc::clone(&store) as Arc<dyn Accounts>),
            ..Self::new(store)
        }
    }

    /// The same, with webhooks in the same database.
    #[must_use]
    pub fn with_webhooks(mut self, webhooks: Arc<dyn Webhooks>) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// Keeps `value` until the test is over: the folder of the database, say.
    #[must_use]
    pub fn keeping(mut self, value: impl Any + Send) -> Self {
        self._kept = Some(Box::new(value));
        self
    }

    /// How the database is opened again, once this value is dropped; `reopen` closes the store first, if it must.
    #[must_use]
    pub fn reopened_by<F>(mut self, reopen: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Self> + Send + 'static,
    {
        self.reopen = Some(Box::new(|| Box::pin(reopen())));
        self
    }

    /// The same database, closed and opened again.
    pub(super) async fn reopen(self) -> Self {
        let reopen = self
            .reopen
            .expect("a backend under reopening_contract! says how with Backend::reopened_by");
        drop(self.store);
        drop(self.accounts);
        drop(self.webhooks);
        reopen().await
    }

    pub(super) fn accounts(&self) -> Arc<dyn Accounts> {
        let accounts = self.accounts.as_ref();
        Arc::clone(accounts.expect("a backend under accounts_contract! is made with_accounts"))
    }

    pub(super) fn webhooks(&self) -> Arc<dyn Webhooks> {
        let webhooks = self.webhooks.as_ref();
        Arc::clone(webhooks.expect("a backend under webhooks_contract! is made with_webhooks"))
    }

    /// A user of a host, by a name that is its subject as well.
    pub(super) async fn user(&self, name: &str) -> Result<UserId, StoreError> {
        let user = self.store.identify("contract", name, name, at(0)).await?;
        Ok(user.expect("a user that wasn't deleted"))
    }

    /// Commits a batch without limits of note or an outbox.
    pub(super) async fn commit(
        &self,
        changes: &[Change],
    ) -> Result<Vec<Result<Committed, Refusal>>, StoreError> {
        let answers = self.store.commit(&ctx(at(0)), changes).await?;
        assert_eq!(answers.len(), changes.len(), "one answer for each change");
        Ok(answers)
    }

    /// Commits one change.
    pub(super) async fn commit_with(
        &self,
        ctx: &CommitContext,
        change: &Change,
    ) -> Result<Result<Committed, Refusal>, StoreError> {
        let mut answers = self.store.commit(ctx, std::slice::from_ref(change)).await?;
        assert_eq!(answers.len(), 1, "one answer for one change");
        Ok(answers.remove(0))
    }

    /// Commits one change, which must not be refused.
    pub(super) async fn done(&self, change: Change) -> Result<Committed, StoreError> {
        self.done_with(&ctx(at(0)), change).await
    }

    /// Commits one change under `ctx`, which must not be refused.
    pub(super) async fn done_with(
        &self,
        ctx: &CommitContext,
        change: Change,
    ) -> Result<Committed, StoreError> {
        match self.commit_with(ctx, &change).await? {
            Ok(committed) => Ok(committed),
            Err(refusal) => panic!("refused with {refusal:?}: {change:?}"),
        }
    }

    /// Commits one change, which must be refused.
    pub(super) async fn refused(&self, change: Change) -> Result<Refusal, StoreError> {
        self.refused_with(&ctx(at(0)), change).await
    }

    /// Commits one change under `ctx`, which must be refused.
    pub(super) async fn refused_with(
        &self,
        ctx: &CommitContext,
        change: Change,
    ) -> Result<Refusal, StoreError> {
        match self.commit_with(ctx, &change).await? {
            Ok(committed) => panic!("not refused but {committed:?}: {change:?}"),
            Err(refusal) => Ok(refusal),
        }
    }

    /// A room of `admin` alone, at `seq` 1.
    pub(super) async fn room(&self, admin: UserId) -> Result<RoomId, StoreError> {
        match self.done(create_room(admin, "Kitchen")).await?.outcome {
            Outcome::Room(room) => Ok(room.id),
            other => panic!("a room was made, and the answer is {other:?}"),
        }
    }

    /// An invite into a room, without bounds.
    pub(super) async fn invite(
        &self,
        room: RoomId,
        admin: UserId,
    ) -> Result<TokenHash, StoreError> {
        let token = self.token();
        self.done(invite(room, admin, token, far_off(), None))
            .await?;
        Ok(token)
    }

    /// The hash of a token that nobody else has.
    pub(super) fn token(&self) -> TokenHash {
        let mut token = [7; 32];
        token[..8].copy_from_slice(&self.tokens.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        token
    }

    /// Lets a user in as a member, by an invite for that one use.
    pub(super) async fn admit(
        &self,
        room: RoomId,
        admin: UserId,
        user: UserId,
    ) -> Result<Committed, StoreError> {
        let token = self.token();
        self.done(invite(room, admin, token, far_off(), Some(1)))
            .await?;
        self.done(accept(room, user, token)).await
    }

    /// A room of an admin, Ada, and a member, Bob.
    pub(super) async fn room_of_two(&self) -> Result<(RoomId, UserId, UserId), StoreError> {
        let (ada, bob) = (self.user("Ada").await?, self.user("Bob").await?);
        let room = self.room(ada).await?;
        self.admit(room, ada, bob).await?;
        Ok((room, ada, bob))
    }

    /// Sends a message.
    pub(super) async fn say(
        &self,
        room: RoomId,
        sender: UserId,
        content: &str,
    ) -> Result<Message, StoreError> {
        Ok(self.done(send(room, sender, content)).await?.message())
    }

    /// Where a room stands.
    pub(super) async fn head(&self, room: RoomId) -> Result<Seq, StoreError> {
        let heads = self.store.heads(&[room]).await?;
        Ok(heads.first().expect("the room is there").head)
    }

    /// The content of all messages that history shows, oldest first.
    pub(super) async fn history(
        &self,
        caller: UserId,
        room: RoomId,
    ) -> Result<Vec<String>, StoreError> {
        let mut contents = Vec::new();
        let mut position = Position::AfterSeq(Seq::ZERO);
        loop {
            let page = self.store.messages(caller, room, position, 100).await?;
            let page = page.expect("the caller is in the room");
            if let Some(last) = page.items.last() {
                position = Position::After(last.id);
            }
            contents.extend(page.items.into_iter().map(|message| message.content));
            if !page.has_more {
                return Ok(contents);
            }
        }
    }

    /// All that changed in a room after `since`, for one whose catch-up begins there, read in pages of `limit`.
    pub(super) async fn changes(
        &self,
        reader: Reader,
        room: RoomId,
        since: Seq,
        limit: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        let mut place = since;
        loop {
            let changes = self
                .store
                .changes(reader, room, place, since, limit)
                .await?;
            let changes = changes.expect("the reader may read the room");
            assert!(changes.complete, "nothing was removed: {changes:?}");
            assert!(changes.items.len() <= usize::try_from(limit).unwrap_or(0));
            events.extend(changes.items);
            if !changes.has_more {
                assert_eq!(changes.seq, self.head(room).await?);
                return Ok(events);
            }
            assert!(changes.seq > place, "a page goes forward");
            assert_eq!(Some(changes.seq), events.last().map(Event::seq));
            place = changes.seq;
        }
    }

    /// The members of a room with their roles, by id.
    pub(super) async fn roles(
        &self,
        caller: UserId,
        room: RoomId,
    ) -> Result<Vec<(UserId, Role)>, StoreError> {
        let page = self.store.members(caller, room, None, 100).await?;
        let page = page.expect("the caller is in the room");
        assert!(!page.has_more);
        Ok(page.items.iter().map(|m| (m.user_id, m.role)).collect())
    }
}

impl Committed {
    /// The event of a change that has exactly one.
    pub(super) fn event(&self) -> &Event {
        match self.events.as_slice() {
            [event] => event,
            events => panic!("one event, not {events:?}"),
        }
    }

    /// The message of a change that has one event, which is the answer.
    pub(super) fn message(&self) -> Message {
        assert_eq!(self.outcome, Outcome::Event);
        match self.event() {
            Event::MessageCreated(message)
            | Event::MessageEdited(message)
            | Event::MessageDeleted(message) => message.clone(),
            other => panic!("an event of a message, not {other:?}"),
        }
    }

    /// The message of a change that left it alone.
    pub(super) fn unchanged_message(self) -> Message {
        assert_eq!(self.events, [], "nothing changed");
        match self.outcome {
            Outcome::Message(message) => message,
            other => panic!("the message as it is, not {other:?}"),
        }
    }

    /// The places of its events.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.events.iter().map(|event| event.seq().0).collect()
    }
}
