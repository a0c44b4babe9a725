//! Connections end with the session that they live by. Over what goes on being written: a poll after the end is a 401.

use chat_tests::{Api, Hub, PASSWORD, Server};
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite;

use super::connect;

#[tokio::test]
async fn a_logout_closes_the_sessions_sockets_at_once_and_no_others() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let again = ann.again().await;
    let mut ended = connect(&ann).await;
    let mut lives = connect(&again).await;
    ann.api.post_empty("/v1/auth/logout").await.with(204);
    ended.closes(Some("sessionEnded"), json!({"type": 7})).await;
    lives.is_quiet().await;
    // Its token opens nothing any more.
    for (method, path) in [
        (Method::POST, "/v1/hub/negotiate?negotiateVersion=1"),
        (Method::GET, "/v1/hub?id=any"),
        (Method::POST, "/v1/hub?id=any"),
        (Method::DELETE, "/v1/hub?id=any"),
    ] {
        let answer = Api::send(ann.api.request(method, path)).await.unwrap();
        assert_eq!(answer.status, 401, "{path}: {}", answer.text);
    }
    match Hub::open(&ann, "").await {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 401),
        other => panic!("no refusal: {other:?}"),
    }

    // From afar: the session is ended by another one.
    let third = ann.again().await;
    let mut far = connect(&third).await;
    let sessions = third.api.get("/v1/auth/sessions").await.with(200);
    let current = sessions["items"].as_array().unwrap();
    let current = current.iter().find(|s| s["current"] == true).unwrap();
    again
        .api
        .delete(&format!("/v1/auth/sessions/{}", current["id"]))
        .await
        .with(204);
    far.closes(Some("sessionEnded"), json!({"type": 7})).await;
    lives.is_quiet().await;
}

#[tokio::test]
async fn a_new_password_closes_the_sockets_of_every_other_session() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let again = ann.again().await;
    let mut here = connect(&ann).await;
    let mut there = connect(&again).await;
    let change = json!({"currentPassword": PASSWORD, "newPassword": "another password"});
    ann.api.post("/v1/auth/password", &change).await.with(204);
    there.closes(Some("sessionEnded"), json!({"type": 7})).await;
    here.is_quiet().await;
}

#[tokio::test]
async fn a_deleted_users_sockets_close_and_the_others_are_told() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    bob.say(room, "stays").await;
    let mut gone = connect(&bob).await;
    let mut other = connect(&ann).await;
    let request = bob
        .api
        .request(Method::DELETE, "/v1/users/me")
        .json(&json!({"password": PASSWORD}));
    Api::send(request).await.unwrap().with(204);
    let left = json!({"roomId": room, "seq": 4, "userId": bob.id, "reason": "accountDeleted"});
    assert_eq!(other.event("MemberLeft").await, left);
    // Whether the room's last word came before the session's end is left open.
    let mut last = gone.next().await.unwrap();
    if last["target"] == "MemberLeft" {
        last = gone.next().await.unwrap();
    }
    assert_eq!(
        last["arguments"][0],
        json!({"reason": "sessionEnded"}),
        "{last}"
    );
    gone.closes(None, json!({"type": 7})).await;
    bob.api
        .get("/v1/users/me")
        .await
        .refused(401, "unauthenticated");
}
