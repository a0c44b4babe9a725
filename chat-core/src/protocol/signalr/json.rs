//! Hub messages as JSON records.
//!
//! Reading (specification: `HubProtocol.md`, "JSON Encoding"): members in any order, the last of a doubled one counts,
//! unknown ones are skipped, and what a message's type doesn't ask for isn't looked at. `headers` are skipped too, never
//! kept: some clients copy their `Authorization` header into every call. Writing: `type` first, in the order of the
//! official JavaScript client, and no member that is `null`, which clients don't take.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    ArgumentsError, CompletionResult, DecodeError, EncodeError, HubMessage, RECORD_SEPARATOR, Raw,
};
use crate::model::limits;
use crate::protocol::strict_json;

/// The Ping record.
pub(super) const PING: &[u8] = b"{\"type\":6}\x1e";

/// Reads a record.
pub(super) fn decode(record: &[u8]) -> Result<Option<HubMessage<'_>>, DecodeError> {
    let text = std::str::from_utf8(record).map_err(|e| DecodeError::Malformed {
        at: e.valid_up_to(),
    })?;
    let members: Members<'_> =
        serde_json::from_str(text).map_err(|e| DecodeError::Malformed { at: e.column() })?;
    members.into_message()
}

/// Reads exactly one argument.
pub(super) fn arguments<T: DeserializeOwned>(arguments: Raw<'_>) -> Result<T, ArgumentsError> {
    // The array around the argument is the protocol's, not a level of what the caller sent.
    strict_json::check_within(arguments.0, limits::JSON_DEPTH + 1)?;
    serde_json::from_slice::<[T; 1]>(arguments.0)
        .map(|[argument]| argument)
        .map_err(|_| explain_arguments::<T>(arguments))
}

/// What is wrong with arguments that are not one `T`.
fn explain_arguments<T: DeserializeOwned>(arguments: Raw<'_>) -> ArgumentsError {
    match serde_json::from_slice::<Vec<&RawValue>>(arguments.0).as_deref() {
        Ok([argument]) => strict_json::explain::<T>(argument.get().as_bytes()).into(),
        Ok(other) => ArgumentsError::Count(other.len()),
        Err(_) => strict_json::explain::<[T; 1]>(arguments.0).into(),
    }
}

/// Reads a value.
pub(super) fn value<T: DeserializeOwned>(value: Raw<'_>) -> Result<T, DecodeError> {
    serde_json::from_slice(value.0)
        .map_err(|_| DecodeError::Value(strict_json::explain::<T>(value.0).to_string()))
}

/// A member as it stands in its record, unread.
type Member<'a> = Option<&'a RawValue>;

/// The members of a record.
#[derive(Default)]
struct Members<'a> {
    kind: Member<'a>,
    invocation_id: Member<'a>,
    target: Member<'a>,
    arguments: Member<'a>,
    stream_ids: Member<'a>,
    item: Member<'a>,
    result: Member<'a>,
    error: Member<'a>,
    allow_reconnect: Member<'a>,
    sequence_id: Member<'a>,
}

/// Which member a key names.
enum Key {
    Type,
    InvocationId,
    Target,
    Arguments,
    StreamIds,
    Item,
    Result,
    Error,
    AllowReconnect,
    SequenceId,
    Skipped,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "type" => Key::Type,
                    "invocationId" => Key::InvocationId,
                    "target" => Key::Target,
                    "arguments" => Key::Arguments,
                    "streamIds" => Key::StreamIds,
                    "item" => Key::Item,
                    "result" => Key::Result,
                    "error" => Key::Error,
                    "allowReconnect" => Key::AllowReconnect,
                    "sequenceId" => Key::SequenceId,
                    _ => Key::Skipped,
                })
            }
        }
        d.deserialize_identifier(Visitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                let mut skipped = None;
                while let Some(key) = map.next_key()? {
                    let slot = match key {
                        Key::Arguments => {
                            // Their nesting is judged when they are read, and refuses the call alone.
                            members.arguments = Some(map.next_value()?);
                            continue;
                        }
                        Key::Type => &mut members.kind,
                        Key::InvocationId => &mut members.invocation_id,
                        Key::Target => &mut members.target,
                        Key::StreamIds => &mut members.stream_ids,
                        Key::Item => &mut members.item,
                        Key::Result => &mut members.result,
                        Key::Error => &mut members.error,
                        Key::AllowReconnect => &mut members.allow_reconnect,
                        Key::SequenceId => &mut members.sequence_id,
                        Key::Skipped => &mut skipped,
                    };
                    let value: &RawValue = map.next_value()?;
                    // The record is the outermost level.
                    if !strict_json::is_nested_within(
                        value.get().as_bytes(),
                        limits::JSON_DEPTH - 1,
                    ) {
                        return Err(de::Error::custom("nested too deeply"));
                    }
                    *slot = Some(value);
                }
                Ok(members)
            }
        }
        d.deserialize_map(Visitor)
    }
}

