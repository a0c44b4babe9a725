//! What each method answers.

use chat_tests::Server;
use serde_json::{Value, json};

use super::connect;

#[tokio::test]
async fn a_send_is_confirmed_to_its_connection_and_told_to_all_others() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut sender = connect(&ann).await;
    let mut second = connect(&ann).await;
    let mut other = connect(&bob).await;

    let send = json!({"roomId": room, "content": "hello\n\u{1F600}", "clientMessageId": "c-1"});
    let message = sender.invoke("SendMessage", send.clone()).await.unwrap();
    let expected = json!({
        "id": message["id"], "roomId": room, "seq": 3, "changedSeq": 3, "senderId": ann.id,
        "content": "hello\n\u{1F600}", "sentAt": message["sentAt"], "clientMessageId": "c-1",
    });
    assert_eq!(message, expected);
    for hub in [&mut second, &mut other] {
        let event = hub.next().await.unwrap();
        assert_eq!(
            event,
            json!({"type": 1, "target": "MessageCreated", "arguments": [message]})
        );
    }

    // Sent once more, it answers the same and happens to nobody again; with another content it is refused.
    assert_eq!(sender.invoke("SendMessage", send).await.unwrap(), message);
    let error = sender
        .invoke(
            "SendMessage",
            json!({"roomId": room, "content": "other", "clientMessageId": "c-1"}),
        )
        .await
        .unwrap_err();
    assert!(error.starts_with("conflict: "), "{error}");
    let barrier = bob.say(room, "barrier").await;
    for hub in [&mut sender, &mut second, &mut other] {
        assert_eq!(hub.event("MessageCreated").await, barrier);
    }
}

#[tokio::test]
async fn edits_and_deletions_are_confirmed_and_told() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let sent = ann.say(room, "first").await;
    let mut author = connect(&ann).await;
    let mut other = connect(&bob).await;

    let edit = json!({"roomId": room, "messageId": sent["id"], "content": "second"});
    let error = other.invoke("EditMessage", edit.clone()).await.unwrap_err();
    assert!(error.starts_with("forbidden: "), "{error}");
    let edited = author.invoke("EditMessage", edit.clone()).await.unwrap();
    let expected = json!({
        "id": sent["id"], "roomId": room, "seq": 3, "changedSeq": 4, "senderId": ann.id,
        "content": "second", "sentAt": sent["sentAt"], "editedAt": edited["editedAt"],
    });
    assert_eq!(edited, expected);
    assert_eq!(other.event("MessageEdited").await, edited);
    // The same content changes nothing: no place is taken.
    assert_eq!(author.invoke("EditMessage", edit).await.unwrap(), edited);

    let delete = json!({"roomId": room, "messageId": sent["id"]});
    let deleted = author
        .invoke("DeleteMessage", delete.clone())
        .await
        .unwrap();
    assert_eq!(
        (&deleted["changedSeq"], &deleted["content"]),
        (&json!(5), &json!(""))
    );
    assert!(deleted["deletedAt"].is_string(), "{deleted}");
    assert_eq!(other.event("MessageDeleted").await, deleted);
    let error = author.invoke("DeleteMessage", delete).await.unwrap_err();
    assert!(error.starts_with("not_found: "), "{error}");
}

#[tokio::test]
async fn pipelined_sends_keep_their_order_and_each_gets_its_completion() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut sender = connect(&ann).await;
    let mut other = connect(&bob).await;
    let mut calls = Vec::new();
    for n in 0..300 {
        let send = json!({"roomId": room, "content": format!("message {n}")});
        calls.push(sender.call("SendMessage", &send).await.unwrap());
    }
    for (n, id) in calls.iter().enumerate() {
        let message = sender.completion(id).await.unwrap();
        assert_eq!(message["content"], format!("message {n}"));
        assert_eq!(message["seq"], n + 3);
        assert_eq!(other.event("MessageCreated").await, message);
    }
}

#[tokio::test]
async fn a_send_without_an_id_is_told_to_its_connection_as_to_the_others() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let mut hub = connect(&ann).await;
    let silent = |target: &str, argument: Value| json!({"type": 1, "target": target, "arguments": [argument]});
    // Failures of such calls are answered by nothing at all.
    for call in [
        silent("Nonsense", json!({})),
        silent("SendMessage", json!({"roomId": room})),
        silent(
            "SendMessage",
            json!({"roomId": room + 1, "content": "to nowhere"}),
        ),
        silent("SendMessage", json!({"roomId": room, "content": "heard"})),
    ] {
        hub.send_record(&call).await.unwrap();
    }
    assert_eq!(hub.event("MessageCreated").await["content"], "heard");
    hub.is_quiet().await;
}

