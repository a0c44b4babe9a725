//! Writing messages.

use std::borrow::Cow;

use serde::Serialize;

use super::super::{CompletionResult, EncodeError, HubMessage, RECORD_SEPARATOR, Raw};

/// The Ping record.
pub(in super::super) const PING: &[u8] = b"{\"type\":6}\x1e";

/// Writes a value.
pub(in super::super) fn encode_value(
    value: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let before = out.len();
    serde_json::to_writer(&mut *out, value).map_err(|e| {
        out.truncate(before);
        EncodeError(e.to_string())
    })
}

/// Writes any message.
pub(in super::super) fn encode(message: &HubMessage<'_>, out: &mut Vec<u8>) {
    match message {
        HubMessage::Invocation {
            invocation_id,
            target,
            arguments,
            stream_ids,
        } => Record::begin(1, out).call(
            target,
            arguments.raw(),
            invocation_id.as_deref(),
            stream_ids,
        ),
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
        } => Record::begin(4, out).call(target, arguments.raw(), Some(invocation_id), stream_ids),
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
pub(in super::super) fn invocation(
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
pub(in super::super) fn stream_invocation(
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
pub(in super::super) fn event_raw(target: &str, argument: Raw<'_>, out: &mut Vec<u8>) {
    let record = Record::begin(1, out)
        .text(TARGET, target)
        .raw(FIRST_ARGUMENT, argument);
    record.out.push(b']');
    record.end();
}

/// Writes a completion with a result.
pub(in super::super) fn completion(
    id: &str,
    result: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::begin(3, out).text(INVOCATION_ID, id);
    record.value(RESULT, result)?.end();
    Ok(())
}

/// Writes a completion whose result is encoded.
pub(in super::super) fn completion_raw(id: &str, result: Raw<'_>, out: &mut Vec<u8>) {
    Record::begin(3, out)
        .text(INVOCATION_ID, id)
        .raw(RESULT, result)
        .end();
}

/// Writes a completion with an error.
pub(in super::super) fn completion_error(id: &str, error: &str, out: &mut Vec<u8>) {
    Record::begin(3, out)
        .text(INVOCATION_ID, id)
        .text(ERROR, error)
        .end();
}

/// Writes a completion with nothing.
pub(in super::super) fn completion_void(id: &str, out: &mut Vec<u8>) {
    Record::begin(3, out).text(INVOCATION_ID, id).end();
}

/// Writes an item of a stream.
pub(in super::super) fn stream_item(
    id: &str,
    item: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let record = Record::begin(2, out).text(INVOCATION_ID, id);
    record.value(ITEM, item)?.end();
    Ok(())
}

/// Writes a cancellation.
pub(in super::super) fn cancel_invocation(id: &str, out: &mut Vec<u8>) {
    Record::begin(5, out).text(INVOCATION_ID, id).end();
}

/// Writes a Close record.
pub(in super::super) fn close(error: Option<&str>, allow_reconnect: bool, out: &mut Vec<u8>) {
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
