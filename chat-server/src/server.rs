//! The server as a whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chat_core::fanout::Connection;
use chat_core::model::SystemClock;
use chat_core::random::SystemRandom;
use chat_core::service::Chat;
use chat_core::service::webhooks::Outgoing;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Network, Role};
use crate::http::{self, HttpOptions};
use crate::hub::HubOptions;
use crate::open::{self, Database};
use crate::serve::{Listener, StartError};
use crate::webhooks::{Deliverer, DelivererOptions};
use crate::{telemetry, verify_keys};

/// How often the metrics put their samples in order.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// How often a draining server looks whether new requests are still needed.
const FETCHED: Duration = Duration::from_millis(50);
/// Connections held at once on the admin port.
const ADMIN_CONNECTIONS: usize = 256;

/// A chat server that is bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    config: Config,
    chat: Chat,
    /// What goes on beside the chat; it ends with the value.
    work: JoinSet<()>,
    database: Option<Database>,
    hub: HubOptions,
    public: Listener,
    admin: Option<Listener>,
    deliverer: Option<Deliverer>,
}

impl Server {
    /// Binds the addresses of `config`, then opens its database and keys and starts its chat.
    ///
    /// # Errors
    /// An address can't be had, or a file can't be used: one line that says which.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let (public, admin) = listen(&config.network).await?;
        let database = Database::open(&config.storage.database).await?;
        let (keys, known) = open::token_keys(&config).await?;
        let keys = Arc::new(keys);
        let chat = database.start(&config, Arc::clone(&keys)).await?;
        let deliverer = deliverer(&config, &chat)?;
        let mut work = JoinSet::new();
        if let Some(source) = config.auth.verify_keys.clone() {
            work.spawn(verify_keys::follow(keys, source, known));
        }
        Ok(Self {
            config,
            chat,
            work,
            database: Some(database),
            hub: HubOptions::default(),
            public,
            admin,
            deliverer,
        })
    }

    /// Binds the addresses of `config` for a chat that runs already.
    ///
    /// # Errors
    /// An address can't be had, or the certificate can't be used.
    pub async fn bind_chat(config: Config, chat: Chat) -> Result<Self, StartError> {
        let (public, admin) = listen(&config.network).await?;
        let deliverer = deliverer(&config, &chat)?;
        Ok(Self {
            config,
            chat,
            work: JoinSet::new(),
            database: None,
            hub: HubOptions::default(),
            public,
            admin,
            deliverer,
        })
    }

    /// With other times and bounds of the hub's connections.
    #[must_use]
    pub const fn hub(mut self, options: HubOptions) -> Self {
        self.hub = options;
        self
    }

    /// The chat that it serves.
    #[must_use]
    pub const fn chat(&self) -> &Chat {
        &self.chat
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.public.address()
    }

    /// Where its health and metrics are, if apart.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Listener::address)
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.config.network.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.local_addr())
    }

    /// Serves until `shutdown`, then drains: tells connections to go, accepts no more once none of them needs requests of its
    /// own to hear it, lets end what was begun, and cuts what is left when the drain's time is over.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            config,
            chat,
            work,
            database,
            hub,
            public,
            admin,
            deliverer,
        } = self;
        let metrics = telemetry::metrics();
        let network = &config.network;
        let options = HttpOptions {
            hub,
            ..HttpOptions::new(&config.roles, network)
        };
        let app = http::public(&chat, &options, admin.is_none());
        public.record(network.max_connections);
        let public = public.serve(app, network.max_connections);
        let admin = admin.map(|admin| {
            let app = http::admin(&chat, network.request_timeout);
            admin.serve(app, ADMIN_CONNECTIONS)
        });

        let stop = CancellationToken::new();
        let deliveries = TaskTracker::new();
        if let Some(deliverer) = deliverer {
            deliveries.spawn(deliverer.run(stop.clone().cancelled_owned()));
        }
        deliveries.close();

        let mut shutdown = std::pin::pin!(shutdown);
        let mut upkeep = tokio::time::interval(METRICS_UPKEEP);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = upkeep.tick() => metrics.run_upkeep(),
            }
        }

        tracing::info!("draining");
        stop.cancel();
        let end = Instant::now() + config.drain;
        // The goodbyes are spread over most of the time; the rest is for those who got theirs last.
        let goodbyes = chat.drain(config.drain.mul_f64(0.8));
        let drained =
            async { tokio::join!(goodbyes, public.finish(fetched(&chat)), deliveries.wait()) };
        if tokio::time::timeout_at(end, drained).await.is_err() {
            tracing::warn!("what is left is cut: the drain's time is over");
        }
        public.cut().await;
        if let Some(admin) = admin {
            admin.cut().await;
        }
        drop((chat, work));
        if let Some(database) = database
            && let Err(e) = database.close().await
        {
            tracing::warn!("the database was not closed in order: {e}");
        }
        tracing::info!("stopped");
    }
}

/// Waits until no client needs new requests to hear that its connection ends: polls, and what is posted beside events.
async fn fetched(chat: &Chat) {
    let needs_requests = |c: &Arc<Connection>| !c.wire().framing.is_web_socket();
    while chat.fanout().connections().iter().any(needs_requests) {
        tokio::time::sleep(FETCHED).await;
    }
}

/// What delivers the chat's webhooks, if this process does.
fn deliverer(config: &Config, chat: &Chat) -> Result<Option<Deliverer>, StartError> {
    let outgoing = chat.outgoing().filter(|_| config.roles.has(Role::Consumer));
    let new = |outgoing: &Outgoing| {
        Deliverer::new(
            outgoing.clone(),
            DelivererOptions::default(),
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
        )
    };
    outgoing.map(new).transpose()
}

async fn listen(network: &Network) -> Result<(Listener, Option<Listener>), StartError> {
    http::check_web_root(network.web_root.as_ref())?;
    let public = Listener::bind(&network.listen, network.tls.as_ref()).await?;
    let admin = match &network.admin_listen {
        Some(address) => Some(Listener::bind(address, None).await?),
        None => None,
    };
    Ok((public, admin))
}
