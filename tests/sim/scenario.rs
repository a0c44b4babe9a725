//! What happens in a run, drawn from its seed: people at work, and everything that may break meanwhile.

use std::sync::Arc;
use std::time::Duration;

use chat_core::auth::Caller;
use chat_core::bus::BusFaults;
use chat_core::model::{Member, Message, Role, RoomId, UserId};
use chat_core::protocol::rest::{CreateInvite, EditMessage};
use chat_core::service::Chat;
use chat_core::store::Store as _;
use chat_core::store::memory::Fault;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::SimClient;
use crate::world::{CLIENTS, NODES, Send, World};

/// Steps of a run.
const STEPS: usize = 120;
/// Bounds of the pause between two steps, in milliseconds; a third of the steps follow at once.
const PAUSE_MS: std::ops::Range<u64> = 1..600;
/// How long what was begun may take to end once everything works again: a send waits 60 s for its answer.
const LAST_ANSWERS: Duration = Duration::from_secs(90);
/// How long everyone may take to learn what happened, once everything works and nothing is begun.
const SETTLE: Duration = Duration::from_secs(30);
/// A run's driver.
pub(crate) struct Scenario {
    world: Arc<World>,
    clients: Vec<SimClient>,
    random: StdRng,
    /// What goes on beside the steps: sends that wait, repairs to come.
    beside: JoinSet<()>,
    counter: u64,
}

impl Scenario {
    pub(crate) fn new(world: &Arc<World>, seed: u64) -> Self {
        let clients = (0..CLIENTS)
            .map(|n| SimClient::start(world, n, seed ^ (n as u64 + 1) << 48))
            .collect();
        Self {
            world: Arc::clone(world),
            clients,
            random: StdRng::seed_from_u64(seed),
            beside: JoinSet::new(),
            counter: 0,
        }
    }

    /// Runs to the end, when everything works again and everyone has heard of it.
    pub(crate) async fn run(mut self) -> Vec<SimClient> {
        // Everyone is connected before there is a room, so that all is told.
        sleep(Duration::from_secs(1)).await;
        for client in 0..3 {
            self.create_room(client);
            sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..6 {
            self.invite().await;
            sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..STEPS {
            if self.random.random_bool(0.66) {
                sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
            }
            self.step().await;
        }
        self.heal().await;
        self.clients
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..36 => self.send().await,
            36..43 => self.edit().await,
            43..47 => self.delete_message().await,
            47..56 => self.invite().await,
            56..62 => self.remove().await,
            62..65 => self.set_role().await,
            65..67 => self.rename_room().await,
            67 => self.delete_room().await,
            68 => {
                let client = self.client();
                self.create_room(client);
            }
            69 => self.rename_user(),
            70..76 => {
                let client = self.client();
                self.cut(client);
            }
            76..80 => self.stall(),
            80..84 => self.be_busy(),
            84..87 => self.crash(),
            87..90 => self.pause(),
            90..92 => self.bus_faults(),
            92..97 => self.store_faults(),
            _ => self.end_session(),
        }
    }

    // ---- drawing ----

    fn client(&mut self) -> usize {
        self.random.random_range(0..CLIENTS)
    }

    fn node(&mut self) -> usize {
        self.random.random_range(0..NODES)
    }

    fn duration(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(ms))
    }

    fn caller(&self, client: usize) -> Caller {
        Caller {
            user_id: self.world.users[client],
            session: None,
            expires_at: None,
        }
    }

    /// A client with a room that it is in.
    async fn client_with_room(&mut self) -> Option<(usize, RoomId)> {
        let client = self.client();
        let user = self.world.users[client];
        let rooms = self.world.database.memberships(user).await.ok()?;
        let room = rooms.choose(&mut self.random)?;
        Some((client, room.room_id))
    }

    /// A room's admin among the clients, the room, and who else is in it.
    async fn admin(&mut self) -> Option<(usize, RoomId, Vec<Member>)> {
        let (client, room) = self.client_with_room().await?;
        let user = self.world.users[client];
        let page = self.world.database.members(user, room, None, 100).await;
        let members = page.ok()??.items;
        let admins: Vec<UserId> = members
            .iter()
            .filter(|m| m.role == Role::Admin)
            .map(|m| m.user_id)
            .collect();
        let admin = *admins.choose(&mut self.random)?;
        let client = self.world.users.iter().position(|u| *u == admin)?;
        let others = members.into_iter().filter(|m| m.user_id != admin).collect();
        Some((client, room, others))
    }

    /// Someone else's or one's own message in a room.
    async fn message(&mut self, client: usize, room: RoomId, own: bool) -> Option<Message> {
        let user = self.world.users[client];
        let position = chat_core::store::Position::Newest;
        let page = self.world.database.messages(user, room, position, 20).await;
        let mut messages = page.ok()??.items;
        messages.retain(|m| !own || m.sender_id == user);
        messages.choose(&mut self.random).cloned()
    }

    fn text(&mut self, kind: &str) -> String {
        self.counter += 1;
        format!("{kind} {}", self.counter)
    }

    // ---- people ----

