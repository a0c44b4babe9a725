//! Rooms as a whole: made, renamed, deleted, listed.

use super::act::{
    accept, at, create_room, ctx, delete, delete_room, edit, far_off, invite, leave, limited,
    remove, rename_room, send, set_role,
};
use super::{Backend, Tested};
use crate::model::limits::Limits;
use crate::model::{Event, Member, Role, Room, RoomId, Seq, UserId};
use crate::store::{Joined, Membership, Outcome, Position, Reader, Refusal};

/// The creator joins as admin at `seq` 1 and is told of the room.
pub async fn a_room_begins_with_its_creator_at_seq_one(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let committed = backend
        .done_with(&ctx(at(3)), create_room(ada, "Küche 🍳"))
        .await?;
    let Outcome::Room(room) = committed.outcome else {
        panic!("a room, not {committed:?}");
    };
    assert_eq!(
        room,
        Room {
            id: room.id,
            name: "Küche 🍳".to_owned(),
            created_at: at(3),
            member_count: 1,
            seq: Seq(1),
            role: Some(Role::Admin),
        }
    );
    assert_eq!(
        committed.events,
        [Event::MemberJoined {
            room_id: room.id,
            seq: Seq(1),
            member: Member {
                user_id: ada,
                username: "Ada".to_owned(),
                role: Role::Admin,
                joined_at: at(3),
            },
        }]
    );
    assert_eq!(backend.store.room(ada, room.id).await?, Some(room));
    Ok(())
}

/// A user who is unknown or deleted makes no room, so that no room is without a living member.
pub async fn only_a_living_user_creates_a_room(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    backend.store.delete_user(ada, false, at(1)).await?;
    for by in [ada, UserId(987_654)] {
        assert_eq!(
            backend.refused(create_room(by, "Kitchen")).await?,
            Refusal::NotFound
        );
    }
    Ok(())
}

/// The limit counts the rooms that a user is in now, within a batch too.
pub async fn a_user_is_in_so_many_rooms_at_most(backend: Backend) -> Tested {
    let (ada, bob) = (backend.user("Ada").await?, backend.user("Bob").await?);
    let theirs = backend.room(bob).await?;
    let ctx = limited(Limits {
        rooms_per_user: 2,
        ..Limits::default()
    });
    let answers = backend
        .store
        .commit(
            &ctx,
            &["One", "Two", "Three"].map(|name| create_room(ada, name)),
        )
        .await?;
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert_eq!(answers[2], Err(Refusal::RoomsPerUser));
    let token = backend.invite(theirs, bob).await?;
    assert_eq!(
        backend
            .refused_with(&ctx, accept(theirs, ada, token))
            .await?,
        Refusal::RoomsPerUser
    );
    let rooms = backend.store.rooms(ada, None, 100).await?.items;
    backend.done(delete_room(rooms[0].id, ada)).await?;
    backend.done_with(&ctx, create_room(ada, "Three")).await?;
    assert_eq!(
        backend.refused_with(&ctx, create_room(ada, "Four")).await?,
        Refusal::RoomsPerUser
    );
    backend.done(leave(rooms[1].id, ada)).await?;
    backend.done_with(&ctx, accept(theirs, ada, token)).await?;
    Ok(())
}

/// The event holds the room as it is after the change, without anyone's role.
pub async fn an_admin_renames_the_room(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let committed = backend
        .done_with(&ctx(at(4)), rename_room(room, ada, "Pantry"))
        .await?;
    let renamed = Room {
        id: room,
        name: "Pantry".to_owned(),
        created_at: at(0),
        member_count: 2,
        seq: Seq(3),
        role: None,
    };
    assert_eq!(
        committed.events,
        [Event::RoomChanged {
            room_id: room,
            seq: Seq(3),
            room: renamed.clone(),
        }]
    );
    let as_admin = Room {
        role: Some(Role::Admin),
        ..renamed.clone()
    };
    assert_eq!(committed.outcome, Outcome::Room(as_admin));
    assert_eq!(
        backend.store.room(bob, room).await?,
        Some(Room {
            role: Some(Role::Member),
            ..renamed
        })
    );
    Ok(())
}

