//! The cluster behind a gateway as the manifests describe it: nginx, configured by them, before one node of role auth, one of rest and
//! three of realtime, on PostgreSQL with Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use chat_core::protocol::paths;
use chat_test_kafka::Kafka;
use chat_test_postgres::{Database, Server as Postgres};
use chat_tests::cluster::{Bus, consuming_node, node, ready, signing_node};
use chat_tests::nginx::{Manifests, Nginx, Services};
use chat_tests::{Api, Hub, PASSWORD, Person, Server, WITHIN, chat_server};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::each::{LP_JSON, SSE_JSON, WS_JSON, WS_MESSAGEPACK, does_everything, kind};
use crate::process::{Client, Program};

/// The services of the manifests.
const AUTH: &str = "chat-auth";
const REST: &str = "chat-rest";
const REALTIME: &str = "chat-realtime";

/// Who may say whom a request comes from: nginx.
const PROXY: (&str, &str) = ("CHAT_TRUSTED_PROXIES", "127.0.0.1/32");

struct Nodes {
    database: Database,
    auth: Server,
    rest: Server,
    realtime: Vec<Server>,
    _consumer: Server,
}

impl Nodes {
    async fn start() -> Self {
        let database = Postgres::shared().database(None).await;
        let bus = Bus::Kafka(Kafka::shared());
        let auth = signing_node(&database, bus)
            .set(PROXY.0, PROXY.1)
            .start()
            .await;
        let start = |role| {
            let node = node(role, &database, bus, auth.url()).set(PROXY.0, PROXY.1);
            // Soon over where one is stopped.
            node.set("CHAT_DRAIN_SECONDS", "2").start()
        };
        let (rest, one, two, three, consumer) = tokio::join!(
            start("rest"),
            start("realtime"),
            start("realtime"),
            start("realtime"),
            consuming_node(&database, bus).start(),
        );
        let realtime = vec![one, two, three];
        for server in realtime.iter().chain([&auth, &rest, &consumer]) {
            ready(server).await;
        }
        Self {
            database,
            auth,
            rest,
            realtime,
            _consumer: consumer,
        }
    }

    fn services(&self) -> Services<'_> {
        BTreeMap::from([
            (AUTH, vec![&self.auth]),
            (REST, vec![&self.rest]),
            (REALTIME, self.realtime.iter().collect()),
        ])
    }
}

#[tokio::test]
async fn the_routes_lead_every_path_of_the_contract_to_its_role() {
    let nodes = Nodes::start().await;
    let nginx = Nginx::start(&Manifests::of_cluster(), &nodes.services());
    let astray = astray(&nodes, &nginx).await;
    assert!(astray.is_empty(), "{astray:#?}");

    // It would be found.
    let lacking = Manifests::of_cluster().without_path("/v1/users");
    let nginx = Nginx::start(&lacking, &nodes.services());
    let astray = self::astray(&nodes, &nginx).await;
    assert_eq!(astray, [paths::ME, paths::USER]);

    answers_of_its_own(&nodes).await;
}

/// Paths that lead to where nobody knows them.
async fn astray(nodes: &Nodes, nginx: &Nginx) -> Vec<String> {
    let services = nodes.services();
    let mut astray = BTreeSet::new();
    for (path, method) in contract() {
        let target = path
            .split('/')
            .map(|part| if part.starts_with('{') { "1" } else { part });
        let target = target.collect::<Vec<_>>().join("/");
        let at = async |url: &str| {
            let request = nodes.rest.anyone().at(url).request(method.clone(), &target);
            Api::send(request).await.expect("it answers").status
        };
        // A node knows what its role serves, and nothing else.
        let mut serving = Vec::new();
        for servers in services.values() {
            if at(servers[0].url()).await != 404 {
                serving.extend(servers.iter().map(|server| server.url()));
            }
        }
        assert!(!serving.is_empty(), "nobody serves {method} {path}");
        let before = nginx.requests().len();
        at(nginx.url()).await;
        // It answers first, and then writes that down.
        let requests = loop {
            let requests = nginx.requests();
            if requests.len() > before {
                break requests;
            }
            sleep(Duration::from_millis(1)).await;
        };
        let last = &requests[before];
        assert_eq!(last["path"], target, "{last}");
        let node = format!("http://{}", last["upstream"].as_str().unwrap_or_default());
        if !serving.contains(&node.as_str()) {
            astray.insert(path);
        }
    }
    astray.into_iter().collect()
}

