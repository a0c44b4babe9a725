//! The sessions that ended while access tokens of theirs may still be about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::model::{Clock, Timestamp};
use crate::store::{EndedSession, Store, StoreError};

/// How often a node reads what ended elsewhere.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How far each reading goes back before the last one: a session's end is dated before its transaction commits, and by
/// another node's clock.
const OVERLAP: Duration = Duration::from_secs(10);

/// However much it is hurried, it reads no more often.
const READ_EVERY_AT_MOST: Duration = Duration::from_millis(20);

/// An end that is committed later than this after its date may be overlooked: half of [`OVERLAP`], the rest is for clocks.
const LATE: Duration = Duration::from_secs(5);

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
    /// Someone said that there is something to read.
    hurried: Notify,
    /// Sessions ended here, of which the other nodes aren't told yet.
    ended_here: Notify,
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
            hurried: Notify::new(),
            ended_here: Notify::new(),
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

    /// Notes sessions that this node ended, and tells the listeners of those that weren't known before. The other nodes are
    /// to be told.
    pub fn note(&self, sessions: impl IntoIterator<Item = EndedSession>) {
        let mut sessions = sessions.into_iter().peekable();
        if sessions.peek().is_some() {
            self.learn(sessions);
            self.ended_here.notify_one();
        }
    }

    /// Has what ended elsewhere read now.
    pub(crate) fn hurry(&self) {
        self.hurried.notify_one();
    }

    /// Waits until this node ended sessions.
    pub(crate) async fn ended_here(&self) {
        self.ended_here.notified().await;
    }

    fn learn(&self, sessions: impl IntoIterator<Item = EndedSession>) {
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

    /// Notes sessions that this node just ended in the database. One whose end was committed so late that other nodes may have
    /// looked past its time already, by a process that was stopped or a database that was slow, is dated anew for them.
    ///
    /// # Errors
    /// It could not be dated anew; this node knows of it.
    pub async fn end(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        sessions: Vec<EndedSession>,
    ) -> Result<(), StoreError> {
        self.note(sessions.iter().cloned());
        for mut session in sessions {
            while clock.now().since(session.at) > LATE {
                session.at = clock.now();
                store.end_session(&session).await?;
            }
        }
        Ok(())
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
        match in_time(&ended, store.ended_sessions(since)).await {
            Ok(sessions) => {
                ended.learn(sessions);
                ended.read_succeeded(began);
                since = now.minus(OVERLAP);
            }
            Err(error) => {
                ended.update_current();
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "which sessions ended can't be read"
                );
            }
        }
        ended.forget(ended.forget_before(now));
        tokio::select! {
            biased;
            () = sleep_until(began + READ_EVERY) => {}
            () = ended.hurried.notified() => sleep_until(began + READ_EVERY_AT_MOST).await,
        }
    }
}

