//! Many calls at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::act::{
    accept, at, create_room, ctx, delete, far_off, invite, leave, limited, remove, rename_room,
    send, send_as, set_role,
};
use super::{Backend, Tested};
use crate::model::limits::Limits;
use crate::model::{Role, RoomId, Seq, UserId};
use crate::store::{Change, CommitContext, Committed, Reader, Refusal, Store, StoreError};

type Answers = Vec<Result<Committed, Refusal>>;

/// Commits all batches at once, each in a task of its own, and answers them in the order of batches.
async fn at_once(
    store: &Arc<dyn Store>,
    ctx: &CommitContext,
    batches: Vec<Vec<Change>>,
) -> Result<Vec<Answers>, StoreError> {
    let mut tasks = JoinSet::new();
    let mut answers = vec![Vec::new(); batches.len()];
    for (n, batch) in batches.into_iter().enumerate() {
        let (store, ctx) = (Arc::clone(store), ctx.clone());
        tasks.spawn(async move { Ok::<_, StoreError>((n, store.commit(&ctx, &batch).await?)) });
    }
    while let Some(done) = tasks.join_next().await {
        let (n, answer) = done.expect("no task panics")?;
        answers[n] = answer;
    }
    Ok(answers)
}

/// Every place of a room from 1 to its head is taken by exactly one of these and the `before` first.
async fn assert_no_hole(
    backend: &Backend,
    room: RoomId,
    before: i64,
    answers: &[Answers],
) -> Tested {
    let mut seqs: Vec<i64> = answers
        .iter()
        .flatten()
        .flatten()
        .flat_map(|committed| &committed.events)
        .filter(|event| event.room_id() == room)
        .map(|event| event.seq().0)
        .collect();
    seqs.sort_unstable();
    let head = backend.head(room).await?.0;
    assert_eq!(seqs, ((before + 1)..=head).collect::<Vec<_>>());
    Ok(())
}

/// Batches into two rooms, in either order, from many tasks: no hole, no place taken twice, none waits for ever.
pub async fn concurrent_commits_leave_no_hole(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (one, two) = (backend.room(ada).await?, backend.room(ada).await?);
    let batches = (0..40)
        .map(|n| {
            let (a, b) = if n % 2 == 0 { (one, two) } else { (two, one) };
            (0..5)
                .map(|m| send(if m % 2 == 0 { a } else { b }, ada, &format!("{n}.{m}")))
                .chain([rename_room(a, ada, &format!("Room {n}"))])
                .collect()
        })
        .collect();
    let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
    assert_no_hole(&backend, one, 1, &answers).await?;
    assert_no_hole(&backend, two, 1, &answers).await?;
    let sent = backend.history(ada, one).await?.len() + backend.history(ada, two).await?.len();
    assert_eq!(sent, 200);
    Ok(())
}

/// The changes of one batch stay together: others come before or after them.
pub async fn a_batch_is_not_interleaved(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let batches = (0..20)
        .map(|n| {
            (0..5)
                .map(|m| send(room, ada, &format!("{n}.{m}")))
                .collect()
        })
        .collect();
    for answers in at_once(&backend.store, &ctx(at(0)), batches).await? {
        let seqs: Vec<i64> = answers.iter().flatten().flat_map(|c| c.seqs()).collect();
        let first = seqs[0];
        assert_eq!(seqs, (first..first + 5).collect::<Vec<_>>());
    }
    Ok(())
}

/// Of many sends of one `clientMessageId` at once one makes the message, and all answer it.
pub async fn concurrent_repetitions_are_one_message(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let batches = (0..30)
        .map(|_| vec![send_as(room, ada, "Once", "a")])
        .collect();
    let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
    assert_no_hole(&backend, room, 1, &answers).await?;
    let committed: Vec<_> = answers.into_iter().flatten().flatten().collect();
    assert_eq!(committed.len(), 30);
    let (fresh, again): (Vec<_>, Vec<_>) =
        committed.into_iter().partition(|c| !c.events.is_empty());
    assert_eq!(fresh.len(), 1);
    let first = fresh[0].message();
    for committed in again {
        assert_eq!(committed.unchanged_message(), first);
    }
    Ok(())
}

