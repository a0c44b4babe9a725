//! What changed since: pages of current state, ordered by last change.

use super::act::{
    at, ctx, delete, delete_room, edit, leave, leave_with_messages, remove, remove_with_messages,
    rename_room, set_role,
};
use super::{Backend, Tested};
use crate::model::{Event, EventKind, LeaveReason, Member, Message, Role, Room, RoomId, Seq};
use crate::protocol::rest::Changes;
use crate::store::{Reader, StoreError};

/// Kind and place of each event.
fn outline(events: &[Event]) -> Vec<(EventKind, i64)> {
    events.iter().map(|e| (e.kind(), e.seq().0)).collect()
}

/// One page, whose reader may read the room.
async fn page(
    backend: &Backend,
    reader: Reader,
    room: RoomId,
    since: i64,
    from: i64,
    limit: i64,
) -> Result<Changes, StoreError> {
    let changes = backend
        .store
        .changes(reader, room, Seq(since), Seq(from), limit)
        .await?;
    Ok(changes.expect("the reader may read the room"))
}

/// From 0 a newcomer gets everyone and everything that is there, each once.
pub async fn from_the_start_all_is_told_once(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let first = backend.say(room, ada, "One").await?;
    let second = backend.say(room, bob, "Two").await?;
    backend.done(rename_room(room, ada, "Pantry")).await?;
    let edited = backend
        .done_with(&ctx(at(3)), edit(room, ada, first.id, "Uno"))
        .await?
        .message();
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    let member = |user_id, username: &str| Member {
        user_id,
        username: username.to_owned(),
        role: Role::Admin,
        joined_at: at(0),
    };
    let wanted = [
        Event::MemberJoined {
            room_id: room,
            seq: Seq(1),
            member: member(ada, "Ada"),
        },
        Event::MessageCreated(second),
        Event::RoomChanged {
            room_id: room,
            seq: Seq(5),
            room: Room {
                id: room,
                name: "Pantry".to_owned(),
                created_at: at(0),
                member_count: 2,
                seq: Seq(7),
                role: None,
            },
        },
        Event::MessageCreated(edited),
        Event::MemberJoined {
            room_id: room,
            seq: Seq(7),
            member: member(bob, "Bob"),
        },
    ];
    for limit in [1, 3, 10] {
        for reader in [Reader::Member(bob), Reader::Node] {
            assert_eq!(
                backend.changes(reader, room, Seq::ZERO, limit).await?,
                wanted
            );
        }
    }
    Ok(())
}

/// A message that was there when the catch-up began is told as edited or deleted, a later one as created.
pub async fn what_is_new_depends_on_where_the_catch_up_began(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let old = backend.say(room, ada, "Old").await?;
    let older = backend.say(room, ada, "Older").await?;
    let new = backend.say(room, ada, "New").await?;
    let newer = backend.say(room, ada, "Newer").await?;
    for message in [old.id, new.id] {
        backend.done(edit(room, ada, message, "Edited")).await?;
    }
    for message in [older.id, newer.id] {
        backend.done(delete(room, ada, message)).await?;
    }
    let reader = Reader::Member(bob);
    for (since, wanted) in [
        (
            4,
            [
                (EventKind::MessageEdited, 7),
                (EventKind::MessageCreated, 8),
                (EventKind::MessageDeleted, 9),
                (EventKind::MessageDeleted, 10),
            ],
        ),
        (
            2,
            [
                (EventKind::MessageCreated, 7),
                (EventKind::MessageCreated, 8),
                (EventKind::MessageDeleted, 9),
                (EventKind::MessageDeleted, 10),
            ],
        ),
        (
            6,
            [
                (EventKind::MessageEdited, 7),
                (EventKind::MessageEdited, 8),
                (EventKind::MessageDeleted, 9),
                (EventKind::MessageDeleted, 10),
            ],
        ),
    ] {
        for limit in [1, 3, 10] {
            let events = backend.changes(reader, room, Seq(since), limit).await?;
            assert_eq!(outline(&events), wanted, "since {since} by {limit}");
        }
    }
    Ok(())
}

