//! What survives that the database is closed and opened again: all that was answered.

use super::act::{
    accept, at, ctx, delete, delete_room, edit, leave_with_messages, remove, rename_room, send_as,
};
use super::{Backend, Tested};
use crate::model::{RoomId, Seq, UserId};
use crate::store::{
    CommitContext, EndedSession, NewAccount, NewSession, NodeId, Reader, Refusal, Rotated,
    Rotation, Store, StoreError,
};

/// All that changed in a room, as a node reads it.
async fn all(store: &dyn Store, room: RoomId) -> Result<String, StoreError> {
    let changes = store.changes(Reader::Node, room, Seq(0), Seq(0), 100);
    Ok(format!("{:?}", changes.await?))
}

/// Rooms, members, messages and places are what they were, and the count goes on.
pub async fn a_room_survives_reopening(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let first = backend
        .done(send_as(room, bob, "it's 😀\n", "a"))
        .await?
        .message();
    let second = backend.say(room, ada, "Two").await?;
    backend.done(edit(room, ada, second.id, "Zwei")).await?;
    let third = backend.say(room, ada, "Three").await?;
    backend.done(delete(room, ada, third.id)).await?;
    backend.done(rename_room(room, ada, "Küche")).await?;
    let before = all(&*backend.store, room).await?;
    let rooms = backend.store.rooms(bob, None, 10).await?;

    let backend = backend.reopen().await;
    assert_eq!(all(&*backend.store, room).await?, before);
    assert_eq!(backend.store.rooms(bob, None, 10).await?, rooms);
    let again = backend.done(send_as(room, bob, "it's 😀\n", "a")).await?;
    assert_eq!(again.unchanged_message(), first);
    assert_eq!(backend.say(room, bob, "Four").await?.seq, Seq(9));
    let new = backend.room(ada).await?;
    assert_ne!(new, room, "ids go on too");
    Ok(())
}

/// Removals, deletions and bulk deletions stay done, and invites stay as they were.
pub async fn refusals_survive_reopening(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.admit(room, ada, cem).await?;
    let old = backend.invite(room, ada).await?;
    backend.say(room, cem, "Gone").await?;
    backend.done(leave_with_messages(room, cem)).await?;
    backend.done(remove(room, ada, bob)).await?;
    let deleted = backend.room(ada).await?;
    backend.done(delete_room(deleted, ada)).await?;

    let backend = backend.reopen().await;
    assert_eq!(backend.history(ada, room).await?, [""; 0]);
    assert_eq!(
        backend.refused(accept(room, bob, old)).await?,
        Refusal::InviteGone
    );
    backend.done(accept(room, cem, old)).await?;
    assert_eq!(backend.store.room(ada, deleted).await?, None);
    assert_eq!(backend.head(deleted).await?, Seq(2));
    Ok(())
}

/// A job that wasn't done is there after a restart, and done then.
pub async fn jobs_survive_reopening(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.say(room, bob, "Mine").await?;
    backend
        .store
        .rename_user(ada, "Lovelace")
        .await?
        .expect("renamed");
    backend.store.delete_user(bob, true, at(1)).await?;
    let jobs = backend.store.jobs(10).await?;
    assert_eq!(jobs.len(), 2);

    let backend = backend.reopen().await;
    assert_eq!(backend.store.jobs(10).await?, jobs);
    let mut seqs = Vec::new();
    for job in jobs {
        seqs.extend(backend.done(job.change()).await?.seqs());
    }
    assert_eq!(seqs, [4, 5, 6]);
    assert_eq!(backend.history(ada, room).await?, [""; 0]);
    assert_eq!(
        backend
            .store
            .identify("contract", "Bob", "Bob", at(2))
            .await?,
        None
    );
    Ok(())
}

/// Outbox rows, leases, ended sessions and secrets are there for the next process.
pub async fn what_nodes_share_survives_reopening(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    let (old, new) = (NodeId(1), NodeId(2));
    let on_old = CommitContext {
        outbox: Some(old),
        ..ctx(at(0))
    };
    backend
        .done_with(&on_old, send_as(room, ada, "Hello", "a"))
        .await?;
    let waiting = backend.store.outbox(old, 10).await?;
    backend.store.lease(old, at(3)).await?;
    let ended = EndedSession {
        session: "17".to_owned(),
        at: at(1),
    };
    backend.store.end_session(&ended).await?;
    let secret = backend.store.secret("key", &[1, 2, 3]).await?;

    let backend = backend.reopen().await;
    let store = &backend.store;
    assert_eq!(store.take_over(new, at(2)).await?, 0, "the lease goes on");
    assert_eq!(store.take_over(new, at(4)).await?, 1);
    assert_eq!(store.outbox(new, 10).await?, waiting);
    assert_eq!(store.ended_sessions(at(0)).await?, [ended]);
    assert_eq!(store.secret("key", &[9]).await?, secret);
    Ok(())
}

/// Presents the token `[presented; 32]` within its grace; its successor is `[presented + 1; 32]`.
fn rotation(presented: u8, sealed_successor: &[u8]) -> Rotation<'_> {
    Rotation {
        presented: [presented; 32],
        successor: [presented + 1; 32],
        sealed_successor,
        at: at(5),
        expires_at: at(1_000_000),
        grace_from: at(0),
    }
}

/// Accounts and sessions are there, with what tells a reuse of their tokens.
pub async fn accounts_survive_reopening(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let account = NewAccount {
        email: "Zoë@Example.org",
        username: "zoe",
        password_hash: "$argon2id$first",
        at: at(0),
    };
    let user = accounts.create_account(&account).await?.expect("new");
    let new = NewSession {
        user_id: user.id,
        device: "Laptop",
        refresh_hash: [1; 32],
        at: at(0),
        expires_at: at(1_000_000),
        address_hash: Some([7; 32]),
        max_sessions: 50,
    };
    let (session, _) = accounts.create_session(&new).await?.expect("made");
    for n in [1, 2] {
        let sealed = [n, 0];
        accounts.rotate(&rotation(n, &sealed)).await?;
    }
    drop(accounts);

    let backend = backend.reopen().await;
    let accounts = backend.accounts();
    let found = accounts.credentials_by_email("zoË@example.org").await?;
    assert_eq!(found.expect("it is there").user, user);
    assert!(accounts.knows_address(user.id, &[7; 32], at(0)).await?);
    assert_eq!(
        accounts.rotate(&rotation(2, &[9])).await?,
        Rotated::Again {
            session,
            user,
            sealed_successor: vec![2, 0],
            expires_at: at(1_000_000),
        }
    );
    assert_eq!(
        accounts.rotate(&rotation(1, &[9])).await?,
        Rotated::Reused { session }
    );
    Ok(())
}

/// A user is the same for its host after a restart.
pub async fn a_hosts_user_survives_reopening(backend: Backend) -> Tested {
    let ada: UserId = backend.user("Ada").await?;
    let backend = backend.reopen().await;
    assert_eq!(backend.user("Ada").await?, ada);
    assert_ne!(backend.user("Bob").await?, ada);
    Ok(())
}
