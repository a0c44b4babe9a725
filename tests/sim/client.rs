//! A simulated client: the SDK, and an application that keeps what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_client::{Client, ClientEvent, Positions};
use chat_core::model::{Event, RoomId, Seq};
use chat_core::random::SeededRandom;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use crate::model::RoomModel;
use crate::world::{Way, World};

/// Events that wait for the application: few, so that a slow one is felt.
const EVENTS: usize = 16;
/// How long the application waits before it looks whether it is logged in again.
const LOGIN_PAUSE: Duration = Duration::from_millis(250);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SimClient {
    pub(crate) number: usize,
    pub(crate) sdk: Client,
    world: Arc<World>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rooms: BTreeMap<RoomId, RoomModel>,
    /// The application takes nothing until then.
    busy_until: Option<Instant>,
}

impl SimClient {
    /// A client whose application begins to run.
    pub(crate) fn start(world: &Arc<World>, number: usize, seed: u64) -> Self {
        let way = Way {
            world: Arc::clone(world),
            client: number,
        };
        let sdk = Client::builder("http://simulated.invalid")
            .token_source(way.clone())
            .connector(way)
            .clock(Arc::new(world.clock))
            .random(Arc::new(SeededRandom::new(seed)))
            .event_queue(EVENTS)
            .reconnect_pause(Duration::from_millis(200), Duration::from_secs(3))
            .build()
            .expect("the options are good");
        let client = Self {
            number,
            sdk,
            world: Arc::clone(world),
            state: Arc::default(),
        };
        tokio::spawn(client.clone().run());
        client
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the application take nothing for a while.
    pub(crate) fn be_busy(&self, duration: Duration) {
        self.state().busy_until = Some(Instant::now() + duration);
    }

    /// The rooms as the application knows them.
    pub(crate) fn rooms(&self) -> BTreeMap<RoomId, RoomModel> {
        self.state().rooms.clone()
    }

    /// Connects whenever it is logged in, and takes events until the world ends.
    async fn run(self) {
        let mut positions = Positions::new();
        loop {
            if self.world.session(self.number).is_none() {
                sleep(LOGIN_PAUSE).await;
                continue;
            }
            let connect = self.sdk.connect().positions(positions.clone());
            let Ok(mut connection) = connect.retry_first().await else {
                sleep(LOGIN_PAUSE).await;
                continue;
            };
            while let Some(event) = connection.next().await {
                let busy_until = self.state().busy_until.take();
                if let Some(until) = busy_until {
                    sleep_until(until).await;
                }
                self.take(&event);
            }
            positions = connection.positions().clone();
            let reason = connection.state().borrow().clone();
            self.world
                .note(format_args!("client {} ended: {reason:?}", self.number));
            sleep(LOGIN_PAUSE).await;
        }
    }

    /// Keeps what it is told, and checks its order.
    fn take(&self, event: &ClientEvent) {
        let number = self.number;
        self.world
            .note(format_args!("client {number} hears {}", brief(event)));
        let mut state = self.state();
        match event {
            ClientEvent::Connected(connected) => {
                for head in &connected.rooms {
                    (state.rooms)
                        .entry(head.id)
                        .or_insert_with(|| RoomModel::at(head.seq));
                }
            }
            ClientEvent::Event(event) => {
                let (id, seq) = (event.room_id(), event.seq());
                let me = self.world.users[number];
                let room = state
                    .rooms
                    .entry(id)
                    .or_insert_with(|| RoomModel::at(Seq(seq.0 - 1)));
                if seq <= room.last {
                    self.world.violation(format!(
                        "Repeated: client {number} was told {id}/{seq} though it stood at {}",
                        room.last
                    ));
                }
                room.apply(event);
                let out = matches!(event, Event::MemberLeft { user_id, .. } if *user_id == me);
                if out || room.deleted {
                    state.rooms.remove(&id);
                }
            }
            ClientEvent::RoomJoined { room_id, seq, .. } => {
                state.rooms.insert(*room_id, RoomModel::at(*seq));
            }
            ClientEvent::RoomGone { room_id } => {
                state.rooms.remove(room_id);
            }
            ClientEvent::Discontinuity {
                room_id,
                after,
                seq,
            } => {
                self.world.violation(format!(
                    "Lost: client {number} was told that {room_id} is incomplete from {after} to {seq}"
                ));
            }
            _ => {}
        }
    }
}

/// An event in one line.
fn brief(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Event(event) => {
            format!("{}/{} {:?}", event.room_id(), event.seq(), event.kind())
        }
        ClientEvent::Connected(connected) => {
            let rooms = connected
                .rooms
                .iter()
                .map(|h| format!(" {}/{}", h.id, h.seq));
            format!("Connected{}", rooms.collect::<String>())
        }
        ClientEvent::RoomJoined { room_id, seq, .. } => format!("RoomJoined {room_id}/{seq}"),
        other => format!("{other:?}"),
    }
}
