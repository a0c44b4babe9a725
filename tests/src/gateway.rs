//! A stable address in front of a server that comes and goes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Server;

/// Passes connections on to a server. One that can't be passed on is closed.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    /// Host and port of the server.
    target: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Gateway {
    /// A gateway to this server.
    ///
    /// # Panics
    /// No port can be had.
    pub async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let target = Arc::new(Mutex::new(host_of(server)));
        Self {
            url: format!("http://{address}"),
            target: Arc::clone(&target),
            task: tokio::spawn(accept(listener, target)),
        }
    }

    /// Its address, which stays.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Passes later connections on to where the server is now.
    pub fn lead_to(&self, server: &Server) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = host_of(server);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn host_of(server: &Server) -> String {
    let host = server.url().strip_prefix("http://");
    host.expect("it speaks HTTP").to_owned()
}

async fn accept(listener: TcpListener, target: Arc<Mutex<String>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Ok((client, _)) = listener.accept() => {
                let target = target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                connections.spawn(pass_on(client, target));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass_on(mut client: TcpStream, target: String) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
