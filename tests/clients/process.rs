//! A client as a process: commands on its stdin, and on its stdout answers, events and changes of its state, each a line
//! of JSON. All that it wrote is shown when a test fails.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chat_tests::WITHIN;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Which client is run, and how it connects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) program: Program,
    pub(crate) transport: Transport,
    pub(crate) protocol: Protocol,
    pub(crate) stateful: bool,
}

/// The programs of this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Node,
    Browser,
    Java,
    Signalrcore,
    Pysignalr,
}

/// The transports by the JavaScript client's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSockets,
    ServerSentEvents,
    LongPolling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json,
    MessagePack,
}

impl Kind {
    pub(crate) const fn new(program: Program, transport: Transport, protocol: Protocol) -> Self {
        Self {
            program,
            transport,
            protocol,
            stateful: false,
        }
    }

    /// The same with stateful reconnect.
    pub(crate) const fn stateful(self) -> Self {
        Self {
            stateful: true,
            ..self
        }
    }

    /// Whether the client connects again by itself after its socket was cut.
    pub(crate) const fn reconnects(self) -> bool {
        matches!(
            self.program,
            Program::Node | Program::Browser | Program::Pysignalr
        )
    }

    /// Whether it ends when it is told to: signalrcore waits for its stream to say something.
    pub(crate) const fn stops_at_once(self) -> bool {
        !matches!(
            (self.program, self.transport),
            (Program::Signalrcore, Transport::ServerSentEvents)
        )
    }
}

impl Program {
    fn command(self, url: &str) -> Command {
        let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients"));
        match self {
            Self::Node => node(&sources.join("javascript/node.js")),
            Self::Browser => {
                let mut command = node(&sources.join("javascript/browser.js"));
                command.arg(url);
                command
            }
            Self::Java => {
                let mut command = Command::new("java");
                command
                    .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"])
                    .arg("-cp")
                    .arg(installed("java/lib").join("*"))
                    .arg(sources.join("java/Client.java"));
                command
            }
            Self::Signalrcore => python(&sources.join("python/signalrcore_client.py")),
            Self::Pysignalr => python(&sources.join("python/pysignalr_client.py")),
        }
    }
}

/// A script for Node, with the packages that are installed.
pub(crate) fn node(script: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg(script)
        .env("TESTS_NODE", installed("javascript"));
    command
}

fn python(script: &Path) -> Command {
    let mut command = Command::new(installed("python/venv").join("bin/python"));
    // No compiled files beside the sources.
    command.arg("-B").arg(script);
    command
}

/// A folder of what `tests/clients/install` has installed.
pub(crate) fn installed(folder: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .expect("HOME is set");
    let path = cache.join("chat-tests/clients").join(folder);
    assert!(
        path.exists(),
        "{} isn't there: run tests/clients/install first; it needs Node 20, Java 17, Maven and Python 3.11",
        path.display()
    );
    path
}

/// A client that runs.
pub(crate) struct Client {
    kind: Kind,
    url: String,
    child: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What came while something else was waited for.
    kept: VecDeque<Value>,
    transcript: Vec<String>,
    calls: u64,
}

impl Client {
    /// Starts a client for the server at `url`; it doesn't connect yet.
    pub(crate) fn start(kind: Kind, url: &str) -> Self {
        Self::run(kind, url, kind.program.command(url))
    }

    /// The same, in Node, with this certificate as one that may be trusted.
    pub(crate) fn start_trusting(kind: Kind, url: &str, certificate: &Path) -> Self {
        let mut command = kind.program.command(url);
        command.env("NODE_EXTRA_CA_CERTS", certificate);
        Self::run(kind, url, command)
    }

    fn run(kind: Kind, url: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{kind:?} can't be started: {e}"));
        let commands = child.stdin.take().expect("stdin is piped");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self {
            kind,
            url: url.to_owned(),
            child,
            commands,
            lines,
            kept: VecDeque::new(),
            transcript: Vec::new(),
            calls: 0,
        }
    }

    /// Connects, and waits until that is done.
    pub(crate) async fn connect(&mut self, token: &str) {
        let Kind {
            transport,
            protocol,
            stateful,
            ..
        } = self.kind;
        let connect = json!({
            "do": "connect",
            "url": format!("{}/v1/hub", self.url),
            "token": token,
            "transport": format!("{transport:?}"),
            "protocol": format!("{protocol:?}").to_lowercase(),
            "stateful": stateful,
        });
        let connected = self.obey(connect).await;
        assert_eq!(connected, Ok(Value::Null), "{:?} connects", self.kind);
    }

