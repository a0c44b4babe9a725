//! MessagePack as a serde serializer: structs are maps, integers take their shortest form, enums are as in JSON.

use std::fmt;

use rmp::encode;
use serde::ser::{self, Serialize};

use super::super::EncodeError;

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// What writing to memory answers.
const IN_MEMORY: &str = "memory can always be written to";

/// Writes an integer in its shortest form: above 32 bits a signed one, since some clients read no unsigned ones there.
pub(super) fn integer(n: i64, out: &mut Vec<u8>) {
    if n > u32::MAX.into() {
        encode::write_i64(out, n).expect(IN_MEMORY);
    } else {
        encode::write_sint(out, n).expect(IN_MEMORY);
    }
}

/// Writes text.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("a record is far below 4 GiB");
    encode::write_str_len(out, length).expect(IN_MEMORY);
    out.extend_from_slice(text.as_bytes());
}

/// Writes nil.
pub(super) fn nil(out: &mut Vec<u8>) {
    encode::write_nil(out).expect(IN_MEMORY);
}

/// Writes what begins an array of this length.
pub(super) fn array(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("a record is far below 4 GiB");
    encode::write_array_len(out, length).expect(IN_MEMORY);
}

fn map(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("a record is far below 4 GiB");
    encode::write_map_len(out, length).expect(IN_MEMORY);
}

/// Writes one value to the end of a buffer. What was written of one that fails stays.
pub(super) struct Serializer<'o>(pub(super) &'o mut Vec<u8>);

impl<'o> Serializer<'o> {
    /// Begins an array or a map; the length is corrected at its end if it isn't known yet.
    fn begin(self, write: Begin, length: Option<usize>) -> Container<'o> {
        let start = self.0.len();
        let announced = length.unwrap_or(0);
        write(announced, self.0);
        Container {
            begin: write,
            start,
            content: self.0.len(),
            announced,
            length: 0,
            out: self.0,
        }
    }

    /// A variant with a value: a map of its name to that.
    fn variant(self, name: &str) -> Self {
        map(1, self.0);
        text(name, self.0);
        self
    }
}

/// Writes the beginning of an array or a map.
type Begin = fn(usize, &mut Vec<u8>);

/// An array or a map being written.
pub(super) struct Container<'o> {
    begin: Begin,
    /// Where it begins, and where its content does.
    start: usize,
    content: usize,
    announced: usize,
    length: usize,
    out: &'o mut Vec<u8>,
}

impl Container<'_> {
    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), EncodeError> {
        self.length += 1;
        value.serialize(Serializer(self.out))
    }

    fn member(
        &mut self,
        key: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), EncodeError> {
        text(key, self.out);
        self.item(value)
    }

    fn finish(self) {
        if self.length != self.announced {
            let mut begin = Vec::new();
            (self.begin)(self.length, &mut begin);
            self.out.splice(self.start..self.content, begin);
        }
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => { $(
        fn $method(self, n: $type) -> Result<(), EncodeError> {
            integer(n.into(), self.0);
            Ok(())
        }
    )* };
}

impl<'o> ser::Serializer for Serializer<'o> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Container<'o>;
    type SerializeTuple = Container<'o>;
    type SerializeTupleStruct = Container<'o>;
    type SerializeTupleVariant = Container<'o>;
    type SerializeMap = Container<'o>;
    type SerializeStruct = Container<'o>;
    type SerializeStructVariant = Container<'o>;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32
    }

    fn serialize_u64(self, n: u64) -> Result<(), EncodeError> {
        match i64::try_from(n) {
            Ok(n) => integer(n, self.0),
            Err(_) => encode::write_u64(self.0, n).expect(IN_MEMORY),
        }
        Ok(())
    }

    fn serialize_bool(self, b: bool) -> Result<(), EncodeError> {
        encode::write_bool(self.0, b).expect(IN_MEMORY);
        Ok(())
    }

    fn serialize_f32(self, n: f32) -> Result<(), EncodeError> {
        self.serialize_f64(n.into())
    }

    fn serialize_f64(self, n: f64) -> Result<(), EncodeError> {
        encode::write_f64(self.0, n).expect(IN_MEMORY);
        Ok(())
    }

    fn serialize_char(self, c: char) -> Result<(), EncodeError> {
        text(c.encode_utf8(&mut [0; 4]), self.0);
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        text(value, self.0);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), EncodeError> {
        encode::write_bin(self.0, bytes).expect(IN_MEMORY);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        nil(self.0);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self.variant(variant))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Container<'o>, EncodeError> {
        Ok(self.begin(array, length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Container<'o>, EncodeError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Container<'o>, EncodeError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Container<'o>, EncodeError> {
        self.variant(variant).serialize_seq(Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Container<'o>, EncodeError> {
        Ok(self.begin(map, length))
    }

    fn serialize_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Container<'o>, EncodeError> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Container<'o>, EncodeError> {
        self.variant(variant).serialize_map(Some(length))
    }
}

/// What is an array to MessagePack, whatever serde calls it.
macro_rules! arrays {
    ($($kind:ident: $method:ident),*) => { $(
        impl ser::$kind for Container<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.item(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.finish();
                Ok(())
            }
        }
    )* };
}

arrays! {
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
}

impl ser::SerializeMap for Container<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        let start = self.out.len();
        key.serialize(Serializer(self.out))?;
        match self.out.get(start) {
            Some(0xa0..=0xbf | 0xd9..=0xdb) => Ok(()),
            _ => Err(EncodeError("a key must be a string".to_owned())),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.item(value)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.finish();
        Ok(())
    }
}

/// What is a map with names that are known.
macro_rules! structs {
    ($($kind:ident),*) => { $(
        impl ser::$kind for Container<'_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.member(key, value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.finish();
                Ok(())
            }
        }
    )* };
}

structs! { SerializeStruct, SerializeStructVariant }
