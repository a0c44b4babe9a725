//! Pages of messages, from every kind of position.

use super::act::{delete, edit, leave, leave_with_messages, rename_room};
use super::{Backend, Tested};
use crate::model::{MessageId, RoomId, Seq, UserId};
use crate::store::{Position, StoreError};

/// A room in which Ada sent `count` messages: its id, Ada, and the ids of the messages.
async fn room_with(
    backend: &Backend,
    count: usize,
) -> Result<(RoomId, UserId, Vec<MessageId>), StoreError> {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(backend.say(room, ada, &format!("{n}")).await?.id);
    }
    Ok((room, ada, ids))
}

/// The content of a page, and whether there is more.
async fn page(
    backend: &Backend,
    caller: UserId,
    room: RoomId,
    position: Position,
    limit: i64,
) -> Result<Option<(String, bool)>, StoreError> {
    let page = backend
        .store
        .messages(caller, room, position, limit)
        .await?;
    Ok(page.map(|page| {
        let contents: Vec<_> = page.items.iter().map(|m| m.content.as_str()).collect();
        (contents.join(" "), page.has_more)
    }))
}

fn shows(contents: &str, has_more: bool) -> Option<(String, bool)> {
    Some((contents.to_owned(), has_more))
}

/// The newest page, oldest first within it.
pub async fn the_newest_page_ends_at_the_end(backend: Backend) -> Tested {
    let (room, ada, _) = room_with(&backend, 5).await?;
    for (limit, wanted) in [
        (1, shows("4", true)),
        (4, shows("1 2 3 4", true)),
        (5, shows("0 1 2 3 4", false)),
        (6, shows("0 1 2 3 4", false)),
    ] {
        assert_eq!(
            page(&backend, ada, room, Position::Newest, limit).await?,
            wanted
        );
    }
    Ok(())
}

/// A room without messages has an empty page, whatever else happened in it.
pub async fn a_room_without_messages_has_an_empty_page(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    for position in [
        Position::Newest,
        Position::AfterSeq(Seq(0)),
        Position::AfterSeq(Seq(99)),
    ] {
        assert_eq!(
            page(&backend, bob, room, position, 10).await?,
            shows("", false)
        );
    }
    Ok(())
}

/// The page that ends just before a message, and whether there are older ones.
pub async fn a_page_before_a_message_ends_just_before_it(backend: Backend) -> Tested {
    let (room, ada, ids) = room_with(&backend, 5).await?;
    for (n, limit, wanted) in [
        (0, 2, shows("", false)),
        (1, 2, shows("0", false)),
        (2, 2, shows("0 1", false)),
        (3, 2, shows("1 2", true)),
        (4, 2, shows("2 3", true)),
        (4, 100, shows("0 1 2 3", false)),
    ] {
        let position = Position::Before(ids[n]);
        assert_eq!(page(&backend, ada, room, position, limit).await?, wanted);
    }
    Ok(())
}

/// The page that begins just after a message, and whether there are newer ones.
pub async fn a_page_after_a_message_begins_just_after_it(backend: Backend) -> Tested {
    let (room, ada, ids) = room_with(&backend, 5).await?;
    for (n, limit, wanted) in [
        (0, 2, shows("1 2", true)),
        (1, 2, shows("2 3", true)),
        (2, 2, shows("3 4", false)),
        (3, 2, shows("4", false)),
        (4, 2, shows("", false)),
        (0, 100, shows("1 2 3 4", false)),
    ] {
        let position = Position::After(ids[n]);
        assert_eq!(page(&backend, ada, room, position, limit).await?, wanted);
    }
    Ok(())
}

/// A place is one of the room's order: from the start it is 0, and a place without a message is as good as any.
pub async fn a_page_after_a_place_begins_just_after_it(backend: Backend) -> Tested {
    let (room, ada, ids) = room_with(&backend, 4).await?;
    backend.done(rename_room(room, ada, "Pantry")).await?;
    backend.done(delete(room, ada, ids[1])).await?;
    backend.say(room, ada, "4").await?;
    for (seq, limit, wanted) in [
        (0, 2, shows("0 2", true)),
        (1, 3, shows("0 2 3", true)),
        (2, 3, shows("2 3 4", false)),
        (3, 1, shows("2", true)),
        (5, 1, shows("4", false)),
        (6, 1, shows("4", false)),
        (8, 1, shows("", false)),
        (99, 1, shows("", false)),
    ] {
        let position = Position::AfterSeq(Seq(seq));
        assert_eq!(page(&backend, ada, room, position, limit).await?, wanted);
    }
    Ok(())
}

