//! A real Apache Kafka for tests, started by the tests themselves.
//!
//! [`Kafka::shared`] is one broker for a whole test process; [`Kafka::start`] makes one or several of its own, for a test that
//! stops, kills or pauses them. They listen on the loopback interface, keep what they write in a temporary folder, and go with
//! the process that started them, however that ends. The first start fetches Kafka with Maven into a cache; see `install`.

mod broker;
mod properties;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use self::broker::Broker;

/// Running brokers in KRaft mode, each a controller too.
#[derive(Debug)]
pub struct Kafka {
    folder: PathBuf,
    brokers: Vec<Broker>,
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
        let libraries = install();
        let folder = tempfile::Builder::new()
            .prefix("chat-kafka-")
            .tempdir()
            .expect("a temporary folder")
            .keep(); // it goes with the last broker
        let ports = properties::free_ports(2 * brokers);
        let (ports, controllers) = ports.split_at(brokers);
        let brokers: Vec<_> = (0..brokers)
            .map(|n| {
                let folder = folder.join((n + 1).to_string());
                properties::write(&folder, n, ports, controllers);
                Broker::new(folder, ports[n], libraries.clone())
            })
            .collect();
        let kafka = Self { folder, brokers };
        // None is ready before there are enough of them.
        for broker in &kafka.brokers {
            broker.launch();
        }
        for broker in &kafka.brokers {
            broker.wait_until_ready();
        }
        kafka
    }

    /// `host:port` of each broker, with commas between.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let brokers: Vec<_> = self.brokers.iter().map(Broker::address).collect();
        brokers.join(",")
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
