//! Cleaning, in bounded steps: retention, deleted rooms, and what nobody can name any more.

use super::act::{
    accept, at, ctx, delete, delete_room, edit, invite, leave_with_messages, send, send_as,
};
use super::{Backend, Tested};
use crate::model::{Event, EventKind, RoomId, Seq, Timestamp};
use crate::protocol::rest::Changes;
use crate::store::{
    EndedSession, INVITE_KEPT, Position, Reader, Refusal, Store, StoreError, SweepContext,
};

/// A sweep at a moment that removes nothing for its age.
fn sweep_at(at: Timestamp) -> SweepContext {
    SweepContext {
        at,
        retain_from: None,
        forget_ended_before: Timestamp::from_millis(0),
        max_rows: 500,
    }
}

/// Sweeps until there is nothing more; answers the steps it took.
async fn sweep(store: &dyn Store, ctx: &SweepContext) -> Result<usize, StoreError> {
    for step in 1..10_000 {
        if !store.sweep(ctx).await? {
            return Ok(step);
        }
    }
    panic!("sweeping comes to no end");
}

async fn all_changes(
    backend: &Backend,
    room: RoomId,
    since: i64,
    from: i64,
) -> Result<Changes, StoreError> {
    let changes = backend
        .store
        .changes(Reader::Node, room, Seq(since), Seq(from), 100)
        .await?;
    Ok(changes.expect("a node reads any room"))
}

/// Without anything to clean a step changes nothing and ends.
pub async fn a_clean_database_stays_as_it_is(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, ada, "Hello").await?;
    backend.done(delete(room, ada, message.id)).await?;
    backend.say(room, bob, "Hi").await?;
    let token = backend.invite(room, ada).await?;
    let before = all_changes(&backend, room, 0, 0).await?;
    sweep(&*backend.store, &sweep_at(at(9))).await?;
    assert_eq!(all_changes(&backend, room, 0, 0).await?, before);
    assert_eq!(backend.history(bob, room).await?, ["Hi"]);
    let cem = backend.user("Cem").await?;
    backend.done(accept(room, cem, token)).await?;
    Ok(())
}

/// Messages sent before the moment go, edited since or not; those sent at it or later stay.
pub async fn retention_removes_old_messages(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let mut ids = Vec::new();
    for n in 0..6 {
        let change = send_as(room, ada, &format!("{n}"), &format!("{n}"));
        let message = backend.done_with(&ctx(at(n)), change).await?.message();
        ids.push(message.id);
    }
    backend
        .done_with(&ctx(at(8)), edit(room, ada, ids[0], "edited"))
        .await?;
    let retain = SweepContext {
        retain_from: Some(at(3)),
        ..sweep_at(at(9))
    };
    sweep(&*backend.store, &retain).await?;
    assert_eq!(backend.history(bob, room).await?, ["3", "4", "5"]);
    let store = &backend.store;
    assert_eq!(store.message(ada, room, ids[0]).await?, None);
    assert_eq!(
        store
            .messages(bob, room, Position::Before(ids[3]), 1)
            .await?
            .map(|page| (page.items, page.has_more)),
        Some((vec![], false))
    );
    for position in [Position::Before(ids[1]), Position::After(ids[1])] {
        assert_eq!(store.messages(bob, room, position, 10).await?, None);
    }
    for change in [edit(room, ada, ids[1], "Back"), delete(room, ada, ids[1])] {
        assert_eq!(backend.refused(change).await?, Refusal::NotFound);
    }
    assert_eq!(backend.head(room).await?, Seq(9), "the count goes on");
    assert_eq!(backend.say(room, ada, "6").await?.seq, Seq(10));
    Ok(())
}

