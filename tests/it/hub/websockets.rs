//! What only a WebSocket has, and what takes so long that one transport is enough.

use std::time::Duration;

use chat_tests::{Hub, Server};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_close_frame_is_echoed() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = Hub::connect(&ann).await;
    hub.send_frame(Message::Close(None)).await.unwrap();
    assert_eq!(hub.next().await, None);
}

#[tokio::test]
async fn a_connection_ends_soon_after_its_token() {
    let server = Server::builder()
        .set("CHAT_ACCESS_TOKEN_SECONDS", "1")
        .start()
        .await;
    let ann = server.person("ann").await;
    let mut hub = Hub::connect(&ann).await;
    // Within its grace it is served still.
    hub.is_quiet().await;
    let closing = hub.next_within(Duration::from_secs(70)).await.unwrap();
    assert_eq!(
        closing["arguments"][0],
        json!({"reason": "tokenExpired"}),
        "{closing}"
    );
    hub.closes(None, json!({"type": 7, "allowReconnect": true}))
        .await;
}

#[tokio::test]
async fn a_connection_that_moved_to_another_session_outlives_its_first() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let again = ann.again().await;
    let mut hub = Hub::connect(&ann).await;
    let token = json!({"accessToken": again.api.token()});
    hub.invoke("Authenticate", token).await.unwrap();
    ann.api.post_empty("/v1/auth/logout").await.with(204);
    hub.is_quiet().await;
}
