//! Listening and serving: TCP and TLS, HTTP/1.1 and HTTP/2 on one port, and an end in order.

pub(crate) mod tls;
pub(crate) mod upgrade;
mod watch;

use std::fmt::{self, Write as _};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use self::watch::{Deadline, Overdue, Progress, Watched};
use crate::config::{Address, TlsFiles};
use crate::telemetry::metric;

/// Why a server doesn't start: one line for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(line: String) -> Self {
        Self(line)
    }

    /// What `error` says, and all that lies behind it, on one line.
    pub(crate) fn caused(prefix: &str, error: &dyn std::error::Error) -> Self {
        let mut line = format!("{prefix}{error}");
        let mut cause = error.source();
        while let Some(e) = cause {
            let _ = write!(line, ": {e}");
            cause = e.source();
        }
        Self(line)
    }
}

/// How long a TLS handshake may take.
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;
/// Requests of one HTTP/2 connection at once.
const HTTP2_STREAMS: u32 = 128;
/// How often an HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long to wait when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A place among the connections that a server holds at once. It stands in a request's extensions: what outlives the
/// request's connection, an upgraded stream, keeps it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionPermit {
    _permit: Arc<Counted>,
}

#[derive(Debug)]
struct Counted(#[allow(dead_code)] OwnedSemaphorePermit); // held, never read

impl Counted {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(metric::CONNECTIONS).increment(1);
        Self(permit)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(metric::CONNECTIONS).decrement(1);
    }
}

/// A bound address.
pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    /// When its certificate ends, in seconds since 1970.
    certificate_expiry: Option<i64>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// The address can't be had, or the certificate can't be used.
    pub(crate) async fn bind(
        address: &Address,
        tls: Option<&TlsFiles>,
    ) -> Result<Self, StartError> {
        let acceptor = tls.map(tls::acceptor).transpose()?;
        let certificate_expiry = tls.map(tls::expiry).transpose()?;
        let refused =
            |e: io::Error| StartError::new(format!("can't listen on {address}: {}", reason(&e)));
        let tcp = TcpListener::bind((address.host.as_str(), address.port))
            .await
            .map_err(refused)?;
        let address = tcp.local_addr().map_err(refused)?;
        Ok(Self {
            tcp,
            address,
            tls: acceptor,
            certificate_expiry,
        })
    }

    /// Tells of its bounds in time and number.
    pub(crate) fn record(&self, max_connections: usize) {
        #[allow(clippy::cast_precision_loss)] // exact up to 2^53
        metrics::gauge!(metric::CONNECTIONS_LIMIT).set(max_connections as f64);
        if let Some(expiry) = self.certificate_expiry {
            #[allow(clippy::cast_precision_loss)]
            metrics::gauge!(metric::CERTIFICATE_EXPIRY).set(expiry as f64);
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` from here on.
    pub(crate) fn serve(self, router: Router, max_connections: usize) -> Serving {
        let stop = CancellationToken::new();
        let close = CancellationToken::new();
        let cut = CancellationToken::new();
        let tasks = TaskTracker::new();
        let served = Arc::new(Served {
            router,
            tls: self.tls,
            http: protocol(),
            stop: stop.clone(),
            close: close.clone(),
            cut: cut.clone(),
        });
        tasks.spawn(accept(self.tcp, served, max_connections, tasks.clone()));
        Serving {
            stop,
            close,
            cut,
            tasks,
        }
    }
}

/// What is wrong with an address, in the words of those who ask.
fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::AddrInUse => "another program listens there already".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not listen there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => e.to_string(),
    }
}

/// A router being served.
pub(crate) struct Serving {
    /// Connections end after what they are doing.
    stop: CancellationToken,
    /// No more are accepted.
    close: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// Lets what was begun end, accepts no more once `last` is done, and returns when all is done.
    pub(crate) async fn finish(&self, last: impl Future<Output = ()>) {
        self.stop.cancel();
        last.await;
        self.close.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Cuts what is still there.
    pub(crate) async fn cut(self) {
        self.stop.cancel();
        self.close.cancel();
        self.cut.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What all connections of a listener share.
struct Served {
    router: Router,
    tls: Option<TlsAcceptor>,
    http: Builder<TokioExecutor>,
    stop: CancellationToken,
    close: CancellationToken,
    cut: CancellationToken,
}

fn protocol() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // Late heads are `watch`'s.
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(HTTP2_KEEP_ALIVE);
    http
}

async fn accept(tcp: TcpListener, served: Arc<Served>, max_connections: usize, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let next = async {
            // A connection beyond the bound waits in the system's queue.
            let permit = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((permit, tcp.accept().await))
        };
        let accepted = tokio::select! {
            biased;
            () = served.close.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            None => return,
            Some((permit, Ok((stream, peer)))) => {
                let permit = ConnectionPermit {
                    _permit: Arc::new(Counted::new(permit)),
                };
                tasks.spawn(Arc::clone(&served).connection(stream, peer, permit));
            }
            // The peer was gone before it was accepted.
            Some((_, Err(e))) if is_of_peer(&e) => {}
            Some((_, Err(e))) => {
                tracing::error!("a connection can't be accepted: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_peer(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Served {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: ConnectionPermit,
    ) {
        // Small writes go out at once; a socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = &self.tls else {
            return self.requests(stream, peer, permit).await;
        };
        let handshake = tokio::time::timeout(TLS_HANDSHAKE, acceptor.accept(stream));
        let stream = tokio::select! {
            biased;
            () = self.close.cancelled() => return,
            stream = handshake => stream,
        };
        match stream {
            Ok(Ok(stream)) => self.requests(stream, peer, permit).await,
            Ok(Err(e)) => tracing::debug!(%peer, "a TLS handshake failed: {e}"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn requests<S>(&self, stream: S, peer: SocketAddr, permit: ConnectionPermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let progress = Progress::new();
        let mut deadline = Deadline::new(progress.clone());
        let stream = TokioIo::new(Watched::new(stream, progress.clone()));
        let router = self.router.clone();
        // Accepted while stopping: it is there for one request, and its end must not come before that.
        let begun = CancellationToken::new();
        if !self.stop.is_cancelled() {
            begun.cancel();
        }
        let ends = async {
            self.stop.cancelled().await;
            begun.cancelled().await;
        };
        let mut ends = pin!(ends);
        let first = begun.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            first.cancel();
            let busy = progress.request(request.version());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(permit.clone());
            let response = router.clone().call(request);
            async move { response.await.map(|r| r.map(|body| busy.body(body))) }
        });
        let mut connection = pin!(self.http.serve_connection_with_upgrades(stream, service));
        let mut is_ending = false;
        loop {
            tokio::select! {
                biased;
                () = self.cut.cancelled() => return,
                () = &mut ends, if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => {
                    if let Err(e) = ended {
                        tracing::debug!(%peer, "a connection failed: {e}");
                    }
                    return;
                }
                overdue = poll_fn(|cx| deadline.poll(cx)) => {
                    if is_ending || overdue == Overdue::Late {
                        return;
                    }
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
