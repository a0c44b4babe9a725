//! A send that was begun survives the client: it is in the outbox before it is on its way.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chat_tests::{Person, Server};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);
const MESSAGES: usize = 5;

async fn client(server: &Server, person: &Person, room: i64, outbox: &Path) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outbox-client"))
        .args([server.url(), &room.to_string()])
        .arg(outbox)
        .env("CHAT_TOKEN", person.api.token().expect("logged in"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    timeout(WITHIN, output.read_line(&mut line))
        .await
        .expect("it connects in time")
        .expect("its output can be read");
    assert_eq!(line, "connected\n");
    child
}

fn signal(server: &Server, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, &server.process_id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success(), "no signal was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_survives_the_kill_of_its_client() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("tea", &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let outbox = folder.path().join("outbox.jsonl");

    // The server stands still, so that no send is answered; whether it has arrived is the server's to say, later.
    let mut first = client(&server, &ann, room, &outbox).await;
    signal(&server, "-STOP");
    let mut input = first.stdin.take().expect("piped");
    for n in 0..MESSAGES {
        let line = format!("message {n}\n");
        input.write_all(line.as_bytes()).await.expect("it reads");
    }
    timeout(WITHIN, async {
        loop {
            let kept = std::fs::read_to_string(&outbox).unwrap_or_default();
            if (0..MESSAGES).all(|n| kept.contains(&format!("message {n}"))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("what is to be sent is kept");
    first.kill().await.expect("killed");
    signal(&server, "-CONT");

    let mut second = client(&server, &ann, room, &outbox).await;
    let path = format!("/v1/rooms/{room}/messages");
    let page = timeout(WITHIN, async {
        loop {
            let page = ann.api.get(&path).await.with(200);
            let emptied = std::fs::read_to_string(&outbox)
                .is_ok_and(|kept| kept.matches("\"done\"").count() >= MESSAGES || kept.is_empty());
            if emptied
                && page["items"]
                    .as_array()
                    .is_some_and(|items| items.len() >= MESSAGES)
            {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("what was kept is sent in time");
    drop(second.stdin.take());
    let ended = timeout(WITHIN, second.wait())
        .await
        .expect("it ends with its input");
    assert!(ended.expect("its status can be read").success());

    let mut contents: Vec<_> = page["items"]
        .as_array()
        .expect("a page")
        .iter()
        .map(|m| m["content"].as_str().expect("text").to_owned())
        .collect();
    contents.sort();
    let expected: Vec<_> = (0..MESSAGES).map(|n| format!("message {n}")).collect();
    assert_eq!(contents, expected, "each exactly once");
}
