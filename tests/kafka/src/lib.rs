//! A real Apache Kafka for tests, started by the tests themselves.
//!
//! [`Kafka::shared`] is one broker for a whole test process; [`Kafka::start`] makes one or several of its own, for a test that
//! stops, kills or pauses them. They listen on the loopback interface, keep what they write in a temporary folder, and go with
//! the process that started them, however that ends. The first start fetches Kafka with Maven into a cache; see `install`.

mod broker;
mod properties;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use self::broker::Broker;
use self::properties::{Detour, Ports};

/// Running brokers in KRaft mode, each a controller too.
#[derive(Debug)]
pub struct Kafka {
    folder: PathBuf,
    libraries: PathBuf,
    brokers: Vec<Broker>,
    /// Where the brokers listen for each detour.
    detours: Vec<Vec<u16>>,
    tls: Vec<u16>,
}

/// Brokers that are to be started.
#[derive(Debug)]
pub struct KafkaBuilder {
    brokers: usize,
    /// The ports that clients are told.
    detours: Vec<Vec<u16>>,
    identity: Option<String>,
    /// Where each is, and the port that all of them have there.
    machines: Option<(Vec<Ipv4Addr>, u16)>,
}

impl KafkaBuilder {
    /// Puts each broker on an address of its own, at this port, with the controllers at the next.
    ///
    /// # Panics
    /// There is not one address for each broker.
    #[must_use]
    pub fn at(mut self, addresses: Vec<Ipv4Addr>, port: u16) -> Self {
        assert_eq!(addresses.len(), self.brokers, "an address for each broker");
        self.machines = Some((addresses, port));
        self
    }

    /// Gives each broker one more listener, whose clients are told to find it at these ports of the loopback interface, one a
    /// broker: those of proxies that lead to [`detour`](Kafka::detour).
    ///
    /// # Panics
    /// There is not one port for each broker.
    #[must_use]
    pub fn detour(mut self, ports: Vec<u16>) -> Self {
        assert_eq!(ports.len(), self.brokers, "a port for each broker");
        self.detours.push(ports);
        self
    }

    /// Gives each broker one more listener, for TLS and SCRAM-SHA-512, and has all of them ask whether who comes that way is
    /// allowed what it does. `identity` is a key and its certificate for 127.0.0.1, in PEM.
    #[must_use]
    pub fn over_tls(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Starts them, and waits until they serve.
    ///
    /// # Panics
    /// There is no Java or Maven, or a broker doesn't start: with what it said.
    #[must_use]
    pub fn start(self) -> Kafka {
        let kafka = self.prepare();
        // None is ready before there are enough of them.
        kafka.resume_all();
        kafka
    }

    /// Has all that they need, and leaves it to [`resume`](Kafka::resume) to start each: it is in the network namespace of the
    /// thread that does.
    ///
    /// # Panics
    /// There is no Java or Maven.
    #[must_use]
    pub fn prepare(self) -> Kafka {
        let libraries = install();
        let folder = tempfile::Builder::new()
            .prefix("chat-kafka-")
            .tempdir()
            .expect("a temporary folder")
            .keep(); // it goes with the last broker
        let n = self.brokers;
        let all = properties::free_ports((3 + self.detours.len()) * n);
        let mut lists = all.chunks(n.max(1)).map(<[u16]>::to_vec);
        let mut next = || lists.next().expect("there are as many");
        let (mut plain, mut controllers, tls) = (next(), next(), next());
        let mut hosts = vec![Ipv4Addr::LOCALHOST; n];
        if let Some((addresses, port)) = self.machines {
            (plain, controllers) = (vec![port; n], vec![port + 1; n]);
            hosts = addresses;
        }
        let detours: Vec<_> = self
            .detours
            .into_iter()
            .map(|advertised| Detour {
                listening: next(),
                advertised,
            })
            .collect();
        let tls = self.identity.map(|identity| {
            let file = folder.join("identity.pem");
            std::fs::write(&file, identity).expect("a file can be written");
            (tls, file)
        });
        let ports = Ports {
            hosts,
            plain,
            controllers,
            detours,
            tls,
        };
        let brokers: Vec<_> = (0..n)
            .map(|n| {
                let folder = folder.join((n + 1).to_string());
                properties::write(&folder, n, &ports);
                let address = (ports.hosts[n], ports.plain[n]).into();
                Broker::new(folder, address, libraries.clone())
            })
            .collect();
        Kafka {
            folder,
            libraries,
            brokers,
            detours: ports.detours.into_iter().map(|d| d.listening).collect(),
            tls: ports.tls.map(|(ports, _)| ports).unwrap_or_default(),
        }
    }
}

impl Kafka {
    /// The broker of this test process.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1))
    }

