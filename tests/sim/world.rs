//! Everything of a run but its clients: three nodes over one database and one bus, who is logged in, and what was seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat_client::{
    AccessToken, Connector, Error, Refusal, Source, TokenSource, Transport, WebSocket,
};
use chat_core::auth::{AuthError, Authenticator, Identity};
use chat_core::bus::{BusFaults, FaultyBus};
use chat_core::model::limits::Rates;
use chat_core::model::{Message, RoomId, Seq, UserId};
use chat_core::random::{Random, SeededRandom};
use chat_core::service::{Chat, Fault};
use chat_core::store::Store as _;
use chat_core::store::memory::Memory;
use chat_server::hub::{Ids, serve};
use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bus::{NodeBus, RecordingBus};
use crate::clock::SimClock;
use crate::line::Line;
use crate::tap::Tap;
use crate::trace::Trace;

/// Nodes of the cluster.
pub(crate) const NODES: usize = 3;
/// Clients, each a user of its own.
pub(crate) const CLIENTS: usize = 4;
/// How long a write of the database takes.
const SYNC: Duration = Duration::from_millis(2);
/// Bytes of a record that a client takes.
const RECORD_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that wait for a connection at most: few, so that a slow reader is found out.
const QUEUE_BYTES: usize = 32 * 1024;

/// What is wrong with a run on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Nothing.
    Nothing,
    /// Something in the nodes.
    Node(Fault),
    /// The database acknowledges what a crash may lose.
    DeliveryBeforeCommit,
}

/// A send, from the call to its answer.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) client: usize,
    pub(crate) room: RoomId,
    pub(crate) client_message_id: String,
    pub(crate) content: String,
    pub(crate) acknowledged: Option<Message>,
}

/// An event that a client was pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    pub(crate) client: usize,
    pub(crate) room: RoomId,
    pub(crate) seq: Seq,
    /// Whether its user was in the room then.
    pub(crate) member: bool,
    /// Whether it says that the room is gone.
    pub(crate) end: bool,
}

/// A client's line, to which node and by which session.
struct ClientLine {
    client: usize,
    node: usize,
    session: String,
    line: Arc<Line>,
}

/// A node that runs.
struct Node {
    chat: Chat,
    /// What runs on it: its connections and requests. It ends with the node.
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    trace: Trace,
    violations: Vec<String>,
    /// Whose session is current, by client; `None`: logged out.
    sessions: [Option<String>; CLIENTS],
    logins: u64,
    /// When which session was known to be over.
    ended: BTreeMap<String, Instant>,
    lines: Vec<ClientLine>,
    sends: Vec<Send>,
    /// How often a send went out, by `clientMessageId`.
    sent: BTreeMap<String, u32>,
    pushed: Vec<Pushed>,
    /// When each node went on after a pause.
    resumed: [Option<Instant>; NODES],
}

