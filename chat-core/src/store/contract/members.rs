//! Joining is under `invites`; here are roles, leaving and removal, and what follows from the last of a kind going.

use super::act::{
    accept, at, ctx, delete, far_off, invite, leave, leave_with_messages, remove,
    remove_with_messages, rename_room, revoke, send, set_role,
};
use super::{Backend, Tested};
use crate::model::{Event, InviteId, LeaveReason, Member, Role, Seq, UserId};
use crate::store::{Outcome, Refusal};

/// The event and the answer show the member with its new role.
pub async fn an_admin_gives_a_role(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let committed = backend
        .done_with(&ctx(at(9)), set_role(room, ada, bob, Role::Admin))
        .await?;
    let member = Member {
        user_id: bob,
        username: "Bob".to_owned(),
        role: Role::Admin,
        joined_at: at(0),
    };
    assert_eq!(committed.outcome, Outcome::Member(member.clone()));
    assert_eq!(
        committed.events,
        [Event::MemberChanged {
            room_id: room,
            seq: Seq(3),
            member,
        }]
    );
    assert_eq!(
        backend.roles(ada, room).await?,
        [(ada, Role::Admin), (bob, Role::Admin)]
    );
    backend.done(rename_room(room, bob, "Pantry")).await?;
    Ok(())
}

/// The role that someone has already takes no `seq`, for a member and for an admin.
pub async fn giving_the_role_that_is_there_changes_nothing(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let other = backend.user("Cem").await?;
    backend.admit(room, ada, other).await?;
    backend
        .done(set_role(room, ada, other, Role::Admin))
        .await?;
    let head = backend.head(room).await?;
    for (user, role) in [
        (ada, Role::Admin),
        (bob, Role::Member),
        (other, Role::Admin),
    ] {
        let same = backend.done(set_role(room, ada, user, role)).await?;
        assert_eq!(same.events, []);
        let Outcome::Member(member) = same.outcome else {
            panic!("the member, not {same:?}");
        };
        assert_eq!((member.user_id, member.role), (user, role));
    }
    assert_eq!(backend.head(room).await?, head);
    Ok(())
}

/// A member gives no role to anyone, itself included, not even the one that is there.
pub async fn a_member_gives_no_role(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    for user in [ada, bob, eve] {
        for role in [Role::Admin, Role::Member] {
            assert_eq!(
                backend.refused(set_role(room, bob, user, role)).await?,
                Refusal::Forbidden
            );
            assert_eq!(
                backend.refused(set_role(room, eve, user, role)).await?,
                Refusal::NotFound
            );
        }
    }
    Ok(())
}

/// Someone who isn't in the room, never was or left, has no role there to change.
pub async fn someone_who_is_not_in_the_room_gets_no_role(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    backend.done(leave(room, bob)).await?;
    for user in [bob, eve, UserId(987_654)] {
        assert_eq!(
            backend
                .refused(set_role(room, ada, user, Role::Admin))
                .await?,
            Refusal::NotFound
        );
    }
    Ok(())
}

/// An admin's role is taken by itself alone.
pub async fn no_one_demotes_another_admin(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    for (by, user) in [(ada, bob), (bob, ada)] {
        assert_eq!(
            backend
                .refused(set_role(room, by, user, Role::Member))
                .await?,
            Refusal::Forbidden
        );
    }
    let stepped = backend.done(set_role(room, bob, bob, Role::Member)).await?;
    assert_eq!(stepped.seqs(), [4]);
    assert_eq!(
        backend.roles(ada, room).await?,
        [(ada, Role::Admin), (bob, Role::Member)]
    );
    Ok(())
}

/// The last admin may not step down, among members or alone; of two at once in a batch one may.
pub async fn the_last_admin_does_not_step_down(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let alone = backend.room(ada).await?;
    for room in [room, alone] {
        assert_eq!(
            backend
                .refused(set_role(room, ada, ada, Role::Member))
                .await?,
            Refusal::LastAdmin
        );
    }
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    let answers = backend
        .commit(&[
            set_role(room, ada, ada, Role::Member),
            set_role(room, bob, bob, Role::Member),
        ])
        .await?;
    assert!(answers[0].is_ok());
    assert_eq!(answers[1], Err(Refusal::LastAdmin));
    Ok(())
}

