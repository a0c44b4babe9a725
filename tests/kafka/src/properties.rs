//! What a broker is told, and the folder that it finds.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

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

/// Makes the folder of the broker with this number, formatted: what Kafka's own tool would write, without a virtual machine.
pub(crate) fn write(folder: &Path, number: usize, ports: &[u16], controllers: &[u16]) {
    let (id, brokers) = (number + 1, ports.len());
    let (port, controller) = (ports[number], controllers[number]);
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("a folder can be made");
    let voters: Vec<_> = controllers
        .iter()
        .enumerate()
        .map(|(n, port)| format!("{}@127.0.0.1:{port}", n + 1))
        .collect();
    let replicas = brokers.min(3);
    let in_sync = replicas.div_ceil(2);
    let properties = format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
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
",
        voters = voters.join(","),
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