/// Who catches up from before what retention removed is told that it isn't complete; from later it is.
pub async fn changes_tell_what_retention_removed(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    let mut ids = Vec::new();
    for n in 0..4 {
        let change = send_as(room, ada, &format!("{n}"), &format!("{n}"));
        ids.push(backend.done_with(&ctx(at(n)), change).await?.message().id);
    }
    backend.done(edit(room, ada, ids[0], "edited")).await?;
    for from in 0..=7 {
        assert!(all_changes(&backend, room, from, from).await?.complete);
    }
    let retain = SweepContext {
        retain_from: Some(at(1)),
        ..sweep_at(at(9))
    };
    sweep(&*backend.store, &retain).await?;
    for from in 0..=7 {
        let changes = all_changes(&backend, room, from, from).await?;
        assert_eq!(changes.complete, from >= 7, "from {from}");
        assert_eq!(changes.seq, Seq(7));
    }
    let later_page = all_changes(&backend, room, 7, 6).await?;
    assert!(!later_page.complete, "the catch-up began before it");
    let kinds: Vec<_> = all_changes(&backend, room, 0, 0)
        .await?
        .items
        .iter()
        .map(Event::kind)
        .collect();
    assert_eq!(
        kinds,
        [
            EventKind::MemberJoined,
            EventKind::MemberJoined,
            EventKind::MessageCreated,
            EventKind::MessageCreated,
            EventKind::MessageCreated,
        ]
    );
    Ok(())
}

/// The tombstones of old messages go too, those of a bulk deletion among them.
pub async fn retention_removes_tombstones(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let alone = backend.say(room, ada, "Alone").await?;
    backend.say(room, bob, "In bulk").await?;
    backend.done(delete(room, ada, alone.id)).await?;
    backend.done(leave_with_messages(room, bob)).await?;
    backend
        .done_with(&ctx(at(5)), send(room, ada, "New"))
        .await?;
    let retain = SweepContext {
        retain_from: Some(at(1)),
        ..sweep_at(at(9))
    };
    sweep(&*backend.store, &retain).await?;
    let kinds: Vec<_> = all_changes(&backend, room, 0, 0)
        .await?
        .items
        .iter()
        .map(Event::kind)
        .collect();
    assert!(!kinds.contains(&EventKind::MessageDeleted), "{kinds:?}");
    assert!(!all_changes(&backend, room, 4, 4).await?.complete);
    assert!(all_changes(&backend, room, 5, 5).await?.complete);
    Ok(())
}

/// What retention removed is forgotten: its `clientMessageId` is free again.
pub async fn retention_frees_client_message_ids(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    backend.done(send_as(room, ada, "Old", "a")).await?;
    let retain = SweepContext {
        retain_from: Some(at(1)),
        ..sweep_at(at(9))
    };
    sweep(&*backend.store, &retain).await?;
    let sent = backend
        .done_with(&ctx(at(9)), send_as(room, ada, "New", "a"))
        .await?;
    assert_eq!(sent.message().seq, Seq(4));
    Ok(())
}

/// Other rooms' messages don't change what is complete in a room.
pub async fn retention_is_counted_per_room(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (old, new) = (backend.room(ada).await?, backend.room(ada).await?);
    backend.say(old, ada, "Old").await?;
    backend
        .done_with(&ctx(at(5)), send(new, ada, "New"))
        .await?;
    let retain = SweepContext {
        retain_from: Some(at(1)),
        ..sweep_at(at(9))
    };
    sweep(&*backend.store, &retain).await?;
    assert!(!all_changes(&backend, old, 0, 0).await?.complete);
    assert!(all_changes(&backend, new, 0, 0).await?.complete);
    Ok(())
}

/// A step touches no more rows than it is given, and says that there is more.
pub async fn a_step_is_bounded(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    for n in 0..10 {
        backend.say(room, ada, &format!("{n}")).await?;
    }
    let retain = SweepContext {
        retain_from: Some(at(1)),
        max_rows: 3,
        ..sweep_at(at(9))
    };
    let mut left = 10;
    while left > 0 {
        let more = backend.store.sweep(&retain).await?;
        let now = backend.history(ada, room).await?.len();
        assert!(left - now <= 3, "from {left} to {now} in one step");
        assert!(
            more || now == 0,
            "{now} are left, and it says that all is done"
        );
        left = now;
    }
    sweep(&*backend.store, &retain).await?;
    Ok(())
}

/// While steps go on `changes` never claims to be complete where something is gone already.
pub async fn changes_are_honest_between_steps(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    for n in 0..8 {
        backend.say(room, ada, &format!("{n}")).await?;
    }
    let retain = SweepContext {
        retain_from: Some(at(1)),
        max_rows: 2,
        ..sweep_at(at(9))
    };
    loop {
        let more = backend.store.sweep(&retain).await?;
        for from in 2..=10 {
            let changes = all_changes(&backend, room, from, from).await?;
            let gone = 10 - from - i64::try_from(changes.items.len()).unwrap_or(0);
            assert_eq!(changes.complete, gone == 0, "from {from}");
        }
        if !more {
            return Ok(());
        }
    }
}

