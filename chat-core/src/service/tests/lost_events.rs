//! Events that never come: the database makes up for each.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Listener, admit, caller, node, room, say, user};
use crate::bus::{BusFaults, FaultyBus};
use crate::model::{Seq, UserId};
use crate::random::SeededRandom;
use crate::service::{Chat, RelayStats};
use crate::store::memory::{Fault, Memory};
use crate::store::{Joined, Store as _, SweepContext};

/// Two nodes over one database, and a bus that loses everything.
async fn two_nodes() -> (Chat, Chat, Memory) {
    let store = Memory::new();
    let faults = BusFaults {
        lost: 1.0,
        ..BusFaults::default()
    };
    let bus = FaultyBus::new(faults, Arc::new(SeededRandom::new(1)));
    let start = async || {
        let chat = node(store.connect()).bus(bus.clone()).start().await;
        chat.expect("starts")
    };
    (start().await, start().await, store)
}

/// What waits for the bus is seen to wait, and seen gone.
#[tokio::test(start_paused = true)]
async fn how_long_the_outbox_waits_is_known() {
    let refused = |refused| BusFaults {
        refused,
        ..BusFaults::default()
    };
    let bus = FaultyBus::new(BusFaults::default(), Arc::new(SeededRandom::new(1)));
    let chat = node(Memory::new()).bus(bus.clone()).start().await;
    let chat = chat.expect("starts");
    let stats = || chat.relay_stats().expect("it publishes");
    let ada = user(&chat, "Ada").await;
    let kitchen = room(&chat, &ada).await;
    let quiet = async |published: u64| {
        while stats().published() < published || stats().waiting() > Duration::ZERO {
            sleep(Duration::from_millis(10)).await;
        }
        (stats().published(), stats().failures())
    };
    assert_eq!(quiet(1).await, (1, 0));

    bus.set(refused(1.0));
    say(&chat, &ada, kitchen, "Hello").await.expect("sent");
    sleep(Duration::from_secs(30)).await;
    let waiting = stats().waiting();
    assert!(waiting > Duration::from_secs(29) && waiting <= Duration::from_secs(30));
    let failures = stats().failures();
    assert!(failures > 10, "{failures}");

    bus.set(refused(0.0));
    assert_eq!(quiet(2).await, (2, failures));
    let alone = node(Memory::new()).start().await.expect("starts");
    assert_eq!(alone.relay_stats().map(RelayStats::published), None);
}

#[tokio::test(start_paused = true)]
async fn a_join_that_the_bus_lost_is_heard_all_the_same() {
    let (here, there, _) = two_nodes().await;
    let (ada, bob) = (user(&here, "Ada").await, user(&here, "Bob").await);
    let kitchen = room(&here, &ada).await;
    let mut bobs = Listener::connect(&there, &bob).await;
    assert_eq!(
        bobs.hears("Connected").await["rooms"],
        serde_json::json!([])
    );

    admit(&here, &ada, kitchen, &bob).await;
    say(&here, &ada, kitchen, "Hello").await.expect("sent");

    let joined = bobs.hears("RoomJoined").await;
    assert_eq!(joined["room"]["seq"], 2);
    assert_eq!(bobs.hears("MessageCreated").await["seq"], 3);
}

