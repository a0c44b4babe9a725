//! What follows a renaming or a deletion in each room: durable steps that may run twice.

use super::act::{accept, at, ctx, delete_room, leave, leave_with_messages, set_role};
use super::{Backend, Tested};
use crate::model::{
    DELETED_USERNAME, Event, EventKind, LeaveReason, Member, Role, RoomId, Seq, UserId,
};
use crate::store::{Job, JobKind, Outcome, Position, Reader, StoreError, UserRefusal};

/// Runs all jobs that wait, one by one, and answers their events.
async fn run_jobs(backend: &Backend) -> Result<Vec<Event>, StoreError> {
    let mut events = Vec::new();
    loop {
        let jobs = backend.store.jobs(1).await?;
        let Some(job) = jobs.first() else {
            return Ok(events);
        };
        let committed = backend.done_with(&ctx(at(50)), job.change()).await?;
        assert_eq!(committed.outcome, Outcome::Done);
        events.extend(committed.events);
    }
}

fn renamed(room_id: RoomId, user_id: UserId) -> Job {
    Job {
        room_id,
        user_id,
        kind: JobKind::Renamed,
    }
}

fn deleted(room_id: RoomId, user_id: UserId, erase_messages: bool) -> Job {
    Job {
        room_id,
        user_id,
        kind: JobKind::Deleted { erase_messages },
    }
}

/// The jobs that wait, by room.
async fn waiting(backend: &Backend) -> Result<Vec<Job>, StoreError> {
    let mut jobs = backend.store.jobs(100).await?;
    jobs.sort_by_key(|job| job.room_id);
    Ok(jobs)
}

/// A renaming is told in each room that the user is in, and in no other.
pub async fn a_renaming_is_told_in_each_room(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (own, left) = (backend.room(bob).await?, backend.room(ada).await?);
    backend.admit(left, ada, bob).await?;
    backend.done(leave(left, bob)).await?;
    let user = backend.store.rename_user(bob, "Robert 🤖").await?;
    let user = user.expect("he is there");
    assert_eq!((user.id, user.username.as_str()), (bob, "Robert 🤖"));
    let mut wanted = [renamed(room, bob), renamed(own, bob)];
    wanted.sort_by_key(|job| job.room_id);
    assert_eq!(waiting(&backend).await?, wanted);
    let mut events = run_jobs(&backend).await?;
    events.sort_by_key(|event| event.seq());
    let member = |role| Member {
        user_id: bob,
        username: "Robert 🤖".to_owned(),
        role,
        joined_at: at(0),
    };
    assert_eq!(
        events,
        [
            Event::MemberChanged {
                room_id: own,
                seq: Seq(2),
                member: member(Role::Admin),
            },
            Event::MemberChanged {
                room_id: room,
                seq: Seq(3),
                member: member(Role::Member),
            },
        ]
    );
    let members = backend.store.members(ada, room, None, 10).await?;
    assert!(members.expect("hers").items.contains(&member(Role::Member)));
    let changes = backend
        .changes(Reader::Member(ada), room, Seq(2), 10)
        .await?;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].kind(), EventKind::MemberChanged);
    assert_eq!(waiting(&backend).await?, []);
    Ok(())
}

/// The name that is there already makes no job; another case of it is another name.
pub async fn a_renaming_to_the_same_name_makes_no_job(backend: Backend) -> Tested {
    let (_, _, bob) = backend.room_of_two().await?;
    let same = backend.store.rename_user(bob, "Bob").await?;
    assert_eq!(same.map(|user| user.username), Ok("Bob".to_owned()));
    assert_eq!(waiting(&backend).await?, []);
    backend
        .store
        .rename_user(bob, "bob")
        .await?
        .expect("renamed");
    assert_eq!(waiting(&backend).await?.len(), 1);
    Ok(())
}

/// Two renamings before the job runs are one event with the last name.
pub async fn renamings_that_wait_are_one_job(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    for name in ["Rob", "Robert"] {
        backend
            .store
            .rename_user(bob, name)
            .await?
            .expect("renamed");
    }
    assert_eq!(waiting(&backend).await?, [renamed(room, bob)]);
    let events = run_jobs(&backend).await?;
    let names: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::MemberChanged { member, .. } => member.username.as_str(),
            other => panic!("a changed member, not {other:?}"),
        })
        .collect();
    assert_eq!(names, ["Robert"]);
    Ok(())
}