impl<'a> Members<'a> {
    fn into_message(self) -> Result<Option<HubMessage<'a>>, DecodeError> {
        Ok(Some(match required(integer("type", self.kind)?, "type")? {
            1 => HubMessage::Invocation {
                // Empty is none: both call without asking for an answer.
                invocation_id: text("invocationId", self.invocation_id)?
                    .filter(|id| !id.is_empty()),
                target: self.target()?,
                arguments: self.arguments()?,
                stream_ids: self.stream_ids()?,
            },
            2 => HubMessage::StreamItem {
                invocation_id: self.id()?,
                item: required(self.item.map(raw), "item")?,
            },
            3 => HubMessage::Completion {
                invocation_id: self.id()?,
                result: match (text("error", self.error)?, self.result) {
                    (None, None) => CompletionResult::Void,
                    (None, Some(value)) => CompletionResult::Value(raw(value)),
                    (Some(error), None) => CompletionResult::Error(error),
                    (Some(_), Some(_)) => return Err(DecodeError::ErrorAndResult),
                },
            },
            4 => HubMessage::StreamInvocation {
                invocation_id: self.id()?,
                target: self.target()?,
                arguments: self.arguments()?,
                stream_ids: self.stream_ids()?,
            },
            5 => HubMessage::CancelInvocation {
                invocation_id: self.id()?,
            },
            6 => HubMessage::Ping,
            7 => HubMessage::Close {
                error: text("error", self.error)?,
                allow_reconnect: read("allowReconnect", self.allow_reconnect)?.unwrap_or(false),
            },
            8 => HubMessage::Ack {
                sequence_id: required(integer("sequenceId", self.sequence_id)?, "sequenceId")?,
            },
            9 => HubMessage::Sequence {
                sequence_id: required(integer("sequenceId", self.sequence_id)?, "sequenceId")?,
            },
            _ => return Ok(None),
        }))
    }

    /// The id, where a message must have one.
    fn id(&self) -> Result<Cow<'a, str>, DecodeError> {
        let id = text("invocationId", self.invocation_id)?.filter(|id| !id.is_empty());
        required(id, "invocationId")
    }

    fn target(&self) -> Result<Cow<'a, str>, DecodeError> {
        required(text("target", self.target)?, "target")
    }

    fn arguments(&self) -> Result<Raw<'a>, DecodeError> {
        let arguments = raw(required(present(self.arguments), "arguments")?);
        match arguments.0.first() {
            Some(b'[') => Ok(arguments),
            _ => Err(DecodeError::WrongType("arguments")),
        }
    }

    fn stream_ids(&self) -> Result<Vec<Cow<'a, str>>, DecodeError> {
        read::<Vec<&RawValue>>("streamIds", self.stream_ids)?
            .unwrap_or_default()
            .into_iter()
            .map(|id| text("streamIds", Some(id))?.ok_or(DecodeError::WrongType("streamIds")))
            .collect()
    }
}

fn required<T>(member: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    member.ok_or(DecodeError::Missing(name))
}

/// `null` is absent.
fn present(member: Member<'_>) -> Member<'_> {
    member.filter(|value| value.get() != "null")
}

fn raw(value: &RawValue) -> Raw<'_> {
    Raw(value.get().as_bytes())
}

