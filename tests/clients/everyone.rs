//! All clients in one room: each hears each other.

use chat_tests::Server;
use futures_util::future::join_all;
use serde_json::json;

use crate::each::KINDS;
use crate::process::Client;

/// How many clients start while others connect.
const STARTED_AHEAD: usize = 3;

#[tokio::test]
async fn every_client_hears_every_other() {
    let server = Server::start().await;
    let host = server.person("host").await;
    let room = host.room_with("everyone", &[]).await;
    let invite = host.invite(room).await;
    // A few ahead: a machine that starts all of them at once, browsers too, has none ready for long.
    let mut waiting = KINDS.iter().map(|kind| Client::start(*kind, server.url()));
    let mut clients: Vec<Client> = waiting.by_ref().take(STARTED_AHEAD).collect();
    for number in 0..KINDS.len() {
        clients.extend(waiting.next());
        let client = &mut clients[number];
        let person = server.person(&format!("person{number}")).await;
        person.join(&invite).await;
        client.connect(person.api.token().unwrap()).await;
        client.event("Connected").await;
    }
    // Each has seen those join that came after it.
    let all = clients.len();
    for (number, client) in clients.iter_mut().enumerate() {
        for _ in number + 1..all {
            client.event("MemberJoined").await;
        }
    }
    for speaker in 0..all {
        let send = json!({"roomId": room, "content": format!("I am {:?}", KINDS[speaker])});
        let sent = clients[speaker].invoke("SendMessage", send).await.unwrap();
        for (listener, client) in clients.iter_mut().enumerate() {
            if listener != speaker {
                assert_eq!(client.event("MessageCreated").await, sent);
            }
        }
    }
    let stopping = clients
        .iter_mut()
        .zip(KINDS)
        .filter(|(_, kind)| kind.stops_at_once());
    join_all(stopping.map(|(client, _)| client.stop())).await;
}
