//! A server as a process of its own, so that what it costs is apart from what its clients cost.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

/// The argument that makes this program the chat server.
const SERVE: &str = "serve";

/// The chat server, if this process was started as one: the same code as the real program's `main`.
pub(crate) fn chat_server() -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some(SERVE) {
        return None;
    }
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    let arguments = ["chat-server", SERVE].map(OsString::from);
    Some(chat_server::cli::run(arguments, &environment))
}

/// A server that runs until this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Held, so that what the server prints has somewhere to go.
    _output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the chat server with these settings, on one core if asked for.
    pub(crate) fn serve(settings: &[(&str, String)], one_core: bool) -> Self {
        Self::start(SERVE, settings, one_core)
    }

    /// Starts this program with `argument`; it must print `listening on http://ADDRESS`.
    pub(crate) fn start(argument: &str, variables: &[(&str, String)], one_core: bool) -> Self {
        let program = std::env::current_exe().expect("this program");
        let spawn = |mut command: Command| {
            command
                .arg(argument)
                .env_clear()
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        };
        let pinned = one_core.then(|| {
            let mut command = Command::new("/usr/bin/taskset");
            command.args(["-c", "0"]).arg(&program);
            spawn(command)
        });
        let mut child = match pinned {
            Some(Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                eprintln!("no taskset here: the server isn't kept on one core");
                spawn(Command::new(&program))
            }
            Some(pinned) => pinned,
            None => spawn(Command::new(&program)),
        }
        .expect("a server process");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("not a server's first line: {line:?}"));
        Self {
            child,
            address,
            _output: output,
        }
    }

    /// The processor time of all its threads so far. Threads that ended are not in it; a server's live as long as itself.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let nanoseconds = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanoseconds)
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .expect("a size")
            * 1_024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which a bench has noticed otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
