//! What nodes hear of what others, and they themselves, publish.

use super::Backend;
use crate::model::{Event, Seq};

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("message {n}"))
}

/// Whoever publishes hears it too: an event may be one that it took over from a node that died.
pub async fn every_node_hears_what_one_publishes(backend: Backend) {
    let (mut here, mut there) = (backend.node().await, backend.node().await);
    let mut elsewhere = backend.node().await;
    let ada = backend.user("Ada").await;
    let (room, made) = backend.room(ada).await;
    let mut events = vec![made];
    events.extend(backend.say(room, ada, numbered(3)).await);
    here.publish(&events).await;
    for node in [&mut here, &mut there, &mut elsewhere] {
        node.hear_until(|n| n.knows(&events)).await;
        node.assert_knows(&events);
    }
}

/// However many times they are published in, and however fast.
pub async fn a_room_keeps_its_order(backend: Backend) {
    let (here, mut there) = (backend.node().await, backend.node().await);
    let ada = backend.user("Ada").await;
    let (room, made) = backend.room(ada).await;
    let mut events = vec![made];
    for _ in 0..20 {
        let said = backend.say(room, ada, numbered(10)).await;
        here.publish(&said).await;
        events.extend(said);
    }
    there.hear_until(|n| n.knows(&events[1..])).await;
    let places: Vec<Seq> = there.named.iter().map(|(_, seq)| *seq).collect();
    assert!(places.is_sorted(), "{places:?}");
    there.assert_knows(&events[1..]);
}

/// As long as contents may be, in the characters that take the most bytes.
pub async fn a_large_message_arrives_whole(backend: Backend) {
    let (here, mut there) = (backend.node().await, backend.node().await);
    let ada = backend.user("Ada").await;
    let (room, _) = backend.room(ada).await;
    let contents = [
        "😀".repeat(4_000),
        "\n\"\\".repeat(1_333),
        "é".repeat(4_000),
    ];
    let said = backend.say(room, ada, contents).await;
    here.publish(&said).await;
    there.hear_until(|n| n.knows(&said)).await;
    there.assert_knows(&said);
}

/// More than fit into one record of any bus.
pub async fn many_rooms_go_at_once(backend: Backend) {
    let (here, mut there) = (backend.node().await, backend.node().await);
    let mut events = Vec::new();
    for n in 0..400 {
        let user = backend.user(&format!("user {}", n % 4)).await;
        let (room, made) = backend.room(user).await;
        events.push(made);
        events.extend(backend.say(room, user, numbered(1)).await);
    }
    here.publish(&events).await;
    there.hear_until(|n| n.knows(&events)).await;
    there.assert_knows(&events);
    assert_eq!(there.joined.len(), 400);
}

/// Each its own rooms, as lanes of different nodes do.
pub async fn several_nodes_publish_at_once(backend: Backend) {
    let (here, there) = (backend.node().await, backend.node().await);
    let mut listener = backend.node().await;
    let ada = backend.user("Ada").await;
    let (left, right) = (backend.room(ada).await.0, backend.room(ada).await.0);
    let of_left = backend.say(left, ada, numbered(100)).await;
    let of_right = backend.say(right, ada, numbered(100)).await;
    let publish = async |node: &super::backend::Node, events: &[Event]| {
        for event in events {
            node.publish(std::slice::from_ref(event)).await;
        }
    };
    let listening = async {
        let all = [of_left.as_slice(), &of_right].concat();
        listener.hear_until(|n| n.knows(&all)).await;
        listener.assert_knows(&all);
    };
    tokio::join!(
        publish(&here, &of_left),
        publish(&there, &of_right),
        listening
    );
}

/// Once it is ready it misses nothing, and what was before it finds in the database.
pub async fn a_node_that_joins_late_hears_what_comes_after(backend: Backend) {
    let here = backend.node().await;
    let ada = backend.user("Ada").await;
    let (room, made) = backend.room(ada).await;
    here.publish(&[made]).await;
    let before = backend.say(room, ada, numbered(5)).await;
    here.publish(&before).await;

    let mut late = backend.node().await;
    let after = backend.say(room, ada, numbered(5)).await;
    here.publish(&after).await;
    late.hear_until(|n| n.knows(&after)).await;
    let last = before.last().map(Event::seq).expect("messages");
    let named = &late.named;
    assert!(named.iter().all(|(_, seq)| *seq > last), "{named:?}");
}

/// A node that died may have published what another takes over.
pub async fn what_is_published_again_does_no_harm(backend: Backend) {
    let (here, mut there) = (backend.node().await, backend.node().await);
    let ada = backend.user("Ada").await;
    let (room, _) = backend.room(ada).await;
    let first = backend.say(room, ada, numbered(3)).await;
    let second = backend.say(room, ada, numbered(3)).await;
    here.publish(&first).await;
    here.publish(&second).await;
    backend.node().await.publish(&first).await;
    let last = backend.say(room, ada, numbered(1)).await;
    here.publish(&last).await;
    there.hear_until(|n| n.knows(&last)).await;
    let all = [first, second, last].concat();
    there.assert_knows(&all);
}

/// A subscription's end is nobody else's.
pub async fn a_node_that_goes_leaves_the_others_alone(backend: Backend) {
    let (here, mut there) = (backend.node().await, backend.node().await);
    let gone = backend.node().await;
    let ada = backend.user("Ada").await;
    let (room, made) = backend.room(ada).await;
    here.publish(&[made]).await;
    drop(gone);
    let said = backend.say(room, ada, numbered(10)).await;
    here.publish(&said).await;
    there.hear_until(|n| n.knows(&said)).await;
    there.assert_knows(&said);
}

/// The relay never does it, but an embedder may.
pub async fn nothing_to_publish_is_fine(backend: Backend) {
    let mut here = backend.node().await;
    here.publish(&[]).await;
    let ada = backend.user("Ada").await;
    let (_, made) = backend.room(ada).await;
    let made = [made];
    here.publish(&made).await;
    here.hear_until(|n| n.knows(&made)).await;
}