    /// Starts so many brokers, and waits until they serve. Topics are replicated to three of them if there are as many, and
    /// then two must have what is acknowledged.
    ///
    /// # Panics
    /// There is no Java or Maven, or a broker doesn't start: with what it said.
    #[must_use]
    pub fn start(brokers: usize) -> Self {
        Self::builder(brokers).start()
    }

    /// So many brokers, to be configured.
    #[must_use]
    pub const fn builder(brokers: usize) -> KafkaBuilder {
        KafkaBuilder {
            brokers,
            detours: Vec::new(),
            identity: None,
            machines: None,
        }
    }

    /// `host:port` of each broker, with commas between.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let brokers: Vec<_> = self.brokers.iter().map(Broker::address).collect();
        brokers.join(",")
    }

    /// Where the brokers listen for those who come by this detour, by their numbers.
    ///
    /// # Panics
    /// There is no such detour.
    #[must_use]
    pub fn detour(&self, number: usize) -> Vec<SocketAddr> {
        let address = |port: &u16| (Ipv4Addr::LOCALHOST, *port).into();
        self.detours[number].iter().map(address).collect()
    }

    /// As [`bootstrap`](Self::bootstrap), of the listeners with TLS and SCRAM.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn bootstrap_over_tls(&self) -> String {
        assert!(!self.tls.is_empty(), "they were started without TLS");
        let brokers: Vec<_> = self.tls.iter().map(|p| format!("127.0.0.1:{p}")).collect();
        brokers.join(",")
    }

    /// Makes users, their rights and topics, as an operator would, by Kafka's own client. One a line:
    ///
    /// - `user NAME PASSWORD`
    /// - `allow NAME TYPE literal|prefix RESOURCE OPERATION…`
    /// - `topic NAME PARTITIONS KEY=VALUE…`
    ///
    /// # Panics
    /// One can't be made: with what Kafka said.
    pub fn administer(&self, lines: &[String]) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/Administer.java");
        let mut client = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-cp")
            .arg(self.libraries.join("*"))
            .args([program, &self.bootstrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Java is there");
        let mut input = client.stdin.take().expect("its input is piped");
        // One that ends early says why.
        let _ = input.write_all((lines.join("\n") + "\n").as_bytes());
        drop(input);
        let output = client.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Kafka can't be set up: {said}");
    }

    /// How many brokers there are, running or not.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.brokers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.brokers.is_empty()
    }

    /// Ends a broker in order: it hands what it leads to the others.
    ///
    /// # Panics
    /// It doesn't run.
    pub fn stop(&self, broker: usize) {
        self.brokers[broker].end("stop");
    }

    /// Ends a broker at once, as a crash would.
    ///
    /// # Panics
    /// It doesn't run.
    pub fn kill(&self, broker: usize) {
        self.brokers[broker].end("kill");
    }

    /// Ends all brokers at once.
    ///
    /// # Panics
    /// One doesn't run.
    pub fn kill_all(&self) {
        for broker in &self.brokers {
            broker.end("kill");
        }
    }

    /// Starts a broker again, with the data it had.
    ///
    /// # Panics
    /// It runs, or doesn't start: with what it said.
    pub fn resume(&self, broker: usize) {
        self.brokers[broker].launch();
        self.brokers[broker].wait_until_ready();
    }

    /// Starts all brokers again that don't run.
    ///
    /// # Panics
    /// As [`resume`](Self::resume).
    pub fn resume_all(&self) {
        let stopped: Vec<_> = self.brokers.iter().filter(|b| !b.runs()).collect();
        for broker in &stopped {
            broker.launch();
        }
        for broker in &stopped {
            broker.wait_until_ready();
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        for broker in &self.brokers {
            if broker.runs() {
                broker.end("kill");
            }
        }
        // What is left goes with the machine's temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where the libraries of Kafka are, fetched if they aren't there.
fn install() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/install");
    let installed = Command::new(script).status().expect("bash is there");
    assert!(installed.success(), "Kafka can't be fetched");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || {
            let home = std::env::var_os("HOME").expect("a home for the cache");
            PathBuf::from(home).join(".cache")
        },
        PathBuf::from,
    );
    cache.join("chat-tests/kafka/lib")
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_broker_starts_is_killed_and_starts_again() {
        let kafka = Kafka::start(1);
        TcpStream::connect(kafka.bootstrap()).expect("it listens");
        kafka.kill(0);
        TcpStream::connect(kafka.bootstrap()).expect_err("nobody listens");
        kafka.resume(0);
        TcpStream::connect(kafka.bootstrap()).expect("it listens again");
    }
}
