//! The bus of a few nodes over one PostgreSQL database, with nothing else to run: NOTIFY.
//!
//! A notification tells where rooms stand and who joined, never what was said; nodes read that from the database. It is never
//! sent by a transaction that writes: the server commits those that notify one after the other, which makes appends several
//! times slower. The relay sends them here, a batch at a time, on a connection of its own.

mod listen;
mod notice;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::notice::Notice;
use super::{BusError, EventBus, Health, Hint, Interest, Subscription};
use crate::model::Event;
use crate::random::{Random as _, SystemRandom};
use crate::store::postgres::Postgres;

/// The channel that nodes listen on.
const CHANNEL: &str = "chat_events";
/// How long a call on a connection of the bus may take before that is given up.
const CALL: Duration = Duration::from_secs(5);

/// Carries news by NOTIFY over the database that the nodes share anyway. Two connections: one that tells, one that listens.
#[derive(Clone)]
pub struct PostgresBus(Arc<Inner>);

struct Inner {
    store: Postgres,
    /// Tells this bus' notices from those of other nodes.
    name: String,
    sender: Mutex<Option<PgConnection>>,
    health: SharedHealth,
}

impl fmt::Debug for PostgresBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBus")
            .field("health", &self.0.health.get())
            .finish_non_exhaustive()
    }
}

/// A [`Health`] that both connections set.
#[derive(Debug, Default)]
struct SharedHealth(AtomicU8);

impl SharedHealth {
    fn get(&self) -> Health {
        match self.0.load(Ordering::Relaxed) {
            0 => Health::Unknown,
            1 => Health::Up,
            _ => Health::Down,
        }
    }

    fn is_up(&self, up: bool) {
        self.0.store(if up { 1 } else { 2 }, Ordering::Relaxed);
    }
}

fn unavailable(error: impl Into<crate::store::BoxError>) -> BusError {
    BusError::Unavailable(error.into())
}

impl PostgresBus {
    /// The bus over the database of a store. Nothing is connected yet.
    #[must_use]
    pub fn new(store: &Postgres) -> Self {
        let mut name = [0; 8];
        SystemRandom.fill(&mut name);
        Self(Arc::new(Inner {
            store: store.clone(),
            name: format!("{:016x}", u64::from_be_bytes(name)),
            sender: Mutex::new(None),
            health: SharedHealth::default(),
        }))
    }

    /// Sends notices in one transaction.
    async fn send(&self, notices: Vec<String>) -> Result<(), BusError> {
        let mut sender = self.0.sender.lock().await;
        let sent = timeout(CALL, async {
            // Taken, so that a connection whose call is given up is closed with it.
            let mut connection = match sender.take() {
                Some(connection) => connection,
                None => self.0.store.connection().await?,
            };
            sqlx::query("SELECT pg_notify($1, notice) FROM unnest($2::text[]) AS notice")
                .bind(CHANNEL)
                .bind(notices)
                .execute(&mut connection)
                .await?;
            *sender = Some(connection);
            Ok::<_, crate::store::BoxError>(())
        });
        let sent = match sent.await {
            Ok(sent) => sent.map_err(unavailable),
            Err(elapsed) => Err(unavailable(elapsed)),
        };
        self.0.health.is_up(sent.is_ok());
        sent
    }
}

#[async_trait]
impl EventBus for PostgresBus {
    async fn publish(&self, events: &[Event]) -> Result<(), BusError> {
        let notices = notice::of(&self.0.name, events);
        if notices.is_empty() {
            return Ok(());
        }
        self.send(notices).await
    }

    async fn hint(&self, hint: Hint) -> Result<(), BusError> {
        self.send(vec![Notice::hint(&self.0.name, hint).encode()])
            .await
    }

    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let subscription = listen::begin(Arc::clone(&self.0), interest).await?;
        Ok(Box::new(subscription))
    }

    fn health(&self) -> Health {
        self.0.health.get()
    }
}
