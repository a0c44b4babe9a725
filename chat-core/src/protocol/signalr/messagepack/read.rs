//! Reading messages, and the values in them.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::super::{
    Arguments, ArgumentsError, CompletionResult, DecodeError, HubMessage, Raw, Sound,
};
use super::cursor::{Cursor, Token, Unsound};
use super::deserialize::tree;
use crate::protocol::FieldError;
use crate::protocol::strict_json::{JsonError, LEVELS, explain_tree, no_object};

/// Levels of nesting in `arguments` that are told apart from nonsense. What is over the limit of a value, but not over
/// this, refuses that call alone.
const ARGUMENTS_LEVELS: u32 = 128;

/// Levels of arguments that can be read: the array around them is the protocol's, not what the caller nested.
const ARRAY_AND_ARGUMENT: u32 = LEVELS + 1;

/// Reads a record.
pub(in super::super) fn decode(record: &[u8]) -> Result<Option<HubMessage<'_>>, DecodeError> {
    let mut items = Items::of(record)?;
    let message = match required(items.integer("type")?, "type")? {
        1 => {
            items.skip()?;
            HubMessage::Invocation {
                // Empty is none: both call without asking for an answer.
                invocation_id: items.text("invocationId")?.filter(|id| !id.is_empty()),
                target: items.target()?,
                arguments: items.arguments()?,
                stream_ids: items.stream_ids()?,
            }
        }
        2 => {
            items.skip()?;
            HubMessage::StreamItem {
                invocation_id: items.id()?,
                item: required(items.raw()?, "item")?,
            }
        }
        3 => {
            items.skip()?;
            HubMessage::Completion {
                invocation_id: items.id()?,
                result: match required(items.integer(RESULT_KIND)?, RESULT_KIND)? {
                    RESULT_ERROR => {
                        CompletionResult::Error(required(items.text("error")?, "error")?)
                    }
                    RESULT_VOID => CompletionResult::Void,
                    RESULT_VALUE => CompletionResult::Value(required(items.raw()?, "result")?),
                    _ => return Err(DecodeError::WrongType(RESULT_KIND)),
                },
            }
        }
        4 => {
            items.skip()?;
            HubMessage::StreamInvocation {
                invocation_id: items.id()?,
                target: items.target()?,
                arguments: items.arguments()?,
                stream_ids: items.stream_ids()?,
            }
        }
        5 => {
            items.skip()?;
            HubMessage::CancelInvocation {
                invocation_id: items.id()?,
            }
        }
        6 => HubMessage::Ping,
        7 => HubMessage::Close {
            error: items.text("error")?,
            allow_reconnect: items.flag("allowReconnect")?.unwrap_or(false),
        },
        8 => HubMessage::Ack {
            sequence_id: required(items.integer("sequenceId")?, "sequenceId")?,
        },
        9 => HubMessage::Sequence {
            sequence_id: required(items.integer("sequenceId")?, "sequenceId")?,
        },
        _ => {
            items.end()?;
            return Ok(None);
        }
    };
    items.end()?;
    Ok(Some(message))
}

/// How a completion says which of its three forms it has.
const RESULT_KIND: &str = "resultKind";
pub(super) const RESULT_ERROR: i64 = 1;
pub(super) const RESULT_VOID: i64 = 2;
pub(super) const RESULT_VALUE: i64 = 3;

/// Reads exactly one argument.
pub(in super::super) fn arguments<T: DeserializeOwned>(
    arguments: Arguments<'_>,
) -> Result<T, ArgumentsError> {
    if !matches!(arguments.sound, Sound::MessagePack) {
        let mut cursor = Cursor::new(arguments.raw.0);
        cursor
            .value_of_distinct_keys(ARRAY_AND_ARGUMENT)
            .and_then(|_| cursor.end())
            .map_err(refused)?;
    }
    let mut cursor = Cursor::new(arguments.raw.0);
    match cursor.token().map_err(refused)? {
        Token::Array(1) => {}
        Token::Array(count) => return Err(ArgumentsError::Count(count)),
        _ => return Err(malformed(0).into()),
    }
    let argument = cursor.clone();
    match cursor.token() {
        Ok(Token::Map(_)) => {}
        _ => return Err(no_object().into()),
    }
    T::deserialize(&mut argument.clone())
        .map_err(|_| JsonError::Field(explain_tree::<T>(&tree(argument))).into())
}

/// Why arguments are refused that are not sound.
fn refused(unsound: Unsound) -> JsonError {
    match unsound {
        Unsound::Malformed { at } => malformed(at),
        Unsound::TooDeep { .. } => JsonError::TooDeep,
        Unsound::DuplicateKey(key) => JsonError::DuplicateKey(key),
        Unsound::Key => {
            let detail = "has a key that is no text";
            JsonError::Field(FieldError::new("", "invalid_type", detail))
        }
    }
}

