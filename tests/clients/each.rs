//! Each client by itself, through everything that the hub has: connect, send, receive, stream, errors, a new token, a cut
//! socket, the end.

use std::sync::atomic::{AtomicUsize, Ordering};

use chat_tests::{Hub, Person, Server};
use serde_json::{Value, json};

use crate::process::{Client, Kind, Program, Protocol, Transport};
use crate::proxy::Proxy;

/// For names that are new.
static VISITS: AtomicUsize = AtomicUsize::new(0);

macro_rules! each {
    ($($name:ident: $kind:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let server = Server::start().await;
                does_everything($kind, server.url()).await;
            }
        )*

        /// All of them.
        pub(crate) const KINDS: &[Kind] = &[$($kind),*];
    };
}

pub(crate) const WS_JSON: (Transport, Protocol) = (Transport::WebSockets, Protocol::Json);
pub(crate) const WS_MESSAGEPACK: (Transport, Protocol) =
    (Transport::WebSockets, Protocol::MessagePack);
pub(crate) const SSE_JSON: (Transport, Protocol) = (Transport::ServerSentEvents, Protocol::Json);
pub(crate) const LP_JSON: (Transport, Protocol) = (Transport::LongPolling, Protocol::Json);
const LP_MESSAGEPACK: (Transport, Protocol) = (Transport::LongPolling, Protocol::MessagePack);

pub(crate) const fn kind(program: Program, (transport, protocol): (Transport, Protocol)) -> Kind {
    Kind::new(program, transport, protocol)
}

each! {
    javascript_over_websockets_in_json: kind(Program::Node, WS_JSON);
    javascript_over_websockets_in_messagepack: kind(Program::Node, WS_MESSAGEPACK);
    javascript_over_stateful_websockets_in_json: kind(Program::Node, WS_JSON).stateful();
    javascript_over_stateful_websockets_in_messagepack: kind(Program::Node, WS_MESSAGEPACK).stateful();
    javascript_over_server_sent_events: kind(Program::Node, SSE_JSON);
    javascript_over_long_polling_in_json: kind(Program::Node, LP_JSON);
    javascript_over_long_polling_in_messagepack: kind(Program::Node, LP_MESSAGEPACK);
    a_browser_over_websockets_in_json: kind(Program::Browser, WS_JSON);
    a_browser_over_websockets_in_messagepack: kind(Program::Browser, WS_MESSAGEPACK);
    a_browser_over_stateful_websockets_in_json: kind(Program::Browser, WS_JSON).stateful();
    a_browser_over_stateful_websockets_in_messagepack: kind(Program::Browser, WS_MESSAGEPACK).stateful();
    a_browser_over_server_sent_events: kind(Program::Browser, SSE_JSON);
    a_browser_over_long_polling_in_json: kind(Program::Browser, LP_JSON);
    a_browser_over_long_polling_in_messagepack: kind(Program::Browser, LP_MESSAGEPACK);
    java_over_websockets: kind(Program::Java, WS_JSON);
    java_over_long_polling: kind(Program::Java, LP_JSON);
    signalrcore_over_websockets_in_json: kind(Program::Signalrcore, WS_JSON);
    signalrcore_over_websockets_in_messagepack: kind(Program::Signalrcore, WS_MESSAGEPACK);
    signalrcore_over_server_sent_events: kind(Program::Signalrcore, SSE_JSON);
    pysignalr_in_json: kind(Program::Pysignalr, WS_JSON);
    pysignalr_in_messagepack: kind(Program::Pysignalr, WS_MESSAGEPACK);
}

