//! A server as a process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::binary::chat_server;
use crate::{Api, Person, WITHIN};

/// How a server is to be started.
#[derive(Debug)]
pub struct ServerBuilder {
    program: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
    under: Option<Under>,
}

/// What else holds for the process.
#[derive(Debug)]
enum Under {
    /// No file that it writes may be longer than this many KiB.
    FileLimit(u64),
    /// Its calls that sync a file are written down here.
    Watch(PathBuf),
}

impl ServerBuilder {
    /// Sets a variable: `("CHAT_RATE_LIMITS", "on")`.
    #[must_use]
    pub fn set(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.settings.push((variable.to_owned(), value.into()));
        self
    }

    /// Runs this `chat-server`, such as that of another version.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// No file that it writes may be longer: to it the disk is full there.
    #[must_use]
    pub fn file_kib(mut self, kib: u64) -> Self {
        self.under = Some(Under::FileLimit(kib));
        self
    }

    /// Has strace write down each of its calls that sync a file, until it ends: the thread, the seconds since 1970, the call.
    #[must_use]
    pub fn watch_syncs(mut self, log: PathBuf) -> Self {
        self.under = Some(Under::Watch(log));
        self
    }

    /// Runs it on this PostgreSQL database, with a signing key of its own.
    ///
    /// # Panics
    /// The key can't be made.
    #[must_use]
    pub fn on(self, database: &chat_test_postgres::Database) -> Self {
        let made = self.set("CHAT_DATABASE_URL", database.url());
        let key = made.run(&["keys", "generate"]);
        assert!(key.status.success(), "{}", key.log);
        made
    }

    /// Runs another command of the server's binary with these settings, to its end.
    ///
    /// # Panics
    /// It can't be run.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let output = std::process::Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .envs(self.settings.iter().map(|(k, v)| (k, v)))
            .current_dir(self.folder.path())
            .output()
            .expect("the server's binary can be run");
        Ended {
            status: output.status,
            log: String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        }
    }

    /// Where its database and keys will be.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// It ends instead: with what it said.
    pub async fn start(self) -> Server {
        let Self {
            program, folder, ..
        } = &self;
        let running = Running::start(program, folder, &self.settings, self.under.as_ref()).await;
        match running {
            Ok(running) => Server {
                program: self.program,
                folder: self.folder,
                settings: self.settings,
                running,
                earlier: String::new(),
            },
            Err(ended) => panic!("the server ended with {}: {}", ended.status, ended.log),
        }
    }

    /// Starts one that is to end by itself.
    ///
    /// # Panics
    /// It listens.
    pub async fn fail(self) -> Ended {
        let Self {
            program, folder, ..
        } = &self;
        match Running::start(program, folder, &self.settings, self.under.as_ref()).await {
            Ok(_) => panic!("the server started"),
            Err(ended) => ended,
        }
    }
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote.
    pub log: String,
}

/// A running server. When dropped it is killed, and the test fails if it ever panicked.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
    running: Running,
    /// The log of those that ran before on the same database.
    earlier: String,
}

impl Server {
    /// A server to be configured: without rate limits, for tests are in a hurry.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            program: chat_server().to_owned(),
            folder: TempDir::new().expect("a temporary folder"),
            settings: vec![("CHAT_RATE_LIMITS".into(), "off".into())],
            under: None,
        }
    }

    /// A server as most tests want it.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Its address: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.running.url
    }

    /// Calls without a token.
    #[must_use]
    pub fn anyone(&self) -> Api {
        Api::new(self.url())
    }

    /// Someone new, registered and logged in.
    pub async fn person(&self, username: &str) -> Person {
        Person::register(self.url(), username).await
    }

    /// The file of its signing key.
    #[must_use]
    pub fn signing_key(&self) -> PathBuf {
        self.folder.path().join("chat-signing-key.pem")
    }

    /// Its database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("chat.db")
    }

    /// The process.
    ///
    /// # Panics
    /// It is over.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.running.child.id().expect("the server runs")
    }

    /// What it has logged so far, those before it included.
    #[must_use]
    pub fn log(&self) -> String {
        format!("{}{}", self.earlier, self.running.log())
    }

    /// Ends it as a power cut would end a process: at once, without a word.
    pub async fn kill(&mut self) {
        self.running.child.kill().await.expect("it can be killed");
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &self.process_id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "no signal was sent");
    }

    /// Waits for its end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(3 * WITHIN, self.running.child.wait())
            .await
            .expect("the server ends in time")
            .expect("its status can be read")
    }

    /// Starts it again on the same database, on another port.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// Starts it again on the same database with these settings besides; limits of the first start don't hold any more.
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) {
        if self.running.child.id().is_some() {
            self.kill().await;
        }
        self.running.read_to_end().await;
        self.earlier = self.log();
        let more = settings
            .iter()
            .map(|&(variable, value)| (variable.to_owned(), value.to_owned()));
        self.settings.extend(more);
        let (program, folder) = (&self.program, &self.folder);
        self.running = match Running::start(program, folder, &self.settings, None).await {
            Ok(running) => running,
            Err(ended) => panic!("it didn't start again, {}: {}", ended.status, ended.log),
        };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let log = self.log();
        if log.contains("panicked at") && !std::thread::panicking() {
            panic!("the server panicked:\n{log}");
        }
    }
}

/// One process.
#[derive(Debug)]
struct Running {
    child: Child,
    url: String,
    log: Arc<Mutex<String>>,
    logging: JoinHandle<()>,
}

impl Running {
    async fn start(
        program: &Path,
        folder: &TempDir,
        settings: &[(String, String)],
        under: Option<&Under>,
    ) -> Result<Self, Ended> {
        let mut command = match under {
            None => Command::new(program),
            Some(Under::Watch(log)) => {
                // As a grandchild, so that the process is the server's own.
                let mut strace = Command::new("strace");
                strace
                    .args([
                        "-D",
                        "-f",
                        "-y",
                        "-ttt",
                        "-e",
                        "trace=fsync,fdatasync",
                        "-o",
                    ])
                    .arg(log)
                    .arg(program);
                strace
            }
            Some(Under::FileLimit(kib)) => {
                // A write beyond the limit fails instead of killing the process, since the signal is ignored.
                let mut shell = Command::new("bash");
                shell
                    .arg("-c")
                    .arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\""))
                    .arg(program);
                shell
            }
        };
        command
            .env_clear()
            .env("CHAT_LISTEN", "127.0.0.1:0")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (variable, value) in settings {
            command.env(variable, value);
        }
        let mut child = command.spawn().expect("the server can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let logging = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                let mut bytes = vec![0; 16 * 1024];
                while let Ok(n @ 1..) = stderr.read(&mut bytes).await {
                    let text = String::from_utf8_lossy(&bytes[..n]);
                    log.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_str(&text);
                }
            }
        });
        let mut line = String::new();
        timeout(3 * WITHIN, stdout.read_line(&mut line))
            .await
            .expect("the server says where it listens, or ends")
            .expect("its stdout can be read");
        let mut running = Self {
            child,
            url: String::new(),
            log,
            logging,
        };
        match line.trim_end().strip_prefix("listening on ") {
            Some(url) => {
                running.url = url.to_owned();
                Ok(running)
            }
            None => {
                let status = running.child.wait().await.expect("its status can be read");
                running.read_to_end().await;
                Err(Ended {
                    status,
                    log: running.log(),
                })
            }
        }
    }

    async fn read_to_end(&mut self) {
        (&mut self.logging)
            .await
            .expect("reading the log doesn't fail");
    }

    fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