/// Only arguments that come from elsewhere than a record can be that: they are on one line.
const fn malformed(at: usize) -> JsonError {
    JsonError::Malformed {
        line: 1,
        column: at + 1,
    }
}

/// Reads a value.
pub(in super::super) fn value<T: DeserializeOwned>(value: Raw<'_>) -> Result<T, DecodeError> {
    let cursor = Cursor::new(value.0);
    let mut all = cursor.clone();
    all.value(ARGUMENTS_LEVELS)?;
    all.end()?;
    T::deserialize(&mut cursor.clone())
        .map_err(|_| DecodeError::Value(explain_tree::<T>(&tree(cursor)).to_string()))
}

impl From<Unsound> for DecodeError {
    fn from(unsound: Unsound) -> Self {
        match unsound {
            Unsound::Malformed { at } | Unsound::TooDeep { at } => Self::Malformed { at },
            Unsound::Key | Unsound::DuplicateKey(_) => Self::Malformed { at: 0 },
        }
    }
}

/// The items of a record, one after another. Those that aren't there are absent.
struct Items<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Items<'a> {
    fn of(record: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(record);
        match cursor.token()? {
            Token::Array(left) => Ok(Self { cursor, left }),
            _ => Err(DecodeError::Malformed { at: 0 }),
        }
    }

    /// The next item, if there is one and it isn't nil.
    fn token(&mut self) -> Result<Option<Token<'a>>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.cursor.token()? {
            Token::Nil => Ok(None),
            token => Ok(Some(token)),
        }
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        self.raw().map(|_| ())
    }

    /// The next item, if there is one; it may be nil.
    fn raw(&mut self) -> Result<Option<Raw<'a>>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        // The record is the outermost level.
        Ok(Some(Raw(self.cursor.value(LEVELS - 1)?)))
    }

    /// Skips what a later version may have added, and makes sure that nothing is behind the array.
    fn end(mut self) -> Result<(), DecodeError> {
        while self.left > 0 {
            self.skip()?;
        }
        Ok(self.cursor.end()?)
    }

    fn integer(&mut self, name: &'static str) -> Result<Option<i64>, DecodeError> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        match self.token()? {
            None => Ok(None),
            Some(Token::Int(n)) => Ok(Some(n)),
            Some(Token::Uint(_)) => Ok(Some(i64::MAX)),
            Some(Token::Float(n)) if n.fract() == 0.0 && n.abs() <= i64::MAX as f64 => {
                Ok(Some(n as i64))
            }
            Some(_) => Err(DecodeError::WrongType(name)),
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<Option<bool>, DecodeError> {
        match self.token()? {
            None => Ok(None),
            Some(Token::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(DecodeError::WrongType(name)),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>, DecodeError> {
        self.token()?.map(|token| text(token, name)).transpose()
    }

    /// The id, where a message must have one.
    fn id(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let id = self.text("invocationId")?.filter(|id| !id.is_empty());
        required(id, "invocationId")
    }

    fn target(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        required(self.text("target")?, "target")
    }

    /// Passes over arguments. What only makes them unreadable, not the record, is left for [`arguments`] to find again.
    fn arguments(&mut self) -> Result<Arguments<'a>, DecodeError> {
        const NAME: &str = "arguments";
        let begin = self.cursor.clone();
        match self.token()? {
            None => return Err(DecodeError::Missing(NAME)),
            Some(Token::Array(_)) => {}
            Some(_) => return Err(DecodeError::WrongType(NAME)),
        }
        let mut careful = begin.clone();
        if let Ok(value) = careful.value_of_distinct_keys(ARRAY_AND_ARGUMENT) {
            self.cursor = careful;
            return Ok(Arguments {
                raw: Raw(value),
                sound: Sound::MessagePack,
            });
        }
        self.cursor = begin;
        Ok(Raw(self.cursor.value(ARGUMENTS_LEVELS)?).into())
    }

    /// Some clients leave these out.
    fn stream_ids(&mut self) -> Result<Vec<Cow<'a, str>>, DecodeError> {
        const NAME: &str = "streamIds";
        match self.token()? {
            None => Ok(Vec::new()),
            Some(Token::Array(length)) => (0..length)
                .map(|_| text(self.cursor.token()?, NAME))
                .collect(),
            Some(_) => Err(DecodeError::WrongType(NAME)),
        }
    }
}

fn text<'a>(token: Token<'a>, name: &'static str) -> Result<Cow<'a, str>, DecodeError> {
    match token {
        Token::Str(text) => std::str::from_utf8(text)
            .map(Cow::Borrowed)
            .map_err(|_| DecodeError::WrongType(name)),
        _ => Err(DecodeError::WrongType(name)),
    }
}

fn required<T>(item: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    item.ok_or(DecodeError::Missing(name))
}
