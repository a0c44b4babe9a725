//! The web root: files where no call answers, and never instead of one.

use reqwest::Method;
use tempfile::TempDir;

use crate::harness::{Answer, Caller, TestServer, builder, config};

const PAGE: &str = "<!doctype html><title>chat</title>";

/// A folder as a bundler writes it, with a few names that calls have too.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in [
        ("index.html", PAGE),
        ("favicon.svg", "<svg/>"),
        ("assets/app-1a2b.js", "export {}"),
        (".env", "SECRET=1"),
        (".git/config", "secret"),
        ("healthz", "shadow"),
        ("docs/index.html", "shadow"),
        ("v1/rooms", "shadow"),
        ("v1/hub/extra", "shadow"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    folder
}

async fn start(folder: &TempDir) -> TestServer {
    let root = folder.path().to_str().expect("text");
    TestServer::with(&[("CHAT_WEB_ROOT", root)]).await
}

/// As a browser asks for a page.
async fn page(anyone: &Caller, path: &str) -> Answer {
    let request = anyone.request(Method::GET, path);
    Answer::of(request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await
}

async fn body(answer: Answer) -> String {
    assert_eq!(answer.status(), 200);
    answer.0.text().await.expect("a body")
}

#[tokio::test]
async fn files_are_served_and_pages_within_the_app_are_its_index() {
    let folder = folder();
    let server = start(&folder).await;
    let anyone = server.anyone();
    for path in ["/", "/index.html", "/rooms/7", "/rooms/7.1"] {
        let answer = page(&anyone, path).await;
        assert_eq!(answer.header("content-type"), Some("text/html"), "{path}");
        assert_eq!(body(answer).await, PAGE, "{path}");
    }
    assert_eq!(body(anyone.get("/").await).await, PAGE);
    let script = anyone.get("/assets/app-1a2b.js").await;
    assert_eq!(script.header("content-type"), Some("text/javascript"));
    assert_eq!(body(script).await, "export {}");
    let head = Answer::of(anyone.request(Method::HEAD, "/favicon.svg")).await;
    assert_eq!(
        (head.status().as_u16(), head.header("content-length")),
        (200, Some("6"))
    );
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let folder = folder();
    let server = start(&folder).await;
    let anyone = server.anyone();
    for path in [
        "/rooms/7",
        "/nothing.js",
        "/assets/",
        "/%ff",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
    ] {
        anyone.get(path).await.problem(404, "not_found").await;
    }
    // A page that still asks for a script of an older build must not run a page as a script.
    page(&anyone, "/assets/app-0000.js")
        .await
        .problem(404, "not_found")
        .await;
    let post = Answer::of(anyone.request(Method::POST, "/")).await;
    post.problem(404, "not_found").await;
}

#[tokio::test]
async fn hidden_files_stay_hidden() {
    let folder = folder();
    let server = start(&folder).await;
    for path in [
        "/.env",
        "/%2eenv",
        "/%2Egit/config",
        "/.git/config",
        "/assets/.x",
    ] {
        page(&server.anyone(), path)
            .await
            .problem(404, "not_found")
            .await;
    }
}

#[tokio::test]
async fn no_file_and_no_page_stands_in_for_a_call() {
    let folder = folder();
    let server = start(&folder).await;
    let anyone = server.anyone();
    assert_eq!(body(page(&anyone, "/healthz").await).await, "ok\n");
    assert_ne!(body(page(&anyone, "/docs/").await).await, "shadow");
    page(&anyone, "/v1/rooms")
        .await
        .problem(401, "unauthenticated")
        .await;
    for path in [
        "/v1",
        "/v1/nothing",
        "/v1/hub/extra",
        "/docs/nothing",
        "/.well-known/x",
    ] {
        page(&anyone, path).await.problem(404, "not_found").await;
    }
}

#[tokio::test]
async fn calls_of_a_role_that_is_not_run_stay_404() {
    let folder = folder();
    let root = folder.path().to_str().expect("text");
    let server = TestServer::with(&[
        ("CHAT_WEB_ROOT", root),
        ("CHAT_ROLES", "auth"),
        ("CHAT_ADMIN_LISTEN", "127.0.0.1:0"),
    ])
    .await;
    for path in ["/v1/rooms", "/v1/hub", "/healthz", "/metrics"] {
        page(&server.anyone(), path)
            .await
            .problem(404, "not_found")
            .await;
    }
}

#[tokio::test]
async fn a_page_runs_nothing_but_its_own_scripts_and_is_asked_for_again() {
    let folder = folder();
    let server = start(&folder).await;
    let anyone = server.anyone();
    for path in ["/", "/assets/app-1a2b.js"] {
        let answer = anyone.get(path).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    let index = page(&anyone, "/rooms/7").await;
    assert_eq!(index.header("cache-control"), Some("no-cache"));
    let modified = index.header("last-modified").expect("a date").to_owned();
    let again = anyone
        .request(Method::GET, "/")
        .header("if-modified-since", modified);
    let again = Answer::of(again).await;
    assert_eq!(
        (again.status().as_u16(), again.header("cache-control")),
        (304, Some("no-cache"))
    );
    let script = anyone.get("/assets/app-1a2b.js").await;
    assert_eq!(
        script.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
}

#[tokio::test]
async fn a_folder_without_an_index_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(&[("CHAT_WEB_ROOT", folder.path().to_str().expect("text"))]);
    let chat = builder(&config).start().await.expect("a chat");
    let refused = chat_server::Server::bind_chat(config, chat)
        .await
        .expect_err("no index");
    let line = refused.to_string();
    assert!(
        line.starts_with("CHAT_WEB_ROOT: ") && line.contains("index.html"),
        "{line}"
    );
}
