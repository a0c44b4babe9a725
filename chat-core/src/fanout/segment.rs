//! A room's part of a batch, encoded once for each kind of wire and shared by all who are in the room.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Inside;
use super::connection::{Connection, Pushed};
use super::flush::Dirty;
use super::frame::Wire;
use crate::model::{Event, Message};

/// The completion of a call, for the connection that made it.
#[derive(Debug)]
pub(crate) struct Completes {
    /// Whose call.
    pub(crate) connection: Arc<Connection>,
    /// Under which it completes; `None`: the caller wants no completion, and gets the event.
    pub(crate) invocation_id: Option<Box<str>>,
}

/// One thing that a segment says.
#[derive(Debug)]
pub(super) enum Entry {
    /// An event for all in the room; the connection that caused it gets its completion in its place.
    Event(Event, Option<Completes>),
    /// An event that `skip` has had as a completion already.
    Late { event: Event, skip: Arc<Connection> },
    /// A completion alone: nothing changed that others see.
    Completion(Completes, CompletionBody),
}

/// What a completion without an event says.
#[derive(Debug)]
pub(crate) enum CompletionBody {
    /// The message as it is.
    Message(Box<Message>),
    /// The error's text.
    Error(String),
}

/// What waits to be encoded for one room.
#[derive(Debug, Default)]
pub(super) struct Segment {
    entries: Vec<Entry>,
}

/// A segment as bytes of one kind of wire.
struct Encoded {
    wire: Wire,
    events: Bytes,
    completions: Bytes,
    spans: Vec<Span>,
}

/// Where an entry's frames lie.
struct Span {
    event: Range<usize>,
    completion: Range<usize>,
}

impl Segment {
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Queues the segment for everyone in the room, and the completions for those who called. `stamp` is this segment's own.
    /// Answers how many deliveries that was.
    pub(super) fn deliver(self, stamp: u64, inside: &[Inside], dirty: &mut Dirty) -> u64 {
        if self.entries.is_empty() {
            return 0;
        }
        for connection in self.entries.iter().filter_map(Entry::apart) {
            connection.stamp.store(stamp, Ordering::Relaxed);
        }
        let mut encoded: Vec<Encoded> = Vec::with_capacity(1);
        let mut deliveries = 0;
        for Inside { connection, .. } in inside {
            let encoded = self.encoded(&mut encoded, connection.wire());
            let pushed = if connection.stamp.load(Ordering::Relaxed) == stamp {
                connection.stamp.store(0, Ordering::Relaxed);
                connection.push(self.cut(encoded, connection, true))
            } else if encoded.events.is_empty() {
                continue;
            } else {
                connection.push([encoded.events.clone()])
            };
            deliveries += 1;
            if pushed == Pushed::Dirty {
                dirty.add(connection);
            }
        }
        // Callers that are not in the room any more, or not yet on this node, still get their completions.
        for connection in self.entries.iter().filter_map(Entry::apart) {
            if connection.stamp.swap(0, Ordering::Relaxed) == stamp {
                let encoded = self.encoded(&mut encoded, connection.wire());
                if connection.push(self.cut(encoded, connection, false)) == Pushed::Dirty {
                    dirty.add(connection);
                }
            }
        }
        for entry in &self.entries {
            if let Entry::Event(_, Some(completes)) | Entry::Completion(completes, _) = entry {
                completes.connection.call_ended();
            }
        }
        deliveries
    }

    fn encoded<'a>(&self, all: &'a mut Vec<Encoded>, wire: Wire) -> &'a Encoded {
        let at = all.iter().position(|e| e.wire == wire).unwrap_or_else(|| {
            all.push(self.encode(wire));
            all.len() - 1
        });
        &all[at]
    }

    fn encode(&self, wire: Wire) -> Encoded {
        // A message is a few hundred bytes; a guess that is right saves the buffer's growing.
        let mut events = Vec::with_capacity(self.entries.len() * 384);
        let mut completions = Vec::new();
        let mut body = Vec::new();
        let mut spans = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let start = (events.len(), completions.len());
            if let Entry::Event(event, _) | Entry::Late { event, .. } = entry {
                body.clear();
                if let Err(e) = wire.encoding.encode_value(&event.argument(), &mut body) {
                    tracing::error!(
                        error = &e as &dyn std::error::Error,
                        "an event could not be written"
                    );
                }
                wire.event_raw(event.kind().target(), &body, &mut events);
            }
            match entry {
                Entry::Event(
                    _,
                    Some(Completes {
                        connection,
                        invocation_id: Some(id),
                    }),
                ) if connection.wire() == wire => {
                    wire.completion_raw(id, &body, &mut completions);
                }
                Entry::Completion(
                    Completes {
                        connection,
                        invocation_id: Some(id),
                    },
                    result,
                ) if connection.wire() == wire => match result {
                    CompletionBody::Message(message) => {
                        wire.completion(id, message, &mut completions);
                    }
                    CompletionBody::Error(text) => {
                        wire.completion_error(id, text, &mut completions);
                    }
                },
                Entry::Event(..) | Entry::Late { .. } | Entry::Completion(..) => {}
            }
            spans.push(Span {
                event: start.0..events.len(),
                completion: start.1..completions.len(),
            });
        }
        Encoded {
            wire,
            events: events.into(),
            completions: completions.into(),
            spans,
        }
    }

    /// What one of the callers gets: its completions, and where it is in the room the others' events around them.
    fn cut(&self, encoded: &Encoded, connection: &Arc<Connection>, inside: bool) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        let mut run = 0..0;
        for (entry, span) in self.entries.iter().zip(&encoded.spans) {
            let own = entry.apart().is_some_and(|c| Arc::ptr_eq(c, connection));
            if inside && !own {
                if run.end == span.event.start {
                    run.end = span.event.end;
                } else {
                    take(&mut chunks, &encoded.events, run);
                    run = span.event.clone();
                }
            }
            if own && !span.completion.is_empty() {
                take(&mut chunks, &encoded.events, run.clone());
                run = span.event.end..span.event.end;
                chunks.push(encoded.completions.slice(span.completion.clone()));
            }
        }
        take(&mut chunks, &encoded.events, run);
        chunks
    }
}

fn take(chunks: &mut Vec<Bytes>, from: &Bytes, run: Range<usize>) {
    if !run.is_empty() {
        chunks.push(from.slice(run));
    }
}

impl Entry {
    /// The connection that gets something else than the others.
    fn apart(&self) -> Option<&Arc<Connection>> {
        match self {
            Self::Event(_, Some(completes)) if completes.invocation_id.is_some() => {
                Some(&completes.connection)
            }
            Self::Completion(completes, _) => Some(&completes.connection),
            Self::Late { skip, .. } => Some(skip),
            Self::Event(..) => None,
        }
    }
}
