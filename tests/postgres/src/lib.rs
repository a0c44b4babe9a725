//! A real PostgreSQL for tests, started by the tests themselves.
//!
//! [`Server::shared`] is one server for a whole test process, and [`Server::database`] gives each test an empty database of
//! its own, or a copy of one that is prepared once. It listens on a socket in its own temporary folder, so there is no port
//! to collide on; it writes nothing to disk that it needn't, and it goes with the process that started it, however that ends.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// What to do where there is no PostgreSQL.
const MISSING: &str = "initdb isn't found: these tests need a PostgreSQL server, on Debian `apt-get install postgresql`";

/// Where Debian keeps what isn't on the path.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Who guards a server: it makes and starts it, says so, and stops it when told or when whoever started it is gone, which it
/// sees from the end of its input. Then it removes the folder as well.
const GUARDIAN: &str = r#"
bin=$1 folder=$2 options=$3 allowed=$4
if [ ! -d "$folder/data" ]; then
  "$bin/initdb" -D "$folder/data" -U chat --auth=trust -E UTF8 --locale=C.UTF-8 --no-sync >"$folder/initdb.log" 2>&1 || exit 1
  [ -z "$allowed" ] || echo "host all all $allowed trust" >>"$folder/data/pg_hba.conf"
fi
"$bin/pg_ctl" -D "$folder/data" -w -t 120 -l "$folder/log" -o "$options" start >>"$folder/start.log" 2>&1 || exit 1
echo ready
exec >&-
read -r word
"$bin/pg_ctl" -D "$folder/data" -m immediate stop >>"$folder/start.log" 2>&1
[ "$word" = keep ] || rm -rf "$folder"
"#;

/// What the server's own settings are: nothing is forced to disk, for no test pulls the plug.
const SETTINGS: &str =
    "-c fsync=off -c full_page_writes=off -c shared_buffers=64MB -c max_connections=400";

/// Those of a server that is measured: what a small production server has.
const DURABLE: &str = "-c shared_buffers=256MB -c max_connections=400 -c max_wal_size=4GB";

/// A running server of the user `chat`.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    bin: PathBuf,
    guardian: Mutex<Option<Guardian>>,
    databases: AtomicU64,
    settings: &'static str,
    /// Where it listens beside its socket.
    address: Option<Ipv4Addr>,
}

#[derive(Debug)]
struct Guardian {
    process: Child,
    input: ChildStdin,
}

impl Server {
    /// The server of this test process.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server: one of its own, for a test that stops it.
    ///
    /// # Panics
    /// There is no PostgreSQL, or it doesn't start: with what it said.
    #[must_use]
    pub fn start() -> Self {
        Self::with(SETTINGS)
    }

