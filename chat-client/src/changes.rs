//! Changes as any version of the server may write them.
//!
//! An event of a kind that isn't known here, or with a value that isn't, is skipped, but keeps its place in its room.

use chat_core::model::{Event, EventKind, Message, RoomId, Seq};
use chat_core::protocol::rest::Changes;
use chat_core::protocol::signalr::{Arguments, DecodeError, Encoding};
use serde::Deserialize;

/// One change of a room.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) room_id: RoomId,
    pub(crate) seq: Seq,
    /// `None`: of a kind that isn't known here.
    pub(crate) event: Option<Event>,
}

impl From<Event> for Change {
    fn from(event: Event) -> Self {
        Self {
            room_id: event.room_id(),
            seq: event.seq(),
            event: Some(event),
        }
    }
}

impl From<Message> for Change {
    /// A message as the completion of the caller's own call gives it: it is the change at its `changedSeq`.
    fn from(message: Message) -> Self {
        if message.deleted_at.is_some() {
            Event::MessageDeleted(message).into()
        } else if message.changed_seq > message.seq {
            Event::MessageEdited(message).into()
        } else {
            Event::MessageCreated(message).into()
        }
    }
}

/// The place of a change of any kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    room_id: RoomId,
    #[serde(default)]
    seq: Option<Seq>,
    /// Where it is there, it is the place.
    #[serde(default)]
    changed_seq: Option<Seq>,
}

impl Place {
    fn change(self) -> Option<Change> {
        Some(Change {
            room_id: self.room_id,
            seq: self.changed_seq.or(self.seq)?,
            event: None,
        })
    }
}

/// A page of changes.
#[derive(Clone, Debug)]
pub(crate) struct ChangesPage {
    pub(crate) items: Vec<Change>,
    pub(crate) seq: Seq,
    pub(crate) has_more: bool,
    pub(crate) complete: bool,
}

impl<'de> Deserialize<'de> for ChangesPage {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Item {
            Known(Box<Event>),
            Unknown(Place),
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Lenient {
            items: Vec<Item>,
            seq: Seq,
            has_more: bool,
            complete: bool,
        }

        let page = Lenient::deserialize(d)?;
        let change = |item| match item {
            Item::Known(event) => Some(Change::from(*event)),
            Item::Unknown(place) => place.change(),
        };
        Ok(Self {
            items: page.items.into_iter().filter_map(change).collect(),
            seq: page.seq,
            has_more: page.has_more,
            complete: page.complete,
        })
    }
}

impl From<ChangesPage> for Changes {
    fn from(page: ChangesPage) -> Self {
        Self {
            items: page.items.into_iter().filter_map(|c| c.event).collect(),
            seq: page.seq,
            has_more: page.has_more,
            complete: page.complete,
        }
    }
}

/// Reads a hub event as a change; `None` if it has no place in a room.
pub(crate) fn decode_event(
    target: &str,
    arguments: Arguments<'_>,
    encoding: Encoding,
) -> Option<Change> {
    let message = |kind: fn(Message) -> Event| -> Result<Change, DecodeError> {
        Ok(kind(encoding.event_argument(arguments)?).into())
    };
    let change = match target {
        "MessageCreated" => message(Event::MessageCreated),
        "MessageEdited" => message(Event::MessageEdited),
        "MessageDeleted" => message(Event::MessageDeleted),
        _ => tagged(target, arguments, encoding),
    };
    match change {
        Ok(change) => Some(change),
        Err(_) => encoding.event_argument::<Place>(arguments).ok()?.change(),
    }
}

/// Reads an event by the tag that goes with its target.
fn tagged(
    target: &str,
    arguments: Arguments<'_>,
    encoding: Encoding,
) -> Result<Change, DecodeError> {
    let unknown = |e: String| DecodeError::Value(e);
    let kind = kind_of(target).ok_or_else(|| unknown("an unknown event".to_owned()))?;
    let mut members: serde_json::Map<String, serde_json::Value> =
        encoding.event_argument(arguments)?;
    let tag = serde_json::to_value(kind).map_err(|e| unknown(e.to_string()))?;
    members.insert("type".to_owned(), tag);
    let event: Event =
        serde_json::from_value(members.into()).map_err(|e| unknown(e.to_string()))?;
    Ok(event.into())
}

fn kind_of(target: &str) -> Option<EventKind> {
    [
        EventKind::MessagesDeleted,
        EventKind::MemberJoined,
        EventKind::MemberChanged,
        EventKind::MembersChanged,
        EventKind::MemberLeft,
        EventKind::RoomChanged,
        EventKind::RoomDeleted,
    ]
    .into_iter()
    .find(|kind| kind.target() == target)
}

#[cfg(test)]
mod tests {
    use chat_core::protocol::signalr::Raw;

    use super::*;

    fn decode(target: &str, arguments: &str) -> Option<Change> {
        decode_event(target, Raw(arguments.as_bytes()).into(), Encoding::Json)
    }

    #[test]
    fn an_event_is_read_by_its_target() {
        let change = decode(
            "MemberLeft",
            r#"[{"roomId":7,"seq":4,"userId":2,"reason":"removed"}]"#,
        )
        .expect("a change");
        assert_eq!((change.room_id, change.seq), (RoomId(7), Seq(4)));
        assert!(matches!(change.event, Some(Event::MemberLeft { .. })));
    }

    #[test]
    fn an_unknown_event_or_value_keeps_its_place() {
        let change = decode("RoomPainted", r#"[{"roomId":7,"seq":4,"colour":"red"}]"#);
        let change = change.expect("a place");
        assert_eq!((change.seq, change.event), (Seq(4), None));
        let change = decode(
            "MemberLeft",
            r#"[{"roomId":7,"seq":5,"userId":2,"reason":"abducted"}]"#,
        );
        assert_eq!(change.expect("a place").event, None);
        assert!(decode("Weather", r#"[{"rain":true}]"#).is_none());
    }

    #[test]
    fn a_page_with_unknown_items_is_read() {
        let page: ChangesPage = serde_json::from_str(
            r#"{"items":[
                {"type":"roomPainted","roomId":7,"seq":2},
                {"type":"roomDeleted","roomId":7,"seq":3}],
                "seq":3,"hasMore":false,"complete":true}"#,
        )
        .expect("a page");
        assert_eq!(page.items.len(), 2);
        assert_eq!(page.items[0].event, None);
        assert_eq!(Changes::from(page).items.len(), 1);
    }
}