/// The pages of a catch-up share its `from`: what was created since then is created on every page.
pub async fn from_stays_the_same_on_every_page(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, ada, "One").await?;
    backend.say(room, ada, "Two").await?;
    backend.done(edit(room, ada, message.id, "Uno")).await?;
    let reader = Reader::Member(bob);
    let first = page(&backend, reader, room, 2, 2, 1).await?;
    assert_eq!(outline(&first.items), [(EventKind::MessageCreated, 4)]);
    assert_eq!((first.seq, first.has_more), (Seq(4), true));
    let second = page(&backend, reader, room, 4, 2, 1).await?;
    assert_eq!(outline(&second.items), [(EventKind::MessageCreated, 5)]);
    assert_eq!((second.seq, second.has_more), (Seq(5), false));
    let other = page(&backend, reader, room, 4, 4, 1).await?;
    assert_eq!(outline(&other.items), [(EventKind::MessageEdited, 5)]);
    Ok(())
}

/// A tombstone is told with its place and its times, and without content.
pub async fn a_deleted_message_is_told_as_a_tombstone(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, ada, "Secret").await?;
    backend
        .done_with(&ctx(at(2)), edit(room, ada, message.id, "More secret"))
        .await?;
    let deleted = backend
        .done_with(&ctx(at(4)), delete(room, ada, message.id))
        .await?
        .message();
    let wanted = Message {
        changed_seq: Seq(5),
        content: String::new(),
        edited_at: Some(at(2)),
        deleted_at: Some(at(4)),
        ..message
    };
    assert_eq!(deleted, wanted);
    for since in [0, 3, 4] {
        let events = backend
            .changes(Reader::Member(bob), room, Seq(since), 10)
            .await?;
        assert_eq!(events.last(), Some(&Event::MessageDeleted(wanted.clone())));
    }
    Ok(())
}

/// After many edits a message is told once, at its last place, as it is.
pub async fn many_edits_are_one_item(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, ada, "0").await?;
    backend.say(room, ada, "Other").await?;
    let mut last = message.clone();
    for n in 1..=20 {
        last = backend
            .done(edit(room, ada, message.id, &n.to_string()))
            .await?
            .message();
    }
    let events = backend
        .changes(Reader::Member(bob), room, Seq(2), 1)
        .await?;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1], Event::MessageCreated(last.clone()));
    let events = backend
        .changes(Reader::Member(bob), room, Seq(10), 10)
        .await?;
    assert_eq!(events, [Event::MessageEdited(last)]);
    Ok(())
}

/// A member who was there is told as changed, a new one as joined, one who is gone as left with the reason.
pub async fn members_are_told_once_as_they_are(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (cem, dag) = (backend.user("Cem").await?, backend.user("Dag").await?);
    backend.admit(room, ada, cem).await?;
    backend.admit(room, ada, dag).await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    backend.done(set_role(room, ada, dag, Role::Admin)).await?;
    backend.done(remove(room, ada, cem)).await?;
    let member = |user_id, username: &str| Member {
        user_id,
        username: username.to_owned(),
        role: Role::Admin,
        joined_at: at(0),
    };
    let events = backend
        .changes(Reader::Member(bob), room, Seq(3), 10)
        .await?;
    assert_eq!(
        events,
        [
            Event::MemberChanged {
                room_id: room,
                seq: Seq(5),
                member: member(bob, "Bob"),
            },
            Event::MemberJoined {
                room_id: room,
                seq: Seq(6),
                member: member(dag, "Dag"),
            },
            Event::MemberLeft {
                room_id: room,
                seq: Seq(7),
                user_id: cem,
                reason: LeaveReason::Removed,
            },
        ]
    );
    Ok(())
}

/// Who left and came back is told once: as joined, or as gone again.
pub async fn coming_back_is_told_as_a_join(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.done(leave(room, bob)).await?;
    backend.admit(room, ada, bob).await?;
    let reader = Reader::Member(ada);
    for (since, wanted) in [(0, 2), (2, 1), (3, 1), (4, 0)] {
        let events = backend.changes(reader, room, Seq(since), 10).await?;
        assert_eq!(events.len(), wanted);
        if let Some(last) = events.last() {
            assert_eq!((last.kind(), last.seq()), (EventKind::MemberJoined, Seq(4)));
        }
    }
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    for (since, kind) in [
        (2, EventKind::MemberJoined),
        (3, EventKind::MemberJoined),
        (4, EventKind::MemberChanged),
    ] {
        let events = backend.changes(reader, room, Seq(since), 10).await?;
        assert_eq!(outline(&events), [(kind, 5)]);
    }
    backend.done(leave(room, bob)).await?;
    for since in 1..6 {
        let events = backend.changes(reader, room, Seq(since), 10).await?;
        assert_eq!(outline(&events), [(EventKind::MemberLeft, 6)]);
    }
    Ok(())
}

