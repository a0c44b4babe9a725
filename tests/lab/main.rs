//! The cluster on machines of its own, in network namespaces: what cuts between them, lost machines, and an operator who replaces
//! every process under load leave of its promises. All of them.
//!
//! Needs root, iproute2, nftables and nginx; `tests/run --all` has it run.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod lab;

use std::time::Duration;

use chat_test_kafka::Kafka;
use chat_test_postgres::{Database, Server as PostgreSql};
use chat_tests::cluster::{self, Bus};
use chat_tests::nginx::{Manifests, Nginx, Services};
use chat_tests::{Crowd, Receiver, Server, ServerBuilder, Size, Watched, chat_server};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, timeout};

use self::lab::{CLIENTS, Lab, address};

/// 90 messages a second, by 45 clients in 15 rooms.
const LOAD: Size = Size {
    rooms: 15,
    in_a_room: 3,
    send_every: Duration::from_millis(500),
};
/// What serves rooms and the hub.
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Where nginx is, as the manifests configure it.
const GATEWAY: &str = "gw";
/// What signs people in.
const AUTH: &str = "a1";
const CONSUMERS: [&str; 2] = ["c1", "c2"];
const DATABASE: &str = "pg";
const BROKERS: [&str; 3] = ["k1", "k2", "k3"];
/// Where the servers, PostgreSQL and Kafka listen.
const PORT: u16 = 8080;
const POSTGRESQL: u16 = 5432;
const KAFKA: u16 = 9092;
/// How long a cut lasts: longer than a lease, and than a node may go without knowing who was signed out.
const CUT: Duration = Duration::from_secs(10);
/// How long until what was cut off serves as before.
const HEALED_WITHIN: Duration = Duration::from_secs(40);
/// How long anyone may be away while every process is replaced.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// What a stopping node takes for its goodbyes.
const DRAIN: &str = "5";
/// How long a new process is left in peace before the next is replaced, as a rollout does.
const BETWEEN: Duration = Duration::from_secs(3);

/// What a cut does.
#[derive(Clone, Copy)]
enum Way {
    /// Nothing comes through.
    Both,
    /// What is sent vanishes, and what the others send comes.
    OneWay,
}

/// The cluster: three nodes of roles rest and realtime, one of auth, two consumers, PostgreSQL, three brokers and a gateway.
struct World<'a> {
    lab: &'a Lab,
    nodes: Vec<Server>,
    auth: Server,
    consumers: Vec<Server>,
    gateway: Nginx,
    kafka: Kafka,
    postgres: &'static PostgreSql,
    database: Database,
}

/// Runs a test on the machine of the clients, with the lab to itself.
fn in_the_lab(test: impl AsyncFnOnce(&Lab) + Send) {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // It may have to be built, for which machines have no network.
    chat_server();
    let lab = Lab::build();
    lab.on(CLIENTS, || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(|| lab::enter(CLIENTS))
            .build();
        runtime.unwrap().block_on(test(&lab));
    });
}

/// Does something on a machine that starts a process there.
async fn on<T: Send>(lab: &Lab, host: &str, work: impl Future<Output = T> + Send) -> T {
    let runtime = Handle::current();
    tokio::task::block_in_place(|| lab.on(host, || runtime.block_on(work)))
}

/// Does something for each, all at once.
fn on_each(lab: &Lab, hosts: &[&str], work: impl Fn(usize) + Sync) {
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for (n, host) in hosts.iter().enumerate() {
                let work = &work;
                scope.spawn(move || lab.on(host, || work(n)));
            }
        });
    });
}

impl<'a> World<'a> {
    async fn start(lab: &'a Lab) -> Self {
        let postgres: &'static PostgreSql = Box::leak(Box::new(PostgreSql::at(address(DATABASE))));
        on_each(lab, &[DATABASE], |_| postgres.resume());
        let database = postgres.database(None).await;
        let kafka = Kafka::builder(3)
            .at(BROKERS.map(address).to_vec(), KAFKA)
            .prepare();
        on_each(lab, &BROKERS, |n| kafka.resume(n));
        let bus = Bus::Kafka(&kafka);
        let settled = |builder: ServerBuilder, host: &str| {
            builder
                .set("CHAT_LISTEN", format!("{}:{PORT}", address(host)))
                .set("CHAT_DATABASE_URL", database.network_url())
                .set("CHAT_DRAIN_SECONDS", DRAIN)
                .set("CHAT_TRUSTED_PROXIES", address(GATEWAY).to_string())
        };

        let auth = settled(cluster::signing_node(&database, bus), AUTH);
        let auth = on(lab, AUTH, auth.start()).await;
        let (mut nodes, mut consumers) = (Vec::new(), Vec::new());
        for host in NODES {
            let node = cluster::node("rest,realtime", &database, bus, auth.url());
            nodes.push(on(lab, host, settled(node, host).start()).await);
        }
        for host in CONSUMERS {
            let consumer = cluster::consuming_node(&database, bus);
            consumers.push(on(lab, host, settled(consumer, host).start()).await);
        }
        for server in [&auth].into_iter().chain(&nodes).chain(&consumers) {
            cluster::ready(server).await;
        }
        let services = services(&auth, nodes.iter());
        let manifests = Manifests::of_cluster();
        let gateway = tokio::task::block_in_place(|| {
            lab.on(GATEWAY, || {
                Nginx::at(address(GATEWAY), &manifests, &services)
            })
        });
        Self {
            lab,
            nodes,
            auth,
            consumers,
            gateway,
            kafka,
            postgres,
            database,
        }
    }

