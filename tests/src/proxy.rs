//! A proxy of the kind that stands between clients and servers out there, and lets not everything through.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Server;

/// What a proxy does not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// Refuses WebSockets.
    Upgrades,
    /// Refuses WebSockets too, and cuts event streams at their first byte.
    UpgradesAndStreams,
    /// Refuses WebSockets too, and keeps what event streams say for itself.
    UpgradesAndEvents,
}

/// A proxy in front of a server.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to this server.
    ///
    /// # Panics
    /// No port can be had.
    pub async fn to(server: &Server, blocks: Blocks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let host = server.url().strip_prefix("http://").expect("HTTP");
        let passing = Passing {
            host: host.to_owned(),
            blocks,
            seen: Arc::default(),
        };
        Self {
            url: format!("http://{address}"),
            seen: Arc::clone(&passing.seen),
            task: tokio::spawn(accept(listener, passing)),
        }
    }

    /// Its own address, as a server's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What of the hub was asked for so far: `negotiate`, `upgrade`, `stream`, `poll`, and the methods of other requests.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Passing {
    host: String,
    blocks: Blocks,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn accept(listener: TcpListener, passing: Passing) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Ok((client, _)) = listener.accept() => {
                connections.spawn(pass_on(client, passing.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Passes requests on, each looked at: what clients of HTTP/1.1 do on one connection comes one after another.
async fn pass_on(mut client: TcpStream, passing: Passing) -> io::Result<()> {
    let mut server = TcpStream::connect(&passing.host).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_streaming = false;
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut up) => {
                let bytes = &up[..read?];
                if bytes.is_empty() {
                    return server.shutdown().await;
                }
                let what = kind(bytes);
                if let Some(what) = what {
                    passing.seen.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
                }
                if what == Some("upgrade") {
                    let refusal = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    return client.write_all(refusal).await;
                }
                is_streaming |= what == Some("stream");
                server.write_all(bytes).await?;
            }
            read = server.read(&mut down) => {
                let mut bytes = &down[..read?];
                if bytes.is_empty() {
                    return client.shutdown().await;
                }
                if is_streaming {
                    match passing.blocks {
                        Blocks::Upgrades => {}
                        Blocks::UpgradesAndStreams => return Ok(()),
                        Blocks::UpgradesAndEvents => {
                            let head = bytes.windows(4).position(|end| end == b"\r\n\r\n");
                            bytes = if bytes.starts_with(b"HTTP/") {
                                &bytes[..head.map_or(bytes.len(), |at| at + 4)]
                            } else {
                                &[]
                            };
                        }
                    }
                }
                client.write_all(bytes).await?;
            }
        }
    }
}

/// What a piece of a connection's input asks for, if it begins a request of the hub. A request's head is written at once, and
/// comes so on this machine's own network.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    let head = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let (line, headers) = head.split_once("\r\n")?;
    let (method, rest) = line.split_once(" /v1/hub")?;
    Some(match method {
        _ if rest.starts_with("/negotiate") => "negotiate",
        "get" if headers.contains("upgrade: websocket") => "upgrade",
        "get" if headers.contains("accept: text/event-stream") => "stream",
        "get" => "poll",
        "post" => "post",
        "delete" => "delete",
        _ => return None,
    })
}