    /// A few messages at once, over the SDK.
    async fn send(&mut self) {
        let Some((client, room)) = self.client_with_room().await else {
            return;
        };
        for _ in 0..self.random.random_range(1..4) {
            if self.world.session(client).is_none() {
                return;
            }
            let content = self.text("message");
            let client_message_id = format!("id-{}", self.counter);
            let sdk = self.clients[client].sdk.clone();
            let world = Arc::clone(&self.world);
            self.world
                .note(format_args!("client {client} sends {content:?} to {room}"));
            self.beside.spawn(async move {
                let number = world.begin_send(Send {
                    client,
                    room,
                    client_message_id: client_message_id.clone(),
                    content: content.clone(),
                    acknowledged: None,
                });
                match sdk.room(room).send_as(client_message_id, content).await {
                    Ok(message) => {
                        world.note(format_args!("client {client} sent {room}/{}", message.seq));
                        world.acknowledge(number, message);
                    }
                    Err(error) => world.note(format_args!("client {client} didn't send: {error}")),
                }
            });
        }
    }

    async fn edit(&mut self) {
        let Some((client, room)) = self.client_with_room().await else {
            return;
        };
        let Some(message) = self.message(client, room, true).await else {
            return;
        };
        let (caller, content) = (self.caller(client), self.text("edit"));
        self.request(
            format!("client {client} edits {room}/{}", message.seq),
            move |chat| async move {
                let edit = EditMessage { content };
                chat.edit_message(&caller, room, message.id, edit)
                    .await
                    .map(drop)
            },
        );
    }

    async fn delete_message(&mut self) {
        let Some((client, room)) = self.client_with_room().await else {
            return;
        };
        let Some(message) = self.message(client, room, false).await else {
            return;
        };
        let caller = self.caller(client);
        self.request(
            format!("client {client} deletes {room}/{}", message.seq),
            move |chat| async move {
                chat.delete_message(&caller, room, message.id)
                    .await
                    .map(drop)
            },
        );
    }

    fn create_room(&mut self, client: usize) {
        let (caller, name) = (self.caller(client), self.text("room"));
        self.request(
            format!("client {client} creates {name:?}"),
            move |chat| async move { chat.create_room(&caller, &name).await.map(drop) },
        );
    }

    /// An invite, and someone who accepts it.
    async fn invite(&mut self) {
        let Some((admin, room, _)) = self.admin().await else {
            return;
        };
        let guest = self.client();
        let (by, guest_caller) = (self.caller(admin), self.caller(guest));
        self.request(
            format!("client {admin} invites client {guest} to {room}"),
            move |chat| async move {
                let invite = chat
                    .create_invite(&by, room, CreateInvite::default())
                    .await?;
                let token = invite.token.unwrap_or_default();
                chat.accept_invite(&guest_caller, &token).await.map(drop)
            },
        );
    }

    /// A kick, or someone leaves.
    async fn remove(&mut self) {
        let Some((admin, room, others)) = self.admin().await else {
            return;
        };
        let by = if self.random.random_bool(0.2) {
            None
        } else {
            others.choose(&mut self.random).map(|m| m.user_id)
        };
        let caller = self.caller(admin);
        let user = by.unwrap_or(caller.user_id);
        let delete_messages = self.random.random_bool(0.3);
        if self.random.random_bool(0.3) {
            // While the one who goes is just connecting again.
            if let Some(client) = self.world.users.iter().position(|u| *u == user) {
                self.cut(client);
                sleep(self.duration(0..80)).await;
            }
        }
        self.request(
            format!("client {admin} removes user {user} from {room}"),
            move |chat| async move {
                chat.remove_member(&caller, room, user, delete_messages)
                    .await
            },
        );
    }

    async fn set_role(&mut self) {
        let Some((admin, room, others)) = self.admin().await else {
            return;
        };
        let Some(user) = others.choose(&mut self.random).map(|m| m.user_id) else {
            return;
        };
        let role = if self.random.random_bool(0.7) {
            Role::Admin
        } else {
            Role::Member
        };
        let caller = self.caller(admin);
        self.request(
            format!("client {admin} makes user {user} {role:?} in {room}"),
            move |chat| async move { chat.set_role(&caller, room, user, role).await.map(drop) },
        );
    }

    async fn rename_room(&mut self) {
        let Some((admin, room, _)) = self.admin().await else {
            return;
        };
        let (caller, name) = (self.caller(admin), self.text("name"));
        self.request(
            format!("client {admin} calls {room} {name:?}"),
            move |chat| async move { chat.rename_room(&caller, room, &name).await.map(drop) },
        );
    }

    async fn delete_room(&mut self) {
        let Some((admin, room, _)) = self.admin().await else {
            return;
        };
        let caller = self.caller(admin);
        self.request(
            format!("client {admin} deletes {room}"),
            move |chat| async move { chat.delete_room(&caller, room).await },
        );
    }

    fn rename_user(&mut self) {
        let client = self.client();
        let (user, name) = (
            self.world.users[client],
            self.text("user").replace(' ', "-"),
        );
        self.request(
            format!("client {client} is {name} now"),
            move |chat| async move { chat.rename_user(user, &name).await.map(drop) },
        );
    }

