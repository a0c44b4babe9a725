//! What a delivery costs: one room, 500 real sockets on the loopback interface, and the server's processor time for each
//! message that reached each of them; against a bare server that does nothing but broadcast the same frames, against a
//! room of which every second connection speaks MessagePack, and against one whose connections outlive their sockets
//! (stateful reconnect), and acknowledge what they have.
//!
//! `cargo bench -p chat-tests --bench fanout`. Messages go out one at a time, or 16 at once, and the next only when everyone
//! has them all. Both servers are processes of their own and take turns. The chat server's time holds all it does for a
//! message: reading the call, checking it, and saving it on disk.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use measure::hub::{self, Socket};
use measure::process::{self, Process};
use measure::seed::Seed;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

const LIMIT: f64 = 1.5;
/// The same for a room of both encodings, and for one of stateful connections, against the room of JSON.
const MIXED_LIMIT: f64 = 1.3;
/// What a stateful client receives before it acknowledges: two thirds of what the server keeps for it. The official ones
/// acknowledge once a second, and get no more than that in a second.
const ACKNOWLEDGE_BYTES: usize = 64 * 1024;
/// How long a round may take at most.
const ROUND: Duration = Duration::from_secs(30);
/// The server closes a connection that says nothing for 30 s.
const PING_EVERY: Duration = Duration::from_secs(10);
/// As official clients do.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_secs(1);
const CONTENT: &str = "Plain words of a chat, as long as most of them are: about a line of text, sometimes a bit more.";
/// The argument that makes this program the bare server.
const BARE: &str = "bare";

fn main() -> ExitCode {
    if let Some(code) = process::chat_server() {
        return code;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if std::env::args().nth(1).as_deref() == Some(BARE) {
        runtime.block_on(bare_server());
    } else {
        runtime.block_on(measure());
    }
    ExitCode::SUCCESS
}

async fn measure() {
    let sockets = if measure::is_asked_for() { 500 } else { 5 };

    let seed = Seed::new().await;
    let everyone = seed.users(3 * sockets).await;
    let (users, others) = everyone.split_at(sockets);
    let (mixed_users, stateful_users) = others.split_at(sockets);
    let room = seed.room(users).await;
    let mixed_room = seed.room(mixed_users).await;
    let stateful_room = seed.room(stateful_users).await;
    let tokens: Vec<_> = everyone.iter().map(|&user| seed.token(user)).collect();
    let (tokens, others) = tokens.split_at(sockets);
    let (mixed_tokens, stateful_tokens) = others.split_at(sockets);
    let served = seed.serve(false).await;
    let mut connected = Vec::new();
    for token in tokens {
        let socket = hub::connect(served.process.address, token).await;
        connected.push((socket, Alive::Pings(Message::text(hub::PING))));
    }
    let argument = json!({"roomId": room, "content": CONTENT});
    let mut ours = Audience::new(
        &served.process,
        connected,
        hub::call(1, "SendMessage", &argument),
    );

    let mut connected = Vec::new();
    for (n, token) in mixed_tokens.iter().enumerate() {
        let address = served.process.address;
        connected.push(if n % 2 == 0 {
            let socket = hub::connect(address, token).await;
            (socket, Alive::Pings(Message::text(hub::PING)))
        } else {
            let socket = hub::connect_packed(address, token).await;
            (socket, Alive::Pings(Message::binary(hub::PACKED_PING)))
        });
    }
    let argument = json!({"roomId": mixed_room, "content": CONTENT});
    let mut mixed = Audience::new(
        &served.process,
        connected,
        hub::call(1, "SendMessage", &argument),
    );

    let mut connected = Vec::new();
    for (n, token) in stateful_tokens.iter().enumerate() {
        let address = served.process.address;
        connected.push(if n == 0 {
            // Who speaks is a plain one.
            (hub::connect(address, token).await, Alive::Silent)
        } else {
            let socket = hub::connect_stateful(address, token).await;
            (socket, Alive::Acknowledges)
        });
    }
    let argument = json!({"roomId": stateful_room, "content": CONTENT});
    let mut stateful = Audience::new(
        &served.process,
        connected,
        hub::call(1, "SendMessage", &argument),
    );

    let bare_process = Process::start(BARE, &[], false);
    let mut connected = Vec::new();
    for _ in 0..sockets {
        let socket = hub::open(bare_process.address, "").await;
        connected.push((socket, Alive::Silent));
    }
    ours.round(1).await;
    let event = ours.tally.event.get().expect("an event came");
    let event = format!("{event}\u{1e}").into();
    let mut bare = Audience::new(&bare_process, connected, event);

    let slices = if measure::is_asked_for() {
        measure::SLICES
    } else {
        1
    };
    for under_way in [1, 16] {
        let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
        let (mut of_mixed, mut of_stateful) = (Vec::new(), Vec::new());
        for _ in 0..slices {
            of_ours.push(ours.slice(under_way).await);
            of_bare.push(bare.slice(under_way).await);
            of_mixed.push(mixed.slice(under_way).await);
            of_stateful.push(stateful.slice(under_way).await);
        }
        if measure::is_asked_for() {
            let (ours, bare) = (measure::median(of_ours), measure::median(of_bare));
            let (mixed, stateful) = (measure::median(of_mixed), measure::median(of_stateful));
            println!(
                "{sockets} sockets, {under_way} under way: {ours:.2} µs of the server a delivery, bare {bare:.2}, ratio {:.2} (at most {LIMIT})",
                ours / bare
            );
            println!(
                "{sockets} sockets, {under_way} under way, every second in MessagePack: {mixed:.2} µs a delivery, ratio {:.2} (at most {MIXED_LIMIT})",
                mixed / ours
            );
            println!(
                "{sockets} sockets, {under_way} under way, stateful: {stateful:.2} µs a delivery, ratio {:.2} (at most {MIXED_LIMIT})",
                stateful / ours
            );
        }
    }
}

/// What has arrived.
#[derive(Default)]
struct Tally {
    delivered: AtomicU64,
    expected: AtomicU64,
    complete: Notify,
    /// An event as it came.
    event: OnceLock<String>,
}

/// What a client says while it listens.
enum Alive {
    Silent,
    /// This, every now and then.
    Pings(Message),
    /// How many messages came.
    Acknowledges,
}

/// All who listen to one of the servers; the first of them also speaks.
struct Audience<'a> {
    server: &'a Process,
    size: u64,
    tally: Arc<Tally>,
    speaker: SplitSink<Socket, Message>,
    message: Message,
    _listeners: JoinSet<()>,
}

