//! How commands fail.

use insta::assert_snapshot;

use crate::world::{World, page, room, seen};

#[tokio::test]
async fn each_refusal_has_its_exit_code_and_says_its_code() {
    for (status, code, exit) in [
        (401, "unauthenticated", 3),
        (403, "forbidden", 5),
        (404, "not_found", 4),
        (409, "limit_reached", 5),
        (410, "gone", 5),
        (422, "validation_failed", 1),
        (429, "rate_limited", 6),
        (500, "internal", 1),
    ] {
        let world = World::new().await;
        world.refuses("POST", "/v1/rooms", status, code).await;
        let text = seen(world.chat_as_ann(&["room", "create", "tea"])).await;
        assert!(
            text.starts_with(&format!("exit {exit}\n--- stdout\n---")),
            "{text}"
        );
        if code != "unauthenticated" {
            assert!(
                text.contains(&format!("error[{code}]: the server says no")),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn who_is_not_logged_in_hears_what_to_do() {
    let world = World::new().await;
    for arguments in [&["room", "list"][..], &["tail", "tea"], &["whoami"]] {
        assert_eq!(
            seen(world.chat(arguments)).await,
            "exit 3\n--- stdout\n--- stderr\nerror[unauthenticated]: not logged in\n\
             hint: log in with `chat login --email …`\n",
            "{arguments:?}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_what_the_hint_is_about() {
    let world = World::new().await;
    world
        .refuses("GET", "/v1/users/me", 401, "token_expired")
        .await;
    assert_snapshot!(seen(world.chat_as_ann(&["whoami"])).await, @r"
    exit 3
    --- stdout
    --- stderr
    error[unauthenticated]: the session has ended: the access token was refused
    hint: CHAT_TOKEN isn't valid, or not any more: set another, or unset it and log in
    ");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let world = World::new().await;
    let uri = {
        // Nobody listens where someone did a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    for arguments in [&["room", "create", "tea"][..], &["tail", "7"]] {
        let mut command = world.chat_as_ann(arguments);
        command.env("CHAT_SERVER", &uri);
        let text = seen(command).await;
        assert!(
            text.starts_with("exit 7\n--- stdout\n--- stderr\nerror[unreachable]: "),
            "{text}"
        );
        assert!(
            text.contains("\nhint: check that the server runs"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_name_without_a_room_or_with_several_is_told_apart() {
    let world = World::new().await;
    let rooms = [room(7, "tea"), room(8, "twice"), room(9, "twice")];
    world.answers("GET", "/v1/rooms", 200, page(&rooms)).await;
    assert_snapshot!(seen(world.chat_as_ann(&["send", "coffee", "hello"])).await, @r#"
    exit 4
    --- stdout
    --- stderr
    error[not_found]: none of your rooms is called "coffee"
    hint: `chat room list` shows them
    "#);
    assert_snapshot!(seen(world.chat_as_ann(&["send", "twice", "hello"])).await, @r#"
    exit 2
    --- stdout
    --- stderr
    error[ambiguous]: 2 of your rooms are called "twice"
    hint: give the id: 8, 9
    "#);
}

#[tokio::test]
async fn what_something_else_answers_makes_no_sense() {
    let world = World::new().await;
    world
        .answers("POST", "/v1/rooms", 200, "hello".into())
        .await;
    let text = seen(world.chat_as_ann(&["room", "create", "tea"])).await;
    assert!(
        text.starts_with("exit 1\n--- stdout\n--- stderr\nerror: "),
        "{text}"
    );
}
