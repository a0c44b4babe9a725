//! Events that wait for the bus, and the leases under which nodes hold them.

use super::act::{
    accept, at, create_room, ctx, delete_room, edit, far_off, invite, leave_with_messages,
    rename_room, send, send_as,
};
use super::{Backend, Tested};
use crate::model::{Event, RoomId, Seq, UserId};
use crate::store::{Change, CommitContext, NodeId, Outcome, StoreError};

const A: NodeId = NodeId(11);
const B: NodeId = NodeId(22);
const C: NodeId = NodeId(33);

fn on(node: NodeId) -> CommitContext {
    CommitContext {
        outbox: Some(node),
        ..ctx(at(0))
    }
}

/// A node's rows as room and place, ordered by them.
async fn rows(backend: &Backend, node: NodeId) -> Result<Vec<(RoomId, i64)>, StoreError> {
    let mut rows: Vec<_> = backend
        .store
        .outbox(node, 1_000)
        .await?
        .iter()
        .map(|event| (event.room_id(), event.seq().0))
        .collect();
    rows.sort_unstable();
    Ok(rows)
}

/// A room that Ada made on node A.
async fn room_on_a(backend: &Backend) -> Result<(RoomId, UserId), StoreError> {
    let ada = backend.user("Ada").await?;
    let committed = backend
        .done_with(&on(A), create_room(ada, "Kitchen"))
        .await?;
    match committed.outcome {
        Outcome::Room(room) => Ok((room.id, ada)),
        other => panic!("a room, not {other:?}"),
    }
}

/// Every event of a change has its row, of every kind, in the order of places and exactly as it was answered.
pub async fn each_event_waits_in_the_outbox(backend: Backend) -> Tested {
    let (room, ada) = room_on_a(&backend).await?;
    let bob = backend.user("Bob").await?;
    let token = backend.token();
    let changes = [
        invite(room, ada, token, far_off(), None),
        accept(room, bob, token),
        send_as(room, ada, "it's 😀", "a"),
        rename_room(room, ada, "Pantry"),
        leave_with_messages(room, ada),
        leave_with_messages(room, bob),
    ];
    let mut events = Vec::new();
    for answer in backend.store.commit(&on(A), &changes).await? {
        events.extend(answer.expect("committed").events);
    }
    let waiting = backend.store.outbox(A, 1_000).await?;
    assert_eq!(waiting.len(), 9);
    assert_eq!(waiting[0].seq(), Seq(1));
    assert_eq!(waiting[1..], events);
    assert!(matches!(waiting[8], Event::RoomDeleted { .. }));
    Ok(())
}

/// A row is the event of then, whatever happened since.
pub async fn a_row_keeps_the_event_of_then(backend: Backend) -> Tested {
    let (room, ada) = room_on_a(&backend).await?;
    let sent = backend.done_with(&on(A), send(room, ada, "One")).await?;
    let id = sent.message().id;
    backend
        .done_with(&on(A), edit(room, ada, id, "Two"))
        .await?;
    backend.done_with(&on(A), delete_room(room, ada)).await?;
    let waiting = backend.store.outbox(A, 10).await?;
    assert_eq!(waiting.len(), 4);
    assert_eq!(waiting[1], *sent.event());
    Ok(())
}

/// Without a node to write for, and for what has no event, there is no row.
pub async fn without_an_event_or_a_node_there_is_no_row(backend: Backend) -> Tested {
    let (room, ada) = room_on_a(&backend).await?;
    backend.store.outbox_delete(&[(room, Seq(1))]).await?;
    let first = backend.done(send_as(room, ada, "One", "a")).await?;
    let answers = backend
        .store
        .commit(
            &on(A),
            &[
                send_as(room, ada, "One", "a"),
                send_as(room, ada, "Two", "a"),
                edit(room, ada, first.message().id, "One"),
                invite(room, ada, backend.token(), far_off(), None),
                send(RoomId(987_654), ada, "Nowhere"),
            ],
        )
        .await?;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(rows(&backend, A).await?, []);
    Ok(())
}

