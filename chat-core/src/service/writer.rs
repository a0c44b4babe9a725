//! Group commit: takes what waits, has the store commit it, and hands it on to be delivered in order.
//!
//! Each lane is one task; a room's changes always go through the same one, so there is one order. What a lane has committed
//! goes to an ordered second stage, which delivers and replies item by item while the lane commits the next batch: a reply
//! that took another way would reach its connection after later events, each looking like a hole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Error;
use super::webhooks::Wanted;
use crate::fanout::{Completes, CompletionBody, Delivery, Fanout};
use crate::model::limits::Limits;
use crate::model::{Clock, Event, RoomId};
use crate::store::{Change, CommitContext, Committed, NodeId, Outcome, Refusal, Store, StoreError};

/// The histogram of the seconds that a transaction takes, by the `metrics` facade: whoever installed a recorder gets it.
pub const COMMIT_DURATION: &str = "chat_commit_duration_seconds";
/// Changes of one batch at most.
const BATCH_CHANGES: usize = 1_024;
/// Changes that wait for a lane at most; more wait with their callers.
const QUEUE: usize = 4_096;
/// Committed batches that wait to be delivered.
const DELIVERY_QUEUE: usize = 4;
/// How long after an unanswered COMMIT the store is asked again where its rooms stand.
const HEADS_RETRY: Duration = Duration::from_millis(200);

/// Who is told what became of a change.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A caller who waits.
    Caller(oneshot::Sender<Result<Committed, Error>>),
    /// A hub connection, by a completion in its place among the room's events.
    Connection(Completes),
}

#[derive(Debug)]
struct Item {
    change: Change,
    reply: Reply,
}

/// A batch that the store has answered.
#[derive(Debug)]
struct Answered {
    changes: Vec<Change>,
    replies: Vec<Reply>,
    results: Result<Vec<Result<Committed, Refusal>>, StoreError>,
}

/// What the writer has counted since it began.
#[derive(Debug, Default)]
pub struct WriterStats {
    batches: AtomicU64,
    changes: AtomicU64,
    failures: AtomicU64,
}

impl WriterStats {
    /// Batches committed.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Changes in them.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Batches that the store couldn't commit.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// The way to the lanes.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    lanes: Arc<[mpsc::Sender<Item>]>,
    pending: watch::Sender<u64>,
}

/// What the lanes work with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    /// For whom a batch writes outbox rows.
    pub(crate) outbox: Option<Outbox>,
    pub(crate) stats: Arc<WriterStats>,
    #[cfg(feature = "testing")]
    pub(crate) fault: Option<super::Fault>,
}

/// The outbox as lanes write it.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    /// Whose rows.
    pub(crate) node: NodeId,
    /// Whom to wake when there are more.
    pub(crate) committed: Arc<Notify>,
    /// Whether rows are wanted; `None`: always.
    pub(crate) wanted: Option<Wanted>,
}

impl Outbox {
    fn is_wanted(&self) -> bool {
        self.wanted.as_ref().is_none_or(Wanted::is)
    }
}

impl Writer {
    /// A writer of so many lanes, and the tasks that are its work: futures that end when the writer is dropped and all
    /// that it took is answered.
    pub(crate) fn new(
        lanes: usize,
        parts: &Parts,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + 'static>) {
        let mut work = Vec::new();
        let pending = watch::Sender::new(0);
        let lanes = (0..lanes.max(1))
            .map(|_| {
                let (submit, items) = mpsc::channel(QUEUE);
                let (answered, deliver) = mpsc::channel(DELIVERY_QUEUE);
                let parts = parts.clone();
                let pending = pending.clone();
                work.push(async move {
                    tokio::join!(
                        commit(items, answered, &parts),
                        deliver_in_order(deliver, &parts, &pending)
                    );
                });
                submit
            })
            .collect();
        (Self { lanes, pending }, work)
    }

    /// Which lane a room's changes go through.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a remainder of a small number
    fn lane(&self, room: Option<RoomId>) -> usize {
        (room.map_or(0, |r| r.0) as u64 % self.lanes.len() as u64) as usize
    }

