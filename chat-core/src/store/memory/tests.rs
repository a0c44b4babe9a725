//! What the memory store adds to the contract: planted faults, and crashes between applied and synced.

use std::time::Duration;

use tokio::time::Instant;

use super::{Fault, Memory};
use crate::model::limits::Limits;
use crate::model::{Event, RoomId, Seq, Timestamp, UserId};
use crate::store::{
    Change, CommitContext, Committed, Position, Reader, Refusal, Store, StoreError,
};

const DELAY: Duration = Duration::from_millis(20);

async fn commit(
    store: &Memory,
    change: Change,
) -> Result<Vec<Result<Committed, Refusal>>, StoreError> {
    let ctx = CommitContext {
        at: Timestamp::from_millis(0),
        limits: Limits::default(),
        outbox: None,
    };
    store.commit(&ctx, &[change]).await
}

fn send(room_id: RoomId, sender_id: UserId, content: &str) -> Change {
    Change::SendMessage {
        room_id,
        sender_id,
        content: content.to_owned(),
        client_message_id: None,
    }
}

/// A user and its room, synced.
async fn room(store: &Memory) -> (RoomId, UserId) {
    let ada = store.identify("app", "ada", "Ada", Timestamp::from_millis(0));
    let ada = ada.await.expect("no fault").expect("a new user");
    let made = Change::CreateRoom {
        by: ada,
        name: "Kitchen".to_owned(),
    };
    let made = commit(store, made).await.expect("no fault").remove(0);
    let room = made.expect("made").events[0].room_id();
    tokio::time::sleep(DELAY).await;
    (room, ada)
}

async fn history(store: &Memory, room: RoomId, caller: UserId) -> Vec<String> {
    let page = store.messages(caller, room, Position::Newest, 100);
    let page = page.await.expect("no fault").expect("in the room");
    page.items.into_iter().map(|m| m.content).collect()
}

#[tokio::test(start_paused = true)]
async fn a_commit_returns_when_it_is_synced() {
    let store = Memory::with_sync_delay(DELAY);
    let (room, ada) = room(&store).await;
    let before = Instant::now();
    commit(&store, send(room, ada, "Hello"))
        .await
        .expect("synced");
    assert_eq!(before.elapsed(), DELAY);
    store.crash();
    assert_eq!(history(&store, room, ada).await, ["Hello"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_synced_is_not_seen() {
    let store = Memory::with_sync_delay(DELAY);
    let (room, ada) = room(&store).await;
    let node = store.connect();
    let sending = tokio::spawn(async move { commit(&node, send(room, ada, "Hello")).await });
    tokio::time::sleep(DELAY / 2).await;
    assert_eq!(history(&store, room, ada).await, [""; 0]);
    sending.await.expect("no panic").expect("synced");
    assert_eq!(history(&store, room, ada).await, ["Hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_what_is_not_synced() {
    let store = Memory::with_sync_delay(DELAY);
    let (room, ada) = room(&store).await;
    let node = store.connect();
    let lost = tokio::spawn(async move { commit(&node, send(room, ada, "Lost")).await });
    tokio::time::sleep(DELAY / 2).await;
    store.crash();
    let answer = lost.await.expect("no panic");
    assert!(
        matches!(answer, Err(StoreError::Uncertain(_))),
        "{answer:?}"
    );
    let next = commit(&store, send(room, ada, "Kept"))
        .await
        .expect("synced");
    let next = next[0].as_ref().expect("sent");
    assert_eq!(next.events[0].seq(), Seq(2), "the place of the lost one");
    assert_eq!(history(&store, room, ada).await, ["Kept"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_commit_is_synced_all_the_same() {
    let store = Memory::with_sync_delay(DELAY);
    let (room, ada) = room(&store).await;
    let cut = tokio::time::timeout(DELAY / 2, commit(&store, send(room, ada, "Hello")));
    assert!(cut.await.is_err());
    tokio::time::sleep(DELAY).await;
    store.crash();
    assert_eq!(history(&store, room, ada).await, ["Hello"]);
}

#[tokio::test(start_paused = true)]
async fn writes_go_on_top_of_each_other_before_they_are_synced() {
    let store = Memory::with_sync_delay(DELAY);
    let (room, ada) = room(&store).await;
    let (one, two) = tokio::join!(
        commit(&store, send(room, ada, "One")),
        commit(&store, send(room, ada, "Two")),
    );
    let seqs = [one, two].map(|answer| {
        let answers = answer.expect("synced");
        answers[0].as_ref().expect("sent").events[0].seq()
    });
    assert_eq!(seqs, [Seq(2), Seq(3)]);
}

/// The planted fault must show: otherwise a simulation that finds nothing proves nothing.
#[tokio::test(start_paused = true)]
async fn an_early_acknowledgement_is_broken_by_a_crash() {
    let store = Memory::acknowledging_before_sync(DELAY);
    let (room, ada) = room(&store).await;
    let before = Instant::now();
    let answers = commit(&store, send(room, ada, "Lost"))
        .await
        .expect("acknowledged");
    let Ok(committed) = &answers[0] else {
        panic!("acknowledged: {answers:?}");
    };
    assert!(matches!(committed.events[0], Event::MessageCreated(_)));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(history(&store, room, ada).await, ["Lost"]);
    store.crash();
    assert_eq!(history(&store, room, ada).await, [""; 0]);
    let page = store.changes(Reader::Node, room, Seq(2), Seq(2), 10);
    let page = page.await.expect("no fault").expect("it is there");
    assert!(!page.complete, "a client stands beyond the head");
}

#[tokio::test]
async fn planted_faults_meet_the_next_calls() {
    let store = Memory::new();
    let (room, ada) = room(&store).await;
    store.fail_next(2, Fault::Unavailable);
    assert!(matches!(
        commit(&store, send(room, ada, "No")).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unavailable(_))
    ));
    store.ping().await.expect("two calls are over");
    assert_eq!(history(&store, room, ada).await, [""; 0]);
}

#[tokio::test]
async fn an_uncertain_commit_was_applied_or_not() {
    let store = Memory::new();
    let (room, ada) = room(&store).await;
    store.fail_next_commits(1, Fault::UncertainLost);
    store.fail_next_commits(1, Fault::UncertainApplied);
    store.ping().await.expect("only commits fail");
    for content in ["Lost", "Applied"] {
        let answer = commit(&store, send(room, ada, content)).await;
        assert!(
            matches!(answer, Err(StoreError::Uncertain(_))),
            "{answer:?}"
        );
    }
    commit(&store, send(room, ada, "Fine"))
        .await
        .expect("the faults are over");
    assert_eq!(history(&store, room, ada).await, ["Applied", "Fine"]);
}

#[tokio::test]
async fn a_connection_has_faults_of_its_own() {
    let store = Memory::new();
    let (room, ada) = room(&store).await;
    let other = store.connect();
    store.fail_next(1, Fault::Unavailable);
    commit(&other, send(room, ada, "Hello"))
        .await
        .expect("not its fault");
    assert!(store.ping().await.is_err());
    assert_eq!(history(&store, room, ada).await, ["Hello"], "one database");
}