    /// The token of later requests.
    pub(crate) async fn set_token(&mut self, token: &str) {
        let done = self.obey(json!({"do": "token", "token": token})).await;
        assert_eq!(done, Ok(Value::Null));
    }

    /// Calls a method of the hub: its result, or the text of its error.
    pub(crate) async fn invoke(&mut self, method: &str, argument: Value) -> Result<Value, String> {
        self.obey(json!({"do": "invoke", "method": method, "argument": argument}))
            .await
    }

    /// Calls a stream method: all items at its end, or the text of its error.
    pub(crate) async fn stream(&mut self, method: &str, argument: Value) -> Result<Value, String> {
        self.obey(json!({"do": "stream", "method": method, "argument": argument}))
            .await
    }

    /// Ends the connection as a client does that has had enough.
    pub(crate) async fn stop(&mut self) {
        let done = self.obey(json!({"do": "stop"})).await;
        assert_eq!(done, Ok(Value::Null), "{:?} stops", self.kind);
    }

    /// The argument of the next event but `Heads`, which must be this one.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let line = self
            .next_that(|line| line.get("event").is_some_and(|event| event != "Heads"))
            .await;
        assert_eq!(line["event"], name, "{line}");
        assert_eq!(line["arguments"].as_array().unwrap().len(), 1, "{line}");
        line["arguments"][0].clone()
    }

    /// Waits until it hears a message with this content.
    pub(crate) async fn hears(&mut self, content: &str) {
        self.next_that(|line| {
            line["event"] == "MessageCreated" && line["arguments"][0]["content"] == content
        })
        .await;
    }

    /// Whether the client lost its connection, which it says by being in this state, or has it still, and hears what was
    /// said meanwhile: some repeat a poll that was cut without a word.
    pub(crate) async fn has_lost(&mut self, state: &str) -> bool {
        let line = self
            .next_that(|line| line["state"] == state || line["event"] == "MessageCreated")
            .await;
        let is_event = line.get("event").is_some();
        if is_event {
            self.kept.push_front(line);
        }
        !is_event
    }

    /// The states that it said it was in, and nobody waited for.
    pub(crate) fn states(&self) -> Vec<&Value> {
        let states = self.kept.iter().filter_map(|line| line.get("state"));
        states.collect()
    }

    async fn obey(&mut self, command: Value) -> Result<Value, String> {
        let id = self.begin(command).await;
        self.answer(id).await
    }

    /// Tells it what to do, to be [answered](Self::answer) later.
    pub(crate) async fn begin(&mut self, mut command: Value) -> u64 {
        self.calls += 1;
        let id = self.calls;
        command["id"] = id.into();
        self.transcript.push(format!("→ {}", shown(&command)));
        let written = self
            .commands
            .write_all(format!("{command}\n").as_bytes())
            .await;
        assert!(written.is_ok(), "{:?} is over", self.kind);
        id
    }

    /// What became of a command.
    pub(crate) async fn answer(&mut self, id: u64) -> Result<Value, String> {
        let answer = self.next_that(|line| line["answer"] == id).await;
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or("no text").to_owned()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// The next line that is wanted; others are kept.
    async fn next_that(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&is_wanted) {
            return self.kept.remove(at).expect("it is there");
        }
        // Longer than elsewhere, for a machine that starts a browser beside other tests.
        let found = timeout(4 * WITHIN, async {
            loop {
                let line = self.lines.next_line().await.expect("its stdout is text");
                let line = line.unwrap_or_else(|| panic!("{:?} has ended", self.kind));
                self.transcript.push(format!("← {line}"));
                let line: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|e| panic!("{:?} writes no JSON ({e}): {line}", self.kind));
                if is_wanted(&line) {
                    return line;
                }
                self.kept.push_back(line);
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("{:?}: what the test waits for doesn't come", self.kind))
    }
}

/// A command without its token.
fn shown(command: &Value) -> String {
    let mut shown = command.clone();
    for token in ["/token", "/argument/accessToken"] {
        if let Some(token) = shown.pointer_mut(token) {
            *token = "…".into();
        }
    }
    shown.to_string()
}

#[allow(
    clippy::print_stdout,
    reason = "what a failing test prints is shown with it"
)]
impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.transcript.join("\n");
            println!("{:?}, all that was said:\n{said}\n", self.kind);
        }
        let _ = self.child.start_kill();
    }
}
