//! MessagePack as a serde deserializer.
//!
//! It takes what JSON's takes, and no more: an object is a map with string keys, never an array of a struct's fields, and text
//! is never bytes. It says nothing of why a value isn't what it must be: who wants to know reads the value as a [`tree`].

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{self, Visitor};
use serde_json::Value;

use super::cursor::{Cursor, Token, Unsound};

/// A value isn't what it must be.
#[derive(Debug)]
pub(super) struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value isn't what it must be")
    }
}

impl std::error::Error for Unreadable {}

impl de::Error for Unreadable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl From<Unsound> for Unreadable {
    fn from(_: Unsound) -> Self {
        Self
    }
}

impl<'de> de::Deserializer<'de> for &mut Cursor<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(b) => visitor.visit_bool(b),
            Token::Int(n) => visitor.visit_i64(n),
            Token::Uint(n) => visitor.visit_u64(n),
            Token::Float(n) => visitor.visit_f64(n),
            Token::Str(text) => visitor.visit_borrowed_str(utf8(text)?),
            Token::Bin(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::Ext => Err(Unreadable),
            Token::Array(left) => {
                let mut items = Items { cursor: self, left };
                let value = visitor.visit_seq(&mut items)?;
                // All of them were wanted.
                if items.left == 0 {
                    Ok(value)
                } else {
                    Err(Unreadable)
                }
            }
            Token::Map(left) => visitor.visit_map(Items { cursor: self, left }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.is_nil() {
            self.token()?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match self.token()? {
            Token::Map(left) => visitor.visit_map(Items { cursor: self, left }),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match self.token()? {
            Token::Str(name) => visitor.visit_enum(BorrowedStrDeserializer::new(utf8(name)?)),
            Token::Map(left @ 1) => {
                let variant = Items { cursor: self, left };
                visitor.visit_enum(MapAccessDeserializer::new(variant))
            }
            _ => Err(Unreadable),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.token()? {
            Token::Str(text) => visitor.visit_borrowed_str(utf8(text)?),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        // How deep it may be was looked at before.
        self.value(u32::MAX)?;
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
    }
}

/// What is in an array or a map.
struct Items<'c, 'de> {
    cursor: &'c mut Cursor<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = Unreadable;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unreadable> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.cursor).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Items<'_, 'de> {
    type Error = Unreadable;

    fn next_key_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unreadable> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        match self.cursor.token()? {
            Token::Str(key) => seed
                .deserialize(BorrowedStrDeserializer::new(utf8(key)?))
                .map(Some),
            _ => Err(Unreadable),
        }
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Unreadable> {
        seed.deserialize(&mut *self.cursor)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

fn utf8(text: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(text).map_err(|_| Unreadable)
}

/// The value as JSON would have it, as far as it could; what it couldn't is an empty array, which is nothing that a field of
/// ours may be.
pub(super) fn tree(mut cursor: Cursor<'_>) -> Value {
    branch(&mut cursor).unwrap_or(Value::Array(Vec::new()))
}

fn branch(cursor: &mut Cursor<'_>) -> Result<Value, Unsound> {
    let none = || Value::Array(Vec::new());
    Ok(match cursor.token()? {
        Token::Nil => Value::Null,
        Token::Bool(b) => b.into(),
        Token::Int(n) => n.into(),
        Token::Uint(n) => n.into(),
        Token::Float(n) => serde_json::Number::from_f64(n).map_or_else(none, Value::Number),
        Token::Str(text) => std::str::from_utf8(text).map_or_else(|_| none(), Value::from),
        Token::Bin(_) | Token::Ext => none(),
        Token::Array(length) => (0..length)
            .map(|_| branch(cursor))
            .collect::<Result<_, _>>()?,
        Token::Map(length) => {
            let mut members = serde_json::Map::new();
            for _ in 0..length {
                let key = cursor.token()?;
                let value = branch(cursor)?;
                if let Token::Str(key) = key {
                    members.insert(String::from_utf8_lossy(key).into_owned(), value);
                }
            }
            members.into()
        }
    })
}
