//! The program itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{Answer, PASSWORD, client};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder to run the program in, with nothing of this process's environment.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chat-server"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        tokio::time::timeout(PATIENCE, output)
            .await
            .expect("it ends")
            .expect("it runs")
    }

    /// Runs what must succeed, and returns what it printed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {err}");
        out
    }

    /// Runs what must fail, and returns its one line.
    async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {out}{err}");
        assert_eq!(
            (out.as_str(), err.lines().count()),
            ("", 1),
            "{arguments:?}: {err}"
        );
        assert!(err.starts_with("chat-server: "), "{err}");
        err
    }

    async fn serve(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut child = self
            .command(arguments)
            .envs(environment.iter().copied())
            .env("CHAT_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = tokio::time::timeout(PATIENCE, out.next_line())
            .await
            .expect("in time")
            .expect("text");
        let Some(first) = first else {
            let mut err = String::new();
            child
                .stderr
                .take()
                .expect("piped")
                .read_to_string(&mut err)
                .await
                .expect("text");
            panic!("it ended: {err}");
        };
        let url = first
            .strip_prefix("listening on ")
            .expect("the first line")
            .to_owned();
        Running { child, url }
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&output.stdout), text(&output.stderr))
}

struct Running {
    child: Child,
    url: String,
}

impl Running {
    async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(client().post(format!("{}{path}", self.url)).json(body)).await
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill")
            .args([signal, &id])
            .status()
            .await
            .expect("kill");
        assert!(sent.success());
    }

    /// Waits for the end, and returns the exit code and what stood on stderr.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        let ended = async {
            stderr.read_to_string(&mut err).await.expect("text");
            self.child.wait().await.expect("it ran")
        };
        let status = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it ends");
        (status.code(), err)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[tokio::test]
async fn without_anything_it_serves_and_says_what_to_type() {
    let place = Place::new();
    let server = place.serve(&[], &[]).await;
    assert!(
        server.url.starts_with("http://127.0.0.1:"),
        "{}",
        server.url
    );
    for file in ["chat.db", "chat-signing-key.pem"] {
        assert_eq!(mode(&place.path(file)), 0o600, "{file}");
    }
    let body = json!({"email": "mia@example.com", "username": "mia", "password": PASSWORD});
    server
        .post("/v1/auth/register", &body)
        .await
        .created()
        .await;
    server.signal("-TERM").await;
    let (code, err) = server.end().await;
    assert_eq!(code, Some(0), "{err}");
    for line in ["chat register", "chat login", "chat room create"] {
        assert!(err.contains(line), "{err}");
    }
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let place = Place::new();
    let server = place.serve(&["serve"], &[]).await;
    let body = json!({"email": "mia@example.com", "username": "mia", "password": PASSWORD});
    server
        .post("/v1/auth/register", &body)
        .await
        .created()
        .await;
    let login = json!({"email": "mia@example.com", "password": PASSWORD});
    let tokens = server.post("/v1/auth/login", &login).await.ok().await;
    server.signal("-INT").await;
    assert_eq!(server.end().await.0, Some(0));

    let server = place.serve(&["serve"], &[]).await;
    // The key was kept as well, so that tokens live on.
    let me = client()
        .get(format!("{}/v1/users/me", server.url))
        .bearer_auth(tokens["accessToken"].as_str().expect("text"));
    assert_eq!(Answer::of(me).await.ok().await["username"], "mia");
}