/// Also where others of the room are connected, and so its order went past the join.
#[tokio::test(start_paused = true)]
async fn a_lost_join_to_a_room_that_is_followed_by_now_is_heard_all_the_same() {
    let (here, there, _) = two_nodes().await;
    let (ada, bob) = (user(&here, "Ada").await, user(&here, "Bob").await);
    let kitchen = room(&here, &ada).await;
    let mut bobs = Listener::connect(&there, &bob).await;
    admit(&here, &ada, kitchen, &bob).await;
    let mut adas = Listener::connect(&there, &ada).await;
    assert_eq!(adas.hears("Connected").await["rooms"][0]["seq"], 2);
    say(&there, &ada, kitchen, "Hello").await.expect("sent");

    assert_eq!(bobs.hears("RoomJoined").await["room"]["seq"], 2);
    say(&there, &ada, kitchen, "Again").await.expect("sent");
    assert_eq!(bobs.hears("MessageCreated").await["seq"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_leaving_that_the_bus_lost_is_heard_all_the_same() {
    let (here, there, _) = two_nodes().await;
    let (ada, bob) = (user(&here, "Ada").await, user(&here, "Bob").await);
    let kitchen = room(&here, &ada).await;
    admit(&here, &ada, kitchen, &bob).await;
    let mut bobs = Listener::connect(&there, &bob).await;
    assert_eq!(bobs.hears("Connected").await["rooms"][0]["seq"], 2);

    let removed = here.remove_member(&ada, kitchen, bob.user_id, false).await;
    removed.expect("removed");

    let left = bobs.hears("MemberLeft").await;
    assert_eq!(left["userId"], bob.user_id.0);
    assert!(!there.fanout().rooms().contains(&kitchen));
}

/// The second connection finds the room in what it reads; the event, had it come, would be a duplicate by then.
#[tokio::test(start_paused = true)]
async fn an_earlier_connection_hears_of_a_room_that_a_later_one_entered_with() {
    let (here, there, _) = two_nodes().await;
    let (ada, bob) = (user(&here, "Ada").await, user(&here, "Bob").await);
    let kitchen = room(&here, &ada).await;
    let mut first = Listener::connect(&there, &bob).await;
    admit(&here, &ada, kitchen, &bob).await;
    let mut second = Listener::connect(&there, &bob).await;
    assert_eq!(second.hears("Connected").await["rooms"][0]["seq"], 2);

    assert_eq!(first.hears("RoomJoined").await["room"]["seq"], 2);
    say(&there, &bob, kitchen, "Hello").await.expect("sent");
    for listener in [&mut first, &mut second] {
        assert_eq!(listener.hears("MessageCreated").await["seq"], 3);
    }
    // Each heard it once: what follows is the next.
    say(&there, &bob, kitchen, "Again").await.expect("sent");
    for listener in [&mut first, &mut second] {
        let (target, message) = listener.next().await;
        assert_eq!(
            (target.as_str(), &message["seq"]),
            ("MessageCreated", &4.into())
        );
    }
}

/// What was read of joins may be out of date when it is looked at.
#[tokio::test(start_paused = true)]
async fn who_left_since_joins_were_read_is_not_let_in() {
    let (here, there, store) = two_nodes().await;
    let (ada, bob) = (user(&here, "Ada").await, user(&here, "Bob").await);
    let (kitchen, cellar) = (room(&here, &ada).await, room(&here, &ada).await);
    let mut bobs = Listener::connect(&there, &bob).await;
    admit(&here, &ada, kitchen, &bob).await;
    let read = store.joined(&[bob.user_id]).await.expect("read");
    let left = here.remove_member(&bob, kitchen, bob.user_id, false).await;
    left.expect("left");

    there.fanout().heal_joins(&read);
    admit(&here, &ada, cellar, &bob).await;
    let joined = bobs.hears("RoomJoined").await;
    assert_eq!(joined["room"]["id"], cellar.0);
}

/// Joins of users who aren't here, or of nobody, change nothing.
#[tokio::test(start_paused = true)]
async fn joins_of_others_let_nobody_in() {
    let (here, there, _) = two_nodes().await;
    let ada = user(&here, "Ada").await;
    let kitchen = room(&here, &ada).await;
    let joined = |user_id| Joined {
        user_id,
        room_id: kitchen,
        seq: Seq(1),
    };
    let joins = [ada.user_id, UserId(987_654)].map(joined);
    there.fanout().heal_joins(&joins);
    assert_eq!(there.fanout().rooms(), []);
}

#[tokio::test(start_paused = true)]
async fn a_creator_hears_of_a_room_whose_commit_went_unanswered() {
    let store = Memory::new();
    let chat = node(store.clone()).start().await.expect("starts");
    let ada = user(&chat, "Ada").await;
    let mut adas = Listener::connect(&chat, &ada).await;
    store.fail_next_commits(1, Fault::UncertainApplied);
    chat.create_room(&ada, "Kitchen")
        .await
        .expect_err("nobody knows");
    let joined = adas.hears("RoomJoined").await;
    assert_eq!(joined["room"]["name"], "Kitchen");
}

/// Its place is gone from the database with all else: it ends where the connections stand, and they go on.
#[tokio::test(start_paused = true)]
async fn a_room_that_was_purged_unheard_ends_for_who_is_in_it() {
    let (here, there, store) = two_nodes().await;
    let (ada, bob) = (user(&here, "Ada").await, user(&here, "Bob").await);
    let kitchen = room(&here, &ada).await;
    admit(&here, &ada, kitchen, &bob).await;
    let mut bobs = Listener::connect(&there, &bob).await;
    assert_eq!(bobs.hears("Connected").await["rooms"][0]["seq"], 2);
    say(&here, &ada, kitchen, "Hello").await.expect("sent");

    here.delete_room(&ada, kitchen).await.expect("deleted");
    let now = here.now();
    let sweep = SweepContext {
        at: now,
        retain_from: None,
        forget_ended_before: now,
        max_rows: 1_000,
    };
    while store.sweep(&sweep).await.expect("swept") {}

    let deleted = bobs.hears("RoomDeleted").await;
    assert_eq!(deleted["roomId"], kitchen.0);
    assert_eq!(deleted["seq"], 3);
    room(&there, &caller(bob.user_id)).await;
    assert_eq!(bobs.next().await.0, "RoomJoined");
}
