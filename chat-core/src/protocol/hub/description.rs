//! The hub's methods and events with the schemas of what they carry, for documents that are made of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema as _, ToSchema};

use super::{Answers, Method, connection_events};
use crate::model::{Event, EventKind};

/// Where a schema's references point to.
const SCHEMAS: &str = "#/components/schemas/";

/// A method or an event.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does or tells, in a sentence or two.
    pub summary: String,
    /// The name of its argument's schema.
    pub argument: String,
    /// How a method answers, and the name of the schema of its result or of each item; an event isn't answered.
    pub answer: Option<(Answers, String)>,
}

/// All that the hub says and is told.
#[derive(Clone, Debug)]
pub struct Description {
    /// Client → server.
    pub methods: Vec<Signature>,
    /// Server → client: those of a connection, then those of a room.
    pub events: Vec<Signature>,
    /// The schemas by their names, as JSON Schema. References are `#/components/schemas/…`.
    pub schemas: BTreeMap<String, Value>,
}

impl Description {
    /// The hub's.
    #[must_use]
    pub fn of_hub() -> Self {
        let mut schemas = Schemas::default();
        let methods = Method::ALL
            .into_iter()
            .map(|method| method.signature(&mut schemas))
            .collect();
        let mut events = connection_events(&mut schemas);
        events.extend(room_events(&mut schemas));
        Self {
            methods,
            events,
            schemas: schemas.finish(),
        }
    }
}

/// Schemas being gathered.
#[derive(Debug, Default)]
pub(super) struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// Adds a type and all that it refers to; its name.
    pub(super) fn add<T: ToSchema>(&mut self) -> String {
        let name = T::name().into_owned();
        let mut all = vec![(name.clone(), T::schema())];
        T::schemas(&mut all);
        for (name, schema) in all {
            let schema = value(&schema);
            let known = self.0.entry(name).or_insert_with(|| schema.clone());
            debug_assert_eq!(*known, schema, "two types of one name");
        }
        name
    }

    /// A schema that stands inside another although it has a name is referred to instead.
    fn finish(self) -> BTreeMap<String, Value> {
        let named = self.0.clone();
        let mut schemas = self.0;
        for schema in schemas.values_mut() {
            for inner in children(schema) {
                refer(inner, &named);
            }
        }
        schemas
    }
}

fn refer(schema: &mut Value, named: &BTreeMap<String, Value>) {
    if schema.get("properties").is_some()
        && let Some((name, _)) = named.iter().find(|(_, known)| *known == schema)
    {
        *schema = reference(name);
        return;
    }
    for inner in children(schema) {
        refer(inner, named);
    }
}

fn children(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(members) => members.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{name}") })
}

/// The name that a schema refers to, if it is a reference.
#[must_use]
pub fn referred(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix(SCHEMAS)
}

fn value(schema: &RefOr<Schema>) -> Value {
    serde_json::to_value(schema).expect("a schema is JSON")
}

/// The events of a room. On the hub an [`Event`]'s tag is the event's name, and the rest its argument.
fn room_events(schemas: &mut Schemas) -> Vec<Signature> {
    schemas.add::<Event>();
    let event = value(&Event::schema());
    let variants = event["oneOf"].as_array().cloned().unwrap_or_default();
    variants
        .into_iter()
        .map(|variant| room_event(variant, schemas))
        .collect()
}

fn room_event(mut variant: Value, schemas: &mut Schemas) -> Signature {
    let summary = variant["description"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    // A message with the tag beside it, or an object that has the tag.
    let (tag, message) = match variant["allOf"].as_array() {
        Some(parts) => (&parts[1], referred(&parts[0]).map(str::to_owned)),
        None => (&variant, None),
    };
    let tag = tag["properties"]["type"]["enum"][0].clone();
    let kind: EventKind = serde_json::from_value(tag).expect("an event's tag is its kind");
    let name = kind.target();
    let argument = message.unwrap_or_else(|| {
        if let Some(properties) = variant["properties"].as_object_mut() {
            properties.remove("type");
        }
        if let Some(required) = variant["required"].as_array_mut() {
            required.retain(|name| name != "type");
        }
        schemas.0.insert(name.to_owned(), variant);
        name.to_owned()
    });
    Signature {
        name,
        summary,
        argument,
        answer: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(signatures: &[Signature]) -> Vec<&str> {
        signatures.iter().map(|s| s.name).collect()
    }

    #[test]
    fn every_method_and_event_is_described() {
        let hub = Description::of_hub();
        assert_eq!(
            names(&hub.methods),
            Method::ALL.iter().map(|m| m.target()).collect::<Vec<_>>()
        );
        assert_eq!(
            names(&hub.events),
            [
                "Connected",
                "RoomJoined",
                "Heads",
                "Closing",
                "MessageCreated",
                "MessageEdited",
                "MessageDeleted",
                "MessagesDeleted",
                "MemberJoined",
                "MemberChanged",
                "MembersChanged",
                "MemberLeft",
                "RoomChanged",
                "RoomDeleted",
            ]
        );
        for signature in hub.methods.iter().chain(&hub.events) {
            assert!(signature.summary.ends_with('.'), "{signature:?}");
            let answer = signature.answer.iter().map(|(_, schema)| schema);
            for schema in answer.chain([&signature.argument]) {
                assert!(hub.schemas.contains_key(schema), "{signature:?}");
            }
        }
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let hub = Description::of_hub();
        let text = serde_json::to_string(&hub.schemas).expect("JSON");
        for reference in text.split(SCHEMAS).skip(1) {
            let name = reference.split('"').next().expect("a name");
            assert!(hub.schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn an_event_of_a_room_has_the_members_of_its_argument() {
        let hub = Description::of_hub();
        assert_eq!(
            hub.schemas["MembersChanged"]["required"],
            json!(["roomId", "seq", "role"])
        );
        let room_id = crate::model::RoomId(1);
        let event = Event::RoomDeleted {
            room_id,
            seq: crate::model::Seq(2),
        };
        let written = serde_json::to_value(event.argument()).expect("JSON");
        let schema = &hub.schemas["RoomDeleted"]["properties"];
        assert_eq!(
            written
                .as_object()
                .expect("an object")
                .keys()
                .collect::<Vec<_>>(),
            schema
                .as_object()
                .expect("an object")
                .keys()
                .collect::<Vec<_>>()
        );
    }
}
