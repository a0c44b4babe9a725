//! The server as processes of a role each, over one database.

use std::path::PathBuf;
use std::time::Duration;

use chat_test_kafka::Kafka;
use chat_test_postgres::Database;
use tokio::time::{sleep, timeout};

use crate::{Ingress, Person, Server, ServerBuilder, WITHIN};

/// What carries events between the nodes of a cluster.
#[derive(Clone, Copy, Debug)]
pub enum Bus<'a> {
    /// The database's own.
    Postgres,
    /// These brokers, which no other cluster uses.
    Kafka(&'a Kafka),
    /// These brokers, over TLS and as a user.
    KafkaAs(&'a Kafka, &'a KafkaUser),
}

/// Who comes to Kafka over TLS, with SCRAM.
#[derive(Clone, Debug)]
pub struct KafkaUser {
    /// Their name.
    pub name: String,
    /// The file of their password.
    pub password: PathBuf,
    /// The file of the authority that vouches for the brokers.
    pub ca: PathBuf,
}

/// Processes that serve a role each, behind one address.
#[derive(Debug)]
pub struct Cluster {
    /// Accounts and sessions.
    pub auth: Server,
    /// Rooms and messages.
    pub rest: Server,
    /// The hub, twice.
    pub realtime: [Server; 2],
    /// Deliveries to webhooks.
    pub consumer: Server,
    /// The address of all.
    pub ingress: Ingress,
}

/// A node of these roles on a database, which is migrated, whose tokens are verified with the keys that `keys_of` answers.
///
/// # Panics
/// There are no such settings.
#[must_use]
pub fn node(roles: &str, database: &Database, bus: Bus<'_>, keys_of: &str) -> ServerBuilder {
    let builder = Server::builder()
        .set("CHAT_ROLES", roles)
        .set("CHAT_WEBHOOK_PRIVATE", "on")
        .set("CHAT_DATABASE_URL", database.url())
        .set(
            "CHAT_VERIFY_KEYS",
            format!("{keys_of}/.well-known/jwks.json"),
        );
    on_bus(builder, bus)
}

/// A node of role consumer, which nobody calls: it needs no keys.
#[must_use]
pub fn consuming_node(database: &Database, bus: Bus<'_>) -> ServerBuilder {
    let builder = Server::builder()
        .set("CHAT_ROLES", "consumer")
        .set("CHAT_WEBHOOK_PRIVATE", "on")
        .set("CHAT_DATABASE_URL", database.url());
    on_bus(builder, bus)
}

fn on_bus(builder: ServerBuilder, bus: Bus<'_>) -> ServerBuilder {
    match bus {
        Bus::Postgres => builder.set("CHAT_BUS", "postgres"),
        Bus::Kafka(kafka) => builder
            .set("CHAT_BUS", "kafka")
            .set("CHAT_KAFKA_BROKERS", kafka.bootstrap()),
        Bus::KafkaAs(kafka, user) => builder
            .set("CHAT_BUS", "kafka")
            .set("CHAT_KAFKA_BROKERS", kafka.bootstrap_over_tls())
            .set("CHAT_KAFKA_SECURITY_PROTOCOL", "sasl_ssl")
            .set("CHAT_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
            .set("CHAT_KAFKA_USERNAME", &user.name)
            .set("CHAT_KAFKA_PASSWORD_FILE", user.password.to_string_lossy())
            .set("CHAT_KAFKA_CA", user.ca.to_string_lossy()),
    }
}

/// The node of role auth, which signs: on a database that it is the first to see.
///
/// # Panics
/// The database can't be migrated.
#[must_use]
pub fn signing_node(database: &Database, bus: Bus<'_>) -> ServerBuilder {
    let builder = Server::builder().set("CHAT_ROLES", "auth").on(database);
    let migrated = builder.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", migrated.log);
    on_bus(builder, bus)
}

impl Cluster {
    /// Starts a node of each role, and two of role realtime, on an empty database, and waits until all are ready.
    ///
    /// # Panics
    /// One doesn't get ready.
    pub async fn start(database: &Database, bus: Bus<'_>) -> Self {
        Self::start_behind(Ingress::open().await, database, bus).await
    }

    /// The same behind this ingress.
    ///
    /// # Panics
    /// One doesn't get ready.
    pub async fn start_behind(ingress: Ingress, database: &Database, bus: Bus<'_>) -> Self {
        let auth = signing_node(database, bus).start().await;
        ingress.lead_auth_to(&[&auth]);
        let node = |roles| node(roles, database, bus, ingress.url()).start();
        let (rest, here, there, consumer) = tokio::join!(
            node("rest"),
            node("realtime"),
            node("realtime"),
            consuming_node(database, bus).start()
        );
        ingress.lead_rest_to(&[&rest]);
        ingress.lead_realtime_to(&[&here, &there]);
        let cluster = Self {
            auth,
            rest,
            realtime: [here, there],
            consumer,
            ingress,
        };
        for server in cluster.servers() {
            ready(server).await;
        }
        cluster
    }

    /// All processes.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        [&self.auth, &self.rest, &self.consumer]
            .into_iter()
            .chain(&self.realtime)
    }

    /// Someone new, registered and logged in.
    pub async fn person(&self, username: &str) -> Person {
        Person::register(self.ingress.url(), username).await
    }
}

/// Waits until a server says that it is ready.
///
/// # Panics
/// It doesn't get ready in time.
pub async fn ready(server: &Server) {
    let anyone = server.anyone();
    let ready = timeout(3 * WITHIN, async {
        while anyone.get("/readyz").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    });
    if ready.await.is_err() {
        panic!("it doesn't get ready: {}", server.log());
    }
}
