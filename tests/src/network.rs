//! The network between one node and all brokers, which can be cut: a TCP proxy in front of each of them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How a network fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Connections are closed, and new ones at once.
    Closed,
    /// Nothing arrives, and nobody says so. What was connected meanwhile stays so for good, as behind a firewall that forgot
    /// its connections: the ends must find out by themselves.
    Silent,
}

/// Proxies at ports of their own, one for each server of a list.
#[derive(Debug)]
pub struct Network {
    ports: Vec<u16>,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    cut: watch::Sender<Option<Cut>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Network {
    /// So many proxies, which lead nowhere yet.
    ///
    /// # Panics
    /// No ports can be had.
    pub async fn open(proxies: usize) -> Self {
        let servers = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let cut = watch::Sender::new(None);
        let (mut ports, mut tasks) = (Vec::new(), Vec::new());
        for number in 0..proxies {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ports.push(listener.local_addr().expect("it is bound").port());
            let way = Way {
                number,
                servers: Arc::clone(&servers),
                cut: cut.subscribe(),
            };
            tasks.push(tokio::spawn(accept(listener, way)));
        }
        Self {
            ports,
            servers,
            cut,
            tasks,
        }
    }

    /// The proxies' ports.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.ports.clone()
    }

    /// The proxies' addresses, `host:port` with commas between.
    #[must_use]
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self
            .ports
            .iter()
            .map(|p| format!("127.0.0.1:{p}"))
            .collect();
        addresses.join(",")
    }

    /// Leads each proxy to the server in its place from now on.
    pub fn lead_to(&self, servers: Vec<SocketAddr>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Cuts all of them.
    pub fn cut(&self, how: Cut) {
        self.cut.send_replace(Some(how));
    }

    /// Lets through what comes from now on.
    pub fn mend(&self) {
        self.cut.send_replace(None);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// To one of the servers.
#[derive(Clone)]
struct Way {
    number: usize,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    cut: watch::Receiver<Option<Cut>>,
}

async fn accept(listener: TcpListener, way: Way) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Ok((client, _)) = listener.accept() => {
                connections.spawn(pass_on(client, way.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass_on(mut client: TcpStream, mut way: Way) -> io::Result<()> {
    let mut server = None;
    let cut = tokio::select! {
        biased;
        cut = until_cut(&mut way.cut) => cut,
        passed = carry(&mut client, &mut server, &way.servers, way.number) => return passed,
    };
    if cut == Cut::Silent {
        // The server's end is open for as long as the client's is.
        let mut nowhere = sink();
        let swallowed = copy(&mut client, &mut nowhere);
        tokio::select! {
            biased;
            _ = way.cut.wait_for(|cut| *cut == Some(Cut::Closed)) => {}
            _ = swallowed => {}
        }
    }
    Ok(())
}

async fn until_cut(cut: &mut watch::Receiver<Option<Cut>>) -> Cut {
    match cut.wait_for(Option::is_some).await.map(|cut| *cut) {
        Ok(Some(cut)) => cut,
        // There is no network any more.
        Ok(None) | Err(_) => Cut::Closed,
    }
}

async fn carry(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    servers: &Mutex<Vec<SocketAddr>>,
    number: usize,
) -> io::Result<()> {
    let address = {
        let servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(number).copied()
    };
    let Some(address) = address else {
        return Ok(());
    };
    let server = server.insert(TcpStream::connect(address).await?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(client, server).await?;
    Ok(())
}