/// Anyone leaves; the event says so, and the room counts one less.
pub async fn anyone_leaves(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let committed = backend.done(leave(room, bob)).await?;
    assert_eq!(committed.outcome, Outcome::Done);
    assert_eq!(
        committed.events,
        [Event::MemberLeft {
            room_id: room,
            seq: Seq(3),
            user_id: bob,
            reason: LeaveReason::Left,
        }]
    );
    assert_eq!(backend.roles(ada, room).await?, [(ada, Role::Admin)]);
    assert_eq!(backend.refused(leave(room, bob)).await?, Refusal::NotFound);
    Ok(())
}

/// What someone wrote stays when they leave.
pub async fn messages_stay_when_their_author_leaves(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let message = backend.say(room, bob, "Bye").await?;
    backend.done(leave(room, bob)).await?;
    assert_eq!(
        backend.store.message(ada, room, message.id).await?,
        Some(message)
    );
    Ok(())
}

/// Removal by an admin has its own reason.
pub async fn an_admin_removes_a_member(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let committed = backend.done(remove(room, ada, bob)).await?;
    assert_eq!(
        committed.events,
        [Event::MemberLeft {
            room_id: room,
            seq: Seq(3),
            user_id: bob,
            reason: LeaveReason::Removed,
        }]
    );
    assert_eq!(backend.store.room(bob, room).await?, None);
    Ok(())
}

/// From the commit of a removal on, in its batch too, the removed one does nothing in the room.
pub async fn a_removed_member_does_nothing_more(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let mine = backend.say(room, bob, "Mine").await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    backend.done(set_role(room, bob, bob, Role::Member)).await?;
    let answers = backend
        .commit(&[
            send(room, bob, "Before"),
            remove(room, ada, bob),
            send(room, bob, "After"),
            delete(room, bob, mine.id),
            send(room, ada, "Quiet now"),
        ])
        .await?;
    assert_eq!(
        answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, true, false, false, true]
    );
    assert_eq!(answers[2], Err(Refusal::NotFound));
    for change in [
        rename_room(room, bob, "Bob's"),
        invite(room, bob, backend.token(), far_off(), None),
        revoke(room, bob, InviteId(1)),
        remove(room, bob, ada),
        set_role(room, bob, bob, Role::Admin),
    ] {
        assert_eq!(backend.refused(change).await?, Refusal::NotFound);
    }
    assert_eq!(
        backend.history(ada, room).await?,
        ["Mine", "Before", "Quiet now"]
    );
    Ok(())
}

/// A member removes nobody else, and an admin no other admin.
pub async fn removal_follows_the_roles(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (cem, eve) = (backend.user("Cem").await?, backend.user("Eve").await?);
    backend.admit(room, ada, cem).await?;
    for user in [ada, cem, eve] {
        assert_eq!(
            backend.refused(remove(room, bob, user)).await?,
            Refusal::Forbidden
        );
    }
    assert_eq!(
        backend.refused(remove(room, ada, eve)).await?,
        Refusal::NotFound
    );
    assert_eq!(
        backend.refused(remove(room, eve, bob)).await?,
        Refusal::NotFound
    );
    backend.done(set_role(room, ada, cem, Role::Admin)).await?;
    assert_eq!(
        backend.refused(remove(room, cem, ada)).await?,
        Refusal::Forbidden
    );
    assert_eq!(
        backend
            .refused(remove_with_messages(room, ada, cem))
            .await?,
        Refusal::Forbidden
    );
    assert_eq!(backend.roles(ada, room).await?.len(), 3);
    Ok(())
}

