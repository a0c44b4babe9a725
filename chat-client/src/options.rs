//! How a client is set up: every default in one place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::model::{Clock, SystemClock};
use chat_core::protocol::signalr::Encoding;
use chat_core::protocol::signalr::negotiate::Transport as TransportKind;
use chat_core::random::{Random, SystemRandom};
use reqwest::Url;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::outbox::Outbox;
use crate::realtime::{Connector, RealtimeOptions};
use crate::tokens::{FixedToken, MemoryTokenStore, TokenSource, TokenStore};

/// What can be set about a client. All durations are upper bounds unless they say otherwise.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) server: Url,
    pub(crate) login: LoginOption,
    pub(crate) user_agent: String,
    pub(crate) proxy: Option<Url>,
    pub(crate) root_certificates: Vec<reqwest::Certificate>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) response_limit_bytes: usize,
    pub(crate) retries: u32,
    pub(crate) retry_wait: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) realtime: RealtimeOptions,
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) negotiate: bool,
    pub(crate) transports: Vec<TransportKind>,
    pub(crate) outbox: Option<Arc<dyn Outbox>>,
}

/// Where access tokens come from.
#[derive(Clone)]
pub(crate) enum LoginOption {
    /// `login` or what the store holds.
    Store(Arc<dyn TokenStore>),
    /// Whatever gives access tokens.
    Source(Arc<dyn TokenSource>),
}

