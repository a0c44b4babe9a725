//! What hurries nodes.

use super::Backend;
use super::backend::until_done;
use crate::bus::Hint;

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
