//! Going through MessagePack: what the next value is, and where it ends.

use rmp::Marker;

/// A value, or the beginning of one that holds others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// One that is beyond `i64`.
    Uint(u64),
    Float(f64),
    /// Text, which isn't sure to be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// An extension, a time for example. Nothing of ours has one.
    Ext,
    /// So many values follow.
    Array(usize),
    /// So many keys and values follow.
    Map(usize),
}

/// Why a value can't be passed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsound {
    /// What stands at this byte is no MessagePack, or it ends there too early.
    Malformed { at: usize },
    /// Nested deeper than asked for.
    TooDeep { at: usize },
    /// An object has a key that is no text.
    Key,
    /// An object has this key twice.
    DuplicateKey(String),
}

/// A place in a record.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Takes the next value; of one that holds others, their number. That many may well be there: each has a byte at least.
    pub(super) fn token(&mut self) -> Result<Token<'a>, Unsound> {
        let marker = Marker::from_u8(self.number(u8::from_be_bytes)?);
        Ok(match marker {
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::FixPos(n) => Token::Int(n.into()),
            Marker::FixNeg(n) => Token::Int(n.into()),
            Marker::U8 => Token::Int(self.number(u8::from_be_bytes)?.into()),
            Marker::U16 => Token::Int(self.number(u16::from_be_bytes)?.into()),
            Marker::U32 => Token::Int(self.number(u32::from_be_bytes)?.into()),
            Marker::U64 => {
                let n = self.number(u64::from_be_bytes)?;
                i64::try_from(n).map_or(Token::Uint(n), Token::Int)
            }
            Marker::I8 => Token::Int(self.number(i8::from_be_bytes)?.into()),
            Marker::I16 => Token::Int(self.number(i16::from_be_bytes)?.into()),
            Marker::I32 => Token::Int(self.number(i32::from_be_bytes)?.into()),
            Marker::I64 => Token::Int(self.number(i64::from_be_bytes)?),
            Marker::F32 => Token::Float(self.number(f32::from_be_bytes)?.into()),
            Marker::F64 => Token::Float(self.number(f64::from_be_bytes)?),
            Marker::FixStr(n) => Token::Str(self.take(n.into())?),
            Marker::Str8 | Marker::Str16 | Marker::Str32 => Token::Str(self.block(marker)?),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Token::Bin(self.block(marker)?),
            Marker::FixExt1 => self.ext(1)?,
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?,
            Marker::FixExt16 => self.ext(16)?,
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => {
                let length = self.length(marker)?;
                self.ext(length)?
            }
            Marker::FixArray(n) => Token::Array(self.many(n.into(), 1)?),
            Marker::Array16 | Marker::Array32 => {
                let length = self.length(marker)?;
                Token::Array(self.many(length, 1)?)
            }
            Marker::FixMap(n) => Token::Map(self.many(n.into(), 2)?),
            Marker::Map16 | Marker::Map32 => {
                let length = self.length(marker)?;
                Token::Map(self.many(length, 2)?)
            }
            Marker::Reserved => return Err(Unsound::Malformed { at: self.at - 1 }),
        })
    }

    /// Whether the next value is nil; it is not taken.
    pub(super) fn is_nil(&self) -> bool {
        self.bytes.get(self.at) == Some(&Marker::Null.to_u8())
    }

    /// Passes over a value of up to `levels` arrays and maps in each other, and returns its bytes.
    pub(super) fn value(&mut self, levels: u32) -> Result<&'a [u8], Unsound> {
        let start = self.at;
        self.pass(levels, None)?;
        Ok(&self.bytes[start..self.at])
    }

    /// Passes over a value in the same way, and refuses keys in it that are doubled or no text.
    pub(super) fn value_of_distinct_keys(&mut self, levels: u32) -> Result<&'a [u8], Unsound> {
        let start = self.at;
        self.pass(levels, Some(&mut Vec::new()))?;
        Ok(&self.bytes[start..self.at])
    }

    /// Makes sure that nothing follows.
    pub(super) const fn end(&self) -> Result<(), Unsound> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(Unsound::Malformed { at: self.at })
        }
    }

    /// `keys`, where they must be distinct, holds those of the objects around this place, the innermost's last.
    fn pass(&mut self, levels: u32, mut keys: Option<&mut Vec<&'a [u8]>>) -> Result<(), Unsound> {
        let start = self.at;
        let token = self.token()?;
        let (Token::Array(length) | Token::Map(length)) = token else {
            return Ok(());
        };
        let inner = levels
            .checked_sub(1)
            .ok_or(Unsound::TooDeep { at: start })?;
        if token == Token::Array(length) {
            for _ in 0..length {
                self.pass(inner, keys.as_deref_mut())?;
            }
            return Ok(());
        }
        let first = keys.as_ref().map_or(0, |keys| keys.len());
        for _ in 0..length {
            match &mut keys {
                Some(keys) => keys.push(self.key()?),
                None => self.pass(inner, None)?,
            }
            self.pass(inner, keys.as_deref_mut())?;
        }
        if let Some(keys) = keys {
            are_distinct(&mut keys[first..])?;
            keys.truncate(first);
        }
        Ok(())
    }

    fn key(&mut self) -> Result<&'a [u8], Unsound> {
        match self.token()? {
            Token::Str(key) if std::str::from_utf8(key).is_ok() => Ok(key),
            _ => Err(Unsound::Key),
        }
    }

    fn ext(&mut self, length: usize) -> Result<Token<'a>, Unsound> {
        // Its type is a byte before it.
        self.take(length.saturating_add(1))?;
        Ok(Token::Ext)
    }

    fn block(&mut self, marker: Marker) -> Result<&'a [u8], Unsound> {
        let length = self.length(marker)?;
        self.take(length)
    }

    /// The length that stands behind a marker.
    fn length(&mut self, marker: Marker) -> Result<usize, Unsound> {
        match marker {
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => {
                self.number(u8::from_be_bytes).map(usize::from)
            }
            Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => {
                self.number(u16::from_be_bytes).map(usize::from)
            }
            // What doesn't fit isn't there either.
            _ => self
                .number(u32::from_be_bytes)
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        }
    }

    /// `length` times `each` values, if there is a byte for each.
    fn many(&self, length: usize, each: usize) -> Result<usize, Unsound> {
        if length.saturating_mul(each) <= self.bytes.len() - self.at {
            Ok(length)
        } else {
            Err(Unsound::Malformed { at: self.at })
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unsound> {
        let taken = self.bytes[self.at..].get(..length);
        let taken = taken.ok_or(Unsound::Malformed { at: self.at })?;
        self.at += length;
        Ok(taken)
    }

    fn number<const N: usize, T>(&mut self, from: fn([u8; N]) -> T) -> Result<T, Unsound> {
        let bytes = self.bytes[self.at..].first_chunk::<N>();
        let bytes = bytes.ok_or(Unsound::Malformed { at: self.at })?;
        self.at += N;
        Ok(from(*bytes))
    }
}

/// Objects of up to this many keys are compared pair by pair.
const FEW_KEYS: usize = 12;

fn are_distinct(keys: &mut [&[u8]]) -> Result<(), Unsound> {
    // Sorted if there are many, so that 64 KiB of keys cost no more than reading them.
    let twice = if keys.len() <= FEW_KEYS {
        (1..keys.len()).find(|&i| keys[..i].contains(&keys[i]))
    } else {
        keys.sort_unstable();
        (1..keys.len()).find(|&i| keys[i - 1] == keys[i])
    };
    match twice {
        Some(i) => Err(Unsound::DuplicateKey(
            String::from_utf8_lossy(keys[i]).chars().take(64).collect(),
        )),
        None => Ok(()),
    }
}