    /// Starts a server that forces to disk what it acknowledges, for benches.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_durable() -> Self {
        Self::with(DURABLE)
    }

    /// A server that listens at this address too, on the usual port, for all in its network of 256. It doesn't run yet: it is in the
    /// network namespace of the thread that has it [resume](Self::resume).
    ///
    /// # Panics
    /// There is no PostgreSQL.
    #[must_use]
    pub fn at(address: Ipv4Addr) -> Self {
        Self::prepare(SETTINGS, Some(address))
    }

    fn with(settings: &'static str) -> Self {
        let server = Self::prepare(settings, None);
        server.resume();
        server
    }

    fn prepare(settings: &'static str, address: Option<Ipv4Addr>) -> Self {
        let bin = programs().unwrap_or_else(|| panic!("{MISSING}"));
        let folder = tempfile::Builder::new()
            .prefix("chat-postgres-")
            .tempdir()
            .expect("a temporary folder")
            .keep(); // the guardian removes it
        if let Some((user, group)) = other_user() {
            chown(&folder, Some(user), Some(group)).expect("root gives a folder away");
        }
        Self {
            folder,
            bin,
            guardian: Mutex::new(None),
            databases: AtomicU64::new(0),
            settings,
            address,
        }
    }

    /// Ends it at once, as a crash would, and keeps its data for [`resume`](Self::resume).
    ///
    /// # Panics
    /// It doesn't run.
    pub fn stop(&self) {
        let guardian = self.guardian().take();
        let mut guardian = guardian.expect("the server runs");
        guardian
            .input
            .write_all(b"keep\n")
            .expect("the guardian listens");
        guardian.process.wait().expect("the guardian ends");
    }

    /// Starts it again after [`stop`](Self::stop).
    ///
    /// # Panics
    /// It doesn't start: with what it said.
    pub fn resume(&self) {
        let folder = self.folder.display();
        let listen = self.address.map(|a| a.to_string()).unwrap_or_default();
        let allowed = self.address.map(|a| format!("{a}/24")).unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&self.bin)
            .arg(&self.folder)
            .arg(format!(
                "-k {folder} -c listen_addresses={listen} {}",
                self.settings
            ))
            .arg(allowed)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some((user, group)) = other_user() {
            command.uid(user).gid(group);
        }
        let mut process = command.spawn().expect("a shell can be started");
        let input = process.stdin.take().expect("its input is piped");
        let output = process.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("its output can be read");
        if line.trim_end() != "ready" {
            let said = ["initdb.log", "start.log", "log"]
                .map(|name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default())
                .concat();
            panic!("PostgreSQL doesn't start: {said}");
        }
        *self.guardian() = Some(Guardian { process, input });
    }

    fn guardian(&self) -> std::sync::MutexGuard<'_, Option<Guardian>> {
        self.guardian.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of PostgreSQL's programs of the server's version: `pg_dump`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The processor time of all its processes so far, those that ended included.
    ///
    /// # Panics
    /// It doesn't run, or this isn't Linux.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid"));
        let pid = pid.expect("the server runs");
        let postmaster = pid.lines().next().expect("a process id").to_owned();
        let ended = times(&postmaster).expect("the server runs").of_children;
        let running = std::fs::read_dir("/proc").expect("Linux").flatten();
        let running: Duration = running
            .filter_map(|entry| {
                let pid = entry.file_name().into_string().ok()?;
                let times = times(&pid)?;
                let its = pid == postmaster || times.parent == postmaster;
                its.then(|| precise(&pid)).flatten()
            })
            .sum();
        ended + running
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://chat@localhost/{database}?host={folder}")
    }

    /// A new database: empty, or a copy of `template`, which nobody may be connected to.
    ///
    /// # Panics
    /// It can't be made.
    pub async fn database(&'static self, template: Option<&str>) -> Database {
        let n = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{n}");
        let template = template.unwrap_or("template1");
        self.administer(format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
            .unwrap_or_else(|e| panic!("{name} can't be made: {e}"));
        Database { server: self, name }
    }

    async fn administer(&self, statement: String) -> Result<(), sqlx::Error> {
        let options: PgConnectOptions = self.url("postgres").parse()?;
        let mut connection: PgConnection = options.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
        connection.close().await
    }
}

/// One database of the server; gone when this is dropped.
pub struct Database {
    server: &'static Server,
    name: String,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.name).finish()
    }
}

impl Database {
    /// Its name, which may serve as a template once it is prepared.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Its URL over the network.
    ///
    /// # Panics
    /// The server listens on its socket alone.
    #[must_use]
    pub fn network_url(&self) -> String {
        let address = self.server.address.expect("the server has an address");
        format!("postgres://chat@{address}:5432/{}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let server = self.server;
        // A thread and a runtime of its own: this may be dropped within another runtime, or without one.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.map(|runtime| runtime.block_on(server.administer(statement)))
        });
        // What is left goes with the server.
        let _ = dropping.join();
    }
}

/// What the kernel counts for a process.
struct Times {
    parent: String,
    /// Of those that ended and were waited for, in ticks: coarse, but they are few.
    of_children: Duration,
}

/// `/proc/PID/stat`, see proc(5). Nothing, if the process is gone.
fn times(pid: &str) -> Option<Times> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; the fields after it begin with the third.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    Some(Times {
        parent: (*fields.get(1)?).to_owned(),
        of_children: TICK * (ticks(16)? + ticks(17)?),
    })
}

/// The time of a process of one thread, to the nanosecond.
fn precise(pid: &str) -> Option<Duration> {
    let spent = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds = spent.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// The folder of the server's programs: that of the `initdb` on the path, else Debian's newest.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .map(|folder| folder.join("initdb"))
        .find(|program| program.is_file())
        .and_then(|program| program.canonicalize().ok());
    let initdb = on_path.or_else(|| {
        let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
            .ok()?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let version = entry.file_name().to_str()?.parse().ok()?;
                let program = entry.path().join("bin/initdb");
                program.is_file().then_some((version, program))
            })
            .collect();
        versions.sort();
        versions.pop().map(|(_, program)| program)
    });
    initdb?.parent().map(Path::to_owned)
}

/// Whom a server runs as if it is started by root, which it refuses: the user and group `postgres`.
fn other_user() -> Option<(u32, u32)> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields: Vec<&str> = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .unwrap_or_else(|| panic!("there is no user postgres: {MISSING}"))
        .split(':')
        .collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
