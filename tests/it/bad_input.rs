//! Bad input and faults: refused, and nothing else happens.

use chat_tests::{Api, Hub, Server};
use reqwest::Method;
use serde_json::{Value, json};

/// Bodies that are no JSON, or not what any call wants.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"\"",
        "{}",
        "{\"a\":1,\"a\":2}",
        "\u{feff}{}",
        "{\"name\":null}",
        "{\"name\":7}",
        "{\"name\":\"\"}",
        "{\"name\":\"\\u0000\"}",
        "{\"name\":\"\\ud800\"}",
        "{\"content\":\" \"}",
        "{\"content\":{}}",
        "{\"role\":\"owner\"}",
        "{\"token\":\"\"}",
        "{\"expiresIn\":-1}",
        "{\"maxUses\":1e400}",
        "{\"expiresIn\":9223372036854775808}",
        "{\"content\":\"x\",\"clientMessageId\":\"\u{e9}\"}",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(vec![0xff, 0xfe, 0x00]);
    bodies.push("[".repeat(60_000).into_bytes());
    bodies.push(format!("{{\"name\":{}1{}}}", "[".repeat(32), "]".repeat(32)).into_bytes());
    bodies.push(format!("{{\"content\":\"{}\"}}", "x".repeat(4_001)).into_bytes());
    bodies
}

/// What stands where an id should.
const IDS: [&str; 8] = [
    "0",
    "-1",
    "x",
    "%00",
    "9007199254740992",
    "99999999999999999999",
    "1.0",
    "%F0%9F%98%80",
];

#[tokio::test]
async fn no_request_makes_the_server_fail_or_change_anything() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let document = server.anyone().get("/openapi.json").await.with(200);
    let bodies = bodies();
    for (template, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            // What needs no input would do what it is for.
            let takes = operation.get("requestBody").is_some();
            let mut requests = Vec::new();
            if template.contains('{') {
                for id in IDS {
                    let path = template
                        .split('/')
                        .map(|part| if part.starts_with('{') { id } else { part })
                        .collect::<Vec<_>>()
                        .join("/");
                    requests.push(ann.api.request(method.clone(), &path));
                }
            }
            let path = template.replace("{roomId}", &room.to_string());
            if takes && !path.contains('{') {
                for body in &bodies {
                    // An invite of all defaults and a caller changed in nothing are sound.
                    if body == b"{}"
                        || body.starts_with(b"{\"name\":null")
                        || path.ends_with("/invites")
                        || path.ends_with("/me")
                    {
                        continue;
                    }
                    let request = ann.api.request(method.clone(), &path);
                    requests.push(
                        request
                            .header("content-type", "application/json")
                            .body(body.clone()),
                    );
                }
                requests.push(ann.api.request(method.clone(), &path).body("no type"));
            }
            for query in [
                "limit=0",
                "limit=x",
                "limit=1&limit=2",
                "since=-1",
                "after=x",
                "before=0",
                "%ff=%",
                "limit=99999999999999999999",
            ] {
                if method == Method::GET && !path.contains('{') {
                    requests.push(ann.api.request(method.clone(), &format!("{path}?{query}")));
                }
            }
            for request in requests {
                let answer = Api::send(request).await.unwrap();
                assert!(answer.status < 500, "{method} {template}: {}", answer.text);
            }
        }
    }
    for path in [
        "/",
        "/v1",
        "/v2/rooms",
        "/v1/rooms/",
        "//",
        "/v1/rooms/..",
        "/v1/%2e%2e/rooms",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::TRACE] {
            let answer = Api::send(ann.api.request(method, path)).await.unwrap();
            assert!(
                (400..500).contains(&answer.status),
                "{path}: {}",
                answer.status
            );
        }
    }
    let long = json!({"name": "x".repeat(64 * 1024)});
    ann.api
        .post("/v1/rooms", &long)
        .await
        .refused(413, "payload_too_large");
    assert_eq!(
        ann.changes(room, 1).await["items"],
        json!([]),
        "nothing was changed"
    );
    let rooms = ann.api.get("/v1/rooms").await.with(200);
    assert_eq!(
        rooms["items"].as_array().map(Vec::len),
        Some(1),
        "nothing was made"
    );
}

#[tokio::test]
async fn no_record_makes_the_server_fail_or_change_anything() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(9_007_199_254_740_992_i64),
        json!(""),
        json!("\u{0}"),
        json!([]),
        json!({}),
        json!("x".repeat(4_001)),
        json!([[[[[[]]]]]]),
    ];
    let mut hub = Hub::connect(&ann).await;
    for method in chat_core::protocol::hub::Method::ALL {
        for member in [
            "roomId",
            "messageId",
            "content",
            "since",
            "limit",
            "accessToken",
        ] {
            for value in &values {
                let mut argument = json!({"roomId": room, "messageId": 1, "content": "x", "since": "x", "accessToken": "x"});
                // Only what is refused: a send of this argument would be sound without its last member.
                argument["clientMessageId"] = json!(" ");
                argument[member] = value.clone();
                let kind = if method.is_stream() { 4 } else { 1 };
                let call = json!({"type": kind, "invocationId": "c", "target": method.target(), "arguments": [argument]});
                hub.send_record(&call).await.unwrap();
                loop {
                    let record = hub.next().await.expect("the connection stays");
                    if record["type"] == 3 {
                        let error = record["error"].as_str().unwrap_or_default();
                        assert!(!error.starts_with("internal"), "{call}: {error}");
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(
        ann.changes(room, 1).await["items"],
        json!([]),
        "nothing was changed"
    );
}

#[tokio::test]
async fn a_full_disk_refuses_sends_and_acknowledges_nothing_that_is_not_kept() {
    let mut server = Server::builder().file_kib(2_048).start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let path = format!("/v1/rooms/{room}/messages");
    let send = json!({"content": "x".repeat(4_000)});
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    while refused < 5 {
        assert!(acknowledged.len() < 5_000, "the disk is never full");
        let answer = ann.api.post(&path, &send).await;
        if answer.status == 201 {
            acknowledged.push(answer.json());
        } else {
            assert!(!answer.header("retry-after").is_empty());
            answer.refused(503, "unavailable");
            refused += 1;
        }
    }
    assert!(!acknowledged.is_empty());
    // What was kept can be read still, and with room again everything works.
    ann.api.get(&path).await.with(200);
    server.restart().await;
    let ann = ann.at(server.url());
    for message in &acknowledged {
        let path = format!("{path}/{}", message["id"]);
        assert_eq!(ann.api.get(&path).await.with(200), *message);
    }
    assert_eq!(
        ann.say(room, "goes on").await["seq"],
        acknowledged.len() + 2
    );
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_stops_the_start_with_one_line() {
    let builder = Server::builder();
    std::fs::write(
        builder.folder().join("chat.db"),
        "this is no database, and long enough to be read as one".repeat(99),
    )
    .unwrap();
    let ended = builder.fail().await;
    assert!(!ended.status.success());
    let said: Vec<_> = ended.log.lines().filter(|line| !line.is_empty()).collect();
    assert!(
        said.len() == 1 && said[0].contains("chat.db"),
        "{}",
        ended.log
    );
}
