//! The AsyncAPI document of the hub, from the declarations in [`chat_core::protocol::hub`]: every method and event with the
//! schemas of what it carries.

use chat_core::protocol::hub::Answers;
use chat_core::protocol::hub::description::{Description, Signature};
use chat_core::protocol::paths;
use serde_json::{Map, Value, json};

/// The document (AsyncAPI 3.0).
#[must_use]
pub fn document() -> Value {
    let hub = Description::of_hub();
    let (mut messages, mut operations) = (Map::new(), Map::new());
    for method in &hub.methods {
        add_method(method, &mut messages, &mut operations);
    }
    for event in &hub.events {
        messages.insert(
            event.name.to_owned(),
            message(event.name, &event.summary, &event.argument),
        );
        let operation = json!({
            "action": "send",
            "channel": {"$ref": "#/channels/hub"},
            "summary": event.summary,
            "messages": [of_channel(event.name)],
        });
        operations.insert(event.name.to_owned(), operation);
    }
    messages.insert(ERROR.to_owned(), error());
    let of_hub: Map<String, Value> = messages
        .keys()
        .map(|name| {
            (
                name.clone(),
                json!({"$ref": format!("#/components/messages/{name}")}),
            )
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Chat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": include_str!("asyncapi.md"),
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": JSON,
        "channels": {
            "hub": {
                "address": paths::HUB,
                "title": "The hub",
                "description": "A SignalR hub: each message is an invocation with one argument, or what answers it.",
                "messages": of_hub,
            },
        },
        "operations": operations,
        "components": {
            "schemas": hub.schemas,
            "messages": messages,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    })
}

const JSON: &str = "application/json";
/// The message by which a call fails.
const ERROR: &str = "error";

fn add_method(
    method: &Signature,
    messages: &mut Map<String, Value>,
    operations: &mut Map<String, Value>,
) {
    messages.insert(
        method.name.to_owned(),
        message(method.name, &method.summary, &method.argument),
    );
    let mut answers = Vec::new();
    if let Some((answer, schema)) = &method.answer {
        let (suffix, summary) = match answer {
            Answers::Result => ("result", "The call's completion."),
            Answers::Stream => ("item", "An item of the stream, which its completion ends."),
        };
        let name = format!("{}.{suffix}", method.name);
        messages.insert(name.clone(), message(&name, summary, schema));
        answers.push(of_channel(&name));
    }
    answers.push(of_channel(ERROR));
    let operation = json!({
        "action": "receive",
        "channel": {"$ref": "#/channels/hub"},
        "summary": method.summary,
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
        "messages": [of_channel(method.name)],
        "reply": {"channel": {"$ref": "#/channels/hub"}, "messages": answers},
    });
    operations.insert(method.name.to_owned(), operation);
}

fn message(name: &str, summary: &str, schema: &str) -> Value {
    json!({
        "name": name,
        "summary": summary,
        "contentType": JSON,
        "payload": {"$ref": format!("#/components/schemas/{schema}")},
    })
}

fn error() -> Value {
    json!({
        "name": ERROR,
        "summary": "The completion of a call that failed: `<code>: <detail>`, with the codes of the REST calls.",
        "contentType": "text/plain",
        "payload": {"type": "string"},
    })
}

fn of_channel(message: &str) -> Value {
    json!({"$ref": format!("#/channels/hub/messages/{}", message)})
}