/// The name that it has already takes no `seq`; another case is another name.
pub async fn a_rename_to_the_same_name_changes_nothing(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let same = backend.done(rename_room(room, ada, "Kitchen")).await?;
    assert_eq!(same.events, []);
    let now = backend.store.room(ada, room).await?.expect("it is there");
    assert_eq!(
        (now.seq, &same.outcome),
        (Seq(1), &Outcome::Room(now.clone()))
    );
    let other = backend.done(rename_room(room, ada, "kitchen")).await?;
    assert_eq!(other.seqs(), [2]);
    Ok(())
}

/// A member may not; for a stranger the room isn't there.
pub async fn only_an_admin_renames_or_deletes(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    for (by, refusal) in [(bob, Refusal::Forbidden), (eve, Refusal::NotFound)] {
        for name in ["Pantry", "Kitchen"] {
            assert_eq!(backend.refused(rename_room(room, by, name)).await?, refusal);
        }
        assert_eq!(backend.refused(delete_room(room, by)).await?, refusal);
    }
    let nowhere = RoomId(987_654);
    assert_eq!(
        backend.refused(rename_room(nowhere, ada, "Pantry")).await?,
        Refusal::NotFound
    );
    assert_eq!(
        backend.refused(delete_room(nowhere, ada)).await?,
        Refusal::NotFound
    );
    assert_eq!(backend.head(room).await?, Seq(2));
    Ok(())
}

/// From the commit on nobody is in a deleted room, and every way to it is closed, within its batch too.
pub async fn a_deleted_room_is_found_by_nobody(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, ada, "Hello").await?;
    let token = backend.invite(room, ada).await?;
    let answers = backend
        .commit(&[
            send(room, bob, "Before"),
            delete_room(room, ada),
            send(room, bob, "After"),
        ])
        .await?;
    let deleted = answers[1].clone().expect("deleted");
    assert_eq!(deleted.outcome, Outcome::Done);
    assert_eq!(
        deleted.events,
        [Event::RoomDeleted {
            room_id: room,
            seq: Seq(5),
        }]
    );
    assert_eq!(answers[2], Err(Refusal::NotFound));

    let store = &backend.store;
    for user in [ada, bob] {
        assert_eq!(store.memberships(user).await?, []);
        assert_eq!(store.rooms(user, None, 10).await?.items, []);
        assert_eq!(store.room(user, room).await?, None);
        assert_eq!(store.members(user, room, None, 10).await?, None);
        assert_eq!(
            store.invites(user, room, at(0), None, 10).await?,
            Err(Refusal::NotFound)
        );
        assert_eq!(
            store.messages(user, room, Position::Newest, 10).await?,
            None
        );
        assert_eq!(store.message(user, room, message.id).await?, None);
        let reader = Reader::Member(user);
        assert_eq!(store.changes(reader, room, Seq(0), Seq(0), 10).await?, None);
        for change in [
            send(room, user, "Hello"),
            edit(room, user, message.id, "Hullo"),
            delete(room, user, message.id),
            rename_room(room, user, "Pantry"),
            delete_room(room, user),
            set_role(room, user, user, Role::Member),
            remove(room, user, user),
            remove(room, user, bob),
            invite(room, user, backend.token(), far_off(), None),
            accept(room, user, token),
        ] {
            assert_eq!(
                backend.refused(change.clone()).await?,
                Refusal::NotFound,
                "{change:?}"
            );
        }
    }
    assert_eq!(store.invite_room(&token).await?, None);
    Ok(())
}

/// Pages are ordered by id, hold the caller's own role, and end exactly.
pub async fn rooms_are_paged_by_id(backend: Backend) -> Tested {
    let (ada, bob) = (backend.user("Ada").await?, backend.user("Bob").await?);
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(backend.room(ada).await?);
    }
    for &room in &rooms[..3] {
        backend.admit(room, ada, bob).await?;
    }
    backend.done(leave(rooms[1], bob)).await?;
    rooms.sort_unstable();
    for limit in 1..=5 {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = backend.store.rooms(ada, after, limit).await?;
            let wanted = (4 - seen.len()).min(usize::try_from(limit).unwrap_or(0));
            assert_eq!(page.items.len(), wanted);
            seen.extend(page.items.iter().map(|room| room.id));
            assert_eq!(page.has_more, seen.len() < 4);
            after = seen.last().copied();
            if !page.has_more {
                break;
            }
        }
        assert_eq!(seen, rooms);
    }
    let his = backend.store.rooms(bob, None, 10).await?;
    assert!(!his.has_more);
    let roles: Vec<_> = his.items.iter().map(|room| (room.id, room.role)).collect();
    assert_eq!(
        roles,
        [
            (rooms[0], Some(Role::Member)),
            (rooms[2], Some(Role::Member))
        ]
    );
    Ok(())
}