/// When the last admin leaves, all who remain become admins by one event.
pub async fn when_the_last_admin_leaves_everyone_becomes_admin(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (cem, gone) = (backend.user("Cem").await?, backend.user("Gül").await?);
    backend.admit(room, ada, cem).await?;
    backend.admit(room, ada, gone).await?;
    backend.done(leave(room, gone)).await?;
    let committed = backend.done(leave(room, ada)).await?;
    assert_eq!(
        committed.events,
        [
            Event::MemberLeft {
                room_id: room,
                seq: Seq(6),
                user_id: ada,
                reason: LeaveReason::Left,
            },
            Event::MembersChanged {
                room_id: room,
                seq: Seq(7),
                role: Role::Admin,
            },
        ]
    );
    assert_eq!(backend.head(room).await?, Seq(7));
    let mut wanted = [(bob, Role::Admin), (cem, Role::Admin)];
    wanted.sort_unstable();
    assert_eq!(backend.roles(bob, room).await?, wanted);
    let back = backend.admit(room, bob, gone).await?;
    let Outcome::Room(seen) = back.outcome else {
        panic!("a room, not {back:?}");
    };
    assert_eq!(seen.role, Some(Role::Member), "who had left before is none");
    Ok(())
}

/// While another admin is there, the others stay what they are.
pub async fn when_an_admin_leaves_another_nobody_changes(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.admit(room, ada, cem).await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    let committed = backend.done(leave(room, ada)).await?;
    assert_eq!(committed.seqs(), [5]);
    let mut wanted = [(bob, Role::Admin), (cem, Role::Member)];
    wanted.sort_unstable();
    assert_eq!(backend.roles(cem, room).await?, wanted);
    Ok(())
}

/// The last one out gets its `MemberLeft`, then the room is deleted.
pub async fn the_last_one_out_deletes_the_room(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let token = backend.invite(room, ada).await?;
    backend.done(leave(room, ada)).await?;
    let committed = backend.done(leave(room, bob)).await?;
    assert_eq!(
        committed.events,
        [
            Event::MemberLeft {
                room_id: room,
                seq: Seq(5),
                user_id: bob,
                reason: LeaveReason::Left,
            },
            Event::RoomDeleted {
                room_id: room,
                seq: Seq(6),
            },
        ]
    );
    assert_eq!(backend.store.invite_room(&token).await?, None);
    assert_eq!(
        backend.refused(accept(room, ada, token)).await?,
        Refusal::NotFound
    );
    Ok(())
}

/// First the messages, then the member, then what follows: each event has its own place, and reads obey at once.
pub async fn leaving_with_messages_deletes_them_first(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let mine = backend.say(room, ada, "Mine").await?;
    backend.say(room, bob, "His").await?;
    backend.say(room, ada, "Mine too").await?;
    let committed = backend.done(leave_with_messages(room, ada)).await?;
    assert_eq!(committed.outcome, Outcome::Done);
    assert_eq!(
        committed.events,
        [
            Event::MessagesDeleted {
                room_id: room,
                seq: Seq(6),
                sender_id: ada,
            },
            Event::MemberLeft {
                room_id: room,
                seq: Seq(7),
                user_id: ada,
                reason: LeaveReason::Left,
            },
            Event::MembersChanged {
                room_id: room,
                seq: Seq(8),
                role: Role::Admin,
            },
        ]
    );
    assert_eq!(backend.history(bob, room).await?, ["His"]);
    assert_eq!(backend.store.message(bob, room, mine.id).await?, None);
    let committed = backend.done(leave_with_messages(room, bob)).await?;
    assert_eq!(committed.seqs(), [9, 10, 11]);
    Ok(())
}