/// See the module.
pub(crate) struct World {
    pub(crate) clock: SimClock,
    pub(crate) bus: RecordingBus,
    pub(crate) bus_faults: FaultyBus,
    /// The database through a connection that never fails.
    pub(crate) database: Memory,
    stores: [Memory; NODES],
    pub(crate) users: [UserId; CLIENTS],
    nodes: Mutex<[Option<Node>; NODES]>,
    seen: Mutex<Seen>,
    random: Arc<SeededRandom>,
    fault: Option<Fault>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    /// A cluster that runs, with its users.
    pub(crate) async fn new(seed: u64, planted: Planted) -> Arc<Self> {
        let random = Arc::new(SeededRandom::new(seed));
        let (database, fault) = match planted {
            Planted::Nothing => (Memory::with_sync_delay(SYNC), None),
            Planted::Node(fault) => (Memory::with_sync_delay(SYNC), Some(fault)),
            // So long that a crash finds some of it.
            Planted::DeliveryBeforeCommit => (Memory::acknowledging_before_sync(SYNC * 50), None),
        };
        let bus_faults = FaultyBus::new(BusFaults::default(), Arc::clone(&random) as _);
        let clock = SimClock::new();
        let mut world = Self {
            clock,
            bus: RecordingBus::new(bus_faults.clone()),
            bus_faults,
            stores: std::array::from_fn(|_| database.connect()),
            database,
            users: [UserId(0); CLIENTS],
            nodes: Mutex::default(),
            seen: Mutex::default(),
            random,
            fault,
        };
        for node in 0..NODES {
            world.start(node).await;
        }
        for client in 0..CLIENTS {
            let name = name(client);
            let chat = world.chat(0).expect("it was started");
            let user = chat.identify("sim".into(), name.clone(), &name).await;
            world.users[client] = user.expect("nothing fails yet");
            world.log_in(client);
        }
        Arc::new(world)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> MutexGuard<'_, [Option<Node>; NODES]> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what was seen ----

    /// Notes a step of the scenario, or what a client was told.
    pub(crate) fn note(&self, what: impl std::fmt::Display) {
        let line = format!("{:>7} ms  {what}", self.clock.elapsed_ms());
        self.seen().trace.note(line);
    }

    /// Notes that a promise was broken.
    pub(crate) fn violation(&self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        self.seen().violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.seen().violations.clone()
    }

    /// Has what happens printed as it happens.
    pub(crate) fn print(&self) {
        self.seen().trace.print(true);
    }

    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.seen().trace)
    }

    pub(crate) fn pushed(&self, client: usize, room: RoomId, seq: Seq, end: bool) {
        let rooms = self.database.memberships(self.users[client]);
        let rooms = rooms.now_or_never().expect("this connection isn't held");
        let rooms = rooms.expect("this connection doesn't fail");
        let member = rooms.iter().any(|m| m.room_id == room);
        self.seen().pushed.push(Pushed {
            client,
            room,
            seq,
            member,
            end,
        });
    }

    pub(crate) fn all_pushed(&self) -> Vec<Pushed> {
        self.seen().pushed.clone()
    }

    pub(crate) fn count_send(&self, client_message_id: &str) {
        *self
            .seen()
            .sent
            .entry(client_message_id.to_owned())
            .or_default() += 1;
    }

    pub(crate) fn sends_of(&self, client_message_id: &str) -> u32 {
        self.seen()
            .sent
            .get(client_message_id)
            .copied()
            .unwrap_or_default()
    }

    /// Remembers a send, and returns its number.
    pub(crate) fn begin_send(&self, send: Send) -> usize {
        let mut seen = self.seen();
        seen.sends.push(send);
        seen.sends.len() - 1
    }

    pub(crate) fn acknowledge(&self, send: usize, message: Message) {
        self.seen().sends[send].acknowledged = Some(message);
    }

    pub(crate) fn sends(&self) -> Vec<Send> {
        self.seen().sends.clone()
    }

    // ---- nodes ----

    /// Starts a node that isn't there; false if it couldn't.
    pub(crate) async fn start(&self, node: usize) -> bool {
        if self.nodes()[node].is_some() {
            return true;
        }
        let rates = Rates {
            enabled: false,
            ..Rates::default()
        };
        let random = Arc::new(SeededRandom::new(self.random.id().unsigned_abs()));
        let started = Chat::builder()
            .store(self.stores[node].clone())
            .authenticator(SimAuthenticator)
            .bus(NodeBus {
                bus: self.bus.clone(),
                store: self.stores[node].clone(),
            })
            .clock(Arc::new(self.clock))
            .random(random)
            .rates(rates)
            .lanes(2)
            .cores(1)
            .connection_queue_bytes(QUEUE_BYTES)
            .fault(self.fault)
            .start()
            .await;
        match started {
            Ok(chat) => {
                self.nodes()[node] = Some(Node {
                    chat,
                    tasks: JoinSet::new(),
                });
                true
            }
            Err(error) => {
                self.note(format_args!("node {node} didn't start: {error}"));
                false
            }
        }
    }

    /// Kills a node: all that runs on it is gone, and with `power` what the database hadn't synced.
    pub(crate) fn crash(&self, node: usize, power: bool) {
        let killed = self.nodes()[node].take();
        drop(killed);
        if power {
            self.database.crash();
        }
    }

    /// Pauses a node, or has it go on: nothing passes between it and the database, the bus and its clients meanwhile, and what
    /// was under way comes late.
    pub(crate) fn pause(&self, node: usize, paused: bool) {
        self.stores[node].hold(paused);
        let lines: Vec<_> = {
            let mut seen = self.seen();
            if !paused {
                seen.resumed[node] = Some(Instant::now());
            }
            let of_node = seen.lines.iter().filter(|l| l.node == node);
            of_node.map(|l| Arc::clone(&l.line)).collect()
        };
        for line in lines {
            if paused {
                line.stall();
            } else {
                line.flow();
            }
        }
    }

    /// A node, if it runs.
    pub(crate) fn chat(&self, node: usize) -> Option<Chat> {
        self.nodes()[node].as_ref().map(|n| n.chat.clone())
    }

    /// Runs a request on a node, if it runs; the request ends with it.
    pub(crate) fn on_node<F>(&self, node: usize, request: impl FnOnce(Chat) -> F)
    where
        F: Future<Output = ()> + std::marker::Send + 'static,
    {
        if let Some(node) = &mut self.nodes()[node] {
            let request = request(node.chat.clone());
            node.tasks.spawn(request);
        }
    }

    /// A node's own connection to the database, which can be made to fail.
    pub(crate) const fn store(&self, node: usize) -> &Memory {
        &self.stores[node]
    }

    // ---- sessions and lines ----

    /// Gives a client a new session.
    pub(crate) fn log_in(&self, client: usize) {
        let mut seen = self.seen();
        seen.logins += 1;
        seen.sessions[client] = Some(format!("session-{}", seen.logins));
    }

    /// Takes a client's session from it; it is to be ended then.
    pub(crate) fn log_out(&self, client: usize) -> Option<String> {
        self.seen().sessions[client].take()
    }

    pub(crate) fn session(&self, client: usize) -> Option<String> {
        self.seen().sessions[client].clone()
    }

    /// A node has said that a session is over.
    pub(crate) fn session_ended(&self, session: String) {
        self.seen().ended.insert(session, Instant::now());
    }

    /// The newest line of a client.
    pub(crate) fn line(&self, client: usize) -> Option<Arc<Line>> {
        let seen = self.seen();
        let newest = seen.lines.iter().rev().find(|l| l.client == client);
        newest.map(|l| Arc::clone(&l.line))
    }

    /// Has all lines flow.
    pub(crate) fn flow(&self) {
        let lines: Vec<_> = self
            .seen()
            .lines
            .iter()
            .map(|l| Arc::clone(&l.line))
            .collect();
        for line in lines {
            line.flow();
        }
    }

    /// The sessions that heard from a node too long after their end.
    pub(crate) fn heard_after_their_end(&self, limit: Duration) -> Vec<String> {
        let seen = self.seen();
        let late = seen.lines.iter().filter(|l| {
            // A node that was stopped has to hear of it first.
            let known = |ended: Instant| seen.resumed[l.node].map_or(ended, |at| at.max(ended));
            (seen.ended.get(&l.session))
                .is_some_and(|ended| l.line.written_beyond(known(*ended), limit))
        });
        late.map(|l| l.session.clone()).collect()
    }
}

