//! What a broker is told, and the folder that it finds.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// The name of the cluster: 16 bytes in URL-safe base64. Each test process has clusters of its own, on ports of their own.
const CLUSTER: &str = "Y2hhdC10ZXN0cy1rYWZrYQ";

/// Only what says that the broker serves, and what is wrong.
const LOGGING: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = info
";

/// Ports that were free a moment ago.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"))
        .collect();
    listeners
        .iter()
        .map(|l| l.local_addr().expect("it listens").port())
        .collect()
}

/// Where the brokers of a cluster listen, each list by their numbers.
pub(crate) struct Ports {
    /// The addresses of all of it.
    pub(crate) hosts: Vec<Ipv4Addr>,
    /// What everyone uses, the brokers among themselves too.
    pub(crate) plain: Vec<u16>,
    pub(crate) controllers: Vec<u16>,
    pub(crate) detours: Vec<Detour>,
    /// With the file of the brokers' key and certificate.
    pub(crate) tls: Option<(Vec<u16>, PathBuf)>,
}

/// Listeners whose clients are told other ports.
pub(crate) struct Detour {
    pub(crate) listening: Vec<u16>,
    pub(crate) advertised: Vec<u16>,
}

/// Makes the folder of the broker with this number, formatted: what Kafka's own tool would write, without a virtual machine.
pub(crate) fn write(folder: &Path, number: usize, ports: &Ports) {
    let (id, brokers) = (number + 1, ports.plain.len());
    let (host, port) = (ports.hosts[number], ports.plain[number]);
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("a folder can be made");
    let controllers = ports.hosts.iter().zip(&ports.controllers).enumerate();
    let voters: Vec<_> = controllers
        .map(|(n, (host, port))| format!("{}@{host}:{port}", n + 1))
        .collect();
    let mut listeners = vec![
        format!("PLAINTEXT://{host}:{port}"),
        format!("CONTROLLER://{host}:{}", ports.controllers[number]),
    ];
    let mut advertised = vec![format!("PLAINTEXT://{host}:{port}")];
    let mut protocols = vec![
        "PLAINTEXT:PLAINTEXT".to_owned(),
        "CONTROLLER:PLAINTEXT".to_owned(),
    ];
    for (n, detour) in ports.detours.iter().enumerate() {
        listeners.push(format!(
            "DETOUR{n}://127.0.0.1:{}",
            detour.listening[number]
        ));
        advertised.push(format!(
            "DETOUR{n}://127.0.0.1:{}",
            detour.advertised[number]
        ));
        protocols.push(format!("DETOUR{n}:PLAINTEXT"));
    }
    let mut security = String::new();
    if let Some((tls, identity)) = &ports.tls {
        listeners.push(format!("TLS://127.0.0.1:{}", tls[number]));
        advertised.push(format!("TLS://127.0.0.1:{}", tls[number]));
        protocols.push("TLS:SASL_SSL".to_owned());
        // Who comes over the plain listener may do everything: the brokers themselves, and whoever sets them up.
        security = format!(
            "\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={identity}
listener.name.tls.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.tls.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
",
            identity = identity.display(),
        );
    }
    let replicas = brokers.min(3);
    let in_sync = replicas.div_ceil(2);
    let properties = format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map={protocols}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=3
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=3
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.threads=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
num.io.threads=2
num.network.threads=2
num.replica.fetchers=1
num.recovery.threads.per.data.dir=1
background.threads=2
{security}",
        voters = voters.join(","),
        listeners = listeners.join(","),
        advertised = advertised.join(","),
        protocols = protocols.join(","),
        data = data.display(),
    );
    let meta = format!("version=1\ncluster.id={CLUSTER}\nnode.id={id}\n");
    for (name, text) in [
        ("server.properties", properties.as_str()),
        ("log4j2.properties", LOGGING),
        ("data/meta.properties", &meta),
    ] {
        fs::write(folder.join(name), text).expect("a file can be written");
    }
}
