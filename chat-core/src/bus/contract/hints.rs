//! What hurries nodes.

use super::Backend;
use super::backend::until_done;
use crate::bus::{Hint, News};

/// Of each kind, and among events.
pub async fn every_node_hears_a_hint(backend: Backend) {
    let (mut here, mut there) = (backend.node().await, backend.node().await);
    let ada = backend.user("Ada").await;
    let (_, made) = backend.room(ada).await;
    here.publish(&[made]).await;
    for hint in [Hint::EndedSessions, Hint::Jobs] {
        until_done(async || here.bus.hint(hint).await).await;
        for node in [&mut here, &mut there] {
            node.hear_until(|n| n.hints.contains(&hint)).await;
        }
    }
}

/// It has nobody to tell of anything else.
pub async fn a_node_without_connections_hears_hints_alone(backend: Backend) {
    let here = backend.node().await;
    let bus = backend.bus().await;
    let mut there = until_done(async || bus.subscribe(None).await).await;
    let (ada, bob) = (backend.user("Ada").await, backend.user("Bob").await);
    let (room, made) = backend.room(ada).await;
    let joined = backend.admit(room, ada, bob).await;
    let said = backend.say(room, ada, ["Hello".to_owned()]).await;
    here.publish(&[made, joined]).await;
    here.publish(&said).await;
    until_done(async || here.bus.hint(Hint::Jobs).await).await;
    let news = there.next().await.expect("the subscription stands");
    assert_eq!(news, [News::Hint(Hint::Jobs)]);
}
