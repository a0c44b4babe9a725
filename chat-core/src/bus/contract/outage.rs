//! A bus that is away for a while.

use std::time::Duration;

use tokio::time::timeout;

use super::Backend;
use super::backend::until_done;
use crate::bus::Health;

/// How long a node tries while the bus is away: long enough to see that it is.
const A_WHILE: Duration = Duration::from_secs(3);

/// Both nodes go on with what they have, and what couldn't be published comes when the bus is back.
pub async fn an_outage_delays_and_loses_nothing(backend: Backend) {
    let (here, mut there) = (backend.node().await, backend.node().await);
    let ada = backend.user("Ada").await;
    let (room, made) = backend.room(ada).await;
    let before = [made];
    here.publish(&before).await;
    there.hear_until(|n| n.knows(&before)).await;
    let said = backend
        .say(room, ada, (0..20).map(|n| format!("message {n}")))
        .await;
    assert_eq!(here.bus.health(), Health::Up);

    backend.stop().await;
    let published = timeout(A_WHILE, here.publish(&said)).await;
    assert!(published.is_err(), "the bus is away");
    backend.resume().await;
    // Nobody said that the bus is back: it is found.
    here.publish(&said).await;
    there.hear_until(|n| n.knows(&said)).await;
    there.assert_knows(&said);
    assert_eq!(here.bus.health(), Health::Up);

    let after = backend.say(room, ada, ["after".to_owned()]).await;
    here.publish(&after).await;
    there.hear_until(|n| n.knows(&after)).await;
    there.assert_knows(&after);
}

/// A node that starts before its bus is ready later.
pub async fn a_bus_that_is_away_at_the_start_is_reached_later(backend: Backend) {
    let ada = backend.user("Ada").await;
    let (_, made) = backend.room(ada).await;
    let made = [made];
    backend.stop().await;
    let bus = backend.unreached();
    assert!(
        timeout(
            A_WHILE,
            until_done(async || {
                bus.reach().await?;
                bus.publish(&made).await
            })
        )
        .await
        .is_err(),
        "the bus is away"
    );
    assert_ne!(bus.health(), Health::Up);
    backend.resume().await;
    until_done(async || bus.reach().await).await;
    let mut here = backend.node().await;
    until_done(async || bus.publish(&made).await).await;
    here.hear_until(|n| n.knows(&made)).await;
    assert_eq!(bus.health(), Health::Up);
}