    /// Queues a change. When this returns the change is on its way, whether or not the caller goes on waiting.
    ///
    /// # Errors
    /// `unavailable` once the writer has stopped.
    pub(crate) async fn submit(&self, change: Change, reply: Reply) -> Result<(), Error> {
        let lane = &self.lanes[self.lane(change.room_id())];
        let place = lane.reserve().await.map_err(|_| stopped())?;
        self.pending.send_modify(|n| *n += 1);
        place.send(Item { change, reply });
        Ok(())
    }

    /// Queues a change and waits for what becomes of it.
    ///
    /// # Errors
    /// The refusal, or that the store couldn't commit.
    pub(crate) async fn write(&self, change: Change) -> Result<Committed, Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(change, Reply::Caller(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Changes that were taken and aren't answered.
    pub(crate) fn pending(&self) -> u64 {
        *self.pending.borrow()
    }

    /// Waits until all that was taken is committed, delivered and answered.
    pub(crate) async fn idle(&self) {
        // It can't fail: this writer holds the sender.
        let _ = self.pending.subscribe().wait_for(|n| *n == 0).await;
    }
}

fn stopped() -> Error {
    Error::unavailable("the server is stopping: try again")
}

/// A lane: commits batch after batch.
async fn commit(mut items: mpsc::Receiver<Item>, answered: mpsc::Sender<Answered>, parts: &Parts) {
    let mut batch = Vec::new();
    while items.recv_many(&mut batch, BATCH_CHANGES).await > 0 {
        let (changes, replies): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|item| (item.change, item.reply))
            .unzip();
        #[cfg(feature = "testing")]
        let changes = super::faults::before_commit(parts.fault, changes);
        let ctx = CommitContext {
            at: parts.clock.now(),
            limits: parts.limits.clone(),
            outbox: parts
                .outbox
                .as_ref()
                .filter(|outbox| outbox.is_wanted())
                .map(|outbox| outbox.node),
        };
        let began = Instant::now();
        let results = parts.store.commit(&ctx, &changes).await;
        metrics::histogram!(COMMIT_DURATION).record(began.elapsed().as_secs_f64());
        if changes.len() == 1 || !matches!(results, Err(StoreError::Failed(_))) {
            let batch = Answered {
                changes,
                replies,
                results,
            };
            if hand_on(batch, &answered, parts).await.is_err() {
                return;
            }
            continue;
        }
        // One change that the store can't take must not harm the others of its batch.
        for (change, reply) in changes.into_iter().zip(replies) {
            let changes = vec![change];
            let results = parts.store.commit(&ctx, &changes).await;
            let one = Answered {
                changes,
                replies: vec![reply],
                results,
            };
            if hand_on(one, &answered, parts).await.is_err() {
                return;
            }
        }
    }
}

/// Has what the store answered delivered, and published. Fails once the second stage is gone.
async fn hand_on(
    batch: Answered,
    answered: &mpsc::Sender<Answered>,
    parts: &Parts,
) -> Result<(), mpsc::error::SendError<Answered>> {
    let changes = batch.changes.len() as u64;
    parts.stats.batches.fetch_add(1, Ordering::Relaxed);
    parts.stats.changes.fetch_add(changes, Ordering::Relaxed);
    let mut uncertain: Option<BTreeSet<RoomId>> = None;
    match &batch.results {
        Ok(_) => {
            if let Some(outbox) = parts.outbox.as_ref().filter(|o| o.is_wanted()) {
                outbox.committed.notify_one();
            }
        }
        Err(e) => {
            parts.stats.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                error = e as &dyn std::error::Error,
                changes,
                "a batch was not committed"
            );
            if matches!(e, StoreError::Uncertain(_)) {
                uncertain = Some(batch.changes.iter().filter_map(Change::room_id).collect());
            }
        }
    }
    answered.send(batch).await?;
    if let Some(rooms) = uncertain {
        look_at_heads(parts, &rooms.into_iter().collect::<Vec<_>>()).await;
    }
    Ok(())
}

