//! Machines that aren't there: network namespaces on one bridge, with an address each, and cuts between them.
//!
//! A process is started from a thread that has entered the namespace of its machine; so is what only the kernel knows of, such as
//! the sockets of the clients in this process. The bridge is in a namespace of its own: nothing of the host's network is touched.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The machines, and the last byte of the address of each.
const HOSTS: [(&str, u8); 12] = [
    ("gw", 2),
    ("n1", 11),
    ("n2", 12),
    ("n3", 13),
    ("a1", 21),
    ("c1", 31),
    ("c2", 32),
    ("pg", 41),
    ("k1", 51),
    ("k2", 52),
    ("k3", 53),
    ("cl", 61),
];

/// The machine of the clients, where this test is.
pub(crate) const CLIENTS: &str = "cl";
/// How long a connection is waited for that would be there at once.
const PROBE: Duration = Duration::from_secs(1);
/// Where the bridge is.
const SWITCH: &str = "sw";

/// All machines; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Lab(());

/// The address of a machine.
pub(crate) fn address(host: &str) -> Ipv4Addr {
    let (_, byte) = HOSTS
        .iter()
        .find(|(name, _)| *name == host)
        .expect("there is such a machine");
    Ipv4Addr::new(10, 77, 0, *byte)
}

fn namespace(host: &str) -> String {
    format!("chat-lab-{host}")
}

/// Runs a command to its end.
fn run(command: &str) {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{program} can't be run, which tests/run installs: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
}

impl Lab {
    /// Builds it, in place of one that an earlier run may have left.
    ///
    /// # Panics
    /// This isn't root, or iproute2 or nftables is missing.
    pub(crate) fn build() -> Self {
        clear();
        let lab = Self(());
        let switch = namespace(SWITCH);
        run(&format!("ip netns add {switch}"));
        run(&format!("ip -n {switch} link add br0 type bridge"));
        run(&format!("ip -n {switch} link set br0 up"));
        for (host, _) in HOSTS {
            let (name, address) = (namespace(host), address(host));
            run(&format!("ip netns add {name}"));
            run(&format!(
                "ip -n {switch} link add {host} type veth peer name eth0 netns {name}"
            ));
            run(&format!("ip -n {switch} link set {host} master br0 up"));
            run(&format!("ip -n {name} addr add {address}/24 dev eth0"));
            run(&format!("ip -n {name} link set eth0 up"));
            run(&format!("ip -n {name} link set lo up"));
        }
        for rule in [
            "add table bridge part",
            "add chain bridge part forward { type filter hook forward priority 0 ; }",
            "add set bridge part cut { type ifname . ifname ; }",
            "add rule bridge part forward iifname . oifname @cut drop",
        ] {
            run(&format!("ip netns exec {switch} nft {rule}"));
        }
        lab
    }

    /// Does something on a machine: what it starts is there, and so are its sockets.
    pub(crate) fn on<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter(host);
                work()
            });
            there
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether a connection from one machine to another can be made.
    pub(crate) fn reaches(&self, from: &str, to: &str, port: u16) -> bool {
        let address = (address(to), port).into();
        self.on(from, || TcpStream::connect_timeout(&address, PROBE).is_ok())
    }

    /// Has what one machine sends to the others vanish.
    pub(crate) fn cut_one_way(&self, from: &str, to: &[&str]) {
        let pairs: Vec<_> = to
            .iter()
            .map(|to| format!("\"{from}\" . \"{to}\""))
            .collect();
        let switch = namespace(SWITCH);
        run(&format!(
            "ip netns exec {switch} nft add element bridge part cut {{ {} }}",
            pairs.join(", ")
        ));
    }

    /// Has what one machine and the others send each other vanish.
    pub(crate) fn cut(&self, host: &str, others: &[&str]) {
        self.cut_one_way(host, others);
        for other in others {
            self.cut_one_way(other, &[host]);
        }
    }

    /// Ends all cuts.
    pub(crate) fn heal(&self) {
        let switch = namespace(SWITCH);
        run(&format!(
            "ip netns exec {switch} nft flush set bridge part cut"
        ));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What runs on the machines ends with those who started it.
        for host in machines() {
            ip(&["netns", "del", &namespace(host)]);
        }
    }
}

/// Moves the calling thread to a machine, for good.
pub(crate) fn enter(host: &str) {
    let file = File::open(format!("/run/netns/{}", namespace(host))).expect("it is built");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("this is root");
}

fn machines() -> impl Iterator<Item = &'static str> {
    HOSTS.iter().map(|(host, _)| *host).chain([SWITCH])
}

/// What `ip` answers, if anything.
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip")
        .args(arguments)
        .stderr(Stdio::null())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// Ends what an earlier run left, which was killed.
fn clear() {
    for host in machines() {
        let name = namespace(host);
        for process in ip(&["netns", "pids", &name]).split_whitespace() {
            // One may be over by now.
            let mut kill = Command::new("kill");
            let _ = kill.args(["-KILL", process]).stderr(Stdio::null()).status();
        }
        ip(&["netns", "del", &name]);
    }
}
