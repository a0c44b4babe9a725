//! Many changes in one commit.

use super::act::{
    accept, at, create_room, ctx, delete, edit, far_off, invite, leave, rename_room, send, send_as,
};
use super::{Backend, Tested};
use crate::model::{Event, RoomId, Seq};
use crate::store::{Change, Outcome, Reader, Refusal};

/// An empty batch is answered by nothing.
pub async fn an_empty_batch_is_fine(backend: Backend) -> Tested {
    assert_eq!(backend.commit(&[]).await?, []);
    Ok(())
}

/// Answers stand in the order of changes, and each room counts for itself.
pub async fn rooms_may_be_mixed_in_a_batch(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (one, two) = (backend.room(ada).await?, backend.room(ada).await?);
    let rooms = [two, one, one, two, one, two, two];
    let changes: Vec<Change> = rooms
        .iter()
        .enumerate()
        .map(|(n, &room)| send(room, ada, &format!("{n}")))
        .collect();
    let answers = backend.commit(&changes).await?;
    let messages: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("sent").message())
        .collect();
    let seen: Vec<_> = messages.iter().map(|m| (m.room_id, m.seq.0)).collect();
    assert_eq!(
        seen,
        [
            (two, 2),
            (one, 2),
            (one, 3),
            (two, 3),
            (one, 4),
            (two, 4),
            (two, 5)
        ]
    );
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message.content, n.to_string());
    }
    assert_eq!(backend.history(ada, one).await?, ["1", "2", "4"]);
    assert_eq!(backend.history(ada, two).await?, ["0", "3", "5", "6"]);
    Ok(())
}

/// A refused change takes no `seq`, wherever it stands, and the others don't notice.
pub async fn a_refused_change_harms_no_other(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let answers = backend
        .commit(&[
            send(room, eve, "No"),
            send(room, ada, "One"),
            rename_room(room, bob, "No"),
            send(RoomId(987_654), ada, "No"),
            send(room, bob, "Two"),
            accept(room, eve, backend.token()),
            rename_room(room, ada, "Pantry"),
            send(room, eve, "No"),
            send(room, ada, "Three"),
            leave(room, eve),
        ])
        .await?;
    let refusals: Vec<_> = answers.iter().map(|answer| answer.clone().err()).collect();
    let not_found = Some(Refusal::NotFound);
    assert_eq!(
        refusals,
        [
            not_found,
            None,
            Some(Refusal::Forbidden),
            not_found,
            None,
            not_found,
            None,
            not_found,
            None,
            not_found
        ]
    );
    let seqs: Vec<i64> = answers
        .iter()
        .flatten()
        .flat_map(|committed| committed.seqs())
        .collect();
    assert_eq!(seqs, [3, 4, 5, 6]);
    assert_eq!(backend.head(room).await?, Seq(6));
    Ok(())
}

/// Each change sees what those before it did: an edit of an edit, a message of someone who just came in.
pub async fn a_change_sees_those_before_it(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let room = backend.room(ada).await?;
    let message = backend.say(room, ada, "Zero").await?;
    let token = backend.token();
    let answers = backend
        .commit(&[
            send(room, bob, "Too early"),
            invite(room, ada, token, far_off(), None),
            accept(room, bob, token),
            send(room, bob, "Here"),
            edit(room, ada, message.id, "One"),
            edit(room, ada, message.id, "One"),
            edit(room, ada, message.id, "Two"),
            delete(room, ada, message.id),
            edit(room, ada, message.id, "Three"),
            leave(room, bob),
            send(room, bob, "Too late"),
        ])
        .await?;
    let seqs: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map(|committed| committed.seqs()))
        .collect();
    let gone = || Err(&Refusal::NotFound);
    assert_eq!(
        seqs,
        [
            gone(),
            Ok(vec![]),
            Ok(vec![3]),
            Ok(vec![4]),
            Ok(vec![5]),
            Ok(vec![]),
            Ok(vec![6]),
            Ok(vec![7]),
            gone(),
            Ok(vec![8]),
            gone()
        ]
    );
    let unchanged = answers[5].clone().expect("the same content");
    assert_eq!(unchanged.unchanged_message().content, "One");
    Ok(())
}