fn failure(what: &'static str) -> Source {
    let error: Box<dyn std::error::Error + std::marker::Send + Sync> = what.into();
    error.into()
}

/// What a client's user is called.
pub(crate) fn name(client: usize) -> String {
    ["ada", "bob", "cyd", "dee"][client].to_owned()
}

/// Takes tokens of the form `user:session`.
#[derive(Debug)]
struct SimAuthenticator;

#[async_trait]
impl Authenticator for SimAuthenticator {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthenticated)
    }

    async fn authenticate_token(&self, token: &str) -> Result<Identity, AuthError> {
        let (user, session) = token.split_once(':').ok_or(AuthError::Unauthenticated)?;
        Ok(Identity {
            issuer: "sim".into(),
            subject: user.into(),
            name: user.into(),
            session: Some(session.into()),
            expires_at: None,
        })
    }
}

/// The way of one client to the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) world: Arc<World>,
    pub(crate) client: usize,
}

#[async_trait]
impl TokenSource for Way {
    async fn access_token(&self, _: Option<&str>) -> Result<AccessToken, Source> {
        let session = self
            .world
            .session(self.client)
            .ok_or_else(|| failure("logged out"))?;
        Ok(AccessToken {
            token: format!("{}:{session}", name(self.client)),
            expires_at: None,
        })
    }
}

#[async_trait]
impl Connector for Way {
    async fn connect(&self, access_token: &str) -> chat_client::Result<Box<dyn Transport>> {
        let (world, client) = (&self.world, self.client);
        let node = (world.random.fraction() * NODES as f64) as usize;
        let unreachable = || Error::Unreachable(failure("the node is down"));
        let chat = world.chat(node).ok_or_else(unreachable)?;
        let caller = chat.authenticate_token(access_token).await.map_err(|e| {
            Error::from(Refusal {
                code: Some(e.code()),
                status: e.code().status(),
                detail: e.to_string(),
                errors: Vec::new(),
                retry_after: None,
            })
        })?;
        let (line, ours, theirs) = Line::open();
        let session = caller.session.clone().unwrap_or_default();
        world.note(format_args!(
            "client {client} connects to node {node} by {session}"
        ));
        if world.stores[node].is_held() {
            line.stall();
        }
        world.seen().lines.push(ClientLine {
            client,
            node,
            session,
            line,
        });
        world.on_node(node, |chat| {
            let number = chat.fanout().number();
            let ids = Ids {
                number,
                public_id: format!("{node}-{number}"),
            };
            serve(chat, caller, ids, theirs)
        });
        let socket = WebSocket::upgraded(ours, RECORD_BYTES).await;
        Ok(Tap::boxed(socket, Arc::clone(world), client))
    }
}
