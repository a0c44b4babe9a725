//! One broker's process.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who guards a broker: it starts it, says when it serves, and ends it when told or when whoever started it is gone, which it
/// sees from the end of its input. Then it removes the folder as well.
const GUARDIAN: &str = r#"
lib=$1 folder=$2
: >"$folder/log"
java -Xmx256m -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$folder/log4j2.properties" \
  -cp "$lib/*" kafka.Kafka "$folder/server.properties" >>"$folder/log" 2>&1 </dev/null &
broker=$!
until grep -q "Kafka Server started" "$folder/log"; do
  kill -0 "$broker" 2>/dev/null || exit 1
  sleep 0.1
done
echo ready
exec >&-
read -r word
if [ "$word" = stop ]; then kill -TERM "$broker"; else kill -KILL "$broker"; fi
wait "$broker"
[ -n "$word" ] || rm -rf "$folder"
"#;

/// A broker, running or not.
pub(crate) struct Broker {
    folder: PathBuf,
    address: SocketAddr,
    libraries: PathBuf,
    guardian: Mutex<Option<Guardian>>,
}

struct Guardian {
    process: Child,
    input: ChildStdin,
    output: Option<ChildStdout>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broker").field(&self.address()).finish()
    }
}

impl Broker {
    /// A broker whose folder is made, and that doesn't run yet.
    pub(crate) const fn new(folder: PathBuf, address: SocketAddr, libraries: PathBuf) -> Self {
        Self {
            folder,
            address,
            libraries,
            guardian: Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    fn guardian(&self) -> MutexGuard<'_, Option<Guardian>> {
        self.guardian.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn runs(&self) -> bool {
        self.guardian().is_some()
    }

    /// Has it start.
    pub(crate) fn launch(&self) {
        let mut guardian = self.guardian();
        assert!(guardian.is_none(), "the broker runs");
        let mut process = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&self.libraries)
            .arg(&self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        *guardian = Some(Guardian {
            input: process.stdin.take().expect("its input is piped"),
            output: process.stdout.take(),
            process,
        });
    }

    /// Waits until it serves.
    pub(crate) fn wait_until_ready(&self) {
        let mut guardian = self.guardian();
        let guardian = guardian.as_mut().expect("the broker was launched");
        let output = guardian.output.take().expect("nobody waited before");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("its output can be read");
        if line.trim_end() != "ready" {
            let said = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("Kafka doesn't start: {said}");
        }
    }

    /// Ends it, by `stop` or `kill`.
    pub(crate) fn end(&self, how: &str) {
        let guardian = self.guardian().take();
        let mut guardian = guardian.expect("the broker runs");
        guardian
            .input
            .write_all(format!("{how}\n").as_bytes())
            .expect("the guardian listens");
        guardian.process.wait().expect("the guardian ends");
    }
}
