//! Reading messages, and the values in them.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::{
    Arguments, ArgumentsError, CompletionResult, DecodeError, HubMessage, Raw, Sound,
};
use crate::protocol::strict_json::{self, LEVELS, ScanError, Scanner};

/// Levels of nesting in `arguments` that are told apart from nonsense. What is over the limit of a value, but not over
/// this, refuses that call alone.
const ARGUMENTS_LEVELS: u32 = 128;

/// Levels of arguments that can be read: the array around them is the protocol's, not what the caller nested.
const ARRAY_AND_ARGUMENT: u32 = LEVELS + 1;

/// Reads a record.
pub(in super::super) fn decode(record: &[u8]) -> Result<Option<HubMessage<'_>>, DecodeError> {
    let text = std::str::from_utf8(record).map_err(|e| DecodeError::Malformed {
        at: e.valid_up_to(),
    })?;
    let members = Members::find(text).map_err(|e| match e {
        ScanError::Malformed { at } | ScanError::TooDeep { at } => DecodeError::Malformed { at },
        ScanError::DuplicateKey(_) => DecodeError::Malformed { at: 0 },
    })?;
    members.into_message()
}

/// Reads exactly one argument.
pub(in super::super) fn arguments<T: DeserializeOwned>(
    arguments: Arguments<'_>,
) -> Result<T, ArgumentsError> {
    let text = match arguments.sound {
        Sound::Json(text) => text,
        Sound::Unknown | Sound::MessagePack => {
            strict_json::checked(arguments.raw.0, ARRAY_AND_ARGUMENT)?
        }
    };
    let argument = text.strip_prefix('[').unwrap_or_default();
    if strict_json::object(argument).is_err() {
        return Err(explain_arguments::<T>(text));
    }
    serde_json::from_str::<[T; 1]>(text)
        .map(|[argument]| argument)
        .map_err(|_| explain_arguments::<T>(text))
}

/// What is wrong with arguments that are not one `T`.
fn explain_arguments<T: DeserializeOwned>(arguments: &str) -> ArgumentsError {
    let error = match serde_json::from_str::<Vec<&RawValue>>(arguments).as_deref() {
        Ok([argument]) => strict_json::object(argument.get())
            .err()
            .unwrap_or_else(|| strict_json::explain::<T>(argument.get())),
        Ok(other) => return ArgumentsError::Count(other.len()),
        Err(_) => strict_json::explain::<[T; 1]>(arguments),
    };
    error.into()
}

/// Reads a value.
pub(in super::super) fn value<T: DeserializeOwned>(value: Raw<'_>) -> Result<T, DecodeError> {
    serde_json::from_slice(value.0).map_err(|_| {
        let text = String::from_utf8_lossy(value.0);
        DecodeError::Value(strict_json::explain::<T>(&text).to_string())
    })
}

/// Passes over arguments. What only makes them unreadable, not the record, is left for [`arguments`] to find again.
fn find_arguments<'a>(scanner: &mut Scanner<'a>) -> Result<Arguments<'a>, ScanError> {
    let mut careful = scanner.clone();
    if let Ok(text) = careful.value_of_distinct_keys(ARRAY_AND_ARGUMENT) {
        *scanner = careful;
        return Ok(Arguments {
            raw: raw(text),
            sound: Sound::Json(text),
        });
    }
    scanner.value(ARGUMENTS_LEVELS).map(|text| raw(text).into())
}

/// A member as it stands in its record, unread.
type Member<'a> = Option<&'a str>;

/// The members of a record.
#[derive(Default)]
struct Members<'a> {
    kind: Member<'a>,
    invocation_id: Member<'a>,
    target: Member<'a>,
    arguments: Option<Arguments<'a>>,
    stream_ids: Member<'a>,
    item: Member<'a>,
    result: Member<'a>,
    error: Member<'a>,
    allow_reconnect: Member<'a>,
    sequence_id: Member<'a>,
}

impl<'a> Members<'a> {
    fn find(record: &'a str) -> Result<Self, ScanError> {
        let mut members = Self::default();
        let mut scanner = Scanner::new(record);
        scanner.object(|scanner, key| {
            let member = match key.as_ref() {
                "arguments" => {
                    members.arguments = Some(find_arguments(scanner)?);
                    return Ok(());
                }
                "type" => &mut members.kind,
                "invocationId" => &mut members.invocation_id,
                "target" => &mut members.target,
                "streamIds" => &mut members.stream_ids,
                "item" => &mut members.item,
                "result" => &mut members.result,
                "error" => &mut members.error,
                "allowReconnect" => &mut members.allow_reconnect,
                "sequenceId" => &mut members.sequence_id,
                _ => &mut None,
            };
            // The record is the outermost level.
            *member = Some(scanner.value(LEVELS - 1)?);
            Ok(())
        })?;
        scanner.end()?;
        Ok(members)
    }

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
                    // Beside an error, `null` is no result.
                    (Some(error), None | Some("null")) => CompletionResult::Error(error),
                    (Some(_), Some(_)) => return Err(DecodeError::ErrorAndResult),
                    (None, Some(value)) => CompletionResult::Value(raw(value)),
                    (None, None) => CompletionResult::Void,
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

    fn arguments(&self) -> Result<Arguments<'a>, DecodeError> {
        match self.arguments.map(|arguments| arguments.raw.0) {
            Some([b'[', ..]) => required(self.arguments, "arguments"),
            None | Some(b"null") => Err(DecodeError::Missing("arguments")),
            Some(_) => Err(DecodeError::WrongType("arguments")),
        }
    }

    fn stream_ids(&self) -> Result<Vec<Cow<'a, str>>, DecodeError> {
        read::<Vec<&RawValue>>("streamIds", self.stream_ids)?
            .unwrap_or_default()
            .into_iter()
            .map(RawValue::get)
            .map(|id| text("streamIds", Some(id))?.ok_or(DecodeError::WrongType("streamIds")))
            .collect()
    }
}

fn required<T>(member: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    member.ok_or(DecodeError::Missing(name))
}

/// `null` is absent.
fn present(member: Member<'_>) -> Member<'_> {
    member.filter(|value| *value != "null")
}

fn raw(value: &str) -> Raw<'_> {
    Raw(value.as_bytes())
}

/// Reads an optional member.
fn read<'a, T: Deserialize<'a>>(
    name: &'static str,
    member: Member<'a>,
) -> Result<Option<T>, DecodeError> {
    present(member)
        .map(|value| serde_json::from_str(value).map_err(|_| DecodeError::WrongType(name)))
        .transpose()
}

/// Reads an optional text, which is borrowed if nothing in it is escaped.
fn text<'a>(name: &'static str, member: Member<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    let plain = member
        .and_then(|value| value.strip_prefix('"')?.strip_suffix('"'))
        .filter(|text| !text.contains('\\'));
    match plain {
        Some(text) => Ok(Some(Cow::Borrowed(text))),
        None => Ok(read::<String>(name, member)?.map(Cow::Owned)),
    }
}

/// Reads an optional integer, which may be written as a float.
fn integer(name: &'static str, member: Member<'_>) -> Result<Option<i64>, DecodeError> {
    if let Some([digit @ b'0'..=b'9']) = member.map(str::as_bytes) {
        return Ok(Some(i64::from(digit - b'0')));
    }
    #[derive(Deserialize)]
    struct Integer(#[serde(deserialize_with = "crate::model::deserialize_integer")] i64);
    Ok(read::<Integer>(name, member)?.map(|n| n.0))
}