/// A deleted room is purged step by step, and then it never was; who was in it still know each other.
pub async fn a_deleted_room_is_purged(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let kept = backend.room(ada).await?;
    for n in 0..10 {
        backend.say(room, ada, &format!("{n}")).await?;
    }
    backend.say(kept, ada, "Kept").await?;
    let token = backend.invite(room, ada).await?;
    backend.done(delete_room(room, ada)).await?;
    let small = SweepContext {
        max_rows: 3,
        ..sweep_at(at(1))
    };
    assert!(
        backend.store.sweep(&small).await?,
        "ten messages, three rows"
    );
    sweep(&*backend.store, &small).await?;
    assert_eq!(backend.store.heads(&[room]).await?, []);
    let end = backend
        .store
        .changes(Reader::Node, room, Seq(0), Seq(0), 10);
    assert_eq!(end.await?, None);
    assert_eq!(
        backend.refused(accept(room, bob, token)).await?,
        Refusal::NotFound
    );
    assert_eq!(backend.history(ada, kept).await?, ["Kept"]);
    for (caller, other) in [(ada, bob), (bob, ada)] {
        let known = backend.store.user(caller, other).await?;
        assert_eq!(known.map(|user| user.id), Some(other));
    }
    assert!(backend.store.user(bob, ada).await?.is_some());
    Ok(())
}

/// Scrubbing what a bulk deletion left changes nothing that is read.
pub async fn scrubbing_is_not_seen(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    for n in 0..10 {
        let change = send_as(room, bob, &format!("{n}"), &format!("{n}"));
        backend.done(change).await?;
    }
    backend.done(leave_with_messages(room, bob)).await?;
    backend.admit(room, ada, bob).await?;
    let head = backend.head(room).await?;
    let small = SweepContext {
        max_rows: 3,
        ..sweep_at(at(1))
    };
    sweep(&*backend.store, &small).await?;
    assert_eq!(backend.history(ada, room).await?, [""; 0]);
    assert_eq!(backend.head(room).await?, head);
    let again = backend.done(send_as(room, bob, "4", "4")).await?;
    let tombstone = again.unchanged_message();
    assert_eq!((tombstone.content.as_str(), tombstone.seq), ("", Seq(7)));
    assert_eq!(
        backend.refused(send_as(room, bob, "5", "4")).await?,
        Refusal::ClientMessageIdReused
    );
    let changes = all_changes(&backend, room, 0, 0).await?;
    assert!(changes.complete);
    Ok(())
}

/// An invite stays known for a while after its expiry, and is then unknown.
pub async fn an_expired_invite_is_forgotten_late(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let room = backend.room(ada).await?;
    let token = backend.token();
    backend.done(invite(room, ada, token, at(60), None)).await?;
    let long_after = at(60).plus(INVITE_KEPT);
    sweep(&*backend.store, &sweep_at(at(3_600))).await?;
    let late = ctx(at(3_600));
    assert_eq!(
        backend
            .refused_with(&late, accept(room, bob, token))
            .await?,
        Refusal::InviteGone
    );
    backend.done_with(&late, accept(room, ada, token)).await?;
    sweep(&*backend.store, &sweep_at(long_after)).await?;
    for user in [ada, bob] {
        assert_eq!(
            backend
                .refused_with(&late, accept(room, user, token))
                .await?,
            Refusal::NotFound
        );
    }
    assert_eq!(backend.store.invite_room(&token).await?, None);
    Ok(())
}

/// Ended sessions are forgotten when no token can name them any more.
pub async fn old_ended_sessions_are_forgotten(backend: Backend) -> Tested {
    let session = |n: u64| EndedSession {
        session: format!("session {n}"),
        at: at(n),
    };
    for n in 0..4 {
        backend.store.end_session(&session(n)).await?;
    }
    let forget = SweepContext {
        forget_ended_before: at(2),
        ..sweep_at(at(9))
    };
    sweep(&*backend.store, &forget).await?;
    let mut ended = backend.store.ended_sessions(at(0)).await?;
    ended.sort_by_key(|ended| ended.at);
    assert_eq!(ended, [session(2), session(3)]);
    Ok(())
}