/// The paths that clients know, and how they are called.
fn contract() -> Vec<(String, Method)> {
    let printed = Command::new(chat_server()).arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let mut contract = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            if let Ok(method) = method.to_uppercase().parse::<Method>() {
                contract.push((path.clone(), method));
            }
        }
    }
    let known: BTreeSet<_> = contract.iter().map(|(path, _)| path.as_str()).collect();
    let hub = [paths::HUB, paths::NEGOTIATE];
    let missing: Vec<_> = paths::ALL
        .iter()
        .filter(|path| !known.contains(**path) && !hub.contains(path))
        .collect();
    assert!(missing.is_empty(), "the document lacks {missing:?}");
    contract.extend(hub.map(|path| (path.to_owned(), Method::POST)));
    contract.push((paths::HUB.to_owned(), Method::GET));
    let documents = ["/openapi.json", "/docs", "/asyncapi.json", "/hub.d.ts"];
    contract.extend(documents.map(|path| (path.to_owned(), Method::GET)));
    contract
}

/// What isn't a call: redirects, refusals, and whose address the servers see.
async fn answers_of_its_own(nodes: &Nodes) {
    // A node that counts registrations by the address that they come from.
    let counting = signing_node(&nodes.database, Bus::Postgres)
        .set(PROXY.0, PROXY.1)
        .set("CHAT_RATE_LIMITS", "on")
        .set("CHAT_RATE_REGISTRATIONS_PER_MINUTE", "1")
        .start()
        .await;
    let mut services = nodes.services();
    services.insert(AUTH, vec![&counting]);
    let nginx = Nginx::start(&Manifests::of_cluster(), &services);
    let anyone = nodes.rest.anyone().at(nginx.url());

    // In the clear there is nothing but the way to TLS, which is there.
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let certificate = reqwest::Certificate::from_pem(nginx.certificate().as_bytes()).unwrap();
    let client = client.add_root_certificate(certificate).build().unwrap();
    let clear = format!("{}/v1/rooms?limit=1", nginx.clear_url());
    let answer = Api::send(client.post(clear)).await.unwrap();
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.header("location"),
        "https://127.0.0.1/v1/rooms?limit=1"
    );
    let keys = format!("{}/.well-known/jwks.json", nginx.tls_url());
    let answer = Api::send(client.get(keys)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);

    // What nobody serves is refused by a server.
    for path in [
        "/",
        "/nothing",
        "/v1",
        "/v1/authx",
        "/v1/auth",
        "/v1/hubs",
        "/v2/rooms",
    ] {
        let answer = anyone.get(path).await;
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{path}"
        );
        answer.refused(404, "not_found");
    }

    // So is a body beyond its limit.
    let login = json!({"email": "x".repeat(66_000), "password": PASSWORD});
    let answer = anyone.post(paths::LOGIN, &login).await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.status, 413, "{}", answer.text);

    // A client is who it is to nginx, whatever it says itself.
    let register = async |number: u8, said: Option<&str>| {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, number));
        let client = reqwest::Client::builder().no_proxy().local_address(from);
        let name = format!("from{number}{}", said.is_some());
        let account =
            json!({"email": format!("{name}@example.com"), "username": name, "password": PASSWORD});
        let url = format!("{}{}", nginx.url(), paths::REGISTER);
        let mut request = client.build().unwrap().post(url).json(&account);
        if let Some(said) = said {
            request = request.header("X-Forwarded-For", said);
        }
        Api::send(request).await.unwrap().status
    };
    assert_eq!(register(2, None).await, 201);
    assert_eq!(register(2, Some("192.0.2.1")).await, 429, "the same client");
    assert_eq!(register(3, None).await, 201, "another client");
}

