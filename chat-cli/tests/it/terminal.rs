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