#[tokio::test]
async fn history_and_changes_are_the_same_as_over_rest() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let mut sent = Vec::new();
    for n in 0..7 {
        sent.push(ann.say(room, &format!("message {n}")).await);
    }
    let path = format!("/v1/rooms/{room}/messages/{}", sent[2]["id"]);
    ann.api
        .patch(&path, &json!({"content": "edited"}))
        .await
        .with(200);
    let path = format!("/v1/rooms/{room}/messages/{}", sent[4]["id"]);
    ann.api.delete(&path).await.with(204);

    let mut hub = connect(&ann).await;
    for (query, argument) in [
        (String::new(), json!({"roomId": room})),
        ("?limit=3".into(), json!({"roomId": room, "limit": 3})),
        (
            "?after=0&limit=2".into(),
            json!({"roomId": room, "after": 0, "limit": 2}),
        ),
        (
            format!("?before={}&limit=2", sent[5]["id"]),
            json!({"roomId": room, "before": sent[5]["id"], "limit": 2}),
        ),
    ] {
        let page = hub.invoke("GetMessages", argument).await.unwrap();
        let over_rest = ann
            .api
            .get(&format!("/v1/rooms/{room}/messages{query}"))
            .await;
        assert_eq!(page, over_rest.with(200), "{query}");
    }
    for (query, argument) in [
        ("since=0".into(), json!({"roomId": room, "since": 0})),
        (
            "since=4&limit=3".into(),
            json!({"roomId": room, "since": 4, "limit": 3}),
        ),
        (
            "since=8&from=2".into(),
            json!({"roomId": room, "since": 8, "from": 2}),
        ),
        (
            "since=999".to_owned(),
            json!({"roomId": room, "since": 999}),
        ),
    ] {
        let changes = hub.invoke("GetChanges", argument).await.unwrap();
        let over_rest = ann
            .api
            .get(&format!("/v1/rooms/{room}/changes?{query}"))
            .await;
        assert_eq!(changes, over_rest.with(200), "{query}");
    }
    for argument in [
        json!({"roomId": room, "limit": 0}),
        json!({"roomId": room, "limit": 101}),
        json!({"roomId": room, "before": 0}),
        json!({"roomId": room, "before": sent[0]["id"], "after": sent[1]["id"]}),
    ] {
        let error = hub.invoke("GetMessages", argument).await.unwrap_err();
        assert!(error.starts_with("validation_failed: "), "{error}");
    }
}

#[tokio::test]
async fn a_history_streams_oldest_first_without_what_was_deleted_beside_other_calls() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let mut hub = connect(&ann).await;
    for n in 0..230 {
        let send = json!({"roomId": room, "content": format!("message {n}")});
        hub.call("SendMessage", &send).await.unwrap();
    }
    let mut sent = Vec::new();
    for n in 0..230 {
        sent.push(hub.completion(&n.to_string()).await.unwrap());
    }
    let delete = json!({"roomId": room, "messageId": sent[100]["id"]});
    hub.invoke("DeleteMessage", delete).await.unwrap();
    sent.remove(100);

    for (argument, expected) in [
        (json!({"roomId": room}), &sent[..]),
        (
            json!({"roomId": room, "since": sent[150]["seq"]}),
            &sent[151..],
        ),
        (json!({"roomId": room, "since": 10_000}), &[]),
    ] {
        let call = json!({"type": 4, "invocationId": "s", "target": "StreamHistory", "arguments": [argument]});
        hub.send_record(&call).await.unwrap();
        for message in expected {
            let item = hub.next().await.unwrap();
            assert_eq!(
                item,
                json!({"type": 2, "invocationId": "s", "item": message})
            );
        }
        assert_eq!(
            hub.next().await.unwrap(),
            json!({"type": 3, "invocationId": "s"})
        );
    }
}

