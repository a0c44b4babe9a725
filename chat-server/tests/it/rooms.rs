//! Rooms, invites and messages over HTTP: statuses and shapes. Their rules are tested where they are.

use serde_json::json;

use crate::harness::TestServer;

#[tokio::test]
async fn a_room_is_made_read_renamed_and_deleted() {
    let server = TestServer::start().await;
    let mia = server.user("mia").await;
    let room = mia
        .post("/v1/rooms", &json!({"name": "  den  "}))
        .await
        .created()
        .await;
    assert_eq!(room["name"], "den");
    assert_eq!(
        (&room["seq"], &room["memberCount"], &room["role"]),
        (&json!(1), &json!(1), &json!("admin"))
    );
    let path = format!("/v1/rooms/{}", room["id"]);
    assert_eq!(mia.get(&path).await.ok().await, room);
    let renamed = mia.patch(&path, &json!({"name": "lair"})).await.ok().await;
    assert_eq!(
        (&renamed["name"], &renamed["seq"]),
        (&json!("lair"), &json!(2))
    );
    let page = mia.get("/v1/rooms").await.ok().await;
    assert_eq!(page, json!({"items": [renamed], "hasMore": false}));

    let kim = server.user("kim").await;
    kim.get(&path).await.problem(404, "not_found").await;
    mia.invite(&path, &kim).await;
    kim.patch(&path, &json!({"name": "mine"}))
        .await
        .problem(403, "forbidden")
        .await;
    kim.delete(&path).await.problem(403, "forbidden").await;
    mia.delete(&path).await.done().await;
    mia.delete(&path).await.problem(404, "not_found").await;
}

#[tokio::test]
async fn members_are_listed_promoted_and_removed() {
    let server = TestServer::start().await;
    let (mia, kim) = (server.user("mia").await, server.user("kim").await);
    let room = mia.room("den").await;
    mia.invite(&room, &kim).await;
    let members = mia.get(&format!("{room}/members")).await.ok().await;
    assert_eq!(members["items"][1]["username"], "kim");
    let member = |id| format!("{room}/members/{id}");
    mia.patch(&member(mia.id()), &json!({"role": "member"}))
        .await
        .problem(409, "conflict")
        .await;
    let promoted = mia
        .patch(&member(kim.id()), &json!({"role": "admin"}))
        .await
        .ok()
        .await;
    assert_eq!(promoted["role"], "admin");
    mia.delete(&member(kim.id()))
        .await
        .problem(403, "forbidden")
        .await;
    kim.delete(&format!("{room}/members/me?deleteMessages=true"))
        .await
        .done()
        .await;
    kim.get(&room).await.problem(404, "not_found").await;
}

#[tokio::test]
async fn an_invite_is_made_listed_used_and_revoked() {
    let server = TestServer::start().await;
    let (mia, kim) = (server.user("mia").await, server.user("kim").await);
    let room = mia.room("den").await;
    let invites = format!("{room}/invites");
    let invite = mia
        .post(&invites, &json!({"maxUses": 1, "expiresIn": 60}))
        .await
        .created()
        .await;
    let accept = json!({"token": invite["token"]});
    let listed = mia.get(&invites).await.ok().await;
    assert_eq!(
        (&listed["items"][0]["id"], listed["items"][0].get("token")),
        (&invite["id"], None)
    );
    kim.post("/v1/invites/accept", &json!({"token": "unknown"}))
        .await
        .problem(404, "not_found")
        .await;
    let joined = kim.post("/v1/invites/accept", &accept).await.ok().await;
    assert_eq!(
        (&joined["role"], &joined["memberCount"]),
        (&json!("member"), &json!(2))
    );
    kim.post("/v1/invites/accept", &accept).await.ok().await;
    let lee = server.user("lee").await;
    lee.post("/v1/invites/accept", &accept)
        .await
        .problem(410, "gone")
        .await;
    kim.get(&invites).await.problem(403, "forbidden").await;

    let invite = mia.post(&invites, &json!({})).await.created().await;
    let path = format!("{invites}/{}", invite["id"]);
    mia.delete(&path).await.done().await;
    mia.delete(&path).await.problem(404, "not_found").await;
    lee.post("/v1/invites/accept", &json!({"token": invite["token"]}))
        .await
        .problem(410, "gone")
        .await;
}