    /// Has the gateway lead to all nodes, or to all but one, as a controller does when they change.
    fn lead(&self, without: Option<usize>) {
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes
            .filter(|(n, _)| Some(*n) != without)
            .map(|(_, node)| node);
        let services = services(&self.auth, nodes);
        tokio::task::block_in_place(|| self.gateway.lead_to(&services));
    }

    /// Has the clients talk, and a webhook told of what some say.
    async fn talk(&self) -> (Crowd, Watched) {
        let crowd = Crowd::gather(self.gateway.url(), LOAD).await;
        let receiver = Receiver::at(address(CLIENTS), Watched::every_other_fails_at_first).await;
        let watched = Watched::begin(receiver, &crowd, self.gateway.url()).await;
        (crowd, watched)
    }

    /// Cuts the way from a machine to others for a while, where a port of each must be reached before and not during it.
    async fn cut(&self, crowd: &Crowd, way: Way, from: &str, to: &[&str], port: u16) {
        let reaches = |to: &str| tokio::task::block_in_place(|| self.lab.reaches(from, to, port));
        assert!(to.iter().all(|to| reaches(to)), "{from} reaches {to:?}");
        match way {
            Way::Both => self.lab.cut(from, to),
            Way::OneWay => self.lab.cut_one_way(from, to),
        }
        assert!(
            !to.iter().any(|to| reaches(to)),
            "{from} reaches {to:?} through a cut"
        );
        sleep(CUT).await;
        // The others go on.
        crowd.acknowledges(20).await;
    }

    /// Ends all cuts, and waits until all serve.
    async fn heal(&self, crowd: &Crowd) {
        self.lab.heal();
        for node in &self.nodes {
            let healed = timeout(HEALED_WITHIN, async {
                while !is_ready(node).await
                    || metric(node, "chat_outbox_oldest_seconds").await > 2.0
                {
                    sleep(Duration::from_millis(200)).await;
                }
            });
            assert!(healed.await.is_ok(), "it doesn't heal: {}", node.log());
        }
        crowd.acknowledges(100).await;
    }

    /// Has all come to an end, and says what was wrong.
    async fn end(self, mut crowd: Crowd, watched: Watched) -> End {
        let (sent, problems) = crowd.finish().await;
        assert!(sent > 500, "only {sent} messages were sent");
        let untold = watched.untold(&crowd).await;
        let (lab, postgres) = (self.lab, self.postgres);
        drop(self);
        on_each(lab, &[DATABASE], |_| postgres.stop());
        End {
            problems,
            untold: untold.len(),
            away: crowd.longest_away(),
        }
    }
}

/// What became of it all.
struct End {
    /// Of what clients saw and what is stored.
    problems: Vec<String>,
    /// Events that no webhook told of.
    untold: usize,
    /// How long anyone was away.
    away: Duration,
}

impl End {
    fn is_good(&self) {
        assert_eq!(self.problems, [""; 0]);
        assert_eq!(self.untold, 0, "webhooks told nothing of so many events");
    }
}

/// What the services of the manifests lead to.
fn services<'a>(auth: &'a Server, nodes: impl Iterator<Item = &'a Server>) -> Services<'a> {
    let nodes: Vec<_> = nodes.collect();
    Services::from([
        ("chat-auth", vec![auth]),
        ("chat-rest", nodes.clone()),
        ("chat-realtime", nodes),
    ])
}

async fn is_ready(server: &Server) -> bool {
    let ready = server.anyone();
    let asked = timeout(Duration::from_secs(2), ready.get("/readyz"));
    asked.await.is_ok_and(|answer| answer.status == 200)
}

async fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.anyone().get("/metrics").await.text;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .parse()
        .unwrap()
}