/// After a COMMIT without an answer: what it did, if it did anything, is read and delivered before the next batch; joins to
/// rooms of nobody a little later.
async fn look_at_heads(parts: &Parts, rooms: &[RoomId]) {
    parts.fanout.doubt_joins();
    loop {
        match parts.store.heads(rooms).await {
            Ok(heads) => return parts.fanout.heads(rooms, &heads, false),
            Err(e) => {
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    "the heads after an unanswered commit can't be read"
                );
                tokio::time::sleep(HEADS_RETRY).await;
            }
        }
    }
}

/// The second stage: delivers and replies, item by item in commit order.
async fn deliver_in_order(
    mut batches: mpsc::Receiver<Answered>,
    parts: &Parts,
    pending: &watch::Sender<u64>,
) {
    while let Some(Answered {
        changes,
        replies,
        results,
    }) = batches.recv().await
    {
        let answered = changes.len() as u64;
        let mut callers = Vec::new();
        match results {
            Ok(results) => {
                let batch = changes.iter().zip(replies).zip(results).flat_map(
                    |((change, reply), result)| {
                        #[cfg(feature = "testing")]
                        let reply = super::faults::before_delivery(parts.fault, reply, &result);
                        answer(change, reply, result, &mut callers)
                    },
                );
                parts.fanout.deliver(batch.collect::<Vec<_>>());
            }
            Err(e) => {
                // One failure, many callers: each gets the code, the log has had the cause.
                let code = Error::from(e);
                let failed = changes.iter().zip(replies).filter_map(|(change, reply)| {
                    refuse(change.room_id(), reply, code.again(), &mut callers)
                });
                parts.fanout.deliver(failed.collect::<Vec<_>>());
            }
        }
        // What a caller is told of is queued for everyone else already.
        for (caller, result) in callers {
            // A caller that went away doesn't undo the change.
            let _ = caller.send(result);
        }
        pending.send_modify(|n| *n -= answered);
    }
}

type Callers = Vec<(
    oneshot::Sender<Result<Committed, Error>>,
    Result<Committed, Error>,
)>;

/// What one change's result means for the fan-out; what it means for a waiting caller goes to `callers`.
fn answer(
    change: &Change,
    reply: Reply,
    result: Result<Committed, Refusal>,
    callers: &mut Callers,
) -> Vec<Delivery> {
    match result {
        Err(refusal) => refuse(change.room_id(), reply, refusal.into(), callers)
            .into_iter()
            .collect(),
        Ok(committed) => {
            let mut completes = None;
            let mut deliveries = Vec::with_capacity(committed.events.len());
            let room = match &committed.outcome {
                Outcome::Room(room) => Some(Box::new(room.clone())),
                Outcome::Event
                | Outcome::Message(_)
                | Outcome::Member(_)
                | Outcome::Invite(_)
                | Outcome::Done => None,
            };
            let events = match reply {
                Reply::Caller(caller) => {
                    let events = committed.events.clone();
                    callers.push((caller, Ok(committed)));
                    events
                }
                Reply::Connection(call) => match committed.outcome {
                    Outcome::Message(message) => {
                        let body = CompletionBody::Message(Box::new(message));
                        return change
                            .room_id()
                            .map(|room_id| Delivery::Completion {
                                room_id,
                                completes: call,
                                body,
                            })
                            .into_iter()
                            .collect();
                    }
                    Outcome::Event
                    | Outcome::Room(_)
                    | Outcome::Member(_)
                    | Outcome::Invite(_)
                    | Outcome::Done => {
                        completes = Some(call);
                        committed.events
                    }
                },
            };
            for event in events {
                let room = if matches!(event, Event::MemberJoined { .. }) {
                    room.clone()
                } else {
                    None
                };
                deliveries.push(Delivery::Event {
                    event,
                    completes: completes.take(),
                    room,
                });
            }
            deliveries
        }
    }
}

fn refuse(
    room: Option<RoomId>,
    reply: Reply,
    error: Error,
    callers: &mut Callers,
) -> Option<Delivery> {
    match reply {
        Reply::Caller(caller) => {
            callers.push((caller, Err(error)));
            None
        }
        Reply::Connection(completes) => {
            let body = CompletionBody::Error(error.hub_text());
            room.map(|room_id| Delivery::Completion {
                room_id,
                completes,
                body,
            })
        }
    }
}
