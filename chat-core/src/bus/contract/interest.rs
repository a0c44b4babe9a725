//! What a node is told of rooms that nobody there is in.

use std::collections::BTreeSet;

use super::Backend;

/// Nothing of their messages.
pub async fn messages_of_other_rooms_are_left_out(backend: Backend) {
    let ada = backend.user("Ada").await;
    let (followed, _) = backend.room(ada).await;
    let (other, _) = backend.room(ada).await;
    let here = backend.node().await;
    let mut there = backend
        .node_that_follows(Some(BTreeSet::from([followed])))
        .await;
    for n in 0..10 {
        let mut events = backend.say(other, ada, [format!("not for you {n}")]).await;
        events.extend(backend.say(followed, ada, [format!("for you {n}")]).await);
        here.publish(&events).await;
    }
    let last = backend.say(followed, ada, ["last".to_owned()]).await;
    here.publish(&last).await;
    there.hear_until(|n| n.knows(&last)).await;
    let named = &there.named;
    assert!(named.iter().all(|(room, _)| *room == followed), "{named:?}");
}

/// A join concerns whoever joins, wherever that one is connected.
pub async fn who_comes_in_is_told_to_all(backend: Backend) {
    let (ada, bob) = (backend.user("Ada").await, backend.user("Bob").await);
    let (room, made) = backend.room(ada).await;
    let here = backend.node().await;
    let mut there = backend.node_that_follows(Some(BTreeSet::new())).await;
    let joined = backend.admit(room, ada, bob).await;
    here.publish(&[made, joined]).await;
    there.hear_until(|n| n.joined.contains(&(bob, room))).await;
}

/// Also at a node that follows the room only from the join on.
pub async fn what_follows_a_join_comes_with_it(backend: Backend) {
    let (ada, bob) = (backend.user("Ada").await, backend.user("Bob").await);
    let (room, _) = backend.room(ada).await;
    let here = backend.node().await;
    let mut there = backend.node_that_follows(Some(BTreeSet::new())).await;
    let mut events = vec![backend.admit(room, ada, bob).await];
    events.extend(backend.say(room, ada, ["Hello".to_owned()]).await);
    here.publish(&events).await;
    there.hear_until(|n| n.knows(&events[1..])).await;
    let more = backend.say(room, ada, ["Again".to_owned()]).await;
    here.publish(&more).await;
    there.hear_until(|n| n.knows(&more)).await;
    there.assert_knows(&more);
}
