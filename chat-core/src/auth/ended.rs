//! The sessions that ended while access tokens of theirs may still be about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::model::{Clock, Timestamp};
use crate::store::{EndedSession, Store, StoreError};

/// How often a node reads what ended elsewhere.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How far each reading goes back before the last one: a session's end is dated before its transaction commits, and by
/// another node's clock.
const OVERLAP: Duration = Duration::from_secs(10);

/// A node that hasn't read for this long can't say who was signed out (contract: 5 s on all nodes).
const STALE_AFTER: Duration = Duration::from_secs(5);

/// When a reading is given up and begun anew.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What is kept beyond the life of an access token: its connection's last 60 s, and the difference of two nodes' clocks.
const KEEP_LONGER: Duration = Duration::from_secs(120);

/// Told of each session that ends, once.
type Listener = Arc<dyn Fn(&EndedSession) + Send + Sync>;

/// The sessions that ended of late, as this node knows: those it ended itself at once, all others within a second.
///
/// A session is here before the listeners hear of it. So who registers a connection and only then asks
/// [`contains`](Self::contains) misses no end.
pub struct EndedSessions {
    keep: Duration,
    ended: RwLock<Ended>,
    listeners: Mutex<Vec<Listener>>,
    /// When the last reading began that succeeded.
    read_at: Mutex<Option<Instant>>,
    current: watch::Sender<bool>,
}

#[derive(Default)]
struct Ended {
    at: BTreeMap<String, Timestamp>,
    by_time: BTreeSet<(Timestamp, String)>,
}

impl EndedSessions {
    /// None so far. `access_lifetime` is how long an access token lives: no session is remembered much longer.
    #[must_use]
    pub fn new(access_lifetime: Duration) -> Self {
        Self {
            keep: access_lifetime + KEEP_LONGER,
            ended: RwLock::default(),
            listeners: Mutex::default(),
            read_at: Mutex::default(),
            current: watch::Sender::new(false),
        }
    }

    /// Whether this session is known to have ended.
    #[must_use]
    pub fn contains(&self, session: &str) -> bool {
        self.ended
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .at
            .contains_key(session)
    }

    /// Has `listener` told of every session that ends from now on. It must not block.
    pub fn listen(&self, listener: impl Fn(&EndedSession) + Send + Sync + 'static) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(listener));
    }

    /// Notes sessions as ended, and tells the listeners of those that weren't known before.
    pub fn note(&self, sessions: impl IntoIterator<Item = EndedSession>) {
        let new: Vec<EndedSession> = {
            let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
            sessions.into_iter().filter(|s| ended.insert(s)).collect()
        };
        if new.is_empty() {
            return;
        }
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for session in &new {
            for listener in &listeners {
                listener(session);
            }
        }
    }

    /// Whether this node read in the last 5 s what ended elsewhere. While it didn't, requests are answered `unavailable`.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.stale_at().is_some_and(|at| Instant::now() < at)
    }

    /// [`is_current`](Self::is_current) as it changes: connections are closed when it turns false.
    #[must_use]
    pub fn current(&self) -> watch::Receiver<bool> {
        self.current.subscribe()
    }

    /// Sessions that ended before this are forgotten, and may be in the database
    /// ([`SweepContext::forget_ended_before`](crate::store::SweepContext)).
    #[must_use]
    pub fn forget_before(&self, now: Timestamp) -> Timestamp {
        now.minus(self.keep)
    }

    fn stale_at(&self) -> Option<Instant> {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.map(|at| at + STALE_AFTER)
    }

    fn read_succeeded(&self, began: Instant) {
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
        self.update_current();
    }

    fn update_current(&self) {
        let is = self.is_current();
        self.current
            .send_if_modified(|was| std::mem::replace(was, is) != is);
    }

    fn forget(&self, before: Timestamp) {
        self.ended
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .forget(before);
    }
}

impl Ended {
    /// False if it is known.
    fn insert(&mut self, session: &EndedSession) -> bool {
        if self.at.contains_key(&session.session) {
            return false;
        }
        self.at.insert(session.session.clone(), session.at);
        self.by_time.insert((session.at, session.session.clone()));
        true
    }

    fn forget(&mut self, before: Timestamp) {
        while let Some((at, _)) = self.by_time.first()
            && *at < before
        {
            if let Some((_, session)) = self.by_time.pop_first() {
                self.at.remove(&session);
            }
        }
    }
}

impl fmt::Debug for EndedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedSessions")
            .field("is_current", &self.is_current())
            .finish_non_exhaustive()
    }
}

/// Reads every second what ended elsewhere, until it is dropped.
///
/// The first reading goes back as far as an access token can be old, each later one to a little before the last that
/// succeeded.
pub async fn watch(store: Arc<dyn Store>, ended: Arc<EndedSessions>, clock: Arc<dyn Clock>) {
    let mut since = ended.forget_before(clock.now());
    loop {
        let began = Instant::now();
        let now = clock.now();
        match read(&*store, &ended, since).await {
            Ok(sessions) => {
                ended.note(sessions);
                ended.read_succeeded(began);
                since = now.minus(OVERLAP);
            }
            Err(error) => {
                ended.update_current();
                tracing::warn!(%error, "can't read which sessions ended");
            }
        }
        ended.forget(ended.forget_before(now));
        sleep_until(began + READ_EVERY).await;
    }
}

/// One reading. It says so when it makes the node stale by not ending.
async fn read(
    store: &dyn Store,
    ended: &EndedSessions,
    since: Timestamp,
) -> Result<Vec<EndedSession>, StoreError> {
    let mut reading = pin!(timeout(READ_TIMEOUT, store.ended_sessions(since)));
    let result = match ended.stale_at() {
        Some(stale_at) => tokio::select! {
            biased;
            result = &mut reading => result,
            () = sleep_until(stale_at) => {
                ended.update_current();
                reading.await
            }
        },
        None => reading.await,
    };
    result.unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed))))
}
