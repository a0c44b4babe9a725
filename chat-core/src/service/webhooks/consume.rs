//! From a bus that is read as a group to deliveries.

use std::convert::Infallible;
use std::time::Duration;

use super::Outgoing;
use crate::bus::EventBus;
use crate::model::Clock;
use crate::store::BoxError;

/// The group that all consumers are of.
pub const GROUP: &str = "chat.consumer";
/// The wait after a failure.
const BACKOFF: Duration = Duration::from_secs(1);

impl Outgoing {
    /// Makes the deliveries of what the bus carries, together with all others that do; runs until dropped. Where the bus isn't
    /// read as a group, publishers do it, and here is nothing to do.
    pub async fn consume(&self, clock: &dyn Clock) {
        let Some(bus) = self.bus.as_ref().filter(|bus| bus.has_groups()) else {
            return std::future::pending().await;
        };
        loop {
            let Err(e) = self.consume_from(bus.as_ref(), clock).await;
            tracing::warn!(error = e.as_ref(), "the webhooks' events wait on the bus");
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn consume_from(
        &self,
        bus: &dyn EventBus,
        clock: &dyn Clock,
    ) -> Result<Infallible, BoxError> {
        let mut group = bus.join(GROUP).await?;
        loop {
            let events = group.next().await?;
            // What isn't done when this fails is read again.
            self.offer(&events, clock.now()).await?;
            group.done()?;
            self.set_behind(group.behind());
        }
    }
}
