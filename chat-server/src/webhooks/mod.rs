//! Outgoing webhooks: what role `consumer` does.
//!
//! What is to be delivered stands in the database, one row for each event and webhook. A [`Deliverer`] takes what is due,
//! under a lease, posts it, and notes what came of it. Several share the work, and what one took that is killed is due again
//! when its lease is over: each event is delivered at least once.

mod options;
mod sender;
mod signature;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chat_core::bus::DeadLetter;
use chat_core::model::{Clock, WebhookId};
use chat_core::random::Random;
use chat_core::service::webhooks::{Outgoing, Target};
use chat_core::store::{
    Attempt, AttemptOutcome, Claim, ClaimId, Claimed, StoreError, WebhookSweep,
};
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

pub use self::options::DelivererOptions;
use self::sender::{Answer, Sender};
use crate::serve::StartError;
use crate::telemetry::metric;

/// How long what is over is kept: longer than events stay on a bus, so that a copy of one is known.
const KEPT: Duration = Duration::from_secs(8 * 86_400);
/// How often what waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How often what is over is cleaned away.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Rows that one step of that touches, and the pause between two.
const SWEEP_ROWS: i64 = 500;
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// The wait after the database failed.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest text of an error that is kept.
const ERROR_CHARS: usize = 200;
/// Dead letters that wait for the bus.
const LETTERS: usize = 1_000;

/// Delivers what is due until it is stopped.
#[derive(Debug)]
pub struct Deliverer {
    outgoing: Outgoing,
    sender: Sender,
    options: DelivererOptions,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    id: ClaimId,
}

/// An attempt that is over.
struct Done {
    host: String,
    claimed: Claimed,
    answer: Answer,
}

/// Requests under way.
#[derive(Default)]
struct UnderWay {
    attempts: JoinSet<Done>,
    hosts: BTreeMap<String, usize>,
    /// Webhooks whose host has as many as it may.
    busy: BTreeMap<WebhookId, String>,
}

/// Attempts that are over and not noted yet, and the way of what died to the bus.
struct Finished {
    attempts: Vec<Attempt>,
    letters: mpsc::Sender<DeadLetter>,
}

impl Finished {
    fn died(&self, claimed: Claimed, attempt: &Attempt, attempts: i64) {
        tracing::warn!(
            webhook = claimed.webhook_id.0,
            delivery = claimed.id.0,
            attempts,
            "a delivery is dead"
        );
        let letter = DeadLetter {
            webhook_id: claimed.webhook_id,
            delivery_id: claimed.id,
            attempts,
            last_status: attempt.status,
            last_error: attempt.error.clone(),
            event: claimed.event,
        };
        if self.letters.try_send(letter).is_err() {
            tracing::warn!("a dead letter is in the database alone: too many wait for the bus");
        }
    }
}

impl UnderWay {
    fn is_full(&self, host: &str, per_host: usize) -> bool {
        self.hosts.get(host).is_some_and(|n| *n >= per_host)
    }

    fn over(&mut self, host: &str) {
        if let Some(n) = self.hosts.get_mut(host) {
            *n -= 1;
            if *n == 0 {
                self.hosts.remove(host);
            }
        }
        self.busy.retain(|_, of| of != host);
    }
}

