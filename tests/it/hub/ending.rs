//! How connections end, and what is said before.

use chat_tests::Server;
use serde_json::json;

use super::connect;

#[tokio::test]
async fn a_clients_close_is_answered() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for close in [
        json!({"type": 7}),
        json!({"type": 7, "allowReconnect": false}),
        json!({"type": 7, "error": "done"}),
    ] {
        let mut hub = connect(&ann).await;
        hub.send_record(&close).await.unwrap();
        hub.closes(None, json!({"type": 7})).await;
    }
}

#[tokio::test]
async fn a_stopping_server_says_so_to_every_connection_finishes_and_ends_well() {
    let mut server = Server::builder()
        .set("CHAT_DRAIN_SECONDS", "2")
        .start()
        .await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut hubs = [connect(&ann).await, connect(&bob).await];
    let send = json!({"roomId": room, "content": "before the end"});
    hubs[0].invoke("SendMessage", send).await.unwrap();
    hubs[1].event("MessageCreated").await;
    server.terminate();
    for hub in &mut hubs {
        hub.closes(Some("draining"), json!({"type": 7, "allowReconnect": true}))
            .await;
    }
    assert!(server.ended().await.success());
    server.restart().await;
    let ann = ann.at(server.url());
    assert_eq!(
        ann.changes(room, 2).await["items"][0]["content"],
        "before the end"
    );
}
