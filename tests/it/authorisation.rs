//! Who may do what: every operation of the OpenAPI document and every method of the hub, for every kind of caller.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chat_core::protocol::hub::Method;
use chat_tests::{Api, Hub, PASSWORD, Person, Server, WITHIN};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Nobody,
    Stranger,
    Member,
    Admin,
    /// Was removed by an admin.
    Former,
    /// Would be an admin, by a token whose session has ended.
    Ended,
}

use Caller::{Admin, Ended, Former, Member, Nobody, Stranger};

const CALLERS: [Caller; 6] = [Nobody, Stranger, Member, Admin, Former, Ended];

/// The status that each caller gets, in the order of [`CALLERS`]. What an operation is about belongs to another member:
/// the message, the session, the membership.
const OPERATIONS: &[(&str, [u16; 6])] = &[
    ("acceptInvite", [401, 200, 200, 200, 410, 401]),
    ("changePassword", [401, 204, 204, 204, 204, 401]),
    ("createInvite", [401, 404, 403, 201, 404, 401]),
    ("createWebhook", [401, 404, 403, 201, 404, 401]),
    ("createRoom", [401, 201, 201, 201, 201, 401]),
    ("deleteMe", [401, 204, 204, 204, 204, 401]),
    ("deleteMessage", [401, 404, 403, 204, 404, 401]),
    ("deleteRoom", [401, 404, 403, 204, 404, 401]),
    ("deleteWebhook", [401, 404, 403, 204, 404, 401]),
    ("editMessage", [401, 404, 403, 403, 404, 401]),
    ("endSession", [401, 404, 404, 404, 404, 401]),
    ("getHealth", [200; 6]),
    ("getJwks", [200; 6]),
    ("getMe", [401, 200, 200, 200, 200, 401]),
    ("getMessage", [401, 404, 200, 200, 404, 401]),
    ("getMetrics", [200; 6]),
    ("getReadiness", [200; 6]),
    ("getRoom", [401, 404, 200, 200, 404, 401]),
    ("getUser", [401, 404, 200, 200, 200, 401]),
    ("leaveRoom", [401, 404, 204, 204, 404, 401]),
    ("listChanges", [401, 404, 200, 200, 404, 401]),
    ("listDeliveries", [401, 404, 403, 200, 404, 401]),
    ("listInvites", [401, 404, 403, 200, 404, 401]),
    ("listMembers", [401, 404, 200, 200, 404, 401]),
    ("listMessages", [401, 404, 200, 200, 404, 401]),
    ("listRooms", [401, 200, 200, 200, 200, 401]),
    ("listSessions", [401, 200, 200, 200, 200, 401]),
    ("listWebhooks", [401, 404, 403, 200, 404, 401]),
    ("login", [200; 6]),
    ("logout", [401, 204, 204, 204, 204, 401]),
    ("refreshTokens", [200; 6]),
    ("register", [201; 6]),
    ("removeMember", [401, 404, 403, 204, 404, 401]),
    ("renewWebhookSecret", [401, 404, 403, 200, 404, 401]),
    ("retryDelivery", [401, 404, 403, 202, 404, 401]),
    ("renameRoom", [401, 404, 403, 200, 404, 401]),
    ("revokeInvite", [401, 404, 403, 204, 404, 401]),
    ("sendMessage", [401, 404, 201, 201, 404, 401]),
    ("setRole", [401, 404, 403, 200, 404, 401]),
    ("updateMe", [401, 200, 200, 200, 200, 401]),
];

/// How a call completes for those who can have a connection: the code of its error, or nothing.
const fn completes(method: Method, caller: Caller) -> Option<&'static str> {
    let outside = matches!(caller, Stranger | Former);
    match method {
        Method::Authenticate | Method::Ping => None,
        _ if outside => Some("not_found"),
        Method::EditMessage => Some("forbidden"),
        Method::DeleteMessage if matches!(caller, Member) => Some("forbidden"),
        Method::DeleteMessage
        | Method::SendMessage
        | Method::GetMessages
        | Method::GetChanges
        | Method::StreamHistory => None,
    }
}

/// A room of its own for each cell, since calls change things.
struct Scene {
    room: i64,
    message: i64,
    webhook: i64,
    invite: i64,
    invite_token: String,
    caller: Person,
    api: Api,
}

/// Those who stay.
struct Cast {
    server: Server,
    host: Person,
    author: Person,
    author_session: i64,
    by_kind: BTreeMap<Caller, Person>,
    made: usize,
}

