//! The original system's acceptance run, through the SDK against the real server.

use std::collections::BTreeSet;

use chat_client::model::{Event, Message, Role, RoomId, User};
use chat_client::protocol::ErrorCode;
use chat_client::protocol::rest::{CreateInvite, ListQuery};
use chat_client::{Client, ClientEvent, Connection};
use chat_test_kafka::Kafka;
use chat_test_postgres::Server as PostgreSql;
use chat_tests::cluster::Bus;
use chat_tests::{Cluster, PASSWORD, Server, WITHIN};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use tokio::time::timeout;

use crate::postgres::migrated;

const MESSAGES: usize = 50;
const LENGTH: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_users_do_what_the_original_systems_users_did() {
    five_users(Server::start().await.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_with_each_role_on_its_own_on_postgresql_and_kafka() {
    let database = PostgreSql::shared().database(None).await;
    let kafka = tokio::task::spawn_blocking(|| Kafka::start(1))
        .await
        .unwrap();
    let cluster = Cluster::start(&database, Bus::Kafka(&kafka)).await;
    five_users(cluster.ingress.url()).await;
    // Everyone's events went to Kafka, and what they found there they needn't read from the database.
    for node in &cluster.realtime {
        let metrics = node.anyone().get("/metrics").await.text;
        assert!(metrics.contains("chat_bus_up 1"), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_on_postgresql() {
    let database = PostgreSql::shared().database(None).await;
    five_users(migrated(&database).await.url()).await;
}

pub(crate) async fn five_users(url: &str) {
    let mut people = Vec::new();
    for name in ["ann", "bob", "carl", "dora", "eve"] {
        people.push(log_in(url, name).await);
    }
    let [
        (ann, _),
        (bob, bob_user),
        (_, carl_user),
        (_, dora_user),
        (eve, eve_user),
    ] = &people[..]
    else {
        unreachable!("five people")
    };

    // One creates a room and invites the rest; the creator is its only admin.
    let room = ann.create_room("room").await.unwrap().id;
    let invite = ann
        .room(room)
        .create_invite(CreateInvite::default())
        .await
        .unwrap();
    let token = invite.token.expect("shown when it is made");
    for (client, _) in &people[1..] {
        assert_eq!(client.accept_invite(&token).await.unwrap().id, room);
    }
    let members = ann.room(room).members(ListQuery::default()).await.unwrap();
    let roles: Vec<_> = members.items.iter().map(|m| (m.user_id, m.role)).collect();
    let expected: Vec<_> = people
        .iter()
        .enumerate()
        .map(|(n, (_, user))| (user.id, if n == 0 { Role::Admin } else { Role::Member }))
        .collect();
    assert_eq!(roles, expected);

    // A regular member can't rename the room, is promoted, and can.
    let refused = bob.room(room).rename("bob's").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    ann.room(room)
        .set_role(bob_user.id, Role::Admin)
        .await
        .unwrap();
    assert_eq!(bob.room(room).rename("bob's").await.unwrap().name, "bob's");

    talk(&people[..4], room).await;

    // The absent one loads it all over REST.
    let loaded: Vec<Message> = eve
        .room(room)
        .messages_after(None)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(loaded.len(), 4 * MESSAGES);
    assert!(loaded.windows(2).all(|pair| pair[0].seq < pair[1].seq));

    // Messages are edited and deleted by their author only.
    let own = loaded
        .iter()
        .find(|m| m.sender_id == carl_user.id)
        .expect("carl spoke")
        .id;
    for stranger in [&people[3].0, eve] {
        let refused = stranger.room(room).edit(own, "not mine").await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
        let refused = stranger.room(room).delete_message(own).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    }
    let carl = people[2].0.room(room);
    assert_eq!(carl.edit(own, "mine").await.unwrap().content, "mine");
    assert_eq!(eve.room(room).message(own).await.unwrap().content, "mine");
    carl.delete_message(own).await.unwrap();
    let gone = eve.room(room).message(own).await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::NotFound));

    // An admin removes a regular member, and no admin.
    ann.room(room).remove(dora_user.id, false).await.unwrap();
    let refused = ann.room(room).remove(bob_user.id, false).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    let outside = people[3].0.room(room).get().await.unwrap_err();
    assert_eq!(outside.code(), Some(ErrorCode::NotFound));

    // Rooms and users are deleted.
    let refused = eve.room(room).delete().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    bob.room(room).delete().await.unwrap();
    let gone = ann.room(room).get().await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::NotFound));
    assert_eq!(eve.user(bob_user.id).await.unwrap().username, "bob");
    for (client, _) in &people {
        client.delete_account(PASSWORD, false).await.unwrap();
        assert!(client.me().await.is_err(), "nobody is logged in");
    }
    let again = Client::builder(url).build().unwrap();
    let refused = again
        .login("eve@example.com", PASSWORD, None)
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Some(ErrorCode::InvalidCredentials),
        "{}",
        eve_user.username
    );
}

async fn log_in(url: &str, name: &str) -> (Client, User) {
    let client = Client::builder(url).build().unwrap();
    let email = format!("{name}@example.com");
    let registered = client.register(&email, name, PASSWORD).await.unwrap();
    let user = client.login(&email, PASSWORD, None).await.unwrap();
    assert_eq!(user.id, registered.id);
    (client, user)
}

/// All send at the same time; each hears everyone, exactly once, in one order.
async fn talk(people: &[(Client, User)], room: RoomId) {
    let mut tasks = Vec::new();
    for (client, _) in people {
        let mut connection = client.connect().await.unwrap();
        // Connected first, so that nobody misses the beginning.
        while !matches!(next(&mut connection).await, ClientEvent::Connected(_)) {}
        let listening = tokio::spawn(listen(connection, people.len() * MESSAGES));
        let client = client.clone();
        let sending = async move {
            let mut sent = Vec::new();
            for _ in 0..MESSAGES {
                let content: String = rand::rng()
                    .sample_iter(Alphanumeric)
                    .take(LENGTH)
                    .map(char::from)
                    .collect();
                let message = client.room(room).send(content.clone()).await.unwrap();
                assert_eq!(message.content, content);
                sent.push(message);
            }
            sent
        };
        tasks.push((sending, listening));
    }
    let (sending, listening): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
    let sending: Vec<_> = sending.into_iter().map(tokio::spawn).collect();
    let mut all = Vec::new();
    for sent in sending {
        all.extend(sent.await.unwrap());
    }
    all.sort_by_key(|message| message.seq);
    let once: BTreeSet<_> = all.iter().map(|message| message.id).collect();
    assert_eq!(once.len(), people.len() * MESSAGES);
    for heard in listening {
        assert_eq!(heard.await.unwrap(), all);
    }
}

/// What is said, in the order in which it is heard.
async fn listen(mut connection: Connection, messages: usize) -> Vec<Message> {
    let mut heard = Vec::new();
    while heard.len() < messages {
        if let ClientEvent::Event(event) = next(&mut connection).await {
            match event {
                Event::MessageCreated(message) => heard.push(message),
                other => panic!("{other:?}"),
            }
        }
    }
    connection.close().await;
    heard
}

async fn next(connection: &mut Connection) -> ClientEvent {
    timeout(WITHIN, connection.next())
        .await
        .expect("an event comes in time")
        .expect("the connection stands")
}
