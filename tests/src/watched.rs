//! A webhook on some of a crowd's rooms, and what it was never told of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chat_client::model::{RoomId, Seq};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Crowd, Received, Receiver};

/// The rooms whose events are told to a webhook.
const ROOMS: usize = 2;
/// How long the last deliveries may take, unless someone says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// A receiver that is told of some rooms, from a moment on.
#[derive(Debug)]
pub struct Watched {
    /// Who is told.
    pub receiver: Receiver,
    /// How long the last deliveries may take, which may have failed at first.
    pub patience: Duration,
    /// Where the rooms stood.
    before: BTreeMap<RoomId, Seq>,
}

impl Watched {
    /// What a receiver answers that fails every other event at first.
    #[must_use]
    pub fn every_other_fails_at_first(payload: &Value, before: usize) -> StatusCode {
        let place = payload["data"]["changedSeq"].as_i64().unwrap_or(0);
        if before == 0 && place % 2 == 0 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    }

    /// Has it told by those who serve rooms at this address.
    ///
    /// # Panics
    /// They don't answer as they should.
    pub async fn begin(receiver: Receiver, crowd: &Crowd, rest: &str) -> Self {
        for (admin, room) in crowd.admins().take(ROOMS) {
            let path = format!("/v1/rooms/{room}/webhooks");
            let hook = json!({"url": receiver.url(), "events": ["messageCreated"]});
            admin.at(rest).api.post(&path, &hook).await.with(201);
        }
        let mut before = crowd.places().await;
        let rooms: BTreeSet<_> = crowd.admins().take(ROOMS).map(|(_, room)| room).collect();
        before.retain(|room, _| rooms.contains(room));
        Self {
            receiver,
            patience: PATIENCE,
            before,
        }
    }

    /// Rooms and places of what happened since and that it was never told of, when the crowd is done and the last deliveries had
    /// their time.
    pub async fn untold(&self, crowd: &Crowd) -> BTreeSet<(i64, i64)> {
        let happened = crowd.happened_since(&self.before);
        let end = Instant::now() + self.patience;
        loop {
            let told: BTreeSet<_> = self.receiver.taken().iter().map(place).collect();
            let untold: BTreeSet<_> = happened.difference(&told).copied().collect();
            if untold.is_empty() || Instant::now() > end {
                return untold;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

/// The room and the place of what a webhook tells.
fn place(one: &Received) -> (i64, i64) {
    let room = one.json()["data"]["roomId"].as_i64();
    (room.expect("an event of a room"), one.place())
}