impl Cast {
    async fn new() -> Self {
        let server = Server::start().await;
        let (host, author) = (server.person("host").await, server.person("author").await);
        let sessions = author.api.get("/v1/auth/sessions").await.with(200);
        let mut cast = Self {
            author_session: sessions["items"][0]["id"].as_i64().unwrap(),
            server,
            host,
            author,
            by_kind: BTreeMap::new(),
            made: 0,
        };
        for kind in CALLERS {
            let person = cast.someone_new().await;
            if kind == Ended {
                person.api.post_empty("/v1/auth/logout").await.with(204);
            }
            cast.by_kind.insert(kind, person);
        }
        cast
    }

    async fn someone_new(&mut self) -> Person {
        self.made += 1;
        self.server.person(&format!("someone{}", self.made)).await
    }

    /// A delivery of the scene's webhook, which tells of its message.
    async fn delivery(&self, scene: &Scene) -> i64 {
        let (room, webhook) = (scene.room, scene.webhook);
        let path = format!("/v1/rooms/{room}/webhooks/{webhook}/deliveries");
        let made = async {
            loop {
                let page = self.host.api.get(&path).await.with(200);
                if let Some(id) = page["items"][0]["id"].as_i64() {
                    return id;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(WITHIN, made).await.expect("it is to be told")
    }

    /// A room with the caller in its part; someone new where the call would change who they are.
    async fn scene(&mut self, kind: Caller, new: bool) -> Scene {
        let caller = if new && kind != Ended {
            self.someone_new().await
        } else {
            self.by_kind[&kind].clone()
        };
        let host = &self.host;
        let room = host.room_with("room", &[&self.author]).await;
        let path = format!("/v1/rooms/{room}/invites");
        let invite = host.api.post(&path, &json!({})).await.with(201);
        let invite_token = invite["token"].as_str().unwrap().to_owned();
        let member = format!("/v1/rooms/{room}/members/{}", caller.id);
        if matches!(kind, Member | Admin | Former) {
            caller.join(&invite_token).await;
        }
        match kind {
            Admin => drop(
                host.api
                    .patch(&member, &json!({"role": "admin"}))
                    .await
                    .with(200),
            ),
            Former => drop(host.api.delete(&member).await.with(204)),
            Nobody | Stranger | Member | Ended => {}
        }
        // Nobody is there: what it is told of waits.
        let hook = json!({"url": "https://hooks.invalid/", "events": ["messageCreated"]});
        let path = format!("/v1/rooms/{room}/webhooks");
        let hook = self.host.api.post(&path, &hook).await.with(201);
        Scene {
            room,
            webhook: hook["id"].as_i64().unwrap(),
            message: self.author.say(room, "mine").await["id"].as_i64().unwrap(),
            invite: invite["id"].as_i64().unwrap(),
            invite_token,
            api: match kind {
                Nobody => self.server.anyone(),
                _ => caller.api.clone(),
            },
            caller,
        }
    }
}

/// The body of an operation that has one.
fn body(operation: &str, scene: &Scene, cell: &str) -> Option<Value> {
    let email = format!("{}@example.com", scene.caller.username);
    Some(match operation {
        "acceptInvite" => json!({"token": scene.invite_token}),
        "changePassword" => json!({"currentPassword": PASSWORD, "newPassword": "a better one"}),
        "createInvite" => json!({}),
        "createRoom" | "renameRoom" => json!({"name": "another"}),
        "createWebhook" => json!({"url": "https://hooks.invalid/other"}),
        "deleteMe" => json!({"password": PASSWORD}),
        "editMessage" | "sendMessage" => json!({"content": "other"}),
        "login" => json!({"email": email, "password": PASSWORD}),
        "refreshTokens" => json!({"refreshToken": scene.caller.tokens["refreshToken"]}),
        "register" => {
            json!({"email": format!("{cell}@example.com"), "username": cell, "password": PASSWORD})
        }
        "setRole" => json!({"role": "admin"}),
        "updateMe" => json!({"username": cell}),
        _ => return None,
    })
}

#[tokio::test]
async fn every_operation_answers_every_caller_as_the_contract_says() {
    let mut cast = Cast::new().await;
    let document = cast.server.anyone().get("/openapi.json").await.with(200);
    let expected: BTreeMap<_, _> = OPERATIONS.iter().copied().collect();
    let mut tested = BTreeSet::new();
    for (template, operations) in document["paths"].as_object().unwrap() {
        // The hub has a grid of its own, by its methods.
        if template.starts_with("/v1/hub") {
            continue;
        }
        for (method, operation) in operations.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<reqwest::Method>() else {
                continue;
            };
            let id = operation["operationId"].as_str().unwrap();
            let row = expected
                .get(id)
                .unwrap_or_else(|| panic!("who may call {id} ({method} {template})?"));
            for (n, (kind, &status)) in CALLERS.into_iter().zip(row).enumerate() {
                let cell = format!("cell{}-{n}", tested.len());
                let new = template.starts_with("/v1/auth") || template.starts_with("/v1/users");
                // A session that has ended can't refresh: whoever refreshes needs no access token at all.
                let session_of = if id == "refreshTokens" && kind == Ended {
                    Nobody
                } else {
                    kind
                };
                let mut scene = cast.scene(session_of, new).await;
                if session_of != kind {
                    scene.api = cast.by_kind[&kind].api.clone();
                }
                let delivery = if template.contains("{deliveryId}") {
                    cast.delivery(&scene).await
                } else {
                    0
                };
                let path = template
                    .replace("{roomId}", &scene.room.to_string())
                    .replace("{messageId}", &scene.message.to_string())
                    .replace("{inviteId}", &scene.invite.to_string())
                    .replace("{webhookId}", &scene.webhook.to_string())
                    .replace("{deliveryId}", &delivery.to_string())
                    .replace("{sessionId}", &cast.author_session.to_string())
                    .replace("{userId}", &cast.author.id.to_string());
                let query = if id == "listChanges" { "?since=0" } else { "" };
                let mut request = scene.api.request(method.clone(), &format!("{path}{query}"));
                if let Some(body) = body(id, &scene, &cell) {
                    request = request.json(&body);
                }
                let answer = Api::send(request).await.unwrap();
                assert_eq!(answer.status, status, "{id} for {kind:?}: {}", answer.text);
                let code = match status {
                    401 => "unauthenticated",
                    403 => "forbidden",
                    404 => "not_found",
                    410 => "gone",
                    _ => continue,
                };
                answer.refused(status, code);
                let changes = cast.host.changes(scene.room, 0).await;
                let joins = match kind {
                    Member => 3,
                    Admin | Former => 4,
                    Nobody | Stranger | Ended => 2,
                };
                assert_eq!(
                    changes["seq"],
                    joins + 1,
                    "{id} for {kind:?} changed nothing"
                );
            }
            tested.insert(id.to_owned());
        }
    }
    let rows: BTreeSet<_> = expected.keys().map(|&id| id.to_owned()).collect();
    assert_eq!(
        tested, rows,
        "an operation of the table is gone from the document"
    );
}

#[tokio::test]
async fn every_hub_method_answers_every_caller_as_the_contract_says() {
    let mut cast = Cast::new().await;
    for method in Method::ALL {
        for kind in CALLERS {
            let scene = cast.scene(kind, false).await;
            let caller = Person {
                api: scene.api,
                ..scene.caller
            };
            if matches!(kind, Nobody | Ended) {
                match Hub::open(&caller, "").await {
                    Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 401),
                    other => panic!("{kind:?} was let in: {other:?}"),
                }
                continue;
            }
            let (room, message) = (scene.room, scene.message);
            let argument = match method {
                Method::SendMessage => json!({"roomId": room, "content": "x"}),
                Method::EditMessage => {
                    json!({"roomId": room, "messageId": message, "content": "x"})
                }
                Method::DeleteMessage => json!({"roomId": room, "messageId": message}),
                Method::GetMessages | Method::StreamHistory => json!({"roomId": room}),
                Method::GetChanges => json!({"roomId": room, "since": 0}),
                Method::Authenticate => json!({"accessToken": caller.api.token()}),
                Method::Ping => json!({}),
            };
            let mut hub = Hub::connect(&caller).await;
            let completion = if method.is_stream() {
                let call = json!({"type": 4, "invocationId": "s", "target": method.target(), "arguments": [argument]});
                hub.send_record(&call).await.unwrap();
                loop {
                    let record = hub.next().await.unwrap();
                    if record["type"] == 3 {
                        break record.get("error").map(|e| e.as_str().unwrap().to_owned());
                    }
                }
            } else {
                hub.invoke(method.target(), argument).await.err()
            };
            let code = completion
                .as_ref()
                .map(|text| text.split_once(':').unwrap().0);
            assert_eq!(
                code,
                completes(method, kind),
                "{method:?} for {kind:?}: {completion:?}"
            );
        }
    }
}