/// A user's rooms with their heads, ordered by id; those that were left are missing.
pub async fn memberships_tell_where_each_room_stands(backend: Backend) -> Tested {
    let (ada, bob) = (backend.user("Ada").await?, backend.user("Bob").await?);
    assert_eq!(backend.store.memberships(ada).await?, []);
    let (one, two, three) = (
        backend.room(ada).await?,
        backend.room(bob).await?,
        backend.room(ada).await?,
    );
    backend.admit(two, bob, ada).await?;
    backend.say(two, bob, "Hello").await?;
    let mut wanted = [(one, Seq(1)), (two, Seq(3)), (three, Seq(1))]
        .map(|(room_id, head)| Membership { room_id, head });
    wanted.sort_by_key(|membership| membership.room_id);
    assert_eq!(backend.store.memberships(ada).await?, wanted);
    backend.done(leave(two, ada)).await?;
    let rooms: Vec<_> = backend
        .store
        .memberships(ada)
        .await?
        .iter()
        .map(|membership| membership.room_id)
        .collect();
    assert_eq!(rooms, [one.min(three), one.max(three)]);
    Ok(())
}

/// Each user's rooms with the place of its last join; those that were left or deleted are missing, and so are others' rooms.
pub async fn where_users_joined_is_read_at_once(backend: Backend) -> Tested {
    let (ada, bob, eve) = (
        backend.user("Ada").await?,
        backend.user("Bob").await?,
        backend.user("Eve").await?,
    );
    let (one, two, gone) = (
        backend.room(ada).await?,
        backend.room(bob).await?,
        backend.room(ada).await?,
    );
    backend.admit(one, ada, bob).await?;
    backend.admit(two, bob, eve).await?;
    backend.say(one, ada, "Hello").await?;
    // Bob leaves from place 4, and comes again at 5.
    backend.done(leave(one, bob)).await?;
    backend.admit(one, ada, bob).await?;
    backend.done(delete_room(gone, ada)).await?;
    let joined = |user_id, room_id, seq| Joined {
        user_id,
        room_id,
        seq: Seq(seq),
    };
    let mut wanted = [
        joined(ada, one, 1),
        joined(bob, one, 5),
        joined(bob, two, 1),
    ];
    wanted.sort_unstable();
    let mut read = backend.store.joined(&[bob, UserId(987_654), ada]).await?;
    read.sort_unstable();
    assert_eq!(read, wanted);
    assert_eq!(backend.store.joined(&[]).await?, []);
    Ok(())
}

/// An unknown room is left out; a deleted one stands at its end until it is purged.
pub async fn heads_are_those_of_the_rooms_that_exist(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (kept, deleted) = (backend.room(ada).await?, backend.room(ada).await?);
    backend.say(kept, ada, "Hello").await?;
    backend.done(delete_room(deleted, ada)).await?;
    let asked = [deleted, RoomId(987_654), kept];
    let mut heads = backend.store.heads(&asked).await?;
    heads.sort_by_key(|membership| membership.room_id);
    let mut wanted =
        [(kept, Seq(2)), (deleted, Seq(2))].map(|(room_id, head)| Membership { room_id, head });
    wanted.sort_by_key(|membership| membership.room_id);
    assert_eq!(heads, wanted);
    assert_eq!(backend.store.heads(&[]).await?, []);
    Ok(())
}

/// The room and its members are shown to who is in it, and the count is exact.
pub async fn a_room_is_read_by_its_members_alone(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let read = |user| backend.store.room(user, room);
    assert_eq!(read(ada).await?.expect("hers").member_count, 2);
    assert_eq!(read(eve).await?, None);
    backend.done(leave(room, bob)).await?;
    assert_eq!(read(ada).await?.expect("hers").member_count, 1);
    assert_eq!(read(bob).await?, None);
    Ok(())
}