impl<'a> Audience<'a> {
    fn new(server: &'a Process, sockets: Vec<(Socket, Alive)>, message: Message) -> Self {
        let size = sockets.len() as u64;
        let tally = Arc::new(Tally::default());
        let mut listeners = JoinSet::new();
        let mut speaker = None;
        for (socket, alive) in sockets {
            let (sink, stream) = socket.split();
            let sink = match speaker {
                None => {
                    speaker = Some(sink);
                    None
                }
                Some(_) => Some(sink),
            };
            listeners.spawn(listen(Arc::clone(&tally), stream, sink, alive));
        }
        Self {
            server,
            size,
            tally,
            speaker: speaker.expect("someone"),
            message,
            _listeners: listeners,
        }
    }

    /// Microseconds of the server's processor time for each delivery, over a slice.
    async fn slice(&mut self, under_way: u64) -> f64 {
        let (start, cpu, mut deliveries) = (Instant::now(), self.server.cpu(), 0_u32);
        while deliveries == 0 || start.elapsed() < measure::SLICE {
            self.round(under_way).await;
            deliveries += u32::try_from(under_way * self.size).expect("some thousand");
        }
        (self.server.cpu() - cpu).as_secs_f64() * 1e6 / f64::from(deliveries)
    }

    /// Sends so many at once, and waits until all have them.
    async fn round(&mut self, under_way: u64) {
        let delivered = self.tally.delivered.load(Ordering::SeqCst);
        let expected = delivered + under_way * self.size;
        self.tally.expected.store(expected, Ordering::SeqCst);
        for _ in 0..under_way {
            self.speaker.feed(self.message.clone()).await.expect("sent");
        }
        self.speaker.flush().await.expect("sent");
        let complete = async {
            while self.tally.delivered.load(Ordering::SeqCst) < expected {
                self.tally.complete.notified().await;
            }
        };
        tokio::time::timeout(ROUND, complete)
            .await
            .expect("everyone has them in time");
        assert_eq!(self.tally.delivered.load(Ordering::SeqCst), expected);
    }
}

