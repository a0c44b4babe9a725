//! What the command is connected to.

use std::io::Read as _;
use std::process::{Command, Stdio};

use crate::world::{World, page, room, seen};

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new().await;
    // More than a pipe holds.
    let rooms: Vec<_> = (1..=2_000).map(|id| room(id, &"x".repeat(64))).collect();
    world.answers("GET", "/v1/rooms", 200, page(&rooms)).await;
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("chat"))
        .env_clear()
        .env("HOME", world.home.path())
        .env("CHAT_SERVER", world.server.uri())
        .env("CHAT_TOKEN", "anns-token")
        .args(["room", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let output = tokio::task::spawn_blocking(move || {
        let mut errors = String::new();
        let mut pipe = child.stderr.take().expect("piped");
        pipe.read_to_string(&mut errors).expect("read");
        (child.wait().expect("ended"), errors)
    })
    .await
    .expect("joined");
    assert_eq!((output.0.code(), output.1.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn no_colour_reaches_a_pipe() {
    let world = World::new().await;
    world.refuses("GET", "/v1/rooms/7", 404, "not_found").await;
    for variable in ["NO_COLOR", "CHAT_NO_COLOR", "IRRELEVANT"] {
        let mut command = world.chat_as_ann(&["room", "show", "7"]);
        command.env(variable, "1");
        let text = seen(command).await;
        assert!(!text.contains('\x1b'), "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_interrupts_what_is_waited_for() {
    for signal in ["-INT", "-TERM"] {
        let world = World::new().await;
        let (asked, mut heard) = tokio::sync::mpsc::unbounded_channel();
        wiremock::Mock::given(wiremock::matchers::path("/v1/rooms/7"))
            .respond_with(move |_: &wiremock::Request| {
                let _ = asked.send(());
                wiremock::ResponseTemplate::new(200).set_delay(std::time::Duration::from_secs(600))
            })
            .mount(&world.server)
            .await;
        let child = Command::new(assert_cmd::cargo::cargo_bin!("chat"))
            .env_clear()
            .env("HOME", world.home.path())
            .env("CHAT_SERVER", world.server.uri())
            .env("CHAT_TOKEN", "anns-token")
            .args(["room", "show", "7"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        heard.recv().await.expect("the request came");
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(killed.expect("run").success());
        let output = tokio::task::spawn_blocking(|| child.wait_with_output())
            .await
            .expect("joined")
            .expect("ended");
        assert_eq!(output.status.code(), Some(130), "{signal}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    }
}
