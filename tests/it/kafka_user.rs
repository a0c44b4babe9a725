//! Kafka over TLS and SCRAM, with topics, a user and rights as the manifests for Kubernetes ask Strimzi for them: enough for all
//! that the server does, and for nothing else. Who comes with something wrong is told what.

use std::path::PathBuf;
use std::time::Duration;

use chat_core::bus::kafka::KafkaSettings;
use chat_test_kafka::Kafka;
use chat_test_postgres::{Database, Server as PostgreSql};
use chat_tests::cluster::{Bus, KafkaUser, consuming_node, ready};
use chat_tests::{Cluster, Receiver, Server, WITHIN};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::cluster::two_nodes_are_one;

const MANIFESTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/kubernetes/cluster.yaml"
);
const PASSWORD: &str = "correct-horse-battery-staple";
const REFUSED: &str = "Kafka refuses the user or the password of this node";

/// What the manifests have of a kind.
fn manifests(kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(MANIFESTS).expect("the manifests can be read");
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML that could be JSON"))
        .filter(|manifest| manifest["kind"] == kind)
        .collect()
}

fn text(value: &Value) -> &str {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("a text in the manifest, not {value}"))
}

/// Each topic as a line for Kafka's client. There is one broker here, which can't have copies on others.
fn topics() -> Vec<String> {
    let topic = |manifest: &Value| {
        let (name, spec) = (text(&manifest["metadata"]["name"]), &manifest["spec"]);
        let mut line = format!("topic {name} {}", spec["partitions"]);
        for (key, value) in spec["config"].as_object().into_iter().flatten() {
            if key != "min.insync.replicas" {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                line += &format!(" {key}={value}");
            }
        }
        line
    };
    manifests("KafkaTopic").iter().map(topic).collect()
}

/// The rights of the manifests' user, one a line for Kafka's client, given to a user of this name.
fn rights(user: &str) -> Vec<String> {
    let users = manifests("KafkaUser");
    let [manifest] = &users[..] else {
        panic!("one KafkaUser, not {}", users.len());
    };
    let spec = &manifest["spec"];
    assert_eq!(spec["authentication"]["type"], "scram-sha-512");
    assert_eq!(spec["authorization"]["type"], "simple");
    let rights = spec["authorization"]["acls"].as_array().expect("rights");
    let mut lines = Vec::new();
    for right in rights {
        // What this test doesn't know must not be passed over.
        assert!(
            right.get("host").is_none() && right.get("type").is_none(),
            "{right}"
        );
        let resource = &right["resource"];
        let (kind, name) = (text(&resource["type"]), text(&resource["name"]));
        let pattern = resource.get("patternType").map_or("literal", text);
        for operation in right["operations"].as_array().expect("operations") {
            let operation = text(operation);
            lines.push(format!("allow {user} {kind} {pattern} {name} {operation}"));
        }
    }
    lines
}

/// The name of the manifests' user.
fn name() -> String {
    text(&manifests("KafkaUser")[0]["metadata"]["name"]).to_owned()
}

/// An authority's certificate, and a key with a certificate by it for 127.0.0.1.
fn authority() -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Else both certificates would be of the same name, and each look as if it vouched for itself.
    let name = DnType::CommonName;
    params.distinguished_name.push(name, "authority of a test");
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let identity = key.serialize_pem() + &certificate.pem();
    (authority.as_ref().pem(), identity)
}

fn file(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("a file can be written");
    path
}

async fn administer(kafka: &Kafka, lines: &[String]) {
    tokio::task::block_in_place(|| kafka.administer(lines));
}

