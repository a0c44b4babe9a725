//! Logging in, and what is kept of it.

use std::fs;
use std::path::PathBuf;

use insta::assert_snapshot;
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, ResponseTemplate};

use crate::world::{World, ann, page, seen, tokens};

/// A world whose server knows this password.
async fn knowing(password: &str) -> World {
    let world = World::new().await;
    Mock::given(method("POST"))
        .and(path("/v1/auth/login"))
        .and(body_partial_json(json!({"password": password})))
        .respond_with(ResponseTemplate::new(200).set_body_json(tokens()))
        .mount(&world.server)
        .await;
    Mock::given(method("GET"))
        .and(path("/v1/users/me"))
        .and(header("authorization", "Bearer an-access-token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(ann()))
        .mount(&world.server)
        .await;
    world
}

fn kept(world: &World, profile: &str) -> Vec<PathBuf> {
    let folder = world.home.path().join(".local/state/chat").join(profile);
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|e| e.expect("read").path()).collect(),
        Err(_) => Vec::new(),
    }
}

const LOGIN: [&str; 5] = [
    "login",
    "--email",
    "ann@example.org",
    "--password-file",
    "-",
];

#[tokio::test]
async fn a_login_is_kept_for_its_owner_alone_and_used_from_then_on() {
    let world = knowing("correct horse").await;
    let mut login = world.chat(&LOGIN);
    login.write_stdin("correct horse\n");
    let text = seen(login)
        .await
        .replace(&world.server.uri(), "http://SERVER");
    assert_snapshot!(text, @r"
    exit 0
    --- stdout
    --- stderr
    logged in to http://SERVER as ann
    ");
    let files = kept(&world, "default");
    assert_eq!(files.len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&files[0]).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_snapshot!(seen(world.chat(&["whoami"])).await, @r"
    exit 0
    --- stdout
    3	ann	ann@example.org
    --- stderr
    ");
}

#[tokio::test]
async fn a_login_holds_for_its_profile_alone() {
    let world = knowing("correct horse").await;
    let mut login = world.chat(&LOGIN);
    login
        .env("CHAT_PROFILE", "work")
        .write_stdin("correct horse");
    seen(login).await;
    assert_eq!(kept(&world, "work").len(), 1);
    let other = seen(world.chat(&["whoami"])).await;
    assert!(other.starts_with("exit 3\n"), "{other}");
    let same = seen(world.chat(&["whoami", "--profile", "work", "--json"])).await;
    assert!(same.starts_with("exit 0\n"), "{same}");
}

#[tokio::test]
async fn a_login_is_given_to_no_other_server() {
    let world = knowing("correct horse").await;
    let mut login = world.chat(&LOGIN);
    login.write_stdin("correct horse");
    seen(login).await;
    let elsewhere = World::new().await;
    let mut whoami = world.chat(&["whoami"]);
    whoami.env("CHAT_SERVER", elsewhere.server.uri());
    let text = seen(whoami).await;
    assert!(text.starts_with("exit 3\n"), "{text}");
    let requests = elsewhere.server.received_requests().await;
    assert_eq!(requests.expect("recorded").len(), 0);
}

#[tokio::test]
async fn the_password_comes_from_a_file_or_the_configured_command() {
    let world = knowing("correct horse").await;
    let file = world.home.path().join("password");
    fs::write(&file, "correct horse\nnot this\n").expect("written");
    let mut login = world.chat(&["login", "--email", "ann@example.org", "--password-file"]);
    login.arg(&file);
    let text = seen(login).await;
    assert!(text.starts_with("exit 0\n"), "{text}");

    let folder = world.home.path().join(".config/chat");
    fs::create_dir_all(&folder).expect("made");
    let config =
        "[profiles.work]\nemail = 'ann@example.org'\npassword_command = 'echo \"correct horse\"'\n";
    fs::write(folder.join("config.toml"), config).expect("written");
    let mut login = world.chat(&["login", "--profile", "work"]);
    login.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let text = seen(login).await;
    assert!(text.starts_with("exit 0\n"), "{text}");
}

#[tokio::test]
async fn without_a_terminal_nobody_is_asked_for_a_password() {
    let world = World::new().await;
    let mut login = world.chat(&["login", "--email", "ann@example.org"]);
    login.write_stdin("correct horse\n");
    assert_snapshot!(seen(login).await, @r"
    exit 2
    --- stdout
    --- stderr
    error: there is no terminal to ask for the password
    hint: give it with `--password-file PATH`; `-` is standard input
    ");
}

#[tokio::test]
async fn a_wrong_password_is_refused_credentials() {
    let world = World::new().await;
    world
        .refuses("POST", "/v1/auth/login", 401, "invalid_credentials")
        .await;
    let mut login = world.chat(&LOGIN);
    login.write_stdin("wrong horse");
    assert_snapshot!(seen(login).await, @r"
    exit 3
    --- stdout
    --- stderr
    error[invalid_credentials]: the server says no
    ");
    assert!(kept(&world, "default").is_empty());
}

#[tokio::test]
async fn logging_out_ends_the_session_and_forgets_it() {
    let world = knowing("correct horse").await;
    world
        .answers("POST", "/v1/auth/logout", 204, Value::Null)
        .await;
    let mut login = world.chat(&LOGIN);
    login.write_stdin("correct horse");
    seen(login).await;
    let text = seen(world.chat(&["logout"])).await;
    assert_eq!(text, "exit 0\n--- stdout\n--- stderr\nlogged out\n");
    assert!(kept(&world, "default").is_empty());
    let again = seen(world.chat(&["logout"])).await;
    assert!(again.starts_with("exit 3\n"), "{again}");
}

#[tokio::test]
async fn an_account_is_made_and_shown() {
    let world = World::new().await;
    world.answers("POST", "/v1/auth/register", 201, ann()).await;
    let mut register = world.chat(&[
        "register",
        "--email",
        "ann@example.org",
        "--username",
        "ann",
        "--password-file",
        "-",
        "--json",
    ]);
    register.write_stdin("correct horse");
    assert_snapshot!(seen(register).await, @r#"
    exit 0
    --- stdout
    {"id":3,"username":"ann","email":"ann@example.org","createdAt":"2026-01-31T12:00:00.000Z"}
    --- stderr
    registered ann as user 3: log in with `chat login --email ann@example.org`
    "#);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let world = World::new().await;
    let session = json!({
        "id": 4, "device": "lap\u{1b}[31mtop", "createdAt": "2026-01-31T12:00:00.000Z",
        "lastUsedAt": "2026-01-31T13:00:00.000Z", "current": true,
    });
    world
        .answers("GET", "/v1/auth/sessions", 200, page(&[session]))
        .await;
    world
        .answers("DELETE", "/v1/auth/sessions/4", 204, Value::Null)
        .await;
    assert_snapshot!(seen(world.chat_as_ann(&["sessions"])).await, @r"
    exit 0
    --- stdout
    4	lap[31mtop	2026-01-31T12:00:00.000Z	2026-01-31T13:00:00.000Z	this one
    --- stderr
    ");
    let ended = seen(world.chat_as_ann(&["sessions", "end", "4", "--quiet"])).await;
    assert_eq!(ended, "exit 0\n--- stdout\n--- stderr\n");
}
