//! The OpenAPI document against what is served.

use std::collections::BTreeSet;

use chat_core::protocol::{ErrorCode, paths};
use reqwest::Method;
use serde_json::Value;

use crate::harness::{Answer, TestServer};

fn document() -> Value {
    serde_json::to_value(chat_server::openapi::document()).expect("JSON")
}

/// Each operation: method, path, and what is said of it.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            operations.push((method, path.clone(), operation.clone()));
        }
    }
    operations
}

/// A path of a template, its ids all 1.
pub(crate) fn with_ids(template: &str) -> String {
    let parts = template.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_served_document_is_the_printed_one() {
    let server = TestServer::start().await;
    let mut served = server.anyone().get("/openapi.json").await.ok().await;
    assert_eq!(served["servers"][0]["url"], "/");
    served
        .as_object_mut()
        .expect("a document")
        .remove("servers");
    assert_eq!(served, document());
}

#[tokio::test]
async fn what_is_documented_is_served_and_asks_for_whom_it_says() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    for (method, path, operation) in operations(&document()) {
        let path = with_ids(&path);
        let status = Answer::of(anyone.request(method.clone(), &path))
            .await
            .status();
        let is_signed_in = operation.get("security").is_some();
        assert_eq!(status == 401, is_signed_in, "{method} {path}: {status}");
        // Without a body, without a token: there is no other way to a 404 or 405 than a route that isn't there.
        assert!(status != 404 && status != 405, "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn what_is_served_is_documented() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let documented: BTreeSet<_> = operations(&document())
        .into_iter()
        .map(|(method, path, _)| (path, method.to_string()))
        .filter(|(path, _)| !path.starts_with(paths::HUB))
        .collect();
    // The router says itself which methods a path has.
    let rest = paths::ALL
        .iter()
        .copied()
        .filter(|path| !path.starts_with(paths::HUB));
    let mut served = BTreeSet::new();
    for template in rest.chain(["/healthz", "/readyz", "/metrics"]) {
        let path = with_ids(template);
        let answer = Answer::of(anyone.request(Method::TRACE, &path)).await;
        for method in answer
            .header("allow")
            .expect("Allow")
            .split(',')
            .filter(|m| *m != "HEAD")
        {
            served.insert((template.to_owned(), method.to_owned()));
        }
    }
    assert_eq!(served, documented);
}

#[test]
fn every_documented_code_exists_and_stands_at_its_status() {
    let mut seen = BTreeSet::new();
    for (method, path, operation) in operations(&document()) {
        let codes = operation["x-error-codes"].as_array().expect("codes");
        let media_type = if path.starts_with(paths::HUB) {
            "text/plain"
        } else {
            "application/problem+json"
        };
        for code in codes {
            let code = code.as_str().expect("text");
            let known =
                ErrorCode::from_wire(code).unwrap_or_else(|| panic!("{method} {path}: {code}"));
            let at = |status: u16| {
                let response = &operation["responses"][status.to_string()];
                let described = response["description"]
                    .as_str()
                    .unwrap_or_default()
                    .contains(&format!("`{code}`"));
                described && response["content"].get(media_type).is_some()
            };
            assert!(at(known.status()) || at(403), "{method} {path}: {code}");
            seen.insert(code.to_owned());
        }
    }
    // One answers to methods that no operation has.
    assert!(!seen.contains("method_not_allowed"));
    assert_eq!(seen.len(), 18, "{seen:?}");
}

#[test]
fn every_operation_has_an_id_of_its_own() {
    let mut seen = BTreeSet::new();
    for (method, path, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(id.chars().all(char::is_alphanumeric), "{id}");
        assert!(
            seen.insert(id.to_owned()),
            "{method} {path}: {id} is there twice"
        );
        assert!(
            operation["summary"].as_str().is_some_and(|s| !s.is_empty()),
            "{id}"
        );
        let declared: Vec<_> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|p| p["in"] == "path")
            .map(|p| p["name"].as_str().expect("name"))
            .collect();
        let in_path: Vec<_> = path
            .split('/')
            .filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(declared, in_path, "{id}");
    }
}

#[test]
fn every_schema_that_is_named_is_there() {
    let document = document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name}"
        );
    }
}

#[test]
fn every_member_is_written_as_on_the_wire() {
    fn visit(value: &Value, path: &str) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for name in properties.keys() {
                assert!(!name.contains('_'), "{path}: {name}");
            }
        }
        match value {
            Value::Object(members) => members
                .iter()
                .for_each(|(name, v)| visit(v, &format!("{path}.{name}"))),
            Value::Array(items) => items.iter().for_each(|v| visit(v, path)),
            Value::String(text) => assert!(!text.contains("[`"), "{path}: {text}"),
            _ => {}
        }
    }
    visit(&document(), "");
}

#[test]
fn the_document_is_as_it_was() {
    insta::assert_json_snapshot!(document());
}

#[test]
fn the_hubs_document_is_as_it_was() {
    insta::assert_json_snapshot!(chat_server::asyncapi::document());
}

#[test]
fn the_hubs_declarations_are_as_they_were() {
    insta::assert_snapshot!(chat_server::typescript::declarations());
}

#[test]
fn every_reference_in_the_hubs_document_leads_somewhere() {
    fn visit(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if let ("$ref", Some(reference)) = (name.as_str(), value.as_str()) {
                        let pointer = reference.strip_prefix('#').expect("of this document");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    visit(value, document);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, document)),
            _ => {}
        }
    }
    let document = chat_server::asyncapi::document();
    visit(&document, &document);
}

#[tokio::test]
async fn the_hubs_document_and_declarations_are_served_where_its_role_is_run() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let served = anyone.get("/asyncapi.json").await.ok().await;
    assert_eq!(served, chat_server::asyncapi::document());
    let declarations = anyone.get("/hub.d.ts").await;
    assert_eq!(
        declarations.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let declarations = declarations.0.text().await.expect("text");
    assert_eq!(declarations, chat_server::typescript::declarations());

    let server = TestServer::with(&[("CHAT_ROLES", "rest,auth")]).await;
    for path in ["/asyncapi.json", "/hub.d.ts"] {
        server
            .anyone()
            .get(path)
            .await
            .problem(404, "not_found")
            .await;
    }
}

#[tokio::test]
async fn the_documentation_is_served_without_another_site() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let page = anyone.get("/docs").await;
    assert_eq!(
        (page.status().as_u16(), page.0.url().path()),
        (200, "/docs/")
    );
    let page = page.0.text().await.expect("a page");
    let mut assets = 0;
    for source in page
        .split("src=\"")
        .chain(page.split("href=\""))
        .filter_map(|s| s.split('"').next())
    {
        if !source.starts_with("./") {
            continue;
        }
        assets += 1;
        assert_eq!(
            anyone.get(&format!("/docs/{source}")).await.status(),
            200,
            "{source}"
        );
    }
    assert!(assets >= 3, "{page}");
    assert!(!page.contains("//"), "{page}");
    let start = anyone
        .get("/docs/swagger-initializer.js")
        .await
        .0
        .text()
        .await
        .expect("a script");
    assert!(start.contains("../openapi.json"), "{start}");
    anyone
        .get("/docs/nothing.js")
        .await
        .problem(404, "not_found")
        .await;
}
