//! Why a value isn't what it must be: the slow way, for the answer that refuses it.
//!
//! serde_json's own errors name no path, and repeat what was sent, secrets too. Here the value is read from a tree, by a
//! deserializer whose errors name the field and what it must be, and nothing else.

use std::fmt;

use serde::de::{self, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde_json::Value;

use super::JsonError;
use crate::protocol::FieldError;

/// The error of `json`, which is not a `T`.
pub(crate) fn explain<T: de::DeserializeOwned>(json: &str) -> JsonError {
    let tree: Value = match serde_json::from_str(json) {
        Ok(tree) => tree,
        Err(e) => {
            return JsonError::Malformed {
                line: e.line(),
                column: e.column(),
            };
        }
    };
    JsonError::Field(explain_tree::<T>(&tree))
}

/// The error of a value that is not a `T`.
pub(crate) fn explain_tree<T: de::DeserializeOwned>(tree: &Value) -> FieldError {
    match T::deserialize(Node(tree)) {
        Err(Fault(e)) => e,
        // Read from a tree it is a `T`: its type asks for what only text has.
        Ok(_) => FieldError::new("", "invalid_value", "can't be read"),
    }
}

/// What is wrong, and where.
#[derive(Debug)]
struct Fault(FieldError);

impl Fault {
    fn new(code: &str, detail: impl Into<String>) -> Self {
        Self(FieldError::new("", code, detail))
    }

    fn of_type(expected: &str) -> Self {
        Self::new("invalid_type", format!("must be {expected}"))
    }

    /// The same, seen from the object that has it as `key`, or the array that has it as `[key]`.
    fn under(mut self, key: &str) -> Self {
        let inner = std::mem::take(&mut self.0.field);
        self.0.field = match inner.as_str() {
            "" => key.to_owned(),
            inner if inner.starts_with('[') => format!("{key}{inner}"),
            inner => format!("{key}.{inner}"),
        };
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.field, self.0.detail)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new("invalid_value", text.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::of_type(&expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new("invalid_value", format!("must be {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::new("invalid_value", format!("must be {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            "invalid_value",
            format!("must be one of {}", expected.join(", ")),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("required", "is missing").under(field)
    }
}

/// A value of the tree, as a deserializer.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Value);

impl<'de> IntoDeserializer<'de, Fault> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Says what the value must be in JSON's terms, where a visitor would name a type of Rust.
macro_rules! must_be {
    ($expected:literal if $kind:pat => $($method:ident($($arg:ident: $ty:ty),*))*) => { $(
        fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* visitor: V) -> Result<V::Value, Fault> {
            match self.0 {
                $kind => self.deserialize_any(visitor),
                _ => Err(Fault::of_type($expected)),
            }
        }
    )* };
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(n), ..) => visitor.visit_i64(n),
                (None, Some(n), _) => visitor.visit_u64(n),
                (None, None, n) => visitor.visit_f64(n.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            Value::Object(members) => visitor.visit_map(Members {
                members: members.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => {
                visitor.visit_enum(de::value::BorrowedStrDeserializer::new(text))
            }
            _ => Err(Fault::of_type("a string")),
        }
    }

    must_be! { "a boolean" if Value::Bool(_) => deserialize_bool() }
    must_be! { "an integer" if Value::Number(_) =>
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
    }
    must_be! { "a number" if Value::Number(_) => deserialize_f32() deserialize_f64() }
    must_be! { "a string" if Value::String(_) =>
        deserialize_str() deserialize_string() deserialize_char()
    }
    must_be! { "an array" if Value::Array(_) =>
        deserialize_seq() deserialize_tuple(_n: usize) deserialize_tuple_struct(_name: &'static str, _n: usize)
    }
    must_be! { "an object" if Value::Object(_) =>
        deserialize_map()
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str])
    }

    serde::forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct identifier ignored_any
    }
}

/// An array's items; an error inside one is put under its index.
struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, item)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Node(item))
            .map(Some)
            .map_err(|e| e.under(&format!("[{index}]")))
    }
}

/// An object's members; an error inside one is put under its key.
struct Members<'a> {
    members: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de> de::MapAccess<'de> for Members<'de> {
    type Error = Fault;

    fn next_key_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((key, value)) = self.members.next() else {
            return Ok(None);
        };
        self.value = Some((key, value));
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key))
            .map(Some)
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (key, value) = self
            .value
            .take()
            .ok_or_else(|| Fault::custom("a value was read before its key"))?;
        seed.deserialize(Node(value)).map_err(|e| e.under(key))
    }
}