impl Options {
    pub(crate) fn new(server: Url) -> Self {
        Self {
            server,
            login: LoginOption::Store(Arc::new(MemoryTokenStore::default())),
            user_agent: concat!("chat-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: None,
            root_certificates: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            // A page of 100 messages of 4,000 characters at 4 bytes is 1.6 MB.
            response_limit_bytes: 8 * 1024 * 1024,
            retries: 3,
            retry_wait: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            realtime: RealtimeOptions::default(),
            connector: None,
            negotiate: true,
            transports: vec![
                TransportKind::WebSockets,
                TransportKind::ServerSentEvents,
                TransportKind::LongPolling,
            ],
            outbox: None,
        }
    }
}

impl Options {
    /// Whether what was set goes together.
    fn check(&self) -> Result<()> {
        let encoding = self.realtime.encoding;
        let carries = |kind: &TransportKind| {
            kind.transfer_formats()
                .contains(&encoding.transfer_format())
        };
        if !self.transports.iter().any(carries) {
            return Err(Error::BadOption(format!(
                "none of the transports allowed carries {}",
                encoding.name()
            )));
        }
        if !self.negotiate && !self.transports.contains(&TransportKind::WebSockets) {
            return Err(Error::BadOption(
                "without negotiation there are WebSockets alone, which aren't allowed".into(),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The login holds secrets, and a proxy's address may.
        f.debug_struct("Options")
            .field("server", &self.server.as_str())
            .field("user_agent", &self.user_agent)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("response_limit_bytes", &self.response_limit_bytes)
            .field("retries", &self.retries)
            .field("retry_wait", &self.retry_wait)
            .field("realtime", &self.realtime)
            .field("negotiate", &self.negotiate)
            .field("transports", &self.transports)
            .finish_non_exhaustive()
    }
}

/// Sets up a [`Client`]. Made by [`Client::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    options: Result<Options>,
}

impl ClientBuilder {
    pub(crate) fn new(server: &str) -> Self {
        Self {
            options: server_url(server).map(Options::new),
        }
    }

    fn set(mut self, set: impl FnOnce(&mut Options)) -> Self {
        if let Ok(options) = &mut self.options {
            set(options);
        }
        self
    }

    /// Where the login is kept between runs. Default: in memory, so that it ends with the process.
    pub fn token_store(self, store: impl TokenStore + 'static) -> Self {
        self.set(|o| o.login = LoginOption::Store(Arc::new(store)))
    }

    /// Uses this access token instead of a login. It is never renewed: once it has expired, calls fail with
    /// [`Error::SessionEnded`].
    pub fn access_token(self, token: impl Into<String>) -> Self {
        self.token_source(FixedToken(token.into()))
    }

    /// Takes access tokens from here instead of a login: for servers embedded in an application with users of its own.
    pub fn token_source(self, source: impl TokenSource + 'static) -> Self {
        self.set(|o| o.login = LoginOption::Source(Arc::new(source)))
    }

    /// What the client calls itself in `User-Agent`. Default: this crate's name and version.
    pub fn user_agent(self, name: impl Into<String>) -> Self {
        self.set(|o| o.user_agent = name.into())
    }

    /// An HTTP proxy, such as `http://proxy.example:3128`. Default: none; the environment is never read.
    pub fn proxy(mut self, url: &str) -> Self {
        match Url::parse(url) {
            Ok(url) => self.set(|o| o.proxy = Some(url)),
            Err(_) => {
                // The address may hold a password: not in the text.
                self.options = self.options.and(Err(Error::BadOption(
                    "the proxy's address is no URL".into(),
                )));
                self
            }
        }
    }

    /// Trusts one more root certificate, in PEM, beside the system's. For servers with certificates of their own.
    pub fn root_certificate(mut self, pem: &[u8]) -> Self {
        match reqwest::Certificate::from_pem(pem) {
            Ok(certificate) => self.set(|o| o.root_certificates.push(certificate)),
            Err(e) => {
                self.options = self
                    .options
                    .and(Err(Error::BadOption(format!("root certificate: {e}"))));
                self
            }
        }
    }

    /// How long making a TCP and TLS connection may take. Default: 10 s.
    pub fn connect_timeout(self, limit: Duration) -> Self {
        self.set(|o| o.connect_timeout = limit)
    }

    /// How long one request may take, its answer's body included. Default: 30 s.
    pub fn request_timeout(self, limit: Duration) -> Self {
        self.set(|o| o.request_timeout = limit)
    }

    /// How many bytes an answer's body, or a record of the realtime connection, may have. Default: 8 MiB.
    pub fn response_limit_bytes(self, limit: usize) -> Self {
        self.set(|o| {
            o.response_limit_bytes = limit;
            o.realtime.record_limit_bytes = limit;
        })
    }

    /// How often a call that may safely be repeated is tried again after 429, 502, 503, 504, a broken connection or a
    /// time-out. Default: 3.
    pub fn retries(self, retries: u32) -> Self {
        self.set(|o| o.retries = retries)
    }

    /// The longest wait before such a try: a server that asks for more in `Retry-After` is told to the caller instead.
    /// Default: 10 s.
    pub fn retry_wait(self, limit: Duration) -> Self {
        self.set(|o| o.retry_wait = limit)
    }

    /// Keeps messages until the server has answered, so that they survive a kill of the program. Default: they live in
    /// memory, and a send that isn't answered within [`send_timeout`](Self::send_timeout) fails.
    pub fn outbox(self, outbox: impl Outbox + 'static) -> Self {
        self.set(|o| o.outbox = Some(Arc::new(outbox)))
    }

    /// How long a message sent over the realtime connection may take to be answered, reconnects included. Without effect
    /// where there is an [`outbox`](Self::outbox): what it holds is sent until it is answered. Default: 60 s.
    pub fn send_timeout(self, limit: Duration) -> Self {
        self.set(|o| o.realtime.send_timeout = limit)
    }

    /// How long any other call over the realtime connection may take. Default: 30 s.
    pub fn call_timeout(self, limit: Duration) -> Self {
        self.set(|o| o.realtime.call_timeout = limit)
    }

    /// How long the server may say nothing before the connection is made anew. It says something every 15 s. Default: 30 s.
    pub fn server_timeout(self, limit: Duration) -> Self {
        self.set(|o| o.realtime.server_timeout = limit)
    }

    /// The pause before the second try to reconnect, and the longest between later ones; the first comes at once, and each
    /// pause doubles the one before, spread by half to either side. Default: 1 s and 30 s.
    pub fn reconnect_pause(self, min: Duration, max: Duration) -> Self {
        self.set(|o| {
            o.realtime.reconnect_min = min;
            o.realtime.reconnect_max = max.max(min);
        })
    }

    /// How many events wait for the application before the socket is read no further. Default: 1,024.
    pub fn event_queue(self, events: usize) -> Self {
        self.set(|o| o.realtime.event_queue = events.max(1))
    }

    /// How many messages wait to be sent before [`Room::send`](crate::Room::send) itself waits. Default: 256.
    pub fn send_queue(self, messages: usize) -> Self {
        self.set(|o| o.realtime.send_queue = messages.max(1))
    }

    /// How records are written on the realtime connection: as JSON, which people can read on the way, or as MessagePack,
    /// which is shorter. Default: JSON. A [`connector`](Self::connector) of the
    /// application's must carry it: see [`WebSocket::carrying`](crate::WebSocket::carrying).
    pub fn encoding(self, encoding: Encoding) -> Self {
        self.set(|o| o.realtime.encoding = encoding)
    }

    /// What the realtime connection may run over. The server says in which order they are tried: a WebSocket, then
    /// Server-Sent Events (not with MessagePack), then long polling, which pass where a proxy lets no WebSocket through.
    /// Default: all of them.
    pub fn transports(self, allowed: impl IntoIterator<Item = TransportKind>) -> Self {
        self.set(|o| o.transports = allowed.into_iter().collect())
    }

    /// Opens a WebSocket at once, without asking the server first whether and where: one request less, for servers that
    /// are known not to send their clients elsewhere. There is no other transport then.
    pub fn skip_negotiation(self) -> Self {
        self.set(|o| o.negotiate = false)
    }

    /// Another way to the hub than HTTP to the server's address.
    pub fn connector(self, connector: impl Connector + 'static) -> Self {
        self.set(|o| o.connector = Some(Arc::new(connector)))
    }

    /// Where wall time comes from. For simulation.
    #[doc(hidden)]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.set(|o| o.clock = clock)
    }

    /// Where randomness comes from: message ids, jitter, keys. For simulation.
    #[doc(hidden)]
    pub fn random(self, random: Arc<dyn Random>) -> Self {
        self.set(|o| o.random = random)
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::BadOption`] for the first option that was wrong.
    pub fn build(self) -> Result<Client> {
        let options = self.options?;
        options.check()?;
        Client::new(options)
    }
}

/// The server's address: `http` or `https`, with a path if the API is mounted under one.
fn server_url(text: &str) -> Result<Url> {
    let mut url = Url::parse(text)
        .map_err(|e| Error::BadOption(format!("the server's address is no URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::BadOption(format!(
            "the server's address must begin with http:// or https://, not {}:",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::BadOption(
            "the server's address must not hold a name or password".into(),
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_http_or_https_without_credentials() {
        assert_eq!(
            server_url("https://chat.example/api/")
                .expect("good")
                .path(),
            "/api"
        );
        for bad in [
            "chat.example",
            "ws://chat.example",
            "https://user:pw@chat.example",
            "localhost:8080",
            "file:///etc",
        ] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn some_transport_must_be_left() {
        use TransportKind::{LongPolling, ServerSentEvents};
        let builder = || ClientBuilder::new("https://chat.example");
        let message_pack = || builder().encoding(Encoding::MessagePack);
        assert!(builder().transports([]).build().is_err());
        assert!(builder().transports([ServerSentEvents]).build().is_ok());
        assert!(
            message_pack()
                .transports([ServerSentEvents])
                .build()
                .is_err()
        );
        assert!(message_pack().transports([LongPolling]).build().is_ok());
        let at_once = builder().transports([LongPolling]).skip_negotiation();
        assert!(at_once.build().is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let builder = ClientBuilder::new("https://chat.example")
            .access_token("s3cret-token")
            .proxy("http://me:s3cret@proxy.example");
        assert!(!format!("{builder:?}").contains("s3cret"));
    }
}
