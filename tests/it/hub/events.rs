//! Who is told what, and in which order.

use chat_tests::{Hub, Server, WITHIN};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::connect;

#[tokio::test]
async fn connected_names_the_user_and_all_rooms_with_their_heads() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let first = ann.room_with("first", &[&bob]).await;
    let second = bob.room_with("second", &[&ann]).await;
    bob.room_with("not hers", &[]).await;
    ann.say(second, "hello").await;
    let hub = connect(&ann).await;
    let mut connected = hub.connected;
    let rooms = connected["rooms"].as_array_mut().expect("a list");
    rooms.sort_by_key(|room| room["id"].as_i64());
    let expected = json!({
        "userId": ann.id,
        "connectionId": connected["connectionId"],
        "serverTime": connected["serverTime"],
        "rooms": [{"id": first, "seq": 2}, {"id": second, "seq": 3}],
    });
    assert_eq!(connected, expected);
    assert_eq!(connected["connectionId"].as_str().map(str::len), Some(22));
}

#[tokio::test]
async fn joining_changing_and_leaving_are_told_to_the_right_people_in_order() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let mut admin = connect(&ann).await;
    let mut guest = connect(&bob).await;

    let room = ann.room_with("room", &[]).await;
    let joined = admin.event("RoomJoined").await;
    assert_eq!(joined["room"]["id"], room);
    assert_eq!(
        (&joined["room"]["seq"], &joined["room"]["role"]),
        (&json!(1), &json!("admin"))
    );

    let token = ann.invite(room).await;
    bob.join(&token).await;
    let joined = guest.event("RoomJoined").await;
    let expected = json!({"room": {
        "id": room, "name": "room", "createdAt": joined["room"]["createdAt"], "memberCount": 2, "seq": 2, "role": "member",
    }});
    assert_eq!(joined, expected);
    let told = admin.event("MemberJoined").await;
    let member = |role: &str| json!({"userId": bob.id, "username": "bob", "role": role, "joinedAt": told["member"]["joinedAt"]});
    assert_eq!(
        told,
        json!({"roomId": room, "seq": 2, "member": member("member")})
    );

    let path = format!("/v1/rooms/{room}");
    ann.api
        .patch(&path, &json!({"name": "hall"}))
        .await
        .with(200);
    let path = format!("/v1/rooms/{room}/members/{}", bob.id);
    ann.api
        .patch(&path, &json!({"role": "admin"}))
        .await
        .with(200);
    let me = format!("/v1/rooms/{room}/members/me");
    for hub in [&mut admin, &mut guest] {
        let changed = hub.event("RoomChanged").await;
        let expected = json!({"roomId": room, "seq": 3, "room": {
            "id": room, "name": "hall", "createdAt": changed["room"]["createdAt"], "memberCount": 2, "seq": 3,
        }});
        assert_eq!(changed, expected);
        let changed = hub.event("MemberChanged").await;
        assert_eq!(
            changed,
            json!({"roomId": room, "seq": 4, "member": member("admin")})
        );
    }

    // The one who leaves is told so as the last thing from that room.
    bob.api.delete(&me).await.with(204);
    let left = json!({"roomId": room, "seq": 5, "userId": bob.id, "reason": "left"});
    assert_eq!(guest.event("MemberLeft").await, left);
    assert_eq!(admin.event("MemberLeft").await, left);

    // The last one out takes the room along.
    ann.api.delete(&me).await.with(204);
    let left = json!({"roomId": room, "seq": 6, "userId": ann.id, "reason": "left"});
    assert_eq!(admin.event("MemberLeft").await, left);
    assert_eq!(
        admin.event("RoomDeleted").await,
        json!({"roomId": room, "seq": 7})
    );
    admin.is_quiet().await;
    guest.is_quiet().await;
}

#[tokio::test]
async fn a_deleted_room_is_told_once_to_all_who_were_in_it() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut hubs = [connect(&ann).await, connect(&bob).await];
    ann.api.delete(&format!("/v1/rooms/{room}")).await.with(204);
    for hub in &mut hubs {
        assert_eq!(
            hub.event("RoomDeleted").await,
            json!({"roomId": room, "seq": 3})
        );
        hub.is_quiet().await;
    }
}

#[tokio::test]
async fn whoever_leaves_with_their_messages_is_followed_by_what_that_makes_of_the_room() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    ann.say(room, "soon gone").await;
    let mut other = connect(&bob).await;
    let path = format!("/v1/rooms/{room}/members/me?deleteMessages=true");
    ann.api.delete(&path).await.with(204);
    let deleted = json!({"roomId": room, "seq": 4, "senderId": ann.id});
    assert_eq!(other.event("MessagesDeleted").await, deleted);
    let left = json!({"roomId": room, "seq": 5, "userId": ann.id, "reason": "left"});
    assert_eq!(other.event("MemberLeft").await, left);
    let changed = json!({"roomId": room, "seq": 6, "role": "admin"});
    assert_eq!(other.event("MembersChanged").await, changed);
    let page = bob
        .api
        .get(&format!("/v1/rooms/{room}/messages"))
        .await
        .with(200);
    assert_eq!(page, json!({"items": [], "hasMore": false}));
}

#[tokio::test]
async fn a_new_username_is_told_in_each_of_the_users_rooms() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let first = ann.room_with("first", &[&bob]).await;
    let second = ann.room_with("second", &[&bob]).await;
    let mut other = connect(&bob).await;
    ann.api
        .patch("/v1/users/me", &json!({"username": "anna"}))
        .await
        .with(200);
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let changed = other.event("MemberChanged").await;
        assert_eq!(changed["member"]["username"], "anna");
        assert_eq!(changed["member"]["userId"], ann.id);
        rooms.push(changed["roomId"].as_i64());
    }
    rooms.sort();
    assert_eq!(rooms, [Some(first), Some(second)]);
}

#[tokio::test]
async fn heads_say_which_rooms_moved_since_the_last_time() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("moves", &[]).await;
    ann.room_with("rests", &[]).await;
    let mut hub = connect(&ann).await;
    ann.say(room, "hello").await;
    assert_eq!(hub.event("MessageCreated").await["seq"], 2);
    let heads = timeout(WITHIN, heads(&mut hub)).await.expect("they come");
    assert_eq!(heads, json!({"rooms": [{"id": room, "seq": 2}]}));
}

/// The next `Heads`, which come every 5 s.
async fn heads(hub: &mut Hub) -> Value {
    loop {
        let record = hub.next_of_all().await.expect("the connection is open");
        if record["target"] == "Heads" {
            return record["arguments"][0].clone();
        }
        assert_eq!(record["type"], 6, "{record}");
    }
}