/// Reads an optional member.
fn read<'a, T: Deserialize<'a>>(
    name: &'static str,
    member: Member<'a>,
) -> Result<Option<T>, DecodeError> {
    present(member)
        .map(|value| serde_json::from_str(value.get()).map_err(|_| DecodeError::WrongType(name)))
        .transpose()
}

/// Reads an optional text, which is borrowed if nothing in it is escaped.
fn text<'a>(name: &'static str, member: Member<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    let plain = member
        .and_then(|value| value.get().strip_prefix('"')?.strip_suffix('"'))
        .filter(|text| !text.contains('\\'));
    match plain {
        Some(text) => Ok(Some(Cow::Borrowed(text))),
        None => Ok(read::<String>(name, member)?.map(Cow::Owned)),
    }
}

/// Reads an optional integer, which may be written as a float.
fn integer(name: &'static str, member: Member<'_>) -> Result<Option<i64>, DecodeError> {
    #[derive(Deserialize)]
    struct Integer(#[serde(deserialize_with = "crate::model::deserialize_integer")] i64);
    Ok(read::<Integer>(name, member)?.map(|n| n.0))
}

/// Writes a value.
pub(super) fn encode_value(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let before = out.len();
    serde_json::to_writer(&mut *out, value).map_err(|e| {
        out.truncate(before);
        EncodeError(e.to_string())
    })
}

/// Writes any message.
pub(super) fn encode(message: &HubMessage<'_>, out: &mut Vec<u8>) {
    match message {
        HubMessage::Invocation {
            invocation_id,
            target,
            arguments,
            stream_ids,
        } => Record::begin(1, out).call(target, *arguments, invocation_id.as_deref(), stream_ids),
        HubMessage::StreamItem {
            invocation_id,
            item,
        } => Record::begin(2, out)
            .text(INVOCATION_ID, invocation_id)
            .raw(ITEM, *item)
            .end(),
        HubMessage::Completion {
            invocation_id,
            result,
        } => match result {
            CompletionResult::Void => completion_void(invocation_id, out),
            CompletionResult::Value(value) => completion_raw(invocation_id, *value, out),
            CompletionResult::Error(error) => completion_error(invocation_id, error, out),
        },
        HubMessage::StreamInvocation {
            invocation_id,
            target,
            arguments,
            stream_ids,
        } => Record::begin(4, out).call(target, *arguments, Some(invocation_id), stream_ids),
        HubMessage::CancelInvocation { invocation_id } => cancel_invocation(invocation_id, out),
        HubMessage::Ping => out.extend_from_slice(PING),
        HubMessage::Close {
            error,
            allow_reconnect,
        } => close(error.as_deref(), *allow_reconnect, out),
        HubMessage::Ack { sequence_id } => Record::begin(8, out).sequence_id(*sequence_id),
        HubMessage::Sequence { sequence_id } => Record::begin(9, out).sequence_id(*sequence_id),
    }
}

/// Writes a call with one argument.
pub(super) fn invocation(
    id: Option<&str>,
    target: &str,
    argument: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::begin(1, out).text(TARGET, target);
    record
        .argument(argument)?
        .optional_text(INVOCATION_ID, id)
        .end();
    Ok(())
}

/// Writes the call of a stream.
pub(super) fn stream_invocation(
    id: &str,
    target: &str,
    argument: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::begin(4, out).text(TARGET, target);
    record.argument(argument)?.text(INVOCATION_ID, id).end();
    Ok(())
}

/// Writes an event whose argument is encoded.
pub(super) fn event_raw(target: &str, argument: Raw<'_>, out: &mut Vec<u8>) {
    let record = Record::begin(1, out)
        .text(TARGET, target)
        .raw(FIRST_ARGUMENT, argument);
    record.out.push(b']');
    record.end();
}

/// Writes a completion with a result.
pub(super) fn completion(
    id: &str,
    result: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::begin(3, out).text(INVOCATION_ID, id);
    record.value(RESULT, result)?.end();
    Ok(())
}

/// Writes a completion whose result is encoded.
pub(super) fn completion_raw(id: &str, result: Raw<'_>, out: &mut Vec<u8>) {
    Record::begin(3, out)
        .text(INVOCATION_ID, id)
        .raw(RESULT, result)
        .end();
}

/// Writes a completion with an error.
pub(super) fn completion_error(id: &str, error: &str, out: &mut Vec<u8>) {
    Record::begin(3, out)
        .text(INVOCATION_ID, id)
        .text(ERROR, error)
        .end();
}

/// Writes a completion with nothing.
pub(super) fn completion_void(id: &str, out: &mut Vec<u8>) {
    Record::begin(3, out).text(INVOCATION_ID, id).end();
}

/// Writes an item of a stream.
pub(super) fn stream_item(
    id: &str,
    item: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::begin(2, out).text(INVOCATION_ID, id);
    record.value(ITEM, item)?.end();
    Ok(())
}

/// Writes a cancellation.
pub(super) fn cancel_invocation(id: &str, out: &mut Vec<u8>) {
    Record::begin(5, out).text(INVOCATION_ID, id).end();
}

/// Writes a Close record.
pub(super) fn close(error: Option<&str>, allow_reconnect: bool, out: &mut Vec<u8>) {
    let record = Record::begin(7, out).optional_text(ERROR, error);
    if allow_reconnect {
        record.out.extend_from_slice(br#","allowReconnect":true"#);
    }
    record.end();
}

// Members as they follow another.
const TARGET: &str = r#","target":"#;
const INVOCATION_ID: &str = r#","invocationId":"#;
const FIRST_ARGUMENT: &str = r#","arguments":["#;
const ARGUMENTS: &str = r#","arguments":"#;
const STREAM_IDS: &str = r#","streamIds":"#;
const ITEM: &str = r#","item":"#;
const RESULT: &str = r#","result":"#;
const ERROR: &str = r#","error":"#;
const SEQUENCE_ID: &str = r#","sequenceId":"#;

/// A record being written to the end of a buffer.
struct Record<'o> {
    out: &'o mut Vec<u8>,
    /// Where it begins, to take it back.
    start: usize,
}

impl<'o> Record<'o> {
    /// Begins a message of that type, a digit.
    fn begin(kind: u8, out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(br#"{"type":"#);
        out.push(b'0' + kind);
        Self { out, start }
    }

    fn raw(self, member: &str, value: Raw<'_>) -> Self {
        self.out.extend_from_slice(member.as_bytes());
        self.out.extend_from_slice(value.0);
        self
    }

    fn value(self, member: &str, value: &impl Serialize) -> Result<Self, EncodeError> {
        self.out.extend_from_slice(member.as_bytes());
        match encode_value(value, self.out) {
            Ok(()) => Ok(self),
            Err(e) => {
                self.out.truncate(self.start);
                Err(e)
            }
        }
    }

    fn argument(self, argument: &impl Serialize) -> Result<Self, EncodeError> {
        let record = self.value(FIRST_ARGUMENT, argument)?;
        record.out.push(b']');
        Ok(record)
    }

    fn text(self, member: &str, text: &str) -> Self {
        self.value(member, &text)
            .expect("text can always be written to memory")
    }

    fn optional_text(self, member: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(member, text),
            None => self,
        }
    }

    /// The members of a call, and the end.
    fn call(self, target: &str, arguments: Raw<'_>, id: Option<&str>, stream_ids: &[Cow<'_, str>]) {
        let mut record = self
            .text(TARGET, target)
            .raw(ARGUMENTS, arguments)
            .optional_text(INVOCATION_ID, id);
        if !stream_ids.is_empty() {
            record = record
                .value(STREAM_IDS, &stream_ids)
                .expect("text can always be written to memory");
        }
        record.end();
    }

    /// The only member of an Ack or a Sequence, and the end.
    fn sequence_id(self, n: i64) {
        self.value(SEQUENCE_ID, &n)
            .expect("a number can always be written to memory")
            .end();
    }

    fn end(self) {
        self.out.extend_from_slice(&[b'}', RECORD_SEPARATOR]);
    }
}
