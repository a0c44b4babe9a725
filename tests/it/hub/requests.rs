//! What each request on a connection's id is answered, by what that connection is doing (signalr.md, section 2).

use chat_client::Encoding;
use chat_tests::{Answer, Hub, Over, Person, Server};
use reqwest::Method;

use super::connecting::{refusal, refused, send};

/// What can be asked.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Upgrade,
    Stream,
    Poll,
    Post,
    Delete,
    Put,
}

const ASKS: [Ask; 6] = [
    Ask::Upgrade,
    Ask::Stream,
    Ask::Poll,
    Ask::Post,
    Ask::Delete,
    Ask::Put,
];

/// A negotiated id.
pub(super) async fn id(person: &Person) -> String {
    let offer = Hub::negotiate(person).await.unwrap();
    offer["connectionToken"].as_str().unwrap().to_owned()
}

/// Connects over this transport, and tells by which id.
pub(super) async fn connect(person: &Person, over: Over) -> (Hub, String) {
    let id = id(person).await;
    let mut hub = Hub::open_over(person, over, &id).await.unwrap();
    hub.shake("{\"protocol\":\"json\",\"version\":1}\x1e")
        .await
        .unwrap();
    hub.event("Connected").await;
    (hub, id)
}

/// A request that is no upgrade.
pub(super) async fn request(person: &Person, method: Method, query: &str, body: &str) -> Answer {
    let request = person.api.request(method, &format!("/v1/hub{query}"));
    send(request.body(body.to_owned())).await
}

/// Asks, and makes sure that the refusal has this status.
async fn ask(person: &Person, ask: Ask, query: &str, status: u16) {
    let code = match status {
        400 => "invalid_request",
        401 => "unauthenticated",
        404 => "not_found",
        405 => "method_not_allowed",
        409 => "conflict",
        other => panic!("{other} is no refusal"),
    };
    let path = format!("/v1/hub{query}");
    let request = match ask {
        Ask::Upgrade => {
            let (answered, text) = refusal(Hub::open(person, query).await);
            assert_eq!(answered, status, "{ask:?} {query}: {text}");
            assert!(text.starts_with(&format!("{code}: ")), "{text}");
            return;
        }
        Ask::Stream => {
            let accept = "text/html, Text/Event-Stream;q=0.9";
            let request = person.api.request(Method::GET, &path);
            request.header("accept", accept)
        }
        Ask::Poll => person.api.request(Method::GET, &format!("{path}&_=1")),
        Ask::Post => person.api.request(Method::POST, &path).body("x"),
        Ask::Delete => person.api.request(Method::DELETE, &path),
        Ask::Put => person.api.request(Method::PUT, &path),
    };
    let answer = send(request).await;
    assert_eq!(answer.status, status, "{ask:?} {query}: {}", answer.text);
    refused(&answer, status, code);
}

/// Asks for everything that is refused; 0 is what is taken, and isn't asked for.
async fn ask_all(person: &Person, query: &str, statuses: [u16; 6]) {
    for (what, status) in ASKS.into_iter().zip(statuses) {
        if status != 0 {
            ask(person, what, query, status).await;
        }
    }
}

#[tokio::test]
async fn a_request_is_answered_by_what_its_connection_is_doing() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    ask_all(&ann, "?", [0, 400, 400, 400, 400, 405]).await;
    ask_all(&ann, "?id=", [0, 400, 400, 400, 400, 405]).await;
    ask_all(&ann, "?id=unknown", [404, 404, 404, 404, 404, 405]).await;
    let fresh = id(&ann).await;
    let query = format!("?id={fresh}");
    ask_all(&ann, &query, [0, 0, 0, 0, 400, 405]).await;
    let mut late = Hub::open_over(&ann, Over::ServerSentEvents, &fresh)
        .await
        .unwrap();

    for (over, statuses) in [
        (Over::WebSockets, [409, 400, 400, 405, 400, 405]),
        (Over::ServerSentEvents, [400, 409, 400, 0, 400, 405]),
        (Over::LongPolling, [400, 400, 0, 0, 0, 405]),
    ] {
        let (mut hub, id) = connect(&ann, over).await;
        let query = format!("?ID={id}");
        ask_all(&ann, &query, statuses).await;
        hub.is_quiet().await;
        // The client's end is the connection's: its id is gone.
        hub.send_record(&serde_json::json!({"type": 7}))
            .await
            .unwrap();
        hub.closes(None, serde_json::json!({"type": 7})).await;
        ask_all(&ann, &query, [404, 404, 404, 404, 404, 405]).await;
    }
    late.shake("{\"protocol\":\"json\",\"version\":1}\x1e")
        .await
        .unwrap();
    late.event("Connected").await;
}