/// A reading's answer, or that there was none. That the node got stale while it waited is said meanwhile.
async fn in_time(
    ended: &EndedSessions,
    reading: impl Future<Output = Result<Vec<EndedSession>, StoreError>>,
) -> Result<Vec<EndedSession>, StoreError> {
    let mut reading = pin!(timeout(READ_TIMEOUT, reading));
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::sync::MutexGuard;

    use futures_util::FutureExt as _;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::model::ManualClock;
    use crate::store::memory::{Fault, Memory};

    const LIFETIME: Duration = Duration::from_secs(900);
    const SECOND: Duration = Duration::from_secs(1);

    fn session(name: &str, at: Timestamp) -> EndedSession {
        EndedSession {
            session: name.to_owned(),
            at,
        }
    }

    /// A node that watches a database, whose clock goes on by hand.
    struct Node {
        store: Memory,
        clock: Arc<ManualClock>,
        ended: Arc<EndedSessions>,
        heard: Arc<Mutex<Vec<String>>>,
        watching: tokio::task::JoinHandle<()>,
    }

    impl Node {
        fn start() -> Self {
            let store = Memory::new();
            let clock = ManualClock::shared();
            let ended = Arc::new(EndedSessions::new(LIFETIME));
            let heard = Arc::new(Mutex::default());
            let listener = Arc::clone(&heard);
            ended.listen(move |s| {
                let mut heard: MutexGuard<'_, Vec<String>> = listener.lock().expect("no panic");
                heard.push(s.session.clone());
            });
            let watching = tokio::spawn(watch(
                Arc::new(store.clone()),
                Arc::clone(&ended),
                Arc::clone(&clock) as _,
            ));
            Self {
                store,
                clock,
                ended,
                heard,
                watching,
            }
        }

        /// Both clocks go on, second by second.
        async fn pass(&self, seconds: u32) {
            for _ in 0..seconds {
                self.clock.advance(SECOND);
                sleep(SECOND).await;
            }
        }

        async fn end_elsewhere(&self, name: &str, at: Timestamp) {
            let elsewhere = self.store.connect();
            elsewhere
                .end_session(&session(name, at))
                .await
                .expect("noted");
        }

        fn heard(&self) -> Vec<String> {
            self.heard.lock().expect("no panic").clone()
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            self.watching.abort();
        }
    }

    #[test]
    fn each_end_is_heard_of_once_and_after_it_is_known() {
        let ended = Arc::new(EndedSessions::new(LIFETIME));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (inside, log) = (Arc::clone(&ended), Arc::clone(&heard));
        ended.listen(move |s| {
            let known = inside.contains(&s.session);
            log.lock()
                .expect("no panic")
                .push((s.session.clone(), known));
        });
        let at = Timestamp::from_millis(1);
        ended.note([session("a", at), session("b", at), session("a", at)]);
        ended.note([session("b", at)]);
        let expected = [("a".to_owned(), true), ("b".to_owned(), true)];
        assert_eq!(*heard.lock().expect("no panic"), expected);
        assert!(!ended.contains("c"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_elsewhere_is_known_within_a_second() {
        let node = Node::start();
        node.pass(3).await;
        node.end_elsewhere("9", node.clock.now()).await;
        node.pass(1).await;
        sleep(Duration::from_millis(1)).await;
        assert!(node.ended.contains("9"));
        node.pass(20).await;
        assert_eq!(node.heard(), ["9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_hurried_reads_at_once() {
        let node = Node::start();
        node.pass(3).await;
        sleep(SECOND / 2).await;
        node.end_elsewhere("9", node.clock.now()).await;
        node.ended.hurry();
        sleep(READ_EVERY_AT_MOST).await;
        assert!(node.ended.contains("9"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_committed_late_or_dated_by_a_slow_clock_is_found() {
        let node = Node::start();
        node.pass(30).await;
        let dated = node.clock.now().minus(Duration::from_secs(8));
        node.end_elsewhere("late", dated).await;
        node.pass(2).await;
        assert!(node.ended.contains("late"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_by_a_node_that_was_stopped_before_its_commit_is_dated_anew() {
        let (node, stopped) = (Node::start(), Node::start());
        node.pass(30).await;
        stopped.clock.advance(Duration::from_secs(30));
        // It took the time, was stopped, and only then wrote.
        let late = session("late", stopped.clock.now());
        let store = node.store.connect();
        node.pass(15).await;
        stopped.clock.advance(Duration::from_secs(15));
        store.end_session(&late).await.expect("noted");
        stopped
            .ended
            .end(&store, stopped.clock.as_ref(), vec![late])
            .await
            .expect("noted");
        assert!(stopped.ended.contains("late"));
        node.pass(2).await;
        assert!(node.ended.contains("late"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_starts_knows_all_that_tokens_may_still_name() {
        let node = Node::start();
        let dated = node.clock.now().minus(LIFETIME);
        node.end_elsewhere("before", dated).await;
        assert!(!node.ended.is_current());
        sleep(Duration::from_millis(1)).await;
        assert!(node.ended.is_current());
        assert!(node.ended.contains("before"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_forgotten_once_no_token_can_name_it() {
        let node = Node::start();
        node.end_elsewhere("9", node.clock.now()).await;
        node.pass(900).await;
        assert!(node.ended.contains("9"));
        node.pass(150).await;
        assert!(!node.ended.contains("9"));
        assert_eq!(node.heard(), ["9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_could_not_read_for_five_seconds_says_so_and_catches_up() {
        let node = Node::start();
        node.pass(10).await;
        // The readings are at whole seconds, all that follows is between two of them.
        sleep(SECOND / 2).await;
        let mut current = node.ended.current();
        assert!(*current.borrow_and_update());
        node.store.fail_next(7, Fault::Unavailable);
        node.end_elsewhere("9", node.clock.now()).await;
        node.pass(4).await;
        assert!(node.ended.is_current(), "four seconds are not five");
        node.pass(2).await;
        assert!(!node.ended.is_current());
        current.changed().await.expect("it changed");
        assert!(!*current.borrow_and_update());
        assert!(!node.ended.contains("9"));
        node.pass(3).await;
        assert!(node.ended.is_current());
        assert!(*current.borrow_and_update());
        assert!(node.ended.contains("9"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_hangs_is_said_after_five_seconds_and_given_up_after_ten() {
        let ended = EndedSessions::new(LIFETIME);
        let began = Instant::now();
        ended.read_succeeded(began);
        let mut current = ended.current();
        let reading = in_time(&ended, std::future::pending());
        let said = async {
            current.changed().await.expect("it changed");
            began.elapsed()
        };
        let (result, said) = tokio::join!(reading, said);
        assert_eq!(said.as_secs(), 5);
        assert!(matches!(result, Err(StoreError::Unavailable(_))));
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_paused_is_not_current_until_it_has_read() {
        let node = Node::start();
        node.pass(2).await;
        // The clock jumps before any task runs, as after a stop of the whole process.
        assert!(advance(Duration::from_secs(6)).now_or_never().is_none());
        assert!(!node.ended.is_current());
        node.pass(1).await;
        assert!(node.ended.is_current());
    }
}