#[test]
fn cuts_and_lost_machines_heal() {
    in_the_lab(async |lab| {
        let mut world = World::start(lab).await;
        let (crowd, watched) = world.talk().await;
        crowd.acknowledges(100).await;

        // A node and Kafka: what it commits waits, and others hear of it through the database.
        world.cut(&crowd, Way::Both, "n1", &BROKERS, KAFKA).await;
        let waits = metric(&world.nodes[0], "chat_outbox_oldest_seconds").await;
        assert!(waits > 5.0, "its events wait for {waits} s");
        world.heal(&crowd).await;

        // A node and PostgreSQL: it can't know who was signed out, and serves nobody.
        world
            .cut(&crowd, Way::Both, "n2", &[DATABASE], POSTGRESQL)
            .await;
        assert!(!is_ready(&world.nodes[1]).await, "it says that it is ready");
        world.heal(&crowd).await;

        // The gateway and a node.
        world.cut(&crowd, Way::Both, GATEWAY, &["n3"], PORT).await;
        world.heal(&crowd).await;

        // One way only: what is sent vanishes, and what comes is heard; or the other way round.
        world.cut(&crowd, Way::OneWay, "n1", &BROKERS, KAFKA).await;
        world.heal(&crowd).await;
        world
            .cut(&crowd, Way::OneWay, DATABASE, &["n2"], PORT)
            .await;
        world.heal(&crowd).await;
        let (_, port) = world.gateway.url().rsplit_once(':').unwrap();
        let port = port.parse().unwrap();
        world.cut(&crowd, Way::OneWay, "n3", &[GATEWAY], port).await;
        world.heal(&crowd).await;

        // A consumer and Kafka: the other takes over.
        world.cut(&crowd, Way::Both, "c1", &BROKERS, KAFKA).await;
        world.heal(&crowd).await;

        // A broker dies, and comes back.
        tokio::task::block_in_place(|| world.kafka.kill(0));
        crowd.acknowledges(200).await;
        on_each(lab, &["k1"], |_| world.kafka.resume(0));

        // A node dies, and another takes its place.
        world.nodes[1].kill().await;
        crowd.acknowledges(200).await;
        on(lab, "n2", world.nodes[1].restart()).await;
        cluster::ready(&world.nodes[1]).await;
        world.heal(&crowd).await;

        world.end(crowd, watched).await.is_good();
    });
}

/// Stops a server in order, and has another take its place.
async fn replace(lab: &Lab, host: &str, server: &mut Server) {
    server.terminate();
    let ended = server.ended().await;
    assert!(
        ended.success(),
        "{host} ended with {ended}: {}",
        server.log()
    );
    on(lab, host, server.restart()).await;
    cluster::ready(server).await;
    sleep(BETWEEN).await;
}

#[test]
fn every_process_is_replaced_under_load_and_nobody_notices() {
    in_the_lab(async |lab| {
        let mut world = World::start(lab).await;
        let (crowd, watched) = world.talk().await;
        crowd.acknowledges(100).await;

        for (n, host) in NODES.iter().enumerate() {
            world.lead(Some(n));
            replace(lab, host, &mut world.nodes[n]).await;
            world.lead(None);
            crowd.acknowledges(50).await;
        }
        replace(lab, AUTH, &mut world.auth).await;
        for (host, consumer) in CONSUMERS.iter().zip(&mut world.consumers) {
            replace(lab, host, consumer).await;
            crowd.acknowledges(50).await;
        }
        // Nothing changed; new workers take over all the same.
        world.lead(None);
        crowd.acknowledges(50).await;

        let end = world.end(crowd, watched).await;
        end.is_good();
        let away = end.away;
        assert!(away > Duration::ZERO, "somebody had to go elsewhere");
        assert!(away <= BACK_WITHIN, "someone was away for {away:?}");
    });
}

#[test]
fn the_same_checks_find_who_is_away_for_longer_and_a_message_that_is_lost() {
    in_the_lab(async |lab| {
        let mut world = World::start(lab).await;
        let (crowd, watched) = world.talk().await;
        crowd.acknowledges(200).await;

        let options: PgConnectOptions = world.database.url().parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let one = "SELECT id FROM messages ORDER BY room_id, seq OFFSET 2 LIMIT 1";
        let lost = sqlx::raw_sql(AssertSqlSafe(format!(
            "DELETE FROM messages WHERE id = ({one})"
        )));
        let lost = lost.execute(&mut connection).await.unwrap();
        assert_eq!(lost.rows_affected(), 1);
        connection.close().await.unwrap();
        for node in &mut world.nodes {
            node.terminate();
        }
        sleep(BACK_WITHIN + BETWEEN).await;
        for (host, node) in NODES.iter().zip(&mut world.nodes) {
            assert!(node.ended().await.success());
            on(lab, host, node.restart()).await;
            cluster::ready(node).await;
        }
        crowd.acknowledges(50).await;

        let End { problems, away, .. } = world.end(crowd, watched).await;
        let is_found = |what: &str| problems.iter().any(|problem| problem.contains(what));
        assert!(is_found("acknowledged and isn't there"), "{problems:?}");
        assert!(away > BACK_WITHIN, "nobody was away for more than {away:?}");
    });
}