/// A thousand messages in one batch: each has its place, and repeated as a whole the batch answers the same messages.
pub async fn a_thousand_sends_make_one_batch(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let changes: Vec<Change> = (0..1_000)
        .map(|n| {
            let sender = if n % 3 == 0 { ada } else { bob };
            send_as(room, sender, &format!("Message {n}"), &format!("{n}"))
        })
        .collect();
    let messages: Vec<_> = backend
        .commit(&changes)
        .await?
        .into_iter()
        .map(|answer| answer.expect("sent").message())
        .collect();
    for (n, message) in (3..).zip(&messages) {
        assert_eq!((message.seq, message.changed_seq), (Seq(n), Seq(n)));
    }
    assert_eq!(backend.head(room).await?, Seq(1_002));
    let again: Vec<_> = backend
        .commit(&changes)
        .await?
        .into_iter()
        .map(|answer| answer.expect("answered").unchanged_message())
        .collect();
    assert_eq!(again, messages);
    assert_eq!(backend.head(room).await?, Seq(1_002));
    let contents: Vec<_> = messages
        .into_iter()
        .map(|message| message.content)
        .collect();
    assert_eq!(backend.history(ada, room).await?, contents);
    Ok(())
}

/// Between a run of sends stand other changes, in the same and in other rooms: the places follow the order given.
pub async fn sends_and_other_changes_keep_their_order(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let other = backend.room(bob).await?;
    let mut changes = Vec::new();
    for n in 0..30 {
        changes.push(send(room, bob, &format!("a{n}")));
        changes.push(send(other, bob, &format!("b{n}")));
        match n % 3 {
            0 => changes.push(rename_room(room, ada, &format!("Room {n}"))),
            1 => changes.push(rename_room(other, bob, &format!("Room {n}"))),
            _ => changes.push(rename_room(room, bob, "Refused")),
        }
    }
    let answers = backend.commit(&changes).await?;
    for (room, first) in [(room, 3), (other, 2)] {
        let seqs: Vec<i64> = answers
            .iter()
            .flatten()
            .flat_map(|committed| &committed.events)
            .filter(|event| event.room_id() == room)
            .map(|event| event.seq().0)
            .collect();
        let all: Vec<i64> = (first..).take(seqs.len()).collect();
        assert_eq!((seqs.len(), &seqs), (40, &all));
        let head = backend.head(room).await?.0;
        assert_eq!(Some(&head), seqs.last());
    }
    Ok(())
}

/// Rooms are made in a batch like any change, and each begins its own count.
pub async fn rooms_are_made_in_a_batch(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let answers = backend
        .store
        .commit(
            &ctx(at(0)),
            &["One", "Two", "Three"].map(|name| create_room(ada, name)),
        )
        .await?;
    let mut rooms = Vec::new();
    for (answer, name) in answers.into_iter().zip(["One", "Two", "Three"]) {
        let committed = answer.expect("made");
        assert_eq!(committed.seqs(), [1]);
        let Outcome::Room(room) = committed.outcome else {
            panic!("a room, not {:?}", committed.outcome);
        };
        assert_eq!((room.name.as_str(), room.seq), (name, Seq(1)));
        rooms.push(room.id);
    }
    rooms.sort_unstable();
    rooms.dedup();
    assert_eq!(rooms.len(), 3);
    for room in rooms {
        let events = backend
            .changes(Reader::Member(ada), room, Seq::ZERO, 10)
            .await?;
        assert!(matches!(
            events.as_slice(),
            [Event::MemberJoined { seq: Seq(1), .. }]
        ));
    }
    Ok(())
}