#[tokio::test]
async fn a_message_is_sent_once_edited_and_deleted() {
    let server = TestServer::start().await;
    let (mia, kim) = (server.user("mia").await, server.user("kim").await);
    let room = mia.room("den").await;
    mia.invite(&room, &kim).await;
    let messages = format!("{room}/messages");
    let body = json!({"content": "h\u{e9}llo\n\t\u{1f600}", "clientMessageId": "1"});
    let sent = mia.post(&messages, &body).await.created().await;
    assert_eq!(sent["content"], body["content"]);
    assert_eq!(mia.post(&messages, &body).await.ok().await, sent);
    let other = json!({"content": "other", "clientMessageId": "1"});
    mia.post(&messages, &other)
        .await
        .problem(409, "conflict")
        .await;

    let path = format!("{messages}/{}", sent["id"]);
    assert_eq!(kim.get(&path).await.ok().await, sent);
    kim.patch(&path, &json!({"content": "x"}))
        .await
        .problem(403, "forbidden")
        .await;
    let edited = mia.patch(&path, &json!({"content": "x"})).await.ok().await;
    assert_eq!(
        (&edited["content"], &edited["seq"]),
        (&json!("x"), &sent["seq"])
    );
    assert_ne!(edited["changedSeq"], sent["changedSeq"]);
    kim.delete(&path).await.problem(403, "forbidden").await;
    mia.delete(&path).await.done().await;
    mia.delete(&path).await.problem(404, "not_found").await;
    kim.get(&path).await.problem(404, "not_found").await;
}

#[tokio::test]
async fn history_and_changes_come_in_pages() {
    let server = TestServer::start().await;
    let mia = server.user("mia").await;
    let room = mia.room("den").await;
    let messages = format!("{room}/messages");
    let mut ids = Vec::new();
    for n in 0..5 {
        let sent = mia
            .post(&messages, &json!({"content": n.to_string()}))
            .await
            .created()
            .await;
        ids.push(sent["id"].clone());
    }
    let contents = |page: &serde_json::Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .map(|m| m["content"].as_str().expect("content").to_owned())
            .collect()
    };
    let newest = mia.get(&format!("{messages}?limit=2")).await.ok().await;
    assert_eq!(
        (contents(&newest), &newest["hasMore"]),
        (vec!["3".into(), "4".into()], &json!(true))
    );
    let before = mia
        .get(&format!("{messages}?before={}", ids[2]))
        .await
        .ok()
        .await;
    assert_eq!(contents(&before), ["0", "1"]);
    let start = mia
        .get(&format!("{messages}?after=0&limit=1"))
        .await
        .ok()
        .await;
    assert_eq!(contents(&start), ["0"]);

    let changes = mia
        .get(&format!("{room}/changes?since=0&limit=2"))
        .await
        .ok()
        .await;
    assert_eq!(changes["items"][0]["type"], "memberJoined");
    assert_eq!(
        (&changes["seq"], &changes["hasMore"], &changes["complete"]),
        (&json!(2), &json!(true), &json!(true))
    );
    let rest = mia
        .get(&format!("{room}/changes?since=2&from=0"))
        .await
        .ok()
        .await;
    assert_eq!((&rest["seq"], &rest["hasMore"]), (&json!(6), &json!(false)));
    assert_eq!(contents(&rest), ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_flood_of_messages_is_limited() {
    let server = TestServer::with(&[
        ("CHAT_RATE_SENDS_PER_SECOND", "1"),
        ("CHAT_RATE_SENDS_BURST", "1"),
    ])
    .await;
    let mia = server.user("mia").await;
    let room = mia.room("den").await;
    let messages = format!("{room}/messages");
    mia.post(&messages, &json!({"content": "1"}))
        .await
        .created()
        .await;
    mia.post(&messages, &json!({"content": "2"}))
        .await
        .problem(429, "rate_limited")
        .await;
}

#[tokio::test]
async fn a_limit_that_is_reached_is_a_conflict() {
    let server = TestServer::with(&[("CHAT_LIMIT_ROOMS_PER_USER", "1")]).await;
    let mia = server.user("mia").await;
    mia.room("den").await;
    mia.post("/v1/rooms", &json!({"name": "another"}))
        .await
        .problem(409, "limit_reached")
        .await;
}
