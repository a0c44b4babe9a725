//! A TCP proxy that cuts connections as a failing network does: at once, wherever a record is, without a goodbye.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of a server.
pub(crate) struct Proxy {
    url: String,
    server: Arc<Mutex<SocketAddr>>,
    /// Whether anything comes through.
    is_up: watch::Sender<bool>,
}

impl Proxy {
    /// Begins to take connections for the server at `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Mutex::new(address_of(url)));
        let is_up = watch::Sender::new(true);
        tokio::spawn(accept(listener, Arc::clone(&server), is_up.clone()));
        Self {
            url: format!("http://{address}"),
            server,
            is_up,
        }
    }

    /// Its own address, as a server's.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts all connections that there are; new ones wait until the network is up again.
    pub(crate) fn cut(&self) {
        self.is_up.send_replace(false);
    }

    /// Lets through what waits, and what comes.
    pub(crate) fn mend(&self) {
        self.is_up.send_replace(true);
    }

    /// Sends new connections to a server that has another address now.
    pub(crate) fn lead_to(&self, url: &str) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = address_of(url);
    }
}

fn address_of(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

async fn accept(listener: TcpListener, server: Arc<Mutex<SocketAddr>>, is_up: watch::Sender<bool>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        let server = Arc::clone(&server);
        let mut is_up = is_up.subscribe();
        tokio::spawn(async move {
            if is_up.wait_for(|is_up| *is_up).await.is_err() {
                return;
            }
            let address = *server.lock().unwrap_or_else(PoisonError::into_inner);
            tokio::select! {
                biased;
                _ = is_up.wait_for(|is_up| !is_up) => {} // both sockets are dropped
                _ = carry(client, address) => {}
            }
        });
    }
}

async fn carry(mut client: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
