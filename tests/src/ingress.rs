//! What stands in front of a cluster: one address, requests led to the role that serves them, in turn to each of its nodes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Server;

/// Bytes of a request's head at most.
const HEAD: usize = 64 * 1024;
/// The end of a request's head.
const END: &[u8] = b"\r\n\r\n";
/// What is answered while no node serves a role.
const NOBODY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The nodes of one role.
#[derive(Debug, Default)]
struct Nodes {
    /// Host and port of each.
    addresses: Mutex<Vec<String>>,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Roles {
    auth: Nodes,
    rest: Nodes,
    realtime: Nodes,
}

impl Roles {
    fn of(&self, path: &str) -> &Nodes {
        let is = |prefix: &str| path.starts_with(prefix);
        if is("/v1/hub") {
            &self.realtime
        } else if is("/v1/auth") || is("/v1/users") || is("/.well-known") {
            &self.auth
        } else {
            &self.rest
        }
    }
}

/// A plain round-robin proxy over HTTP/1.1, which takes one request a connection. It knows nothing of connections' ids, unless it is
/// to [pin](Self::open_pinning) by them.
#[derive(Debug)]
pub struct Ingress {
    url: String,
    roles: Arc<Roles>,
    task: JoinHandle<()>,
}

impl Ingress {
    /// One that leads nowhere yet.
    ///
    /// # Panics
    /// No port can be had.
    pub async fn open() -> Self {
        Self::with(false).await
    }

    /// As [`open`](Self::open), but all requests with one `id` are led to one node, as a gateway does that hashes it: what Server-Sent
    /// Events, long polling and stateful reconnect need of a proxy.
    ///
    /// # Panics
    /// No port can be had.
    pub async fn open_pinning() -> Self {
        Self::with(true).await
    }

    async fn with(pins: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let roles = Arc::new(Roles::default());
        Self {
            url: format!("http://{address}"),
            roles: Arc::clone(&roles),
            task: tokio::spawn(accept(listener, roles, pins)),
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Leads calls of role auth to these nodes from now on.
    pub fn lead_auth_to(&self, nodes: &[&Server]) {
        self.roles.auth.are(nodes);
    }

    /// Leads calls of role rest to these nodes from now on.
    pub fn lead_rest_to(&self, nodes: &[&Server]) {
        self.roles.rest.are(nodes);
    }

    /// Leads the hub's calls to these nodes from now on.
    pub fn lead_realtime_to(&self, nodes: &[&Server]) {
        self.roles.realtime.are(nodes);
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Nodes {
    fn are(&self, nodes: &[&Server]) {
        let addresses = nodes.iter().map(|node| {
            let host = node.url().strip_prefix("http://");
            host.expect("it speaks HTTP").to_owned()
        });
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = addresses.collect();
    }

    /// The next in turn, or the one of this id.
    fn next(&self, id: Option<&str>) -> Option<String> {
        let addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let turn = id.map_or_else(|| self.next.fetch_add(1, Ordering::Relaxed), hash);
        let place = turn.checked_rem(addresses.len())?;
        addresses.get(place).cloned()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
fn hash(id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() as usize
}

/// The `id` in a request's query.
fn id(target: &str) -> Option<&str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("id="))
}

async fn accept(listener: TcpListener, roles: Arc<Roles>, pins: bool) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Ok((client, _)) = listener.accept() => {
                connections.spawn(pass_on(client, Arc::clone(&roles), pins));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Reads one request's head, and passes it and all that follows on to a node.
async fn pass_on(mut client: TcpStream, roles: Arc<Roles>, pins: bool) -> io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(END.len()).position(|bytes| bytes == END) {
            break end;
        }
        if read.len() > HEAD || client.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let pinned = if pins { id(target) } else { None };
    let Some(node) = roles.of(target).next(pinned) else {
        return client.write_all(NOBODY).await;
    };
    let mut server = TcpStream::connect(node).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_upgrade = head.to_ascii_lowercase().contains("\r\nupgrade:");
    let one_request = if is_upgrade {
        ""
    } else {
        "\r\nConnection: close"
    };
    server
        .write_all(format!("{head}{one_request}").as_bytes())
        .await?;
    server.write_all(&read[end..]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