#[tokio::test]
async fn nothing_secret_is_logged_even_when_all_is() {
    let place = Place::new();
    let environment = [
        ("CHAT_LOG", "chat_server=trace,chat_core=trace,hyper=trace"),
        ("CHAT_LOG_FORMAT", "json"),
    ];
    let server = place.serve(&["serve"], &environment).await;
    let body = json!({"email": "mia@example.com", "username": "mia", "password": PASSWORD});
    server
        .post("/v1/auth/register?access_token=in-the-query", &body)
        .await
        .created()
        .await;
    let secret = client()
        .get(format!("{}/v1/rooms?access_token=in-the-query", server.url))
        .bearer_auth("in-the-header");
    Answer::of(secret.header("x-request-id", "find-me"))
        .await
        .problem(401, "unauthenticated")
        .await;
    server.signal("-TERM").await;
    let (_, err) = server.end().await;
    for line in err.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    let request = err
        .lines()
        .find(|line| line.contains("find-me"))
        .expect("the request is logged");
    assert!(
        request.contains("/v1/rooms") && request.contains("401"),
        "{request}"
    );
    for secret in [PASSWORD, "in-the-query", "in-the-header", "PRIVATE KEY"] {
        assert!(!err.contains(secret), "{secret} in {err}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let place = Place::new();
    let server = place.serve(&["--drain-seconds", "3600"], &[]).await;
    // A request whose body never comes holds up the drain.
    let address = server.url.strip_prefix("http://").expect("a URL");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .expect("written");
    stream.read_exact(&mut [0; 25]).await.expect("to go on");
    server.signal("-TERM").await;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.signal("-TERM").await;
    assert_eq!(server.end().await.0, Some(130));
}

#[tokio::test]
async fn what_cannot_be_used_stops_the_start_with_one_line() {
    let place = Place::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let taken = taken
        .local_addr()
        .map(|a| (a.to_string(), taken))
        .expect("an address");
    fs::write(place.path("nonsense"), "nonsense").expect("written");
    let free = "127.0.0.1:0";
    for (arguments, part) in [
        (&["--listen", &taken.0][..], "another program"),
        (&["--listen", "192.0.2.1:80"], "192.0.2.1:80"),
        (
            &["--listen", free, "--database-url", "sqlite:nonsense"],
            "not a SQLite database",
        ),
        (
            &[
                "--listen",
                free,
                "--database-url",
                "sqlite:no/where/chat.db",
            ],
            "directory",
        ),
        (&["--listen", free, "--signing-key", "nonsense"], "nonsense"),
        (
            &["--listen", free, "--signing-key", "no/where/key.pem"],
            "directory",
        ),
        (&["--listen", free, "--verify-keys", "nonsense"], "JWKS"),
        (&["--listen", free, "--roles", "rest"], "CHAT_VERIFY_KEYS"),
        (&["--listen", "nonsense"], "HOST:PORT"),
        (&["--config", "nonsense"], "nonsense"),
    ] {
        let err = place.refused(arguments).await;
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
    let usage = place.run(&["--nonsense"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

#[tokio::test]
async fn migrate_makes_the_database_and_may_be_repeated() {
    let place = Place::new();
    for _ in 0..2 {
        let out = place
            .ok(&["migrate", "--database-url", "sqlite:my.db"])
            .await;
        assert!(out.contains("my.db"), "{out}");
    }
    assert_eq!(mode(&place.path("my.db")), 0o600);
    assert!(
        !place.path("chat-signing-key.pem").exists(),
        "it needs no key"
    );
}

#[tokio::test]
async fn config_prints_what_would_be_used() {
    let place = Place::new();
    let out = place
        .ok(&["--issuer", "here", "config", "--audience", "there"])
        .await;
    assert!(out.contains("issuer = \"here\" # flag --issuer"), "{out}");
    assert!(
        out.contains("audience = \"there\" # flag --audience"),
        "{out}"
    );
    assert_eq!(
        fs::read_dir(place.0.path()).expect("listed").count(),
        0,
        "it makes nothing"
    );
}

#[tokio::test]
async fn openapi_prints_the_document() {
    let out = Place::new().ok(&["openapi"]).await;
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn asyncapi_prints_the_hubs_document_or_its_declarations() {
    let out = Place::new().ok(&["asyncapi"]).await;
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["asyncapi"], "3.0.0");
    let out = Place::new().ok(&["asyncapi", "--typescript"]).await;
    assert!(out.contains("export interface HubMethods {"), "{out}");
}

#[tokio::test]
async fn keys_are_made_shown_and_given_to_servers_that_verify() {
    let place = Place::new();
    let made = place.ok(&["keys", "generate"]).await;
    let kid = made.split('\t').next().expect("an id").to_owned();
    assert_eq!(mode(&place.path("chat-signing-key.pem")), 0o600);
    assert!(
        place
            .refused(&["keys", "generate"])
            .await
            .contains("not overwritten")
    );
    assert!(place.ok(&["keys", "show"]).await.contains(&kid));
    place.ok(&["keys", "generate", "--out", "next.pem"]).await;

    let jwks = place.ok(&["keys", "jwks"]).await;
    assert!(!jwks.contains("\"d\""), "{jwks}");
    let set: Value = serde_json::from_str(&jwks).expect("JSON");
    assert_eq!(set["keys"][0]["kid"], kid.as_str());
    fs::write(place.path("public.json"), &jwks).expect("written");
    let both = place
        .ok(&[
            "keys",
            "jwks",
            "--signing-key",
            "next.pem",
            "--verify-keys",
            "public.json",
        ])
        .await;
    let both: Value = serde_json::from_str(&both).expect("JSON");
    assert_eq!(both["keys"].as_array().map(Vec::len), Some(2));

    let auth = place.serve(&["--roles", "auth"], &[]).await;
    let body = json!({"email": "mia@example.com", "username": "mia", "password": PASSWORD});
    auth.post("/v1/auth/register", &body).await.created().await;
    let tokens = auth.post("/v1/auth/login", &body).await.ok().await;
    let rest = place
        .serve(
            &[
                "--roles",
                "rest",
                "--verify-keys",
                "public.json",
                "--signing-key",
                "no.pem",
            ],
            &[],
        )
        .await;
    let rooms = client()
        .get(format!("{}/v1/rooms", rest.url))
        .bearer_auth(tokens["accessToken"].as_str().expect("text"));
    Answer::of(rooms).await.ok().await;
    assert!(!place.path("no.pem").exists(), "only role auth signs");
}

#[tokio::test]
async fn healthcheck_asks_the_server_over_http_and_https() {
    let place = Place::new();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let address = nobody.local_addr().expect("an address").to_string();
    drop(nobody);
    assert!(
        place
            .refused(&["healthcheck", "--listen", &address])
            .await
            .contains(&address)
    );
    assert!(
        place
            .refused(&["healthcheck", "--listen", "127.0.0.1:0"])
            .await
            .contains("port")
    );

    let server = place.serve(&[], &[]).await;
    let address = server.url.strip_prefix("http://").expect("a URL");
    place.ok(&["healthcheck", "--listen", address]).await;
    place
        .ok(&[
            "healthcheck",
            "--listen",
            "127.0.0.1:1",
            "--admin-listen",
            address,
        ])
        .await;

    let made = rcgen::generate_simple_self_signed(["chat.example.com".to_owned()]).expect("made");
    fs::write(place.path("cert.pem"), made.cert.pem()).expect("written");
    fs::write(place.path("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let server = place.serve(&tls, &[]).await;
    let address = server.url.strip_prefix("https://").expect("a URL");
    place
        .ok(&[&["healthcheck", "--listen", address], &tls[..]].concat())
        .await;
    let other = rcgen::generate_simple_self_signed(["chat.example.com".to_owned()]).expect("made");
    fs::write(place.path("cert.pem"), other.cert.pem()).expect("written");
    let refused = place
        .refused(&[&["healthcheck", "--listen", address], &tls[..]].concat())
        .await;
    assert!(refused.contains("another certificate"), "{refused}");
}