/// Waits until a server says that it is not ready, and why.
async fn unready_because(server: &Server, why: &str) {
    let anyone = server.anyone();
    let said = timeout(3 * WITHIN, async {
        loop {
            let answer = anyone.get("/readyz").await.with(503);
            let detail = answer["detail"].as_str().unwrap_or_default().to_owned();
            if detail.contains(why) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(
        said.await.is_ok(),
        "it doesn't say {why:?}: {}",
        server.log()
    );
    assert!(server.log().contains(why), "{}", server.log());
    assert!(!server.log().contains(PASSWORD), "{}", server.log());
}

async fn logs(server: &Server, what: &str) {
    let logged = timeout(3 * WITHIN, async {
        while !server.log().contains(what) {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(logged.await.is_ok(), "no {what:?}: {}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_user_may_do_what_the_server_does_and_nothing_else() {
    let folder = TempDir::new().expect("a temporary folder");
    let (ca, identity) = authority();
    let kafka = Kafka::builder(1).over_tls(identity);
    let kafka = tokio::task::spawn_blocking(|| kafka.start()).await.unwrap();
    let user = KafkaUser {
        name: name(),
        password: file(&folder, "password", PASSWORD),
        ca: file(&folder, "ca.crt", &ca),
    };
    let mut lines = rights(&user.name);
    assert!(lines.len() > 5, "{lines:?}");
    // The same, but for a topic or a group.
    for (less, lacks) in [
        ("unseeing", " topic literal chat.events "),
        ("unsociable", " group literal chat.consumer "),
    ] {
        let all = rights(less);
        let some = all.iter().filter(|right| !right.contains(lacks)).cloned();
        let some: Vec<_> = some.collect();
        assert!(some.len() < all.len(), "{all:?}");
        lines.extend(some);
    }
    for name in [user.name.as_str(), "unseeing", "unsociable"] {
        lines.push(format!("user {name} {PASSWORD}"));
    }
    administer(&kafka, &lines).await;

    let early = PostgreSql::shared().database(None).await;
    let bus = Bus::KafkaAs(&kafka, &user);
    let waiting = migrated_consumer(&early, bus).await;
    unready_because(
        &waiting,
        "the topic chat.events isn't there and can't be made",
    )
    .await;
    let mut lines = topics();
    lines.push("topic other 1".to_owned());
    administer(&kafka, &lines).await;
    ready(&waiting).await;
    // It has another database than those that follow, and would take events from them.
    drop(waiting);

    let database = PostgreSql::shared().database(None).await;
    let cluster = Cluster::start(&database, bus).await;
    two_nodes_are_one(&cluster).await;
    webhooks_are_delivered(&cluster).await;
    // Much of what Kafka denies, another way makes good: it is no less denied.
    for server in cluster.servers() {
        let log = server.log();
        assert!(!log.contains("AuthorizationFailed"), "{log}");
    }

    nothing_else_is_allowed(&kafka, &user).await;
    what_is_wrong_is_said(&kafka, &user, &early, &folder).await;

    // A node that has begun goes on without Kafka, and when Kafka takes it back no more.
    let node = &cluster.realtime[0];
    assert!(metrics(node).await.contains("chat_bus_up 1"));
    let changed = format!("user {} {PASSWORD}-changed", user.name);
    administer(&kafka, &[changed]).await;
    tokio::task::block_in_place(|| kafka.kill(0));
    logs(node, "Kafka can't be reached").await;
    assert_eq!(node.anyone().get("/readyz").await.status, 200);
    tokio::task::block_in_place(|| kafka.resume(0));
    logs(node, REFUSED).await;
    assert_eq!(node.anyone().get("/readyz").await.status, 200);
    assert!(metrics(node).await.contains("chat_bus_up 0"));
}

async fn metrics(server: &Server) -> String {
    server.anyone().get("/metrics").await.text
}

async fn migrated_consumer(database: &Database, bus: Bus<'_>) -> Server {
    let builder = consuming_node(database, bus);
    let migrated = builder.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", migrated.log);
    builder.start().await
}

/// The consumers' group is read: an event comes to a webhook.
async fn webhooks_are_delivered(cluster: &Cluster) {
    let receiver = Receiver::start().await;
    let eve = cluster.person("eve").await;
    let room = eve.room_with("cocoa", &[]).await;
    let hook = json!({"url": receiver.url(), "events": ["messageCreated"]});
    let path = format!("/v1/rooms/{room}/webhooks");
    eve.api.post(&path, &hook).await.with(201);
    let said = eve.say(room, "hello").await;
    let told = receiver.until_count(1).await;
    assert_eq!(told[0].json()["data"]["id"], said["id"]);
}

/// What else there is at the brokers is refused, by Kafka's own words.
async fn nothing_else_is_allowed(kafka: &Kafka, user: &KafkaUser) {
    let mut settings = KafkaSettings::new(kafka.bootstrap_over_tls());
    settings.security_protocol = Some("sasl_ssl".to_owned());
    settings.sasl_mechanism = Some("SCRAM-SHA-512".to_owned());
    settings.username = Some(user.name.clone());
    settings.password = Some(PASSWORD.to_owned());
    settings.ca = Some(user.ca.clone());

    let producer: FutureProducer = settings.client().create().expect("a producer");
    // What the server does without a word when it may not is allowed.
    for topic in [settings.hints(), settings.dead()] {
        let record = FutureRecord::<str, str>::to(&topic).payload("\"jobs\"");
        let written = producer.send(record, WITHIN).await;
        assert!(written.is_ok(), "{topic}: {written:?}");
    }
    let admin: AdminClient<_> = settings.client().create().expect("a client");
    let topic = ResourceSpecifier::Topic(&settings.topic);
    let described = admin.describe_configs([&topic], &AdminOptions::new()).await;
    let described = described.expect("an answer");
    let policy = described[0]
        .as_ref()
        .map(|topic| topic.get("cleanup.policy").is_some());
    assert_eq!(policy, Ok(true), "the topic's policy may be read");

    let record = FutureRecord::<str, str>::to("other").payload("hello");
    let (refused, _) = producer.send(record, WITHIN).await.expect_err("refused");
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    );

    let mut config = settings.client();
    config.set("group.id", "other");
    let consumer: StreamConsumer = config.create().expect("a consumer");
    consumer.subscribe(&["chat.events"]).expect("it begins");
    let refused = timeout(WITHIN, consumer.recv()).await.expect("an answer");
    let refused = refused.expect_err("refused").rdkafka_error_code();
    assert_eq!(refused, Some(RDKafkaErrorCode::GroupAuthorizationFailed));
}

/// A node that Kafka refuses is not ready, and says why; so is one whose rights are too few.
async fn what_is_wrong_is_said(
    kafka: &Kafka,
    user: &KafkaUser,
    database: &Database,
    folder: &TempDir,
) {
    let as_other = |change: &dyn Fn(&mut KafkaUser)| {
        let mut other = user.clone();
        change(&mut other);
        consuming_node(database, Bus::KafkaAs(kafka, &other)).start()
    };
    let other_password = file(folder, "other-password", "wrong-horse");
    let stranger = file(folder, "other-ca.crt", &authority().0);
    let (mistaken, distrustful, unseeing, unsociable) = tokio::join!(
        as_other(&|user| user.password.clone_from(&other_password)),
        as_other(&|user| user.ca.clone_from(&stranger)),
        as_other(&|user| "unseeing".clone_into(&mut user.name)),
        as_other(&|user| "unsociable".clone_into(&mut user.name)),
    );
    unready_because(&mistaken, REFUSED).await;
    unready_because(&distrustful, "its certificate isn't trusted here").await;
    unready_because(&unseeing, "this node's user has no rights on it").await;
    // It serves what it can, and whoever looks sees why webhooks wait.
    ready(&unsociable).await;
    logs(&unsociable, "GroupAuthorizationFailed").await;
}