/// Deleted messages are left out and don't count for the limit or for `hasMore`, deleted alone or in bulk.
pub async fn deleted_messages_are_left_out(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let mut ids = Vec::new();
    for n in 0..9 {
        let sender = if n % 3 == 0 { bob } else { ada };
        ids.push(backend.say(room, sender, &format!("{n}")).await?.id);
    }
    backend.done(leave_with_messages(room, bob)).await?;
    for n in [1, 8] {
        backend.done(delete(room, ada, ids[n])).await?;
    }
    for (position, limit, wanted) in [
        (Position::Newest, 4, shows("2 4 5 7", false)),
        (Position::Newest, 3, shows("4 5 7", true)),
        (Position::Before(ids[4]), 1, shows("2", false)),
        (Position::Before(ids[2]), 1, shows("", false)),
        (Position::After(ids[5]), 1, shows("7", false)),
        (Position::After(ids[7]), 5, shows("", false)),
        (Position::AfterSeq(Seq(0)), 2, shows("2 4", true)),
    ] {
        assert_eq!(
            page(&backend, ada, room, position, limit).await?,
            wanted,
            "{position:?}"
        );
    }
    Ok(())
}

/// A deleted message still names its place, however it was deleted.
pub async fn a_deleted_message_still_names_its_place(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.say(room, ada, "0").await?;
    let alone = backend.say(room, ada, "1").await?;
    backend.say(room, ada, "2").await?;
    let bulk = backend.say(room, bob, "3").await?;
    backend.say(room, ada, "4").await?;
    backend.done(delete(room, ada, alone.id)).await?;
    backend.done(leave_with_messages(room, bob)).await?;
    for (position, wanted) in [
        (Position::Before(alone.id), shows("0", false)),
        (Position::After(alone.id), shows("2 4", false)),
        (Position::Before(bulk.id), shows("0 2", false)),
        (Position::After(bulk.id), shows("4", false)),
    ] {
        assert_eq!(page(&backend, ada, room, position, 10).await?, wanted);
    }
    Ok(())
}

/// An edit leaves a message where it was sent.
pub async fn an_edited_message_keeps_its_place(backend: Backend) -> Tested {
    let (room, ada, ids) = room_with(&backend, 3).await?;
    backend.done(edit(room, ada, ids[0], "zero")).await?;
    assert_eq!(
        page(&backend, ada, room, Position::Newest, 2).await?,
        shows("1 2", true)
    );
    assert_eq!(
        page(&backend, ada, room, Position::Before(ids[1]), 2).await?,
        shows("zero", false)
    );
    assert_eq!(
        page(&backend, ada, room, Position::After(ids[0]), 5).await?,
        shows("1 2", false)
    );
    Ok(())
}

/// Another room's message and an id that is nobody's are no position.
pub async fn a_position_is_a_message_of_the_room(backend: Backend) -> Tested {
    let (room, ada, _) = room_with(&backend, 2).await?;
    let other = backend.room(ada).await?;
    let there = backend.say(other, ada, "There").await?;
    for id in [there.id, MessageId(987_654), MessageId(0), MessageId(-1)] {
        for position in [Position::Before(id), Position::After(id)] {
            assert_eq!(page(&backend, ada, room, position, 10).await?, None);
        }
    }
    Ok(())
}

/// Who is not in the room now reads nothing of it.
pub async fn only_members_read_history(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let message = backend.say(room, bob, "Hello").await?;
    backend.done(leave(room, bob)).await?;
    for user in [bob, eve] {
        for position in [
            Position::Newest,
            Position::Before(message.id),
            Position::After(message.id),
            Position::AfterSeq(Seq(0)),
        ] {
            assert_eq!(page(&backend, user, room, position, 10).await?, None);
            let nowhere = RoomId(987_654);
            assert_eq!(page(&backend, user, nowhere, position, 10).await?, None);
        }
    }
    assert_eq!(
        page(&backend, ada, room, Position::Newest, 10).await?,
        shows("Hello", false)
    );
    Ok(())
}

/// Who comes in later reads all that was said before.
pub async fn a_newcomer_reads_from_the_start(backend: Backend) -> Tested {
    let (room, ada, _) = room_with(&backend, 3).await?;
    let bob = backend.user("Bob").await?;
    backend.admit(room, ada, bob).await?;
    assert_eq!(
        page(&backend, bob, room, Position::Newest, 10).await?,
        shows("0 1 2", false)
    );
    Ok(())
}
