//! TypeScript declarations of the hub's methods and events, for users of the official JavaScript client.

use std::fmt::Write as _;

use chat_core::protocol::hub::Answers;
use chat_core::protocol::hub::description::{Description, Signature, referred};
use serde_json::Value;

/// The declarations: a type for each schema, then `HubMethods`, `HubStreams` and `HubEvents`.
#[must_use]
pub fn declarations() -> String {
    let hub = Description::of_hub();
    let mut out = format!(
        "// What a client of the chat's hub calls and is told. Made by chat-server {}: `chat-server asyncapi --typescript`.\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, schema) in &hub.schemas {
        out.push('\n');
        declare(name, schema, &mut out);
    }
    let (streams, methods): (Vec<_>, Vec<_>) = hub
        .methods
        .iter()
        .partition(|m| matches!(m.answer, Some((Answers::Stream, _))));
    signatures(
        "HubMethods",
        "What a client invokes: `connection.invoke(\"SendMessage\", argument)` resolves to what is returned here.",
        &methods,
        &mut out,
    );
    signatures(
        "HubStreams",
        "What a client streams: `connection.stream(\"StreamHistory\", argument)` yields items of what is returned here.",
        &streams,
        &mut out,
    );
    let events: Vec<_> = hub.events.iter().collect();
    signatures(
        "HubEvents",
        "What a client is told: `connection.on(\"MessageCreated\", handler)`.",
        &events,
        &mut out,
    );
    out
}

fn signatures(name: &str, documentation: &str, all: &[&Signature], out: &mut String) {
    out.push('\n');
    document(documentation, "", out);
    line(out, format_args!("export interface {name} {{"));
    for signature in all {
        let answer = match &signature.answer {
            Some((_, schema)) => schema.clone(),
            None => "void".to_owned(),
        };
        document(&signature.summary, "  ", out);
        let argument = &signature.argument;
        line(
            out,
            format_args!("  {}(argument: {argument}): {answer};", signature.name),
        );
    }
    out.push_str("}\n");
}

fn declare(name: &str, schema: &Value, out: &mut String) {
    document(schema["description"].as_str().unwrap_or_default(), "", out);
    if schema["type"] == "object" && schema.get("properties").is_some() {
        line(
            out,
            format_args!("export interface {name} {}", object(schema, "")),
        );
    } else {
        line(
            out,
            format_args!("export type {name} = {};", of(schema, "")),
        );
    }
}

/// A type, written at this indentation.
fn of(schema: &Value, indent: &str) -> String {
    if let Some(name) = referred(schema) {
        return name.to_owned();
    }
    for (combined, operator) in [("oneOf", " | "), ("anyOf", " | "), ("allOf", " & ")] {
        if let Some(parts) = schema[combined].as_array() {
            let parts: Vec<_> = parts.iter().map(|part| of(part, indent)).collect();
            return parts.join(operator);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(Value::to_string).collect();
        return values.join(" | ");
    }
    match &schema["type"] {
        Value::Array(types) => {
            let types: Vec<_> = types
                .iter()
                .map(|kind| plain(kind, schema, indent))
                .collect();
            types.join(" | ")
        }
        kind => plain(kind, schema, indent),
    }
}

fn plain(kind: &Value, schema: &Value, indent: &str) -> String {
    match kind.as_str().unwrap_or_default() {
        "string" => "string".to_owned(),
        "integer" | "number" => "number".to_owned(),
        "boolean" => "boolean".to_owned(),
        "null" => "null".to_owned(),
        "array" => match of(&schema["items"], indent) {
            item if item.contains(' ') => format!("({item})[]"),
            item => format!("{item}[]"),
        },
        "object" => object(schema, indent),
        _ => "unknown".to_owned(),
    }
}

fn object(schema: &Value, indent: &str) -> String {
    let none = serde_json::Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    if properties.is_empty() {
        // An object without members; `{}` would take anything.
        return "Record<string, never>".to_owned();
    }
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let inner = format!("{indent}  ");
    let mut out = "{\n".to_owned();
    for (name, property) in properties {
        document(described(property), &inner, &mut out);
        let optional = if required.contains(&name.as_str()) {
            ""
        } else {
            "?"
        };
        line(
            &mut out,
            format_args!("{inner}{name}{optional}: {};", of(property, &inner)),
        );
    }
    out.push_str(indent);
    out.push('}');
    out
}

/// What is said of a member: of itself, or of the only thing that it may be.
fn described(property: &Value) -> &str {
    property["description"]
        .as_str()
        .or_else(|| property["oneOf"][0]["description"].as_str())
        .unwrap_or_default()
}

fn document(text: &str, indent: &str, out: &mut String) {
    let lines: Vec<_> = text.lines().collect();
    match &lines[..] {
        [] => {}
        [only] => line(out, format_args!("{indent}/** {only} */")),
        lines => {
            line(out, format_args!("{indent}/**"));
            for text in lines {
                line(
                    out,
                    format_args!("{}", format!("{indent} * {text}").trim_end()),
                );
            }
            line(out, format_args!("{indent} */"));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to memory doesn't fail.
    let _ = writeln!(out, "{text}");
}
