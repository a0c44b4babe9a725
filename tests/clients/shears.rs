//! A proxy that cuts WebSockets at places that chance picks, the same each run: in mid-record, in mid-replay, in mid-Ack.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of the first connection that are never cut: the hub's handshake, before which nothing can be resumed.
const HANDSHAKE_BYTES: u64 = 4 * 1024;

/// A proxy in front of a server.
pub(crate) struct Shears {
    url: String,
    plan: Arc<Mutex<Plan>>,
}

struct Plan {
    random: StdRng,
    cuts_left: usize,
    cuts: usize,
    is_first: bool,
}

/// After how many bytes behind the heads of the upgrade a WebSocket is cut.
#[derive(Clone, Copy)]
enum Cut {
    Up(u64),
    Down(u64),
}

impl Shears {
    /// Begins to take connections for the server at `url`, of which it will cut so many.
    pub(crate) async fn start(url: &str, seed: u64, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = url.trim_start_matches("http://").parse().unwrap();
        let plan = Arc::new(Mutex::new(Plan {
            random: StdRng::seed_from_u64(seed),
            cuts_left: cuts,
            cuts: 0,
            is_first: true,
        }));
        tokio::spawn(accept(listener, server, Arc::clone(&plan)));
        Self {
            url: format!("http://{address}"),
            plan,
        }
    }

    /// Its own address, as a server's.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many WebSockets it has cut.
    pub(crate) fn cuts(&self) -> usize {
        lock(&self.plan).cuts
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plan {
    /// Where the next WebSocket is to be cut. Small numbers are as likely as large ones.
    fn next(&mut self) -> Option<Cut> {
        self.cuts_left = self.cuts_left.checked_sub(1)?;
        let spared = if std::mem::take(&mut self.is_first) {
            HANDSHAKE_BYTES
        } else {
            0
        };
        let is_up = self.random.random_range(0..3) == 0;
        // Up to 16 KiB up, or 128 KiB down: more than is replayed at most.
        let most = 1_u64 << self.random.random_range(1..=if is_up { 14 } else { 17 });
        let bytes = spared + self.random.random_range(0..most);
        Some(if is_up {
            Cut::Up(bytes)
        } else {
            Cut::Down(bytes)
        })
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, plan: Arc<Mutex<Plan>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        let plan = Arc::clone(&plan);
        // Both sockets are dropped at the end, whatever it is.
        tokio::spawn(async move { carry(client, server, &plan).await });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, plan: &Mutex<Plan>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let request = head(&mut from_client, &mut to_server).await?;
    let cut = if request.contains("upgrade: websocket") {
        head(&mut from_server, &mut to_client).await?;
        lock(plan).next()
    } else {
        None
    };
    let (up, down) = match cut {
        Some(Cut::Up(bytes)) => (bytes, u64::MAX),
        Some(Cut::Down(bytes)) => (u64::MAX, bytes),
        None => (u64::MAX, u64::MAX),
    };
    let is_cut = tokio::select! {
        is_cut = pass(from_client, to_server, up) => is_cut?,
        is_cut = pass(from_server, to_client, down) => is_cut?,
    };
    lock(plan).cuts += usize::from(is_cut);
    Ok(())
}

/// Passes on a head of HTTP, and returns it.
async fn head(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await?);
    }
    to.write_all(&head).await?;
    Ok(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

/// Passes bytes on, up to so many; whether it was those.
async fn pass(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: u64,
) -> io::Result<bool> {
    let passed = tokio::io::copy(&mut from.take(bytes), &mut to).await?;
    Ok(passed == bytes)
}
