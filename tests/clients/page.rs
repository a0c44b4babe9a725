//! The page of examples/web, driven by a browser with two people in it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chat_tests::Server;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::process::{installed, node};
use crate::proxy::Proxy;

/// How long the whole story may take: only a bound for what would hang otherwise.
const STORY: Duration = Duration::from_secs(240);

#[tokio::test]
async fn two_people_go_through_a_whole_chat_and_a_restart_of_the_server() {
    let mut server = Server::builder()
        .set(
            "CHAT_WEB_ROOT",
            installed("web/dist").to_str().expect("text"),
        )
        .set("CHAT_DRAIN_SECONDS", "1")
        .start()
        .await;
    // The page keeps its address while the server gets a new one.
    let proxy = Proxy::start(server.url()).await;
    let script = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/clients/javascript/page.js"
    ));
    let mut story = node(script)
        .arg(proxy.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node can be started: tests/clients/install says what is needed");
    let mut answers = story.stdin.take().expect("stdin is piped");
    let mut lines = BufReader::new(story.stdout.take().expect("stdout is piped")).lines();
    let mut told = String::new();
    let ended = timeout(STORY, async {
        while let Some(line) = lines.next_line().await.expect("its stdout is text") {
            told.push_str(&line);
            told.push('\n');
            match line.as_str() {
                "stop" => {
                    server.terminate();
                    server.ended().await;
                }
                "start" => {
                    server.restart().await;
                    proxy.lead_to(server.url());
                }
                _ => continue,
            }
            answers
                .write_all(b"done\n")
                .await
                .expect("the story goes on");
        }
        story.wait().await.expect("its status can be read")
    })
    .await;
    match ended {
        Ok(status) => assert!(status.success(), "{status}:\n{told}"),
        Err(_) => panic!("the story doesn't end:\n{told}"),
    }
}