/// Leads a client through everything that there is at `url`, where others may have been before.
pub(crate) async fn does_everything(kind: Kind, url: &str) {
    let proxy = Proxy::start(url).await;
    let visit = VISITS.fetch_add(1, Ordering::Relaxed);
    let ann = Person::register(url, &format!("ann{visit}")).await;
    let bob = Person::register(url, &format!("bob{visit}")).await;
    let room = ann.room_with("tea", &[&bob]).await;
    let cellar = bob.room_with("cellar", &[]).await;
    let mut hub = Hub::connect(&bob).await;
    let mut client = Client::start(kind, proxy.url());

    client.connect(ann.api.token().unwrap()).await;
    let connected = client.event("Connected").await;
    assert_eq!(connected["userId"], ann.id);
    assert_eq!(connected["rooms"], json!([{"id": room, "seq": 2}]));

    // It sends, and what it gets back is what others see.
    let send = json!({"roomId": room, "content": "grüße, 你好 🫖\n", "clientMessageId": "c-1"});
    let sent = client.invoke("SendMessage", send.clone()).await.unwrap();
    assert_eq!(sent["content"], send["content"]);
    assert_eq!(sent["seq"], 3);
    assert_eq!(hub.event("MessageCreated").await, sent);
    assert_eq!(
        client.invoke("SendMessage", send).await.unwrap(),
        sent,
        "sent again"
    );
    let edit = json!({"roomId": room, "messageId": sent["id"], "content": "hello"});
    let edited = client.invoke("EditMessage", edit).await.unwrap();
    assert_eq!(hub.event("MessageEdited").await, edited);

    // It receives, the same that the sender got.
    let said = bob.say(room, "a line\nand another").await;
    assert_eq!(client.event("MessageCreated").await, said);
    assert_eq!(hub.event("MessageCreated").await, said);

    // It streams.
    let history = client
        .stream("StreamHistory", json!({"roomId": room}))
        .await;
    assert_eq!(history, Ok(json!([edited, said])));

    // Errors arrive as they are written.
    let nowhere = json!({"roomId": cellar, "content": "hello"});
    let refused = client
        .invoke("SendMessage", nowhere.clone())
        .await
        .unwrap_err();
    assert!(refused.starts_with("not_found: "), "{refused}");
    let unknown = client.invoke("Shout", json!({})).await.unwrap_err();
    assert!(unknown.starts_with("not_found: "), "{unknown}");
    let wrong = client
        .invoke("SendMessage", json!({"roomId": "x"}))
        .await
        .unwrap_err();
    assert!(wrong.starts_with("validation_failed: "), "{wrong}");
    let closed = client.stream("StreamHistory", nowhere).await.unwrap_err();
    assert!(closed.starts_with("not_found: "), "{closed}");

    let renewed = renew(&mut client, &ann, &bob).await;
    let head = reconnect(&mut client, kind, &proxy, &bob, &renewed, room).await;

    // It is whole again.
    let send = json!({"roomId": room, "content": "back"});
    let sent = client.invoke("SendMessage", send).await.unwrap();
    assert_eq!(sent["seq"], head + 1);
    client.stop().await;
}

/// A new token in place: another user's is refused, one's own is taken and used from then on.
async fn renew(client: &mut Client, ann: &Person, bob: &Person) -> String {
    let others = json!({"accessToken": bob.api.token()});
    let refused = client.invoke("Authenticate", others).await.unwrap_err();
    assert!(refused.starts_with("forbidden: "), "{refused}");
    let refresh = json!({"refreshToken": ann.tokens["refreshToken"]});
    let tokens = ann.api.post("/v1/auth/refresh", &refresh).await.with(200);
    let token = tokens["accessToken"].as_str().unwrap().to_owned();
    let authenticated = client
        .invoke("Authenticate", json!({"accessToken": token}))
        .await;
    let expires_in = authenticated.unwrap()["expiresIn"].as_i64().unwrap();
    assert!((1..=900).contains(&expires_in), "{expires_in}");
    client.set_token(&token).await;
    token
}

/// Cuts the client's socket, says something meanwhile, and sees that nothing is missing when it is back. Returns the
/// room's head.
async fn reconnect(
    client: &mut Client,
    kind: Kind,
    proxy: &Proxy,
    bob: &Person,
    token: &str,
    room: i64,
) -> i64 {
    let before = bob.changes(room, 0).await["seq"].as_i64().unwrap();
    proxy.cut();
    let missed = bob.say(room, "while you were away").await;
    proxy.mend();
    let state = if kind.reconnects() {
        "reconnected"
    } else {
        "closed"
    };
    let is_lost = client.has_lost(state).await;
    // A poll that was cut is repeated by some clients: nothing happened, then.
    if kind.transport != Transport::LongPolling {
        assert_eq!(is_lost, !kind.stateful, "{kind:?}");
    }
    if is_lost {
        if !kind.reconnects() {
            client.connect(token).await;
        }
        let connected = client.event("Connected").await;
        assert_eq!(connected["rooms"], json!([{"id": room, "seq": before + 1}]));
        let since = json!({"roomId": room, "since": before});
        let changes = client.invoke("GetChanges", since).await.unwrap();
        assert_eq!(changes["items"], json!([tagged("messageCreated", &missed)]));
        assert_eq!(changes["complete"], true);
    } else {
        // It is the same connection: the event was kept for it.
        assert_eq!(client.event("MessageCreated").await, missed);
    }
    let live = bob.say(room, "and now").await;
    assert_eq!(client.event("MessageCreated").await, live);
    before + 2
}

/// An event as it is in `changes`: with its tag inline.
fn tagged(kind: &str, event: &Value) -> Value {
    let mut event = event.clone();
    event["type"] = kind.into();
    event
}