/// Counts what comes, and keeps the connection alive where that is asked for.
async fn listen(
    tally: Arc<Tally>,
    mut stream: SplitStream<Socket>,
    mut sink: Option<SplitSink<Socket, Message>>,
    alive: Alive,
) {
    let is_stateful = matches!(alive, Alive::Acknowledges);
    let mut spoke = Instant::now();
    // `Connected` came before this.
    let (mut messages, mut bytes) = (1, 0);
    let mut ticks = tokio::time::interval(if is_stateful {
        ACKNOWLEDGE_EVERY
    } else {
        PING_EVERY
    });
    loop {
        let is_time = tokio::select! {
            biased;
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if is_stateful {
                        messages += hub::records(&text).filter(|r| hub::is_counted(r)).count() as u64;
                        bytes += text.len();
                    }
                    tally.count(&text);
                    bytes >= ACKNOWLEDGE_BYTES
                }
                Some(Ok(Message::Binary(record))) => {
                    if hub::contains(&record, "MessageCreated") {
                        tally.one_more();
                    }
                    false
                }
                Some(Ok(_)) => false,
                Some(Err(_)) | None => return,
            },
            _ = ticks.tick() => !is_stateful || bytes > 0 || spoke.elapsed() > PING_EVERY,
        };
        let Some(sink) = sink.as_mut().filter(|_| is_time) else {
            continue;
        };
        let message = match &alive {
            Alive::Silent => continue,
            Alive::Pings(ping) => ping.clone(),
            Alive::Acknowledges => hub::ack(messages),
        };
        (bytes, spoke) = (0, Instant::now());
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

impl Tally {
    /// Counts events, and the completion that the sender gets in place of one.
    fn count(&self, text: &str) {
        for record in hub::records(text) {
            if record.contains("\"MessageCreated\"") {
                self.event.get_or_init(|| record.to_owned());
            } else if !record.contains("\"result\"") {
                continue;
            }
            self.one_more();
        }
    }

    fn one_more(&self) {
        let delivered = self.delivered.fetch_add(1, Ordering::SeqCst) + 1;
        if delivered == self.expected.load(Ordering::SeqCst) {
            self.complete.notify_one();
        }
    }
}

/// Sends to everyone what anyone sends: what waits together is written together, once a socket.
async fn bare_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!(
        "listening on http://{}",
        listener.local_addr().expect("bound")
    );
    let everyone = Arc::new(Mutex::new(Vec::new()));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let stream = tokio_tungstenite::accept_async(stream)
            .await
            .expect("a WebSocket");
        let (read, write) = stream.into_inner().into_split();
        everyone.lock().await.push(write);
        tokio::spawn(bare_connection(read, Arc::clone(&everyone)));
    }
}

async fn bare_connection(read: OwnedReadHalf, everyone: Arc<Mutex<Vec<OwnedWriteHalf>>>) {
    let stream = tokio::io::join(read, tokio::io::sink());
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(first)) = socket.next().await {
        let mut frames = Vec::new();
        frame(&first, &mut frames);
        while let Some(Some(Ok(next))) = socket.next().now_or_never() {
            frame(&next, &mut frames);
        }
        for write in everyone.lock().await.iter() {
            let mut rest = &frames[..];
            while !rest.is_empty() {
                match write.try_write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        write.writable().await.expect("a socket");
                    }
                    Err(_) => break,
                }
            }
        }
    }
}

/// A text frame of up to 64 KiB as a server writes it.
fn frame(message: &Message, out: &mut Vec<u8>) {
    let Message::Text(text) = message else { return };
    let length = u16::try_from(text.len()).expect("a short frame");
    out.push(0x81);
    if length < 126 {
        out.push(length.to_be_bytes()[1]);
    } else {
        out.push(126);
        out.extend(length.to_be_bytes());
    }
    out.extend(text.as_bytes());
}