#[tokio::test]
async fn another_users_or_sessions_token_is_404_on_every_request_and_the_connection_unharmed() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let again = ann.again().await;
    for over in [Over::WebSockets, Over::ServerSentEvents, Over::LongPolling] {
        let ann = ann.again().await;
        let fresh = id(&ann).await;
        let (mut hub, id) = connect(&ann, over).await;
        for id in [&fresh, &id] {
            let query = format!("?id={id}");
            for other in [&bob, &again] {
                ask_all(other, &query, [404, 404, 404, 404, 404, 405]).await;
            }
            let mut nobody = ann.clone();
            nobody.api = server.anyone();
            ask_all(&nobody, &query, [401, 401, 401, 401, 401, 405]).await;
        }
        hub.is_quiet().await;
        // Renewed by the other session's token, it takes that one's requests as well.
        let token = serde_json::json!({"accessToken": again.api.token()});
        hub.invoke("Authenticate", token).await.unwrap();
        match over {
            Over::WebSockets => ask(&again, Ask::Upgrade, &format!("?id={id}"), 409).await,
            _ => {
                let ping = "{\"type\":1,\"invocationId\":\"p\",\"target\":\"Ping\",\"arguments\":[{}]}\x1e";
                for person in [&again, &ann] {
                    let query = format!("?id={id}");
                    let posted = request(person, Method::POST, &query, ping).await;
                    assert_eq!((posted.status, &*posted.text), (200, ""));
                    hub.completion("p").await.unwrap();
                }
                // An ended one's no more, though the connection lives on by the other.
                ann.api.post_empty("/v1/auth/logout").await.with(204);
                let query = format!("?id={id}");
                let posted = request(&ann, Method::POST, &query, ping).await;
                refused(&posted, 401, "unauthenticated");
                let posted = request(&again, Method::POST, &query, ping).await;
                assert_eq!(posted.status, 200);
            }
        }
    }
}

#[tokio::test]
async fn a_token_in_the_query_opens_every_transport() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let token = ann.api.token().unwrap();
    let mut nobody = ann.clone();
    nobody.api = server.anyone();
    for over in [Over::WebSockets, Over::ServerSentEvents, Over::LongPolling] {
        let query = format!("{}&Access_Token={token}", id(&ann).await);
        let mut hub = Hub::open_over(&nobody, over, &query).await.unwrap();
        hub.shake("{\"protocol\":\"json\",\"version\":1}\x1e")
            .await
            .unwrap();
        hub.event("Connected").await;
        hub.is_quiet().await;
    }
    assert!(!server.log().contains(token), "a query is never logged");
}

#[tokio::test]
async fn what_was_posted_before_the_first_get_is_kept_for_any_transport() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for over in [Over::WebSockets, Over::ServerSentEvents, Over::LongPolling] {
        let id = id(&ann).await;
        let query = format!("?id={id}");
        let (front, back) = ("{\"protocol\":\"json\",", "\"version\":1}\x1e");
        for body in [front, back, ""] {
            let posted = request(&ann, Method::POST, &query, body).await;
            assert_eq!((posted.status, &*posted.text), (200, ""));
            assert_eq!(posted.header("content-length"), "0");
        }
        let mut hub = Hub::open_over(&ann, over, &id).await.unwrap();
        hub.shaken(Encoding::Json).await.unwrap();
        hub.event("Connected").await;
        hub.is_quiet().await;
    }
}
