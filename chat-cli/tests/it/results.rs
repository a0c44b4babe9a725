//! What commands print, as text and as JSON.

use insta::assert_snapshot;
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, method, path};
use wiremock::{Mock, ResponseTemplate};

use crate::world::{World, member, message, page, room, seen};

/// A world with the room 7, called tea, where ann and bob have written.
async fn tea() -> World {
    let world = World::new().await;
    world
        .answers("GET", "/v1/rooms", 200, page(&[room(7, "tea")]))
        .await;
    world
        .answers("GET", "/v1/rooms/7", 200, room(7, "tea"))
        .await;
    let members = [member(3, "ann", "admin"), member(4, "bob", "member")];
    world
        .answers("GET", "/v1/rooms/7/members", 200, page(&members))
        .await;
    let gone =
        json!({"id": 5, "username": "deleted user", "createdAt": "2026-01-31T12:00:00.000Z"});
    world.answers("GET", "/v1/users/5", 200, gone).await;
    let messages = [
        message(1, 3, "hello"),
        message(
            2,
            4,
            "two\nlines\tand a \u{1b}]0;title\u{7}\u{9b}2J\u{202e}",
        ),
        message(3, 5, "bye"),
    ];
    world
        .answers("GET", "/v1/rooms/7/messages", 200, page(&messages))
        .await;
    world
}

/// The server takes this text as message 42, and no other.
async fn takes(world: &World, text: &str) {
    Mock::given(method("POST"))
        .and(path("/v1/rooms/7/messages"))
        .and(body_partial_json(json!({"content": text})))
        .respond_with(ResponseTemplate::new(201).set_body_json(message(42, 3, text)))
        .mount(&world.server)
        .await;
}

#[tokio::test]
async fn the_history_names_the_writers_and_does_nothing_to_a_terminal() {
    let world = tea().await;
    assert_snapshot!(seen(world.chat_as_ann(&["history", "tea"])).await, @r"
    exit 0
    --- stdout
    1	2026-01-31T12:00:00.000Z	ann	hello
    2	2026-01-31T12:00:00.000Z	bob	two\nlines\tand a ]0;title2J
    3	2026-01-31T12:00:00.000Z	deleted user	bye
    --- stderr
    ");
}

#[tokio::test]
async fn json_is_the_contracts_page_with_the_exact_text() {
    let world = tea().await;
    let text = seen(world.chat_as_ann(&["--json", "history", "7"])).await;
    let document = text
        .strip_prefix("exit 0\n--- stdout\n")
        .and_then(|t| t.strip_suffix("\n--- stderr\n"))
        .expect("one document in one line");
    assert!(!document.contains(|c: char| c.is_control() || c == '\u{202e}'));
    let page: Value = serde_json::from_str(document).expect("JSON");
    assert_eq!(page["hasMore"], false);
    assert_eq!(
        page["items"][1]["content"],
        "two\nlines\tand a \u{1b}]0;title\u{7}\u{9b}2J\u{202e}"
    );
}

#[tokio::test]
async fn a_message_is_words_or_standard_input_without_its_last_line_break() {
    for (arguments, stdin, sent) in [
        (&["send", "tea", "hello", "there"][..], "", "hello there"),
        (&["send", "7", "-"], "one\ntwo\n", "one\ntwo"),
        (&["send", "7", "-"], "one\r\n", "one"),
        (&["send", "TEA", "--", "--json"], "", "--json"),
        (&["send", "tea", "-5"], "", "-5"),
    ] {
        let world = tea().await;
        takes(&world, sent).await;
        let mut send = world.chat_as_ann(arguments);
        send.write_stdin(stdin);
        assert_eq!(
            seen(send).await,
            "exit 0\n--- stdout\n42\n--- stderr\n",
            "{sent}"
        );
    }
}

