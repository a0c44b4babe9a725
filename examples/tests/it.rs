//! The examples, compiled and run: as their readers would, with real sockets and a real database.

mod lines;

#[path = "../bot.rs"]
mod bot;
#[path = "../embed_axum.rs"]
mod embed_axum;
#[path = "../own_store.rs"]
mod own_store;

use std::sync::Arc;

use chat_client::Client;
use chat_core::auth::{Keys, PasswordCost, SigningKey, TokenNames};
use chat_core::model::{Clock, Event, SystemClock, Timestamp};
use chat_core::protocol::rest::CreateInvite;
use chat_core::random::SystemRandom;
use chat_core::service::Chat;
use chat_core::store::contract::Backend;
use chat_core::store::memory::Memory;
use chat_core::store::sqlite::Sqlite;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_its_own_users_chats_below_a_prefix() {
    let dir = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("bound"));
    let (stop, stopped) = oneshot::channel::<()>();
    let database = dir.path().join("app.db");
    let app = tokio::spawn(async move {
        let users = embed_axum::Users::known();
        embed_axum::serve(listener, &database, users, async { drop(stopped.await) }).await
    });

    let http = reqwest::Client::new();
    assert_eq!(text(http.get(&server)).await, "my app");
    let unknown = http
        .get(format!("{server}/chat/v1/rooms"))
        .bearer_auth("nobody")
        .send()
        .await
        .expect("an answer");
    assert_eq!(unknown.status(), 401);

    // The SDK works below the prefix, with the app's own tokens.
    let client = |token: &str| {
        Client::builder(&format!("{server}/chat"))
            .access_token(token)
            .build()
            .expect("built")
    };
    let (ann, bob) = (client("ann-secret"), client("bob-secret"));
    let room = ann.create_room("tea").await.expect("made");
    let invite = ann
        .room(room.id)
        .create_invite(CreateInvite::default())
        .await
        .expect("made");
    bob.accept_invite(&invite.token.expect("shown once"))
        .await
        .expect("in");
    ann.room(room.id).send("hello").await.expect("sent");
    let history = http
        .get(format!("{server}/chat/v1/rooms/{}/messages", room.id))
        .bearer_auth("bob-secret");
    let page: Value = serde_json::from_str(&text(history).await).expect("JSON");
    assert_eq!(page["items"][0]["content"], json!("hello"));

    stop.send(()).expect("still serving");
    app.await.expect("no panic").expect("an end in order");
}

async fn text(request: reqwest::RequestBuilder) -> String {
    request
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a body")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_answers() {
    let keys = Keys::new(
        TokenNames::default(),
        Some(SigningKey::generate(&SystemRandom).expect("a key")),
        Arc::new(SystemClock) as Arc<dyn Clock>,
        Arc::new(SystemRandom),
    );
    let memory = Memory::new();
    let chat = Chat::builder()
        .store(memory.clone())
        .accounts(memory, Arc::new(keys))
        .password_cost(PasswordCost::MINIMAL)
        .start()
        .await
        .expect("started");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("bound"));
    let app = chat_server::router(&chat);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let login = async |name: &str| {
        let client = Client::builder(&server).build().expect("built");
        let email = format!("{name}@example.com");
        client
            .register(&email, name, "correct horse")
            .await
            .expect("registered");
        client
            .login(&email, "correct horse", None)
            .await
            .expect("logged in");
        client
    };
    let (ann, robot) = (login("ann").await, login("robot").await);
    let room = ann.create_room("tea").await.expect("made");
    let invite = ann
        .room(room.id)
        .create_invite(CreateInvite::default())
        .await
        .expect("made");
    robot
        .accept_invite(&invite.token.expect("shown once"))
        .await
        .expect("in");
    let running = tokio::spawn(bot::run(robot));

    let mut events = ann.connect().await.expect("connected");
    // The bot may not be connected yet: it answers the first ping that it hears.
    let answered = async {
        use futures_util::StreamExt as _;
        while let Some(event) = events.next().await {
            if let chat_client::ClientEvent::Event(Event::MessageCreated(m)) = event
                && m.content == "pong"
            {
                return;
            }
        }
    };
    let ping = async {
        loop {
            ann.room(room.id).send("ping").await.expect("sent");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = answered => {}
        () = ping => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(30)) => panic!("no answer"),
    }
    running.abort();
}

/// Takes nothing down.
#[derive(Debug)]
struct Silent;

impl own_store::Audit for Silent {
    fn line(&self, _: Timestamp, _: &Event) {}
}

async fn audited() -> Backend {
    Backend::new(Arc::new(own_store::Audited::new(Memory::new(), Silent)))
}

mod a_store_of_ones_own {
    use super::audited;

    chat_core::store_contract!(audited);
}

#[tokio::test]
async fn every_committed_event_is_audited() {
    use std::sync::Mutex;

    #[derive(Clone, Debug, Default)]
    struct Lines(Arc<Mutex<Vec<Event>>>);
    impl own_store::Audit for Lines {
        fn line(&self, _: Timestamp, event: &Event) {
            self.0.lock().expect("no panic").push(event.clone());
        }
    }

    #[derive(Debug)]
    struct Nobody;
    #[async_trait::async_trait]
    impl chat_core::auth::Authenticator for Nobody {
        async fn authenticate(
            &self,
            _: &http::request::Parts,
        ) -> Result<chat_core::auth::Identity, chat_core::auth::AuthError> {
            Err(chat_core::auth::AuthError::Unauthenticated)
        }
    }

    let dir = tempfile::tempdir().expect("a folder");
    let lines = Lines::default();
    let store = own_store::Audited::new(
        Sqlite::open(dir.path().join("chat.db"))
            .await
            .expect("opened"),
        lines.clone(),
    );
    let chat = Chat::builder()
        .store(store)
        .authenticator(Nobody)
        .start()
        .await
        .expect("started");
    let user_id = chat
        .identify("example".into(), "ann".into(), "ann")
        .await
        .expect("known");
    let ann = chat_core::auth::Caller {
        user_id,
        session: None,
        expires_at: None,
    };
    let room = chat.create_room(&ann, "tea").await.expect("made");
    let message = chat.send(user_id, room.id, "hello").await.expect("sent");
    let lines = lines.0.lock().expect("no panic").clone();
    assert!(
        matches!(&lines[..], [Event::MemberJoined { .. }, Event::MessageCreated(m)] if *m == message)
    );
}
