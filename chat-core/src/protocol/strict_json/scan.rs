//! One pass over JSON text that tells whether it is JSON, where its values end, and how deep it is nested.
//!
//! serde_json can pass over a value too, but it neither refuses doubled keys nor stops at a depth of our choosing, and
//! handing out a member raw costs it several times what it costs here (`benches/codec.rs`).

use std::borrow::Cow;

/// Levels that can be asked for.
const MAX_LEVELS: u32 = u128::BITS;

/// What a pass stopped at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// What stands at this byte makes it no JSON.
    Malformed { at: usize },
    /// Nested deeper than asked for.
    TooDeep { at: usize },
    /// An object has this key twice.
    DuplicateKey(String),
}

/// A pass over a text.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A pass from the beginning.
    pub(crate) const fn new(json: &'a str) -> Self {
        Self { json, at: 0 }
    }

    /// Passes over an object, handing each key to `member`, which must pass over the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.expect(b'{')?;
        if self.skip(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?.text()?;
            member(self, key)?;
            if !self.skip(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Passes over a value of up to `levels` arrays and objects in each other, and returns its text.
    pub(crate) fn value(&mut self, levels: u32) -> Result<&'a str, ScanError> {
        self.walk(levels, &mut ())
    }

    /// Passes over a value in the same way, and refuses doubled keys in it.
    pub(crate) fn value_of_distinct_keys(&mut self, levels: u32) -> Result<&'a str, ScanError> {
        self.walk(levels, &mut DistinctKeys::default())
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(mut self) -> Result<(), ScanError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed()),
        }
    }

    fn walk(&mut self, levels: u32, keys: &mut impl Keys<'a>) -> Result<&'a str, ScanError> {
        debug_assert!(levels <= MAX_LEVELS);
        self.peek();
        let start = self.at;
        // The containers around this place, the innermost as the lowest bit: 1 for an object.
        let (mut objects, mut depth) = (0_u128, 0);
        loop {
            // A value begins here.
            let container = match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    None
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    None
                }
                Some(b'{') => Some(1),
                Some(b'[') => Some(0),
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.malformed()),
            };
            if let Some(is_object) = container {
                if depth == levels {
                    return Err(ScanError::TooDeep { at: self.at });
                }
                self.at += 1;
                depth += 1;
                objects = objects << 1 | is_object;
                if is_object == 1 {
                    keys.enter();
                    if self.peek() != Some(b'}') {
                        keys.add(self.key()?)?;
                        continue;
                    }
                } else if self.peek() != Some(b']') {
                    continue;
                }
            }
            // A value ended here, or a container without any.
            loop {
                if depth == 0 {
                    return Ok(&self.json[start..self.at]);
                }
                match (self.peek(), objects & 1) {
                    (Some(b','), is_object) => {
                        self.at += 1;
                        if is_object == 1 {
                            keys.add(self.key()?)?;
                        }
                        break;
                    }
                    (Some(b'}'), 1) => keys.leave()?,
                    (Some(b']'), 0) => {}
                    _ => return Err(self.malformed()),
                }
                self.at += 1;
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<Key<'a>, ScanError> {
        match self.peek() {
            Some(b'"') => {}
            _ => return Err(self.malformed()),
        }
        let start = self.at;
        let is_escaped = self.string()?;
        let quoted = &self.json[start..self.at];
        self.expect(b':')?;
        Ok(Key {
            quoted,
            is_escaped,
            start,
        })
    }

    /// A string, of which the opening quote is next. Returns whether anything in it is escaped.
    fn string(&mut self) -> Result<bool, ScanError> {
        let json = self.json.as_bytes();
        let mut is_escaped = false;
        let mut at = self.at + 1;
        loop {
            at += plain_prefix(&json[at..]);
            match json.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    is_escaped = true;
                    at += match json.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u')
                            if json
                                .get(at + 2..at + 6)
                                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
                        {
                            6
                        }
                        _ => return Err(ScanError::Malformed { at }),
                    };
                }
                // A control character, or the end.
                _ => return Err(ScanError::Malformed { at }),
            }
        }
    }

    fn number(&mut self) -> Result<(), ScanError> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let rest = &self.json.as_bytes()[self.at..];
        match rest.iter().take_while(|b| b.is_ascii_digit()).count() {
            0 => Err(self.malformed()),
            n => {
                self.at += n;
                Ok(())
            }
        }
    }

    fn literal<T>(&mut self, literal: &str) -> Result<Option<T>, ScanError> {
        if !self.json.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.malformed());
        }
        self.at += literal.len();
        Ok(None)
    }

    /// The next byte that isn't white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.json.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes `byte` if it is next, behind any white space.
    fn skip(&mut self, byte: u8) -> bool {
        self.peek();
        self.eat(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.skip(byte) {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// Takes `byte` if it is the very next.
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.json.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    const fn malformed(&self) -> ScanError {
        ScanError::Malformed { at: self.at }
    }
}

/// How many bytes come before the next that means something in a string: a quote, a backslash, a control character.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    // Eight bytes at a time. Subtracting sets the highest bit of each byte that was too small for it; the borrow may set
    // that of the bytes above as well, but the lowest is right.
    let (blocks, rest) = bytes.as_chunks::<8>();
    for (i, block) in blocks.iter().enumerate() {
        let block = u64::from_le_bytes(*block);
        let control = block.wrapping_sub(ONES * 0x20);
        let quote = (block ^ (ONES * 0x22)).wrapping_sub(ONES);
        let backslash = (block ^ (ONES * 0x5c)).wrapping_sub(ONES);
        let special = (control | quote | backslash) & !block & (ONES * 0x80);
        if special != 0 {
            return i * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &&u8| !matches!(byte, 0..0x20 | b'"' | b'\\');
    blocks.len() * 8 + rest.iter().take_while(is_plain).count()
}

/// A key as it stands in the text.
#[derive(Clone, Copy)]
struct Key<'a> {
    quoted: &'a str,
    is_escaped: bool,
    /// Where it stands.
    start: usize,
}

impl<'a> Key<'a> {
    fn text(self) -> Result<Cow<'a, str>, ScanError> {
        if self.is_escaped {
            // A lone half of a surrogate pair is no text.
            serde_json::from_str(self.quoted)
                .map(Cow::Owned)
                .map_err(|_| ScanError::Malformed { at: self.start })
        } else {
            Ok(Cow::Borrowed(&self.quoted[1..self.quoted.len() - 1]))
        }
    }
}

/// What is done with keys on the way.
trait Keys<'a> {
    fn enter(&mut self);
    fn add(&mut self, key: Key<'a>) -> Result<(), ScanError>;
    fn leave(&mut self) -> Result<(), ScanError>;
}

/// Nothing.
impl<'a> Keys<'a> for () {
    fn enter(&mut self) {}
    fn add(&mut self, _: Key<'a>) -> Result<(), ScanError> {
        Ok(())
    }
    fn leave(&mut self) -> Result<(), ScanError> {
        Ok(())
    }
}

/// The keys of all open objects, the innermost's last, each object's behind a `None`.
#[derive(Default)]
struct DistinctKeys<'a>(Vec<Option<Cow<'a, str>>>);

/// Objects of up to this many keys are compared pair by pair.
const FEW_KEYS: usize = 12;

impl<'a> Keys<'a> for DistinctKeys<'a> {
    fn enter(&mut self) {
        if self.0.is_empty() {
            self.0.reserve(FEW_KEYS);
        }
        self.0.push(None);
    }

    fn add(&mut self, key: Key<'a>) -> Result<(), ScanError> {
        self.0.push(Some(key.text()?));
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ScanError> {
        let first = self.0.iter().rposition(Option::is_none).unwrap_or(0);
        let keys = &mut self.0[first + 1..];
        // Sorted if there are many, so that 64 KiB of keys cost no more than reading them.
        let twice = if keys.len() <= FEW_KEYS {
            (1..keys.len()).find(|&i| keys[..i].contains(&keys[i]))
        } else {
            keys.sort_unstable();
            (1..keys.len()).find(|&i| keys[i - 1] == keys[i])
        };
        if let Some(key) = twice.and_then(|i| keys[i].as_deref()) {
            return Err(ScanError::DuplicateKey(key.chars().take(64).collect()));
        }
        self.0.truncate(first);
        Ok(())
    }
}