/// Nothing that a removed member sends has a place after the removal, and what was refused is nowhere.
pub async fn a_removal_racing_sends_has_the_last_word(backend: Backend) -> Tested {
    for round in 0..5 {
        let ada = backend.user("Ada").await?;
        let bob = backend.user("Bob").await?;
        let room = backend.room(ada).await?;
        backend.admit(room, ada, bob).await?;
        let mut batches: Vec<Vec<Change>> = (0..20)
            .map(|n| vec![send(room, bob, &format!("{n}"))])
            .collect();
        batches.insert(round * 4, vec![remove(room, ada, bob)]);
        let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
        assert_no_hole(&backend, room, 2, &answers).await?;
        let removal = answers[round * 4][0]
            .as_ref()
            .expect("removed")
            .event()
            .seq();
        let mut sent = 0;
        for answer in answers.iter().flatten().enumerate() {
            match answer {
                (n, Ok(committed)) if n != round * 4 => {
                    assert!(committed.event().seq() < removal);
                    sent += 1;
                }
                (_, Ok(_)) => {}
                (_, Err(refusal)) => assert_eq!(*refusal, Refusal::NotFound),
            }
        }
        assert_eq!(backend.history(ada, room).await?.len(), sent);
        assert_eq!(backend.head(room).await?, removal);
    }
    Ok(())
}

/// An invite for three, accepted by twenty at once, admits three.
pub async fn an_invite_admits_exactly_its_uses(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let token = backend.token();
    backend
        .done(invite(room, ada, token, far_off(), Some(3)))
        .await?;
    let mut batches = Vec::new();
    for n in 0..20 {
        let user = backend.user(&format!("Guest {n}")).await?;
        batches.push(vec![accept(room, user, token)]);
    }
    let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
    assert_no_hole(&backend, room, 1, &answers).await?;
    let refusals: Vec<_> = answers
        .into_iter()
        .flatten()
        .filter_map(Result::err)
        .collect();
    assert_eq!(refusals, [Refusal::InviteGone; 17]);
    assert_eq!(backend.roles(ada, room).await?.len(), 4);
    Ok(())
}

/// One user accepting one invite many times at once joins once, and costs one use.
pub async fn one_user_joins_once(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (bob, cem) = (backend.user("Bob").await?, backend.user("Cem").await?);
    let room = backend.room(ada).await?;
    let token = backend.token();
    backend
        .done(invite(room, ada, token, far_off(), Some(2)))
        .await?;
    let batches = (0..20).map(|_| vec![accept(room, bob, token)]).collect();
    let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
    assert!(answers.iter().flatten().all(Result::is_ok));
    assert_no_hole(&backend, room, 1, &answers).await?;
    assert_eq!(backend.head(room).await?, Seq(2));
    backend.done(accept(room, cem, token)).await?;
    Ok(())
}

/// The limits of rooms, members and invites hold against many at once.
pub async fn limits_hold_under_concurrency(backend: Backend) -> Tested {
    let (ada, bob) = (backend.user("Ada").await?, backend.user("Bob").await?);
    let ctx = limited(Limits {
        rooms_per_user: 3,
        members_per_room: 4,
        invites_per_room: 5,
        ..Limits::default()
    });
    let rooms = (0..12).map(|n| vec![create_room(ada, &format!("{n}"))]);
    at_once(&backend.store, &ctx, rooms.collect()).await?;
    let rooms = backend.store.memberships(ada).await?;
    assert_eq!(rooms.len(), 3);
    let room = rooms[0].room_id;

    let invites = (0..12).map(|_| vec![invite(room, ada, backend.token(), far_off(), None)]);
    at_once(&backend.store, &ctx, invites.collect()).await?;
    let page = backend.store.invites(ada, room, at(0), None, 100).await?;
    assert_eq!(page.expect("an admin reads them").items.len(), 5);

    let token = backend.invite(room, ada).await?;
    let mut joins = Vec::new();
    for n in 0..12 {
        let user = backend.user(&format!("Guest {n}")).await?;
        joins.push(vec![accept(room, user, token)]);
    }
    at_once(&backend.store, &ctx, joins).await?;
    assert_eq!(backend.roles(ada, room).await?.len(), 4);

    let mut joins = Vec::new();
    for n in 0..8 {
        let host = backend.user(&format!("Host {n}")).await?;
        let room = backend.room(host).await?;
        joins.push(vec![accept(room, bob, backend.invite(room, host).await?)]);
    }
    at_once(&backend.store, &ctx, joins).await?;
    assert_eq!(backend.store.memberships(bob).await?.len(), 3);
    Ok(())
}