#[tokio::test]
async fn official_clients_work_through_the_gateway_and_their_tokens_are_not_logged() {
    let mut nodes = Nodes::start().await;
    let nginx = Nginx::start(&Manifests::of_cluster(), &nodes.services());
    for kind in [
        kind(Program::Node, WS_JSON),
        kind(Program::Node, WS_MESSAGEPACK),
        kind(Program::Node, WS_JSON).stateful(),
        kind(Program::Node, SSE_JSON),
        kind(Program::Node, LP_JSON),
    ] {
        does_everything(kind, nginx.url()).await;
    }

    // As they come in the wild: over TLS.
    let bob = Person::register(nginx.url(), "bob").await;
    let room = bob.room_with("tea", &[]).await;
    for transport in [WS_JSON, SSE_JSON, LP_JSON] {
        let kind = kind(Program::Node, transport);
        let mut client = Client::start_trusting(kind, &nginx.tls_url(), &nginx.certificate_file());
        client.connect(bob.api.token().unwrap()).await;
        bob.say(room, "in private").await;
        client.hears("in private").await;
        client.stop().await;
    }

    // Sockets and events say their token in the query; while a node is away nginx has something to say of such a request.
    let ann = Person::register(nginx.url(), "ann").await;
    let token = ann.api.token().unwrap();
    drop(Hub::connect(&ann).await);
    for server in &mut nodes.realtime {
        server.kill().await;
    }
    let query = format!("{}?access_token={token}", paths::HUB);
    assert_eq!(ann.api.get(&query).await.status, 502);
    let requests = nginx.requests();
    assert!(
        requests.iter().any(|one| one["path"] == paths::HUB),
        "the hub is logged"
    );
    let logs = nginx.logs();
    for secret in [token, "access_token", "eyJ"] {
        assert!(!logs.contains(secret), "{secret} is in the log");
    }
}

/// The clients of the restart: enough that no node has all of them.
const CLIENTS: usize = 12;

#[tokio::test]
async fn a_realtime_node_that_restarts_is_noticed_by_its_own_clients_alone() {
    let mut nodes = Nodes::start().await;
    let nginx = Nginx::start(&Manifests::of_cluster(), &nodes.services());
    let ann = Person::register(nginx.url(), "ann").await;
    let room = ann.room_with("tea", &[]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let transport = [WS_JSON, SSE_JSON, LP_JSON][number % 3];
        let mut client = Client::start(kind(Program::Node, transport), nginx.url());
        client.connect(ann.api.token().unwrap()).await;
        client.event("Connected").await;
        clients.push(client);
    }
    let before = connections(&nodes).await;
    assert_eq!(before.iter().sum::<usize>(), CLIENTS, "{before:?}");
    let (node, &most) = before
        .iter()
        .enumerate()
        .max_by_key(|&(_, count)| count)
        .unwrap();
    assert!(most < CLIENTS, "{before:?}");

    let node = &mut nodes.realtime[node];
    let address = node.url().strip_prefix("http://").unwrap().to_owned();
    node.terminate();
    assert!(node.ended().await.success());
    // In its place, as a container is restarted in its pod.
    node.restart_with(&[("CHAT_LISTEN", &address)]).await;
    ready(node).await;
    let end = Instant::now() + WITHIN;
    while connections(&nodes).await.iter().sum::<usize>() != CLIENTS {
        assert!(Instant::now() < end, "not everybody is back");
        sleep(Duration::from_millis(50)).await;
    }
    // More than once: whoever came back to another node while this one was away is led here again once nginx tries it again, and
    // may miss what is said meanwhile.
    let speaker = ann.clone();
    let speaking = tokio::spawn(async move {
        loop {
            speaker.say(room, "everyone?").await;
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut reconnected = 0;
    for client in &mut clients {
        client.hears("everyone?").await;
        let states = client.states();
        assert!(!states.contains(&&json!("closed")), "{states:?}");
        reconnected += usize::from(states.contains(&&json!("reconnected")));
    }
    speaking.abort();
    assert_eq!(reconnected, most, "of {before:?}");
}

/// How many clients each node of role realtime has.
async fn connections(nodes: &Nodes) -> Vec<usize> {
    let mut counts = Vec::new();
    for server in &nodes.realtime {
        let metrics = server.anyone().get("/metrics").await.text;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("chat_hub_connections "));
        counts.push(line.map_or(0, |count| count.parse().unwrap()));
    }
    counts
}
