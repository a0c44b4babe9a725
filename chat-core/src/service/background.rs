//! The work that goes on beside requests: holes and heads, jobs, cleaning, keep-alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;

use super::writer::Writer;
use crate::auth::EndedSessions;
use crate::fanout::{End, Fanout, Want};
use crate::model::{Clock, RoomId};
use crate::store::{Reader, Store, SweepContext};

/// Items that one page of a fill reads.
const FILL_PAGE: i64 = 100;
/// Rooms that are read at once.
const FILLS: usize = 4;
/// How often connections are told where their rooms stand.
const HEADS_EVERY: Duration = Duration::from_secs(5);
/// Users whose joins one statement reads.
const JOINED_USERS: usize = 1_000;
/// How often connections are looked at.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// Jobs that one round does.
const JOBS: i64 = 100;
/// How often jobs are looked for that nobody announced: those of a node that died.
const JOBS_EVERY: Duration = Duration::from_secs(10);
/// How often there is a look at what is to be cleaned.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// The pause between two steps of cleaning, so that commits get their turn.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// Rows that one step touches.
const SWEEP_ROWS: i64 = 500;

/// Has what is read from time to time read now: something may have been missed.
#[derive(Debug, Default)]
pub(super) struct Look {
    heads: Notify,
    joins: Notify,
}

impl Look {
    /// Now.
    pub(super) fn now(&self) {
        self.heads.notify_one();
        self.joins.notify_one();
    }
}

/// Waits for the next turn, or until someone has it come now.
async fn turn(hurried: &Notify) {
    tokio::select! {
        biased;
        () = hurried.notified() => {}
        () = tokio::time::sleep(HEADS_EVERY) => {}
    }
}

/// Reads from the store what the fan-out wants; runs until dropped.
pub(super) async fn fill(fanout: Arc<Fanout>, store: Arc<dyn Store>) {
    let (fanout, store) = (&fanout, &store);
    loop {
        let wants = stream::iter(fanout.wants().await);
        let read = wants.for_each_concurrent(FILLS, |want| async move {
            let read = match want {
                Want::Changes(room, since) => store
                    .changes(Reader::Node, room, since, since, FILL_PAGE)
                    .await
                    .map(|changes| fanout.fill(room, changes)),
                Want::Room(room, user) => store
                    .room(user, room)
                    .await
                    .map(|answer| fanout.joined(room, user, answer)),
            };
            if let Err(e) = read {
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    ?want,
                    "a hole can't be filled yet"
                );
                fanout.want_again(want);
            }
        });
        read.await;
    }
}

/// Finds the joins whose event never came, for users who are connected here; runs until dropped.
///
/// A lost event leaves a hole in a room that someone here is in, and `heads` finds it. A join to any other room leaves none.
/// Joins are lost on the way from another node (`has_bus`), and by a COMMIT that went unanswered.
pub(super) async fn lost_joins(
    fanout: Arc<Fanout>,
    store: Arc<dyn Store>,
    look: Arc<Look>,
    has_bus: bool,
) {
    loop {
        turn(&look.joins).await;
        if !fanout.take_doubt() && !has_bus {
            continue;
        }
        for users in fanout.users().chunks(JOINED_USERS) {
            match store.joined(users).await {
                Ok(joined) => fanout.heal_joins(&joined),
                Err(e) => {
                    tracing::warn!(
                        error = &e as &dyn std::error::Error,
                        "where users joined can't be read"
                    );
                    fanout.doubt_joins();
                }
            }
        }
    }
}

/// Tells connections where their rooms stand, and finds this node's own holes; runs until dropped.
pub(super) async fn heads(fanout: Arc<Fanout>, store: Arc<dyn Store>, look: Arc<Look>) {
    loop {
        turn(&look.heads).await;
        let rooms: Vec<RoomId> = fanout.rooms();
        if rooms.is_empty() {
            continue;
        }
        match store.heads(&rooms).await {
            Ok(heads) => fanout.heads(&rooms, &heads, true),
            Err(e) => tracing::warn!(
                error = &e as &dyn std::error::Error,
                "the rooms' heads can't be read"
            ),
        }
    }
}

/// Pings connections and ends those that are over; runs until dropped.
///
/// A node that can't read who was signed out (for 5 s) doesn't go on sending either.
pub(super) async fn keep_alive(
    fanout: Arc<Fanout>,
    ended: Arc<EndedSessions>,
    clock: Arc<dyn Clock>,
) {
    loop {
        tokio::time::sleep(TICK_EVERY).await;
        fanout.tick(clock.now());
        if !ended.is_current() {
            for connection in fanout.connections() {
                connection.close(End::Error);
            }
        }
    }
}

/// Does the durable jobs of renaming and deleting users through their rooms' lanes; runs until dropped.
pub(super) async fn jobs(store: Arc<dyn Store>, writer: Writer, announced: Arc<Notify>) {
    loop {
        match store.jobs(JOBS).await {
            Ok(jobs) if !jobs.is_empty() => {
                for job in jobs {
                    if let Err(e) = writer.write(job.change()).await {
                        tracing::warn!(
                            error = &e as &dyn std::error::Error,
                            ?job,
                            "a job will be tried again"
                        );
                        tokio::time::sleep(TICK_EVERY).await;
                    }
                }
                continue;
            }
            Ok(_) => {}
            Err(e) => tracing::warn!(error = &e as &dyn std::error::Error, "jobs can't be read"),
        }
        tokio::select! {
            biased;
            () = announced.notified() => {}
            () = tokio::time::sleep(JOBS_EVERY) => {}
        }
    }
}

/// Cleans up in bounded steps; runs until dropped.
pub(super) async fn sweep(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    retention: Option<Duration>,
    forget_ended_after: Duration,
) {
    loop {
        loop {
            let now = clock.now();
            let ctx = SweepContext {
                at: now,
                retain_from: retention.map(|d| now.minus(d)),
                forget_ended_before: now.minus(forget_ended_after),
                max_rows: SWEEP_ROWS,
            };
            match store.sweep(&ctx).await {
                Ok(true) => tokio::time::sleep(SWEEP_PAUSE).await,
                Ok(false) => break,
                Err(e) => {
                    tracing::warn!(
                        error = &e as &dyn std::error::Error,
                        "cleaning will be tried again"
                    );
                    break;
                }
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}