/// An admin removes someone with all that they wrote, and nobody else's messages.
pub async fn an_admin_removes_a_member_with_messages(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let other = backend.room(bob).await?;
    backend.say(other, bob, "Elsewhere").await?;
    backend.say(room, bob, "Spam").await?;
    backend.say(room, ada, "Stop").await?;
    let committed = backend.done(remove_with_messages(room, ada, bob)).await?;
    assert_eq!(
        committed.events,
        [
            Event::MessagesDeleted {
                room_id: room,
                seq: Seq(5),
                sender_id: bob,
            },
            Event::MemberLeft {
                room_id: room,
                seq: Seq(6),
                user_id: bob,
                reason: LeaveReason::Removed,
            },
        ]
    );
    assert_eq!(backend.history(ada, room).await?, ["Stop"]);
    assert_eq!(backend.history(bob, other).await?, ["Elsewhere"]);
    Ok(())
}

/// Without messages that aren't deleted already there is no `MessagesDeleted`.
pub async fn without_messages_there_is_no_event_of_their_deletion(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let committed = backend.done(remove_with_messages(room, ada, bob)).await?;
    assert_eq!(committed.seqs(), [3]);
    backend.admit(room, ada, bob).await?;
    let message = backend.say(room, bob, "Oops").await?;
    backend.done(delete(room, bob, message.id)).await?;
    let committed = backend.done(leave_with_messages(room, bob)).await?;
    assert_eq!(committed.seqs(), [7]);
    backend.admit(room, ada, bob).await?;
    backend.say(room, bob, "Again").await?;
    let committed = backend.done(leave_with_messages(room, bob)).await?;
    assert_eq!(committed.seqs(), [10, 11]);
    backend.admit(room, ada, bob).await?;
    let committed = backend.done(leave_with_messages(room, bob)).await?;
    assert_eq!(committed.seqs(), [13], "all that there was is deleted");
    Ok(())
}

/// What someone writes after coming back is not touched by the bulk deletion before.
pub async fn a_bulk_deletion_ends_at_its_place(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let answers = backend
        .commit(&[
            send(room, bob, "Before"),
            remove_with_messages(room, ada, bob),
        ])
        .await?;
    assert!(answers.iter().all(Result::is_ok));
    backend.admit(room, ada, bob).await?;
    backend.say(room, bob, "After").await?;
    assert_eq!(backend.history(ada, room).await?, ["After"]);
    Ok(())
}

/// Who comes back is a member again, of now, whatever the role was before.
pub async fn coming_back_is_a_new_join(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    backend.done(leave(room, bob)).await?;
    let token = backend.invite(room, ada).await?;
    let committed = backend
        .done_with(&ctx(at(77)), accept(room, bob, token))
        .await?;
    assert_eq!(
        committed.events,
        [Event::MemberJoined {
            room_id: room,
            seq: Seq(5),
            member: Member {
                user_id: bob,
                username: "Bob".to_owned(),
                role: Role::Member,
                joined_at: at(77),
            },
        }]
    );
    Ok(())
}

/// Pages are ordered by user id and end exactly; only a member reads them.
pub async fn members_are_paged_by_id(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let mut wanted = vec![ada, bob];
    for name in ["Cem", "Dag", "Eve"] {
        let user = backend.user(name).await?;
        backend.admit(room, ada, user).await?;
        wanted.push(user);
    }
    let gone = backend.user("Gül").await?;
    backend.admit(room, ada, gone).await?;
    backend.done(leave(room, gone)).await?;
    wanted.sort_unstable();
    for limit in 1..=6_usize {
        let mut seen: Vec<Member> = Vec::new();
        loop {
            let after = seen.last().map(|member| member.user_id);
            let size = i64::try_from(limit).unwrap_or(i64::MAX);
            let page = backend.store.members(bob, room, after, size).await?;
            let page = page.expect("Bob is in the room");
            assert_eq!(page.items.len(), limit.min(wanted.len() - seen.len()));
            seen.extend(page.items);
            assert_eq!(page.has_more, seen.len() < wanted.len());
            if !page.has_more {
                break;
            }
        }
        let ids: Vec<UserId> = seen.iter().map(|member| member.user_id).collect();
        assert_eq!(ids, wanted);
    }
    assert_eq!(backend.store.members(gone, room, None, 10).await?, None);
    Ok(())
}
