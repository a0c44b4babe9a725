//! Writing messages.

use std::borrow::Cow;

use serde::Serialize;

use super::super::{CompletionResult, EncodeError, HubMessage, Raw};
use super::read::{RESULT_ERROR, RESULT_VALUE, RESULT_VOID};
use super::serialize::{self, Serializer};

/// The Ping record.
pub(in super::super) const PING: &[u8] = &[2, 0x91, 6];

/// Writes a value.
pub(in super::super) fn encode_value(
    value: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let before = out.len();
    value
        .serialize(Serializer(out))
        .inspect_err(|_| out.truncate(before))
}

/// Writes any message.
pub(in super::super) fn encode(message: &HubMessage<'_>, out: &mut Vec<u8>) {
    match message {
        HubMessage::Invocation {
            invocation_id,
            target,
            arguments,
            stream_ids,
        } => Record::call(1, invocation_id.as_deref(), target, out)
            .raw(arguments.raw())
            .stream_ids(stream_ids),
        HubMessage::StreamItem {
            invocation_id,
            item,
        } => Record::of_call(2, 4, invocation_id, out).raw(*item).end(),
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
        } => Record::call(4, Some(invocation_id), target, out)
            .raw(arguments.raw())
            .stream_ids(stream_ids),
        HubMessage::CancelInvocation { invocation_id } => cancel_invocation(invocation_id, out),
        HubMessage::Ping => out.extend_from_slice(PING),
        HubMessage::Close {
            error,
            allow_reconnect,
        } => close(error.as_deref(), *allow_reconnect, out),
        HubMessage::Ack { sequence_id } => Record::begin(8, 2, out).integer(*sequence_id).end(),
        HubMessage::Sequence { sequence_id } => {
            Record::begin(9, 2, out).integer(*sequence_id).end();
        }
    }
}

/// Writes a call with one argument.
pub(in super::super) fn invocation(
    id: Option<&str>,
    target: &str,
    argument: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::call(1, id, target, out).array(1).value(argument)?;
    record.stream_ids(&[]);
    Ok(())
}

/// Writes the call of a stream.
pub(in super::super) fn stream_invocation(
    id: &str,
    target: &str,
    argument: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::call(4, Some(id), target, out)
        .array(1)
        .value(argument)?;
    record.stream_ids(&[]);
    Ok(())
}

/// Writes an event whose argument is encoded.
pub(in super::super) fn event_raw(target: &str, argument: Raw<'_>, out: &mut Vec<u8>) {
    Record::call(1, None, target, out)
        .array(1)
        .raw(argument)
        .stream_ids(&[]);
}

/// Writes a completion with a result.
pub(in super::super) fn completion(
    id: &str,
    result: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::of_call(3, 5, id, out)
        .integer(RESULT_VALUE)
        .value(result)?;
    record.end();
    Ok(())
}

/// Writes a completion whose result is encoded.
pub(in super::super) fn completion_raw(id: &str, result: Raw<'_>, out: &mut Vec<u8>) {
    Record::of_call(3, 5, id, out)
        .integer(RESULT_VALUE)
        .raw(result)
        .end();
}

/// Writes a completion with an error.
pub(in super::super) fn completion_error(id: &str, error: &str, out: &mut Vec<u8>) {
    Record::of_call(3, 5, id, out)
        .integer(RESULT_ERROR)
        .text(error)
        .end();
}

/// Writes a completion with nothing.
pub(in super::super) fn completion_void(id: &str, out: &mut Vec<u8>) {
    Record::of_call(3, 4, id, out).integer(RESULT_VOID).end();
}

/// Writes an item of a stream.
pub(in super::super) fn stream_item(
    id: &str,
    item: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    Record::of_call(2, 4, id, out).value(item)?.end();
    Ok(())
}

/// Writes a cancellation.
pub(in super::super) fn cancel_invocation(id: &str, out: &mut Vec<u8>) {
    Record::of_call(5, 3, id, out).end();
}

/// Writes a Close record.
pub(in super::super) fn close(error: Option<&str>, allow_reconnect: bool, out: &mut Vec<u8>) {
    let record = Record::begin(7, 3, out).optional_text(error);
    record.out.push(if allow_reconnect { TRUE } else { FALSE });
    record.end();
}

const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;
/// Headers: a map, always, and always an empty one.
const NO_HEADERS: u8 = 0x80;
/// Room that is left for the length: most records are 128 bytes to 16 KiB, and the rare others move.
const RESERVED: usize = 2;

/// A record being written to the end of a buffer.
struct Record<'o> {
    out: &'o mut Vec<u8>,
    /// Where it begins.
    start: usize,
}

impl<'o> Record<'o> {
    /// Begins a message of that type with so many items, itself among them; both below 16.
    fn begin(kind: u8, items: u8, out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; RESERVED]);
        out.extend_from_slice(&[0x90 | items, kind]);
        Self { out, start }
    }

    /// Begins a message that belongs to a call.
    fn of_call(kind: u8, items: u8, id: &str, out: &'o mut Vec<u8>) -> Self {
        let record = Self::begin(kind, items, out);
        record.out.push(NO_HEADERS);
        record.text(id)
    }

    /// Begins a call, up to its arguments.
    fn call(kind: u8, id: Option<&str>, target: &str, out: &'o mut Vec<u8>) -> Self {
        let record = Self::begin(kind, 6, out);
        record.out.push(NO_HEADERS);
        record.optional_text(id).text(target)
    }

    fn raw(self, value: Raw<'_>) -> Self {
        self.out.extend_from_slice(value.0);
        self
    }

    fn value(self, value: &impl Serialize) -> Result<Self, EncodeError> {
        match value.serialize(Serializer(self.out)) {
            Ok(()) => Ok(self),
            Err(e) => {
                self.out.truncate(self.start);
                Err(e)
            }
        }
    }

    fn array(self, length: usize) -> Self {
        serialize::array(length, self.out);
        self
    }

    fn integer(self, n: i64) -> Self {
        serialize::integer(n, self.out);
        self
    }

    fn text(self, text: &str) -> Self {
        serialize::text(text, self.out);
        self
    }

    fn optional_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(text),
            None => {
                serialize::nil(self.out);
                self
            }
        }
    }

    /// The last item of a call, and the end.
    fn stream_ids(self, ids: &[Cow<'_, str>]) {
        let mut record = self.array(ids.len());
        for id in ids {
            record = record.text(id);
        }
        record.end();
    }

    /// Writes the length before it.
    fn end(self) {
        let mut length = self.out.len() - self.start - RESERVED;
        let (mut prefix, mut n) = ([0; 10], 0);
        loop {
            let low = (length & 0x7f) as u8;
            length >>= 7;
            prefix[n] = if length > 0 { low | 0x80 } else { low };
            n += 1;
            if length == 0 {
                break;
            }
        }
        let place = self.start..self.start + RESERVED;
        if n == RESERVED {
            self.out[place].copy_from_slice(&prefix[..n]);
        } else {
            self.out.splice(place, prefix[..n].iter().copied());
        }
    }
}