    /// A request to any node, as over REST.
    fn request<F>(&mut self, what: String, request: impl FnOnce(Chat) -> F)
    where
        F: Future<Output = Result<(), chat_core::service::Error>> + std::marker::Send + 'static,
    {
        let node = self.node();
        let world = Arc::clone(&self.world);
        world.note(format_args!("{what}, at node {node}"));
        self.world.on_node(node, |chat| {
            let answer = request(chat);
            async move {
                match answer.await {
                    Ok(()) => world.note(format_args!("done: {what}")),
                    Err(error) => world.note(format_args!("{}: {what}", error.code())),
                }
            }
        });
    }

    // ---- what breaks ----

    fn cut(&self, client: usize) {
        self.world
            .note(format_args!("client {client}'s line is cut"));
        if let Some(line) = self.world.line(client) {
            line.cut();
        }
    }

    fn stall(&mut self) {
        let client = self.client();
        let duration = self.duration(100..20_000);
        self.world.note(format_args!(
            "client {client}'s line stalls for {duration:?}"
        ));
        if let Some(line) = self.world.line(client) {
            line.stall();
            self.beside.spawn(async move {
                sleep(duration).await;
                line.flow();
            });
        }
    }

    fn be_busy(&mut self) {
        let client = self.client();
        let duration = self.duration(100..15_000);
        self.world
            .note(format_args!("client {client} is busy for {duration:?}"));
        self.clients[client].be_busy(duration);
    }

    fn crash(&mut self) {
        let (node, power) = (self.node(), self.random.random_bool(0.7));
        let duration = self.duration(300..8_000);
        self.world.note(format_args!(
            "node {node} crashes for {duration:?}{}",
            if power { ", the database too" } else { "" }
        ));
        self.world.crash(node, power);
        let world = Arc::clone(&self.world);
        self.beside.spawn(async move {
            sleep(duration).await;
            while !world.start(node).await {
                sleep(Duration::from_millis(200)).await;
            }
            world.note(format_args!("node {node} runs"));
        });
    }

    /// Stops a node for a while, often beyond its lease of 3 s.
    fn pause(&mut self) {
        let (node, duration) = (self.node(), self.duration(500..15_000));
        self.world
            .note(format_args!("node {node} is paused for {duration:?}"));
        self.world.pause(node, true);
        let world = Arc::clone(&self.world);
        self.beside.spawn(async move {
            sleep(duration).await;
            world.pause(node, false);
            world.note(format_args!("node {node} goes on"));
        });
    }

    fn bus_faults(&mut self) {
        let faults = if self.random.random_bool(0.3) {
            BusFaults::default()
        } else {
            BusFaults {
                lost: self.random.random_range(0.0..0.5),
                doubled: self.random.random_range(0.0..0.5),
                delayed: self.random.random_range(0.0..0.5),
                delay: self.duration(1..3_000),
                refused: self.random.random_range(0.0..0.4),
            }
        };
        self.world.note(format_args!("the bus: {faults:?}"));
        self.world.bus_faults.set(faults);
    }

    fn store_faults(&mut self) {
        let node = self.node();
        let fault = *[
            Fault::Unavailable,
            Fault::UncertainApplied,
            Fault::UncertainLost,
        ]
        .choose(&mut self.random)
        .expect("there are three");
        let times = self.random.random_range(1..4);
        let store = self.world.store(node);
        if self.random.random_bool(0.7) {
            self.world.note(format_args!(
                "node {node}'s next {times} commits: {fault:?}"
            ));
            store.fail_next_commits(times, fault);
        } else {
            self.world.note(format_args!(
                "node {node}'s next {times} calls of the database: {fault:?}"
            ));
            store.fail_next(times, fault);
        }
    }

    /// Ends a client's session at any node; the client logs in again later.
    fn end_session(&mut self) {
        let client = self.client();
        let Some(session) = self.world.log_out(client) else {
            return;
        };
        let (node, duration) = (self.node(), self.duration(100..12_000));
        self.world.note(format_args!(
            "{session} of client {client} ends at node {node}"
        ));
        let world = Arc::clone(&self.world);
        self.world.on_node(node, |chat| async move {
            if chat.end_session(session.clone()).await.is_ok() {
                world.note(format_args!("{session} is over"));
                world.session_ended(session);
            }
        });
        let world = Arc::clone(&self.world);
        self.beside.spawn(async move {
            sleep(duration).await;
            world.log_in(client);
            world.note(format_args!("client {client} logs in"));
        });
    }

    /// Makes everything work, and waits until everyone has heard of everything.
    async fn heal(&mut self) {
        self.world.note("everything works again");
        self.world.bus_faults.set(BusFaults::default());
        self.world.flow();
        let ended = timeout(LAST_ANSWERS, async {
            while self.beside.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            self.world
                .violation("Stuck: a send got no answer, or a node didn't start".into());
        }
        sleep(SETTLE).await;
    }
}