/// A step that another node did already does nothing, alone or twice in a batch.
pub async fn a_step_done_twice_is_done_once(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.say(room, bob, "Hello").await?;
    backend
        .store
        .rename_user(bob, "Robert")
        .await?
        .expect("renamed");
    let step = renamed(room, bob).change();
    let answers = backend.commit(&[step.clone(), step.clone()]).await?;
    let events: Vec<_> = answers
        .into_iter()
        .flatten()
        .flat_map(|c| c.events)
        .collect();
    assert_eq!(events.len(), 1);
    assert_eq!(backend.done(step).await?.events, []);

    backend.store.delete_user(bob, true, at(1)).await?;
    let step = deleted(room, bob, true).change();
    let first = backend.done(step.clone()).await?;
    assert_eq!(first.seqs(), [5, 6]);
    for _ in 0..2 {
        let again = backend.done(step.clone()).await?;
        assert_eq!((again.events, again.outcome), (vec![], Outcome::Done));
    }
    assert_eq!(backend.head(room).await?, Seq(6));
    assert_eq!(backend.roles(ada, room).await?.len(), 1);
    Ok(())
}

/// A step for a room that the user left, or that was deleted meanwhile, is done with nothing.
pub async fn a_step_without_its_member_is_done(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let gone = backend.room(bob).await?;
    backend
        .store
        .rename_user(bob, "Robert")
        .await?
        .expect("renamed");
    backend.done(leave(room, bob)).await?;
    backend.done(delete_room(gone, bob)).await?;
    assert_eq!(run_jobs(&backend).await?, []);
    assert_eq!(waiting(&backend).await?, []);

    backend.admit(room, ada, bob).await?;
    let gone = backend.room(bob).await?;
    backend.store.delete_user(bob, false, at(1)).await?;
    backend.done(delete_room(room, ada)).await?;
    let events = run_jobs(&backend).await?;
    assert!(events.iter().all(|event| event.room_id() == gone));
    assert_eq!(waiting(&backend).await?, []);
    Ok(())
}

/// Jobs come oldest first, as many as asked for.
pub async fn jobs_come_oldest_first(backend: Backend) -> Tested {
    let mut wanted = Vec::new();
    for name in ["Ada", "Bob", "Cem", "Dag"] {
        let user = backend.user(name).await?;
        let room = backend.room(user).await?;
        let other = format!("{name}!");
        backend
            .store
            .rename_user(user, &other)
            .await?
            .expect("renamed");
        wanted.push(renamed(room, user));
    }
    assert_eq!(backend.store.jobs(3).await?, wanted[..3]);
    assert_eq!(backend.store.jobs(10).await?, wanted);
    backend.done(wanted[0].change()).await?;
    assert_eq!(backend.store.jobs(1).await?, wanted[1..2]);
    Ok(())
}

/// With the deletion the name is gone everywhere; memberships and messages follow by the jobs.
pub async fn a_deleted_user_leaves_each_room(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.say(room, bob, "Hello").await?;
    let left = backend.room(ada).await?;
    backend.admit(left, ada, bob).await?;
    backend.done(leave(left, bob)).await?;
    let ended = backend.store.delete_user(bob, false, at(1)).await?;
    assert_eq!(ended, Some(vec![]));
    let members = backend.store.members(ada, room, None, 10).await?;
    let members = members.expect("hers").items;
    assert!(members.iter().all(|member| member.username != "Bob"));
    assert_eq!(waiting(&backend).await?, [deleted(room, bob, false)]);
    assert_eq!(
        run_jobs(&backend).await?,
        [Event::MemberLeft {
            room_id: room,
            seq: Seq(4),
            user_id: bob,
            reason: LeaveReason::AccountDeleted,
        }]
    );
    assert_eq!(backend.history(ada, room).await?, ["Hello"]);
    let page = backend.store.messages(ada, room, Position::Newest, 10);
    let page = page.await?.expect("hers");
    assert_eq!(page.items[0].sender_id, bob, "the sender keeps its id");
    let changes = backend
        .changes(Reader::Member(ada), room, Seq::ZERO, 10)
        .await?;
    assert_eq!(
        changes.last(),
        Some(&Event::MemberLeft {
            room_id: room,
            seq: Seq(4),
            user_id: bob,
            reason: LeaveReason::AccountDeleted,
        })
    );
    assert_eq!(backend.store.memberships(bob).await?, []);
    Ok(())
}