/// Admins who all step down at once leave one, and admins who all leave at once leave no room without an admin.
pub async fn a_room_is_never_without_an_admin(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let mut admins = vec![ada];
    for n in 0..5 {
        let user = backend.user(&format!("Admin {n}")).await?;
        backend.admit(room, ada, user).await?;
        backend.done(set_role(room, ada, user, Role::Admin)).await?;
        admins.push(user);
    }
    let before = backend.head(room).await?.0;
    let steps = admins
        .iter()
        .map(|&user| vec![set_role(room, user, user, Role::Member)]);
    let answers = at_once(&backend.store, &ctx(at(0)), steps.collect()).await?;
    assert_no_hole(&backend, room, before, &answers).await?;
    let is_admin = |(_, role): &&(UserId, Role)| *role == Role::Admin;
    let roles = backend.roles(ada, room).await?;
    assert_eq!(roles.iter().filter(is_admin).count(), 1);

    let before = backend.head(room).await?.0;
    let leaving = admins[1..].iter().map(|&user| vec![leave(room, user)]);
    let answers = at_once(&backend.store, &ctx(at(0)), leaving.collect()).await?;
    assert_no_hole(&backend, room, before, &answers).await?;
    assert_eq!(backend.roles(ada, room).await?, [(ada, Role::Admin)]);
    Ok(())
}

/// Everyone leaving at once deletes the room once, with the last place.
pub async fn everyone_leaving_deletes_the_room_once(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let mut batches = vec![vec![leave(room, ada)]];
    for n in 0..6 {
        let user = backend.user(&format!("Guest {n}")).await?;
        backend.admit(room, ada, user).await?;
        batches.push(vec![leave(room, user)]);
    }
    let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
    assert!(answers.iter().flatten().all(Result::is_ok));
    assert_no_hole(&backend, room, 7, &answers).await?;
    let changes = backend
        .store
        .changes(Reader::Node, room, Seq(0), Seq(0), 100)
        .await?;
    let items = changes.expect("a node reads it").items;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].seq(), backend.head(room).await?);
    Ok(())
}

/// Of many deletions of one message at once one does it.
pub async fn a_message_is_deleted_once(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let message = backend.say(room, ada, "Gone").await?;
    let batches = (0..10)
        .map(|_| vec![delete(room, ada, message.id)])
        .collect();
    let answers = at_once(&backend.store, &ctx(at(0)), batches).await?;
    let done = answers.iter().flatten().filter(|answer| answer.is_ok());
    assert_eq!(done.count(), 1);
    assert_eq!(backend.head(room).await?, Seq(3));
    Ok(())
}

/// A commit whose caller gives up is there as a whole or not at all, and the count goes on without a hole.
pub async fn a_dropped_commit_is_whole_or_nothing(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let ctx = ctx(at(0));
    for n in 0..60_usize {
        let batch = ["a", "b", "c"].map(|part| send(room, ada, &format!("{n}{part}")));
        let commit = backend.store.commit(&ctx, &batch);
        let patience = async {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = patience => {}
            answers = commit => {
                answers?;
            }
        }
    }
    backend.say(room, ada, "Last").await?;
    let history = backend.history(ada, room).await?;
    assert_eq!(
        backend.head(room).await?.0,
        1 + i64::try_from(history.len()).unwrap_or(0)
    );
    let (last, batches) = history.split_last().expect("one was sent");
    assert_eq!(last, "Last");
    let mut seen = BTreeSet::new();
    for batch in batches.chunks(3) {
        let number = batch[0].trim_end_matches('a');
        let whole = ["a", "b", "c"].map(|part| format!("{number}{part}"));
        assert_eq!(batch, whole);
        assert!(seen.insert(number), "kept once");
    }
    Ok(())
}

/// Someone who pages through `changes` while messages are sent and edited misses none that was sent.
pub async fn a_reader_of_changes_misses_nothing_meanwhile(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let store = Arc::clone(&backend.store);
    let writer = tokio::spawn(async move {
        for n in 0..60 {
            let batch = [
                send(room, ada, &format!("{n}")),
                send(room, ada, &format!("{n}!")),
            ];
            store.commit(&ctx(at(0)), &batch).await?;
        }
        Ok::<_, StoreError>(())
    });
    let mut places = Vec::new();
    let mut place = Seq::ZERO;
    while place < Seq(121) {
        let page = backend
            .store
            .changes(Reader::Member(ada), room, place, Seq::ZERO, 7)
            .await?
            .expect("she is in the room");
        places.extend(page.items.iter().map(|event| event.seq().0));
        place = page.seq;
    }
    writer.await.expect("no panic")?;
    assert_eq!(places, (1..=121).collect::<Vec<_>>());
    Ok(())
}
