//! The way events take from one node to the others.
//!
//! The bus is the fast way and the database the truth: a bus may lose, double, delay or swap events, and every reader runs
//! them through the fan-out's order, which fills holes from the store. It must not invent any. Every bus passes one suite,
//! `contract` (feature `testing`), and so can an embedder's own.

#[cfg(feature = "testing")]
pub mod contract;
#[cfg(feature = "testing")]
mod faulty;
mod group;
#[cfg(feature = "kafka")]
pub mod kafka;
mod local;
#[cfg(feature = "postgres")]
mod postgres;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

#[cfg(feature = "testing")]
pub use self::faulty::{BusFaults, FaultyBus};
pub use self::group::{DeadLetter, Group};
pub use self::local::LocalBus;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresBus;
use crate::model::{Event, RoomId, Seq};
use crate::store::Joined;

/// Why the bus couldn't be used. What was to be published stays in the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// It can't be reached, or didn't acknowledge.
    #[error("the event bus is not available")]
    Unavailable(#[source] crate::store::BoxError),
    /// It is there, and can't be used as it is: what is wrong, in words for whoever runs it. It won't pass by itself.
    #[error("the event bus can't be used: {0}")]
    Unusable(String),
}

/// How the bus is, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not reached yet.
    Unknown,
    /// It answered when it was last needed.
    Up,
    /// It didn't: events wait in the outbox, and reach other nodes' members through the database meanwhile.
    Down,
}

/// Something that nodes are told beside events. It only hurries what they find in the database by themselves.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Hint {
    /// Sessions ended.
    EndedSessions,
    /// Jobs wait to be done.
    Jobs,
}

/// What a node hears from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An event, whole.
    Event(Event),
    /// A room stands here by now: what came before it is to be read. From a bus that carries no content.
    Head {
        /// The room.
        room_id: RoomId,
        /// Where it stands.
        seq: Seq,
        /// This node published it, and most likely has it already.
        own: bool,
    },
    /// Someone joined a room: from a bus that carries no content, before the [`News::Head`] that covers it.
    Joined(Joined),
    /// Something to look at in the database.
    Hint(Hint),
    /// News may be missing before this: the database has them.
    Missed,
}

/// What of the bus concerns a node.
pub trait Interest: Send + Sync {
    /// Whether messages of this room do: somebody here is in it. What tells who is in a room comes in any case.
    fn follows(&self, room: RoomId) -> bool;
}

/// Carries events between the nodes of a cluster.
#[async_trait]
pub trait EventBus: Send + Sync + fmt::Debug {
    /// Sees that the bus is there, and makes on it what is needed. Called until it succeeds once, before all else.
    ///
    /// # Errors
    /// The bus can't be reached, or lacks what it needs.
    async fn reach(&self) -> Result<(), BusError> {
        Ok(())
    }

    /// Publishes events, which are committed, in this order. When it returns, the bus has them: their outbox rows may go.
    ///
    /// # Errors
    /// Some of them may be published all the same; they will be again.
    async fn publish(&self, events: &[Event]) -> Result<(), BusError>;

    /// Tells all nodes something, at best: what is lost, they find by themselves.
    ///
    /// # Errors
    /// The bus can't be reached.
    async fn hint(&self, hint: Hint) -> Result<(), BusError>;

    /// All that is published from now on, this node's own included, but for messages that `interest` doesn't follow; without
    /// one, hints alone.
    ///
    /// # Errors
    /// The bus can't be reached.
    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError>;

    /// How the bus is.
    fn health(&self) -> Health {
        Health::Up
    }

    /// Errors that its client has reported by itself since it began; `None` where it doesn't tell them apart.
    fn client_errors(&self) -> Option<u64> {
        None
    }

    /// Whether it can be read as a group, and keeps what a group hasn't read: consumers then take events from it. Where not,
    /// whoever publishes hands events to the consumers too.
    fn has_groups(&self) -> bool {
        false
    }

    /// Joins a group of readers, which share what the bus carries.
    ///
    /// # Errors
    /// The bus can't be reached, or has no groups.
    async fn join(&self, _group: &str) -> Result<Box<dyn Group>, BusError> {
        Err(BusError::Unavailable("this bus has no groups".into()))
    }

    /// Publishes deliveries that are dead, where others may read them. A bus without groups keeps none: they are in the
    /// database.
    ///
    /// # Errors
    /// Some of them may be published all the same.
    async fn bury(&self, _letters: &[DeadLetter]) -> Result<(), BusError> {
        Ok(())
    }
}

/// What [`EventBus::subscribe`] gives.
#[async_trait]
pub trait Subscription: Send + fmt::Debug {
    /// Waits for the next news, at least one. Dropping the future loses none.
    ///
    /// # Errors
    /// The subscription is over; subscribe again.
    async fn next(&mut self) -> Result<Vec<News>, BusError>;
}

/// News that are handed on together, without what doesn't concern the node.
struct Batch<'a> {
    interest: Option<&'a dyn Interest>,
    /// Rooms that someone may come into by this very batch.
    changing: BTreeSet<RoomId>,
    news: Vec<News>,
}

impl<'a> Batch<'a> {
    fn new(interest: Option<&'a Arc<dyn Interest>>) -> Self {
        Self {
            interest: interest.map(AsRef::as_ref),
            changing: BTreeSet::new(),
            news: Vec::new(),
        }
    }

    /// Whether messages of this room are wanted.
    fn follows(&self, room: RoomId) -> bool {
        self.changing.contains(&room) || self.interest.is_some_and(|i| i.follows(room))
    }

    fn event(&mut self, event: Event) {
        if self.interest.is_none() {
            return;
        }
        let room = event.room_id();
        if is_of_messages(&event) {
            if !self.follows(room) {
                return;
            }
        } else {
            self.changing.insert(room);
        }
        self.news.push(News::Event(event));
    }
}

/// Whether an event is about messages alone: it concerns those who are in the room, and nobody else.
const fn is_of_messages(event: &Event) -> bool {
    match event {
        Event::MessageCreated(_)
        | Event::MessageEdited(_)
        | Event::MessageDeleted(_)
        | Event::MessagesDeleted { .. } => true,
        Event::MemberJoined { .. }
        | Event::MemberChanged { .. }
        | Event::MembersChanged { .. }
        | Event::MemberLeft { .. }
        | Event::RoomChanged { .. }
        | Event::RoomDeleted { .. } => false,
    }
}