/// A node reads its own rows, at most as many as asked for, and each room's from its first on.
pub async fn a_node_reads_its_own_rows(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (one, two) = (backend.room(ada).await?, backend.room(ada).await?);
    let sends = |n: usize| -> Vec<Change> {
        (0..n)
            .map(|n| send(if n % 3 == 0 { one } else { two }, ada, &n.to_string()))
            .collect()
    };
    backend.store.commit(&on(A), &sends(12)).await?;
    backend.store.commit(&on(B), &sends(3)).await?;
    for limit in 1..=13 {
        let waiting = backend.store.outbox(A, limit).await?;
        let wanted = usize::try_from(limit).unwrap_or(0).min(12);
        assert_eq!(waiting.len(), wanted);
        for room in [one, two] {
            let seqs: Vec<i64> = waiting
                .iter()
                .filter(|event| event.room_id() == room)
                .map(|event| event.seq().0)
                .collect();
            let from_the_first: Vec<i64> = (2..).take(seqs.len()).collect();
            assert_eq!(seqs, from_the_first);
        }
    }
    assert_eq!(rows(&backend, B).await?.len(), 3);
    assert_eq!(rows(&backend, C).await?, []);
    Ok(())
}

/// Published rows go, those named and no others; naming them again does nothing.
pub async fn published_rows_go(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (one, two) = (backend.room(ada).await?, backend.room(ada).await?);
    for room in [one, two] {
        for n in 0..3 {
            backend
                .done_with(&on(A), send(room, ada, &n.to_string()))
                .await?;
        }
    }
    let published = [(one, Seq(2)), (two, Seq(3)), (one, Seq(4)), (one, Seq(99))];
    for _ in 0..2 {
        backend.store.outbox_delete(&published).await?;
        let mut wanted = [(one, 3), (two, 2), (two, 4)];
        wanted.sort_unstable();
        assert_eq!(rows(&backend, A).await?, wanted);
    }
    backend.store.outbox_delete(&[]).await?;
    assert_eq!(rows(&backend, A).await?.len(), 3);
    Ok(())
}

/// Rows of a node whose lease ran out, or that has none, are taken over; those of one that lives are not.
pub async fn rows_of_a_dead_node_are_taken_over(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    for node in [A, B, C] {
        backend.done_with(&on(node), send(room, ada, "Hi")).await?;
    }
    let store = &backend.store;
    store.lease(A, at(3)).await?;
    store.lease(B, at(3)).await?;
    assert_eq!(store.take_over(B, at(3)).await?, 1, "C has no lease");
    assert_eq!(rows(&backend, B).await?, [(room, 3), (room, 4)]);
    assert_eq!(rows(&backend, C).await?, []);
    store.lease(B, at(9)).await?;
    assert_eq!(
        store.take_over(B, at(4)).await?,
        1,
        "the lease of A ran out"
    );
    assert_eq!(rows(&backend, B).await?, [(room, 2), (room, 3), (room, 4)]);
    assert_eq!(store.take_over(B, at(99)).await?, 0, "its own are its own");
    assert_eq!(store.take_over(A, at(9)).await?, 0, "B lives");
    assert_eq!(store.take_over(A, at(10)).await?, 3);
    assert_eq!(rows(&backend, A).await?.len(), 3);
    Ok(())
}

/// A renewed lease counts from its renewal.
pub async fn a_lease_is_renewed(backend: Backend) -> Tested {
    let (room, _) = room_on_a(&backend).await?;
    let store = &backend.store;
    store.lease(A, at(3)).await?;
    store.lease(A, at(6)).await?;
    assert_eq!(store.take_over(B, at(5)).await?, 0);
    assert_eq!(store.take_over(B, at(7)).await?, 1);
    assert_eq!(rows(&backend, B).await?, [(room, 1)]);
    Ok(())
}

/// What was taken over and published by the new node is gone; what the old one still writes is its own.
pub async fn a_node_that_was_paused_goes_on(backend: Backend) -> Tested {
    let (room, ada) = room_on_a(&backend).await?;
    let store = &backend.store;
    assert_eq!(store.take_over(B, at(1)).await?, 1);
    backend
        .done_with(&on(A), send(room, ada, "Still here"))
        .await?;
    store.outbox_delete(&[(room, Seq(1))]).await?;
    assert_eq!(rows(&backend, A).await?, [(room, 2)]);
    assert_eq!(rows(&backend, B).await?, []);
    Ok(())
}