#[tokio::test]
async fn a_sent_message_is_a_message() {
    let world = tea().await;
    takes(&world, "hello").await;
    assert_snapshot!(seen(world.chat_as_ann(&["send", "tea", "hello", "--json"])).await, @r#"
    exit 0
    --- stdout
    {"id":42,"roomId":7,"seq":42,"changedSeq":42,"senderId":3,"content":"hello","sentAt":"2026-01-31T12:00:00.000Z"}
    --- stderr
    "#);
}

#[tokio::test]
async fn rooms_and_members_are_fields_for_a_program() {
    let world = tea().await;
    assert_snapshot!(seen(world.chat_as_ann(&["room", "list"])).await, @r"
    exit 0
    --- stdout
    7	tea	2	admin	5	2026-01-31T12:00:00.000Z
    --- stderr
    ");
    assert_snapshot!(seen(world.chat_as_ann(&["room", "show", "tea", "--json"])).await, @r#"
    exit 0
    --- stdout
    {"id":7,"name":"tea","createdAt":"2026-01-31T12:00:00.000Z","memberCount":2,"seq":5,"role":"admin"}
    --- stderr
    "#);
    assert_snapshot!(seen(world.chat_as_ann(&["room", "members", "tea"])).await, @r"
    exit 0
    --- stdout
    3	ann	admin	2026-01-31T12:00:00.000Z
    4	bob	member	2026-01-31T12:00:00.000Z
    --- stderr
    ");
}

#[tokio::test]
async fn the_result_alone_is_on_standard_output() {
    let world = tea().await;
    world
        .answers("POST", "/v1/rooms", 201, room(7, "tea"))
        .await;
    let invite = json!({
        "id": 1, "roomId": 7, "token": "t0ken", "createdAt": "2026-01-31T12:00:00.000Z",
        "expiresAt": "2026-02-07T12:00:00.000Z", "maxUses": 2, "uses": 0,
    });
    Mock::given(method("POST"))
        .and(path("/v1/rooms/7/invites"))
        .and(body_partial_json(json!({"maxUses": 2, "expiresIn": 3600})))
        .respond_with(ResponseTemplate::new(201).set_body_json(invite))
        .mount(&world.server)
        .await;
    assert_snapshot!(seen(world.chat_as_ann(&["room", "create", "tea"])).await, @r"
    exit 0
    --- stdout
    7
    --- stderr
    made room 7, called tea: invite others with `chat room invite 7`
    ");
    let arguments = [
        "-q",
        "room",
        "invite",
        "tea",
        "--max-uses",
        "2",
        "--expires-in",
        "1h",
    ];
    assert_snapshot!(seen(world.chat_as_ann(&arguments)).await, @r"
    exit 0
    --- stdout
    t0ken
    --- stderr
    ");
}

#[tokio::test]
async fn an_admin_names_members_and_the_server_gets_ids() {
    let world = tea().await;
    world
        .answers("DELETE", "/v1/rooms/7/members/4", 204, Value::Null)
        .await;
    world
        .answers(
            "PATCH",
            "/v1/rooms/7/members/4",
            200,
            member(4, "bob", "admin"),
        )
        .await;
    let kicked = seen(world.chat_as_ann(&["room", "kick", "tea", "BOB"])).await;
    assert!(kicked.starts_with("exit 0\n"), "{kicked}");
    let arguments = ["room", "role", "7", "@bob", "admin", "--json"];
    assert_snapshot!(seen(world.chat_as_ann(&arguments)).await, @r#"
    exit 0
    --- stdout
    {"userId":4,"username":"bob","role":"admin","joinedAt":"2026-01-31T12:00:00.000Z"}
    --- stderr
    bob's role in room 7 is admin now
    "#);
    let nobody = seen(world.chat_as_ann(&["room", "kick", "tea", "eve"])).await;
    assert!(nobody.starts_with("exit 4\n"), "{nobody}");
}

#[tokio::test]
async fn a_long_history_is_read_page_by_page() {
    let world = World::new().await;
    for (before, ids, more) in [(None, 101..=200, true), (Some("101"), 81..=100, true)] {
        let items: Vec<Value> = ids.map(|id| message(id, 3, "x")).collect();
        let mut mock = Mock::given(method("GET")).and(path("/v1/rooms/7/messages"));
        mock = match before {
            Some(id) => mock.and(wiremock::matchers::query_param("before", id)),
            None => mock.and(wiremock::matchers::query_param_is_missing("before")),
        };
        mock.respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"items": items, "hasMore": more})),
        )
        .mount(&world.server)
        .await;
    }
    let text = seen(world.chat_as_ann(&["history", "7", "-n", "120", "--json"])).await;
    let document = text.lines().nth(2).expect("a line");
    let page: Value = serde_json::from_str(document).expect("JSON");
    let ids: Vec<_> = page["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| m["id"].as_i64().expect("an id"))
        .collect();
    assert_eq!(ids, (81..=200).collect::<Vec<_>>());
    assert_eq!(page["hasMore"], true);
}

#[tokio::test]
async fn what_answers_nothing_prints_nothing() {
    let world = tea().await;
    world
        .answers("DELETE", "/v1/rooms/7/messages/1", 204, Value::Null)
        .await;
    world
        .answers("DELETE", "/v1/rooms/7", 204, Value::Null)
        .await;
    world
        .answers("DELETE", "/v1/rooms/7/members/me", 204, Value::Null)
        .await;
    for arguments in [
        &["delete", "tea", "1"][..],
        &["room", "delete", "tea"],
        &["room", "leave", "7"],
    ] {
        let mut command = world.chat_as_ann(arguments);
        command.args(["--json", "--quiet"]);
        assert_eq!(seen(command).await, "exit 0\n--- stdout\n--- stderr\n");
    }
}