/// The room is told once, at its last renaming, as it is now.
pub async fn the_room_is_told_at_its_last_renaming(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    for name in ["Pantry", "Cellar", "Attic"] {
        backend.done(rename_room(room, ada, name)).await?;
        backend.say(room, ada, name).await?;
    }
    let reader = Reader::Member(bob);
    for (since, count) in [(2, 4), (4, 3), (6, 2), (7, 1)] {
        let events = backend.changes(reader, room, Seq(since), 10).await?;
        assert_eq!(events.len(), count);
        let rooms: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::RoomChanged { seq, room, .. } => Some((seq.0, room)),
                _ => None,
            })
            .collect();
        if since < 7 {
            let (seq, room) = rooms[0];
            assert_eq!((rooms.len(), seq), (1, 7));
            assert_eq!((room.name.as_str(), room.seq), ("Attic", Seq(8)));
        } else {
            assert_eq!(rooms, []);
        }
    }
    Ok(())
}

/// `membersChanged` stands at its own place, and the members before and after it are told as they are now.
pub async fn everyone_becoming_admin_is_told_at_its_place(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.done(leave(room, ada)).await?;
    backend.admit(room, bob, cem).await?;
    let events = backend
        .changes(Reader::Member(cem), room, Seq::ZERO, 10)
        .await?;
    assert_eq!(
        outline(&events),
        [
            (EventKind::MemberJoined, 2),
            (EventKind::MemberLeft, 3),
            (EventKind::MembersChanged, 4),
            (EventKind::MemberJoined, 5),
        ]
    );
    let roles: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::MemberJoined { member, .. } => Some(member.role),
            Event::MembersChanged { role, .. } => Some(*role),
            _ => None,
        })
        .collect();
    assert_eq!(roles, [Role::Admin, Role::Admin, Role::Member]);
    Ok(())
}

/// `messagesDeleted` stands at its own place; what it deleted is a tombstone at its own last place, or left out, and never
/// shows its content, on a page before the deletion neither.
pub async fn a_bulk_deletion_is_told_at_its_place(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let mut his = Vec::new();
    for n in 0..4 {
        his.push(backend.say(room, bob, &format!("secret {n}")).await?);
        backend.say(room, ada, &format!("kept {n}")).await?;
    }
    backend.done(edit(room, bob, his[0].id, "secret!")).await?;
    backend.done(delete(room, bob, his[1].id)).await?;
    backend
        .done_with(&ctx(at(9)), remove_with_messages(room, ada, bob))
        .await?;
    let reader = Reader::Member(ada);
    for since in 0..13 {
        for limit in [1, 2, 3, 10] {
            let events = backend.changes(reader, room, Seq(since), limit).await?;
            let mut deletions = 0;
            for event in &events {
                match event {
                    Event::MessagesDeleted { seq, sender_id, .. } => {
                        assert_eq!((*seq, *sender_id), (Seq(13), bob));
                        deletions += 1;
                    }
                    Event::MessageDeleted(message) => {
                        assert_eq!((message.sender_id, message.content.as_str()), (bob, ""));
                        assert!(message.deleted_at.is_some());
                    }
                    Event::MessageCreated(message) | Event::MessageEdited(message) => {
                        assert_eq!(message.sender_id, ada);
                    }
                    _ => {}
                }
            }
            assert_eq!(deletions, i32::from(since < 13), "since {since}");
            if since < 12 {
                let alone = events.iter().find_map(|event| match event {
                    Event::MessageDeleted(m) if m.id == his[1].id => Some(m.changed_seq),
                    _ => None,
                });
                assert_eq!(alone, Some(Seq(12)), "a tombstone of its own stays");
            }
        }
    }
    Ok(())
}

