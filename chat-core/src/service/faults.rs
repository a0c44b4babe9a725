//! Faults planted on purpose (feature `testing`): a simulation that doesn't find them isn't worth its time.

use crate::model::Event;
use crate::store::{Change, Committed, Outcome, Refusal};

use super::writer::Reply;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Completions take a way of their own, through a task, and may come after later events.
    ReplyByOneshot,
    /// A connection that enters trusts what it read, whatever happened until it was registered.
    StaleMembership,
    /// Sends lose their `clientMessageId` before they are stored.
    NoDuplicateCheck,
    /// The relay remembers the highest number it published, taken when a row was inserted, and never looks below it.
    RelayByInsertionNumber,
}

pub(super) fn before_commit(fault: Option<Fault>, mut changes: Vec<Change>) -> Vec<Change> {
    if fault == Some(Fault::NoDuplicateCheck) {
        for change in &mut changes {
            if let Change::SendMessage {
                client_message_id, ..
            } = change
            {
                *client_message_id = None;
            }
        }
    }
    changes
}

pub(super) fn before_delivery(
    fault: Option<Fault>,
    reply: Reply,
    result: &Result<Committed, Refusal>,
) -> Reply {
    if fault != Some(Fault::ReplyByOneshot) {
        return reply;
    }
    match (reply, result) {
        (
            Reply::Connection(mut completes),
            Ok(Committed {
                events,
                outcome: Outcome::Event,
            }),
        ) => {
            if let (Some(id), Some(Event::MessageCreated(message))) =
                (completes.invocation_id.take(), events.first())
            {
                // The event is left out for the caller all the same: here as a completion that nobody reads.
                completes.invocation_id = Some(format!("{id}-").into());
                let (connection, message) = (completes.connection.clone(), message.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    connection.complete(&id, &message);
                });
            }
            Reply::Connection(completes)
        }
        (reply, _) => reply,
    }
}

/// The number that an event's row was inserted under; messages alone have one.
const fn number(event: &Event) -> Option<i64> {
    match event {
        Event::MessageCreated(message) => Some(message.id.0),
        _ => None,
    }
}

pub(super) fn before_publish(
    fault: Option<Fault>,
    mut events: Vec<Event>,
    highest: i64,
) -> Vec<Event> {
    if fault == Some(Fault::RelayByInsertionNumber) {
        events.retain(|e| number(e).is_none_or(|n| n > highest));
    }
    events
}

pub(super) fn after_publish(events: &[Event], highest: &mut i64) {
    *highest = events.iter().filter_map(number).fold(*highest, i64::max);
}