/// With erasure the messages go too, also in rooms that the user had left, but not in deleted ones.
pub async fn a_deleted_user_may_take_its_messages(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (left, silent, gone) = (
        backend.room(ada).await?,
        backend.room(ada).await?,
        backend.room(ada).await?,
    );
    for other in [left, silent, gone] {
        backend.admit(other, ada, bob).await?;
    }
    for told in [room, left, gone] {
        backend.say(told, bob, "Mine").await?;
        backend.say(told, ada, "Hers").await?;
    }
    for other in [left, silent] {
        backend.done(leave(other, bob)).await?;
    }
    backend.done(delete_room(gone, ada)).await?;
    backend.store.delete_user(bob, true, at(1)).await?;
    let mut wanted = [room, left, silent].map(|room| deleted(room, bob, true));
    wanted.sort_by_key(|job| job.room_id);
    assert_eq!(waiting(&backend).await?, wanted);
    let mut events = run_jobs(&backend).await?;
    events.sort_by_key(|event| (event.room_id(), event.seq()));
    let mut told = [
        (room, EventKind::MessagesDeleted, 5),
        (room, EventKind::MemberLeft, 6),
        (left, EventKind::MessagesDeleted, 6),
    ];
    told.sort_by_key(|&(room, _, seq)| (room, seq));
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.room_id(), event.kind(), event.seq().0))
        .collect();
    assert_eq!(seen, told);
    for room in [room, left] {
        assert_eq!(backend.history(ada, room).await?, ["Hers"]);
    }
    Ok(())
}

/// The rules of the last admin and of the last member hold for a deleted account as well.
pub async fn a_deleted_user_leaves_no_room_without_an_admin(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let alone = backend.room(ada).await?;
    backend.say(alone, ada, "Alone").await?;
    backend.store.delete_user(ada, true, at(1)).await?;
    let mut events = run_jobs(&backend).await?;
    events.sort_by_key(|event| (event.room_id() == alone, event.seq()));
    assert_eq!(
        events,
        [
            Event::MemberLeft {
                room_id: room,
                seq: Seq(3),
                user_id: ada,
                reason: LeaveReason::AccountDeleted,
            },
            Event::MembersChanged {
                room_id: room,
                seq: Seq(4),
                role: Role::Admin,
            },
            Event::MessagesDeleted {
                room_id: alone,
                seq: Seq(3),
                sender_id: ada,
            },
            Event::MemberLeft {
                room_id: alone,
                seq: Seq(4),
                user_id: ada,
                reason: LeaveReason::AccountDeleted,
            },
            Event::RoomDeleted {
                room_id: alone,
                seq: Seq(5),
            },
        ]
    );
    assert_eq!(backend.roles(bob, room).await?, [(bob, Role::Admin)]);
    Ok(())
}

/// Deletion drops renamings that wait: nobody is told a name that is gone.
pub async fn a_deletion_drops_renamings_that_wait(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    backend
        .store
        .rename_user(bob, "Robert")
        .await?
        .expect("renamed");
    backend.store.delete_user(bob, false, at(1)).await?;
    assert_eq!(waiting(&backend).await?, [deleted(room, bob, false)]);
    let done = backend.done(renamed(room, bob).change()).await?;
    assert_eq!(done.events, []);
    Ok(())
}

/// A room that the user enters after the renaming shows the new name and needs no job.
pub async fn a_later_room_needs_no_job(backend: Backend) -> Tested {
    let (room, _, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    let other = backend.room(cem).await?;
    backend
        .store
        .rename_user(bob, "Robert")
        .await?
        .expect("renamed");
    let token = backend.invite(other, cem).await?;
    let joined = backend.done(accept(other, bob, token)).await?;
    let Event::MemberJoined { member, .. } = joined.event() else {
        panic!("a join, not {joined:?}");
    };
    assert_eq!(member.username, "Robert");
    assert_eq!(waiting(&backend).await?, [renamed(room, bob)]);
    Ok(())
}

/// Who left with all messages before its deletion has none to erase.
pub async fn nothing_to_erase_is_no_event(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.say(room, bob, "Gone").await?;
    backend.done(leave_with_messages(room, bob)).await?;
    backend.store.delete_user(bob, true, at(1)).await?;
    assert_eq!(run_jobs(&backend).await?, []);
    backend.done(set_role(room, ada, ada, Role::Admin)).await?;
    assert_eq!(backend.head(room).await?, Seq(5));
    Ok(())
}

/// A deleted user has one name from then on, and is not renamed.
pub async fn a_deleted_user_is_not_renamed(backend: Backend) -> Tested {
    let (_, ada, bob) = backend.room_of_two().await?;
    backend.store.delete_user(bob, false, at(1)).await?;
    assert_eq!(
        backend.store.rename_user(bob, "Robert").await?,
        Err(UserRefusal::NotFound)
    );
    let seen = backend.store.user(ada, bob).await?.expect("they met");
    assert_eq!(seen.username, DELETED_USERNAME);
    Ok(())
}