/// Of two bulk deletions of one sender, who came back between them, the last is told, which says all that the first did;
/// what was written since is there.
pub async fn the_last_bulk_deletion_of_a_sender_is_told(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    for _ in 0..2 {
        backend.say(room, bob, "Gone").await?;
        backend.done(leave_with_messages(room, bob)).await?;
        backend.admit(room, ada, bob).await?;
    }
    backend.say(room, bob, "Here").await?;
    let events = backend
        .changes(Reader::Member(ada), room, Seq::ZERO, 1)
        .await?;
    let told: Vec<_> = outline(&events)
        .into_iter()
        .filter(|(kind, _)| *kind != EventKind::MessageDeleted)
        .filter(|&told| told != (EventKind::MessagesDeleted, 4))
        .collect();
    assert_eq!(
        told,
        [
            (EventKind::MemberJoined, 1),
            (EventKind::MessagesDeleted, 8),
            (EventKind::MemberJoined, 10),
            (EventKind::MessageCreated, 11),
        ]
    );
    Ok(())
}

/// At the head there is nothing, completely.
pub async fn at_the_head_there_is_nothing(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    for reader in [Reader::Member(bob), Reader::Node] {
        assert_eq!(
            page(&backend, reader, room, 2, 0, 10).await?,
            Changes {
                items: vec![],
                seq: Seq(2),
                has_more: false,
                complete: true,
            }
        );
    }
    Ok(())
}

/// A `since` beyond the head answers nothing, incompletely, and the head: the caller knows of what the database lost.
pub async fn beyond_the_head_nothing_is_complete(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    for reader in [Reader::Member(bob), Reader::Node] {
        for from in [0, 3, 99] {
            assert_eq!(
                page(&backend, reader, room, 99.max(from), from, 10).await?,
                Changes {
                    items: vec![],
                    seq: Seq(2),
                    has_more: false,
                    complete: false,
                }
            );
        }
    }
    Ok(())
}

/// `hasMore` is exact: a page that holds the last item says there is no more, and stands at the head.
pub async fn a_page_knows_whether_it_is_the_last(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, ada, "0").await?;
    backend.say(room, ada, "1").await?;
    backend.done(edit(room, ada, message.id, "2")).await?;
    let reader = Reader::Member(bob);
    for (limit, seq, has_more) in [
        (1, 1, true),
        (2, 2, true),
        (3, 4, true),
        (4, 5, false),
        (5, 5, false),
    ] {
        let changes = page(&backend, reader, room, 0, 0, limit).await?;
        assert_eq!((changes.seq, changes.has_more), (Seq(seq), has_more));
        assert_eq!(
            changes.items.len(),
            usize::try_from(limit.min(4)).unwrap_or(0)
        );
    }
    Ok(())
}

/// A stranger, someone who left, and anyone at a room that never was get nothing.
pub async fn only_members_read_changes(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    backend.done(leave(room, bob)).await?;
    for (reader, room) in [
        (Reader::Member(eve), room),
        (Reader::Member(bob), room),
        (Reader::Member(ada), RoomId(987_654)),
        (Reader::Node, RoomId(987_654)),
    ] {
        for since in [0, 3, 99] {
            let changes = backend
                .store
                .changes(reader, room, Seq(since), Seq(since), 10)
                .await?;
            assert_eq!(changes, None);
        }
    }
    Ok(())
}

/// Of a deleted room a node reads its end, alone.
pub async fn a_node_reads_the_end_of_a_deleted_room(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    backend.say(room, ada, "Hello").await?;
    backend.done(delete_room(room, ada)).await?;
    let deleted = Event::RoomDeleted {
        room_id: room,
        seq: Seq(4),
    };
    for since in 0..4 {
        for limit in [1, 10] {
            assert_eq!(
                page(&backend, Reader::Node, room, since, since, limit).await?,
                Changes {
                    items: vec![deleted.clone()],
                    seq: Seq(4),
                    has_more: false,
                    complete: true,
                }
            );
        }
    }
    let at_the_end = page(&backend, Reader::Node, room, 4, 0, 10).await?;
    assert_eq!((at_the_end.items, at_the_end.complete), (vec![], true));
    let beyond = page(&backend, Reader::Node, room, 5, 0, 10).await?;
    assert_eq!((beyond.seq, beyond.complete), (Seq(4), false));
    Ok(())
}