#[tokio::test]
async fn a_cancelled_stream_ends_with_its_completion() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let mut hub = connect(&ann).await;
    let content = "x".repeat(4_000);
    for _ in 0..300 {
        let send = json!({"roomId": room, "content": content});
        hub.call("SendMessage", &send).await.unwrap();
    }
    for n in 0..300 {
        hub.completion(&n.to_string()).await.unwrap();
    }
    let call = json!({"type": 4, "invocationId": "s", "target": "StreamHistory", "arguments": [{"roomId": room}]});
    hub.send_record(&call).await.unwrap();
    assert_eq!(hub.next().await.unwrap()["item"]["seq"], 2);
    // Read as fast as it is taken, the stream has more than a megabyte to go.
    hub.send_record(&json!({"type": 5, "invocationId": "s"}))
        .await
        .unwrap();
    let mut items = 1;
    loop {
        let record = hub.next().await.unwrap();
        if record["type"] == 3 {
            assert_eq!(record, json!({"type": 3, "invocationId": "s"}));
            break;
        }
        items += 1;
    }
    assert!(items <= 300, "{items} items of 300 messages");
    // Its id is free again, and cancelling what isn't there is nothing.
    hub.send_record(&json!({"type": 5, "invocationId": "s"}))
        .await
        .unwrap();
    hub.is_quiet().await;
}

#[tokio::test]
async fn a_ping_answers_the_servers_time() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = connect(&ann).await;
    let answer = hub.invoke("Ping", json!({})).await.unwrap();
    let time = answer["serverTime"].as_str().expect("a time");
    assert!(
        time.len() == 24 && time.ends_with('Z'),
        "RFC 3339 with milliseconds: {time}"
    );
    assert_eq!(answer, json!({"serverTime": time}));
}

#[tokio::test]
async fn a_connection_is_renewed_by_a_token_of_the_same_user_alone() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let mut hub = connect(&ann).await;
    let with = |token: Option<&str>| json!({"accessToken": token});

    let error = hub
        .invoke("Authenticate", with(bob.api.token()))
        .await
        .unwrap_err();
    assert!(error.starts_with("forbidden: "), "{error}");
    let error = hub
        .invoke("Authenticate", with(Some("nonsense")))
        .await
        .unwrap_err();
    assert!(error.starts_with("unauthenticated: "), "{error}");

    let again = ann.again().await;
    let answer = hub
        .invoke("Authenticate", with(again.api.token()))
        .await
        .unwrap();
    let expires_in = answer["expiresIn"].as_i64().expect("seconds");
    assert!((890..=900).contains(&expires_in), "{expires_in}");
    hub.is_quiet().await;
    // It lives by its new session from now on.
    again.api.post_empty("/v1/auth/logout").await.with(204);
    hub.closes(Some("sessionEnded"), json!({"type": 7})).await;
}

#[tokio::test]
async fn wrong_calls_are_refused_and_leave_the_connection_alone() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let mut hub = connect(&ann).await;
    let send = json!({"roomId": room, "content": "x"});
    let cases = [
        (
            "not_found",
            json!({"type": 1, "target": "Nonsense", "arguments": [{}]}),
        ),
        (
            "not_found",
            json!({"type": 1, "target": "sendmessage", "arguments": [send]}),
        ),
        (
            "not_found",
            json!({"type": 4, "target": "Nonsense", "arguments": [{}]}),
        ),
        (
            "not_found",
            json!({"type": 1, "target": "SendMessage", "arguments": [{"roomId": room + 1, "content": "x"}]}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "SendMessage", "arguments": []}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "SendMessage", "arguments": [send, send]}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "SendMessage", "arguments": ["x"]}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "SendMessage", "arguments": [{"roomId": "x", "content": "x"}]}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "SendMessage", "arguments": [{"roomId": room, "content": " \n"}]}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "SendMessage", "arguments": [send], "streamIds": ["1"]}),
        ),
        (
            "validation_failed",
            json!({"type": 1, "target": "StreamHistory", "arguments": [{"roomId": room}]}),
        ),
        (
            "validation_failed",
            json!({"type": 4, "target": "Ping", "arguments": [{}]}),
        ),
        (
            "not_found",
            json!({"type": 4, "target": "StreamHistory", "arguments": [{"roomId": room + 1}]}),
        ),
    ];
    for (n, (code, call)) in cases.into_iter().enumerate() {
        let mut call = call;
        call["invocationId"] = json!(format!("call {n}"));
        hub.send_record(&call).await.unwrap();
        let error = hub.completion(&format!("call {n}")).await.unwrap_err();
        assert!(error.starts_with(&format!("{code}: ")), "{call}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
    hub.is_quiet().await;
    assert_eq!(
        ann.changes(room, 1).await["items"],
        json!([]),
        "nothing was changed"
    );
}
