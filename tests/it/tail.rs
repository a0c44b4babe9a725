//! `chat tail` of several rooms, across a restart of the server and being removed: it misses nothing.

use std::process::Stdio;

use chat_tests::{Gateway, Person, Server, WITHIN, chat};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::Command;
use tokio::time::timeout;

async fn line<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>) -> String {
    let line = timeout(3 * WITHIN, lines.next_line()).await;
    let line = line.expect("it says something in time").expect("read");
    line.expect("it goes on")
}

async fn event<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>) -> Value {
    serde_json::from_str(&line(lines).await).expect("an event a line")
}

/// Says something in each room; what the events of it are.
async fn say(person: &Person, rooms: &[i64], content: &str) -> Vec<Value> {
    let mut events = Vec::new();
    for room in rooms {
        let mut message = person.say(*room, content).await;
        message["type"] = "messageCreated".into();
        events.push(message);
    }
    events
}

#[tokio::test]
async fn tail_misses_nothing_across_a_restart_and_ends_when_there_is_no_room_left() {
    let mut server = Server::start().await;
    let gateway = Gateway::to(&server).await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let one = ann.room_with("one", &[&bob]).await;
    let two = ann.room_with("two", &[&bob]).await;
    let home = tempfile::tempdir().unwrap();
    let mut tail = Command::new(chat())
        .args(["--json", "tail", &one.to_string(), &two.to_string()])
        .env_clear()
        .env("HOME", home.path())
        .env("CHAT_SERVER", gateway.url())
        .env("CHAT_TOKEN", bob.api.token().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut events = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut notes = BufReader::new(tail.stderr.take().unwrap()).lines();
    assert!(line(&mut notes).await.contains("following one, two"));
    // They go on to be read, so that it can write.
    tokio::spawn(async move { while let Ok(Some(_)) = notes.next_line().await {} });

    for expected in say(&ann, &[one, two], "before").await {
        assert_eq!(event(&mut events).await, expected);
    }
    server.kill().await;
    server.restart().await;
    // It can't reach the new server yet: these are what it must not miss.
    let ann = ann.at(server.url());
    let mut missed = Vec::new();
    for n in 0..20 {
        missed.extend(say(&ann, &[one, two], &format!("missed {n}")).await);
    }
    gateway.lead_to(&server);
    let mut heard = Vec::new();
    while heard.len() < missed.len() {
        heard.push(event(&mut events).await);
    }
    for room in [one, two] {
        let of = |events: &[Value]| -> Vec<Value> {
            let here = events.iter().filter(|event| event["roomId"] == room);
            here.cloned().collect()
        };
        assert_eq!(of(&heard), of(&missed), "room {room}");
    }

    let remove = async |room: i64| {
        let path = format!("/v1/rooms/{room}/members/{}", bob.id);
        ann.api.delete(&path).await.with(204);
    };
    remove(one).await;
    let left = event(&mut events).await;
    assert_eq!(
        (&left["type"], &left["roomId"]),
        (&"memberLeft".into(), &one.into())
    );
    // Of the one it hears nothing more, of the other it does.
    let said = say(&ann, &[one, two], "after").await;
    assert_eq!(event(&mut events).await, said[1]);
    remove(two).await;
    let left = event(&mut events).await;
    assert_eq!(
        (&left["type"], &left["roomId"]),
        (&"memberLeft".into(), &two.into())
    );
    let ended = timeout(WITHIN, tail.wait()).await;
    let status = ended.expect("it ends in time").unwrap();
    assert_eq!(status.code(), Some(4), "not found");
    assert_eq!(events.next_line().await.unwrap(), None);
}
