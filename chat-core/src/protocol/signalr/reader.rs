//! Finding the records in a byte stream.

use std::borrow::Cow;

use super::{DecodeError, Encoding, RECORD_SEPARATOR};

/// Finds the records in a connection's input, however it was cut into frames and POSTs.
///
/// A record that lies whole in one slice is handed out where it stands; only one that is cut is put together here, in
/// at most `limit` bytes. Between records nothing is allocated: an idle connection holds one of these.
///
/// ```
/// # use chat_core::protocol::signalr::{Encoding, RecordReader};
/// let mut reader = RecordReader::new(64 * 1024);
/// let mut input: &[u8] = b"{\"type\":6}\x1e{\"ty";
/// while let Some(record) = reader.next(Encoding::Json, &mut input)? {
///     assert_eq!(&record[..], b"{\"type\":6}");
/// }
/// assert!(input.is_empty());
/// # Ok::<(), chat_core::protocol::signalr::DecodeError>(())
/// ```
pub struct RecordReader {
    /// The beginning of a record whose end hasn't come.
    partial: Vec<u8>,
    /// Bytes that a record may have, framing included.
    limit: usize,
}

impl RecordReader {
    /// A reader of records of up to `limit` bytes, framing included.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            partial: Vec::new(),
            limit,
        }
    }

    /// Takes the next record, without its framing, off the front of `input`.
    ///
    /// `None` means that `input` is used up; what it ended with is kept until the next slice brings the rest. The
    /// encoding is asked for each time, since it changes between the handshake ([`Encoding::Json`] whatever was agreed)
    /// and what follows, perhaps in the same slice.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] as soon as it is sure that a record is over the limit, [`DecodeError::Malformed`] for a
    /// length that is none. The stream can't be read any further: the error repeats.
    pub fn next<'i>(
        &mut self,
        encoding: Encoding,
        input: &mut &'i [u8],
    ) -> Result<Option<Cow<'i, [u8]>>, DecodeError> {
        match encoding {
            Encoding::Json => self.next_separated(input),
            Encoding::MessagePack => self.next_prefixed(input),
        }
    }

    /// Bytes allocated for the beginning of a record whose end hasn't come.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Records that end with a separator.
    fn next_separated<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Cow<'i, [u8]>>, DecodeError> {
        // What is kept was searched when it came: only new bytes are looked at.
        let end = memchr::memchr(RECORD_SEPARATOR, input);
        // Without its end a record has at least one byte more.
        let bytes = self.partial.len() + end.unwrap_or(input.len()) + 1;
        if bytes > self.limit && !(end.is_none() && input.is_empty()) {
            return Err(DecodeError::TooLong { limit: self.limit });
        }
        let Some(end) = end else {
            self.keep(input);
            *input = &[];
            return Ok(None);
        };
        let (record, rest) = (&input[..end], &input[end + 1..]);
        *input = rest;
        if self.partial.is_empty() {
            return Ok(Some(Cow::Borrowed(record)));
        }
        self.keep(record);
        Ok(Some(Cow::Owned(std::mem::take(&mut self.partial))))
    }

    /// Records that begin with their length.
    fn next_prefixed<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Cow<'i, [u8]>>, DecodeError> {
        let mut head = [0; LENGTH_BYTES_MAX];
        let mut head_bytes = 0;
        for (to, from) in head.iter_mut().zip(self.partial.iter().chain(*input)) {
            *to = *from;
            head_bytes += 1;
        }
        let head = &head[..head_bytes];
        let record = length(head).and_then(|length| match length {
            Some((_, bytes)) if bytes > self.limit => {
                Err(DecodeError::TooLong { limit: self.limit })
            }
            length => Ok(length),
        });
        let record = match record {
            Ok(record) => record,
            Err(e) => {
                // Kept, so that the error repeats.
                let kept = self.partial.len();
                self.keep(head.get(kept..).unwrap_or_default());
                return Err(e);
            }
        };
        let available = self.partial.len() + input.len();
        let (prefix, bytes) = match record {
            Some((prefix, bytes)) if bytes <= available => (prefix, bytes),
            Some(_) | None => {
                self.keep(input);
                *input = &[];
                return Ok(None);
            }
        };
        let (end, rest) = input.split_at(bytes - self.partial.len());
        *input = rest;
        if self.partial.is_empty() {
            return Ok(Some(Cow::Borrowed(&end[prefix..])));
        }
        self.keep(end);
        self.partial.drain(..prefix);
        Ok(Some(Cow::Owned(std::mem::take(&mut self.partial))))
    }

    /// Adds to the kept beginning. Its buffer doubles, but never beyond the limit.
    fn keep(&mut self, bytes: &[u8]) {
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            let capacity = needed.max(self.limit.min(2 * self.partial.capacity()));
            self.partial.reserve_exact(capacity - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }
}

/// Bytes of the longest length.
const LENGTH_BYTES_MAX: usize = 5;

/// Reads the length before a record: 7 bits a byte, the lowest first, the highest bit of a byte says that more follow, and at
/// most 31 bits. Answers how many bytes it has itself and how many it has together with its record; `None` while its end is
/// missing.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut length = 0;
    for (i, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        if i == LENGTH_BYTES_MAX - 1 && *byte > 0x07 {
            return Err(DecodeError::Malformed { at: i });
        }
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((i + 1, i + 1 + length)));
        }
    }
    Ok(None)
}

impl std::fmt::Debug for RecordReader {
    // What is kept holds what people wrote, and tokens: not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordReader")
            .field("partial_bytes", &self.partial.len())
            .field("limit", &self.limit)
            .finish()
    }
}