impl Deliverer {
    /// A deliverer of a chat's webhooks.
    ///
    /// # Errors
    /// The system's certificates can't be used.
    pub fn new(
        outgoing: Outgoing,
        options: DelivererOptions,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            sender: Sender::new(outgoing.private(), options.timeout)?,
            id: ClaimId(random.id()),
            outgoing,
            options,
            clock,
            random,
        })
    }

    /// Delivers until `stop`; then takes nothing more, and ends when what is under way is over and noted.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let consuming = self.outgoing.consume(self.clock.as_ref());
        let looking = async { tokio::join!(self.count(), self.sweep(), consuming) };
        let (letters, dead) = mpsc::channel(LETTERS);
        let delivering = async {
            tokio::select! {
                biased;
                () = self.deliver(stop, letters) => {}
                _ = looking => {}
            }
        };
        tokio::join!(delivering, self.bury(dead));
    }

    async fn deliver(&self, stop: impl Future<Output = ()>, letters: mpsc::Sender<DeadLetter>) {
        let mut stop = std::pin::pin!(stop);
        let mut stopping = false;
        let mut under_way = UnderWay::default();
        let mut finished = Finished {
            attempts: Vec::new(),
            letters,
        };
        loop {
            while let Some(done) = under_way.attempts.try_join_next() {
                self.take_in(done, &mut under_way, &mut finished);
            }
            let looked = self.look(&mut under_way, &mut finished, stopping).await;
            match looked {
                Ok(true) => continue,
                Ok(false) if stopping && under_way.attempts.is_empty() => return,
                Ok(false) => {}
                Err(e) => {
                    tracing::warn!(
                        error = &e as &dyn std::error::Error,
                        "webhooks wait for the database"
                    );
                    if stopping && under_way.attempts.is_empty() {
                        // What isn't noted is delivered again.
                        return;
                    }
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = &mut stop, if !stopping => stopping = true,
                Some(done) = under_way.attempts.join_next() => {
                    self.take_in(done, &mut under_way, &mut finished);
                }
                () = self.outgoing.offered().notified(), if !stopping => {}
                () = tokio::time::sleep(self.options.look_every) => {}
            }
        }
    }

    /// Notes what is over and begins what is due; true if there may be more due that can be begun.
    async fn look(
        &self,
        under_way: &mut UnderWay,
        finished: &mut Finished,
        stopping: bool,
    ) -> Result<bool, StoreError> {
        let store = self.outgoing.store();
        let over = &mut finished.attempts;
        if !over.is_empty() {
            store.finish(self.id, over, self.clock.now()).await?;
            over.clear();
        }
        let free = self
            .options
            .concurrency
            .saturating_sub(under_way.attempts.len());
        if stopping || free == 0 {
            return Ok(false);
        }
        let now = self.clock.now();
        let busy: Vec<_> = under_way.busy.keys().copied().collect();
        let claim = Claim {
            id: self.id,
            at: now,
            until: now.plus(self.options.lease),
            limit: i64::try_from(free).unwrap_or(i64::MAX),
            busy: &busy,
        };
        let taken = store.claim(&claim).await?;
        let any = !taken.is_empty();
        for claimed in taken {
            self.begin(claimed, under_way, finished);
        }
        Ok(any)
    }

    /// Begins an attempt, unless its host has as many as it may.
    fn begin(&self, claimed: Claimed, under_way: &mut UnderWay, finished: &mut Finished) {
        let target = match Target::parse(&claimed.url) {
            Ok(target) => target,
            Err(e) => {
                self.judge(claimed, Answer::None(e.to_string()), finished);
                return;
            }
        };
        let host = target.authority();
        if under_way.is_full(&host, self.options.per_host) {
            under_way.busy.insert(claimed.webhook_id, host);
            finished.attempts.push(Attempt {
                delivery: claimed.id,
                outcome: AttemptOutcome::Released,
                status: None,
                error: None,
            });
            return;
        }
        *under_way.hosts.entry(host.clone()).or_default() += 1;
        let sender = self.sender.clone();
        let at = self.clock.now();
        under_way.attempts.spawn(async move {
            let began = Instant::now();
            let answer = sender.attempt(&target, &claimed, at).await;
            metrics::histogram!(metric::WEBHOOK_DURATION).record(began.elapsed().as_secs_f64());
            Done {
                host,
                claimed,
                answer,
            }
        });
    }

    fn take_in(
        &self,
        done: Result<Done, JoinError>,
        under_way: &mut UnderWay,
        finished: &mut Finished,
    ) {
        match done {
            Ok(done) => {
                under_way.over(&done.host);
                self.judge(done.claimed, done.answer, finished);
            }
            // It panicked, which is logged: its delivery is due again when the lease is over.
            Err(e) => tracing::error!("an attempt ended by itself: {e}"),
        }
    }

    /// Notes what follows from an answer.
    fn judge(&self, claimed: Claimed, answer: Answer, finished: &mut Finished) {
        let attempts = claimed.attempts + 1;
        let wait = self.options.wait(attempts, self.random.fraction());
        let (status, error) = match answer {
            Answer::Taken(status) => (Some(status), None),
            Answer::Gone => (
                Some(StatusCode::GONE),
                Some("the receiver wants no more".to_owned()),
            ),
            Answer::Refused(status) if status.is_redirection() => {
                (Some(status), Some("redirects are not followed".to_owned()))
            }
            Answer::Refused(status) => (Some(status), Some(format!("the answer was {status}"))),
            Answer::None(why) => (None, Some(why)),
        };
        let (outcome, counted) = match (&error, status, wait) {
            (None, _, _) => (AttemptOutcome::Delivered, "delivered"),
            (_, Some(StatusCode::GONE), _) => (AttemptOutcome::Gone, "gone"),
            (_, _, Some(wait)) => (AttemptOutcome::Again(self.clock.now().plus(wait)), "failed"),
            (_, _, None) => (AttemptOutcome::Dead, "dead"),
        };
        metrics::counter!(metric::WEBHOOK_ATTEMPTS, "outcome" => counted).increment(1);
        let attempt = Attempt {
            delivery: claimed.id,
            outcome,
            status: status.map(|status| status.as_u16()),
            error: error.map(shortened),
        };
        if matches!(outcome, AttemptOutcome::Dead | AttemptOutcome::Gone) {
            finished.died(claimed, &attempt, attempts);
        }
        finished.attempts.push(attempt);
    }

    /// Puts dead letters on the bus; ends when no more can come and all are there.
    async fn bury(&self, mut dead: mpsc::Receiver<DeadLetter>) {
        let mut letters = Vec::new();
        while dead.recv_many(&mut letters, LETTERS).await > 0 {
            while let Err(e) = self.outgoing.bury(&letters).await {
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    "dead letters wait for the bus"
                );
                tokio::time::sleep(BACKOFF).await;
            }
            letters.clear();
        }
    }

    /// Counts what waits.
    async fn count(&self) {
        loop {
            match self.outgoing.store().backlog().await {
                Ok(backlog) => {
                    let oldest = backlog.oldest_untried;
                    let lag = oldest.map_or(Duration::ZERO, |at| self.clock.now().since(at));
                    metrics::gauge!(metric::WEBHOOK_LAG).set(lag.as_secs_f64());
                    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
                    metrics::gauge!(metric::WEBHOOK_PENDING).set(backlog.pending as f64);
                    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
                    metrics::gauge!(metric::WEBHOOK_BEHIND).set(self.outgoing.behind() as f64);
                }
                Err(e) => tracing::debug!("the webhooks' backlog can't be read: {e}"),
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    /// Cleans away what is over since long, in bounded steps.
    async fn sweep(&self) {
        loop {
            let now = self.clock.now();
            let ctx = WebhookSweep {
                at: now,
                forget_before: now.minus(KEPT),
                max_rows: SWEEP_ROWS,
            };
            match self.outgoing.store().sweep_webhooks(&ctx).await {
                Ok(true) => tokio::time::sleep(SWEEP_PAUSE).await,
                Ok(false) => tokio::time::sleep(SWEEP_EVERY).await,
                Err(e) => {
                    tracing::warn!(
                        error = &e as &dyn std::error::Error,
                        "cleaning the webhooks' deliveries will be tried again"
                    );
                    tokio::time::sleep(SWEEP_EVERY).await;
                }
            }
        }
    }
}

/// An error's text as it is kept: others wrote parts of it.
fn shortened(text: String) -> String {
    if text.chars().count() <= ERROR_CHARS {
        return text;
    }
    text.chars().take(ERROR_CHARS).collect()
}
