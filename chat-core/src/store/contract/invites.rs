//! Invites: whom they admit, and when no more.

use std::time::Duration;

use super::act::{
    accept, at, create_room, ctx, delete_room, far_off, invite, leave, limited, remove, revoke,
    set_role,
};
use super::{Backend, Tested};
use crate::model::limits::Limits;
use crate::model::{Event, Invite, InviteId, Member, Role, Room, RoomId, Seq, Timestamp, UserId};
use crate::store::{CommitContext, Outcome, Refusal, StoreError, TokenHash};

/// Makes an invite and answers it.
async fn made(
    backend: &Backend,
    room: RoomId,
    by: UserId,
    token: TokenHash,
    expires_at: Timestamp,
    max_uses: Option<i64>,
) -> Result<Invite, StoreError> {
    let change = invite(room, by, token, expires_at, max_uses);
    let committed = backend.done(change).await?;
    assert_eq!(committed.events, [], "an invite is not visible");
    match committed.outcome {
        Outcome::Invite(invite) => Ok(invite),
        other => panic!("an invite, not {other:?}"),
    }
}

/// The ids of a room's open invites.
async fn open(
    backend: &Backend,
    room: RoomId,
    admin: UserId,
    at: Timestamp,
) -> Result<Vec<InviteId>, StoreError> {
    let page = backend.store.invites(admin, room, at, None, 100).await?;
    let page = page.expect("an admin reads them");
    Ok(page.items.iter().map(|invite| invite.id).collect())
}

/// The answer is the invite without its token, and it takes no `seq`.
pub async fn an_admin_makes_an_invite(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (limited, unlimited) = (backend.token(), backend.token());
    let one = made(&backend, room, ada, limited, at(60), Some(3)).await?;
    let wanted = Invite {
        id: one.id,
        room_id: room,
        token: None,
        created_at: at(0),
        expires_at: at(60),
        max_uses: Some(3),
        uses: 0,
    };
    assert_eq!(one, wanted);
    let two = made(&backend, room, ada, unlimited, at(90), None).await?;
    assert_eq!(two.max_uses, None);
    assert_eq!(backend.head(room).await?, Seq(2));
    let listed = backend.store.invites(ada, room, at(0), None, 10).await?;
    assert_eq!(listed.map(|page| page.items), Ok(vec![one, two]));
    assert_eq!(backend.store.invite_room(&limited).await?, Some(room));
    let refused = invite(room, bob, backend.token(), far_off(), None);
    assert_eq!(backend.refused(refused).await?, Refusal::Forbidden);
    Ok(())
}

/// For a member the list is forbidden; for a stranger the room isn't there.
pub async fn only_an_admin_lists_and_revokes(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    let one = made(&backend, room, ada, backend.token(), far_off(), None).await?;
    for (user, refusal) in [(bob, Refusal::Forbidden), (eve, Refusal::NotFound)] {
        let listed = backend.store.invites(user, room, at(0), None, 10).await?;
        assert_eq!(listed, Err(refusal));
        for id in [one.id, InviteId(987_654)] {
            assert_eq!(backend.refused(revoke(room, user, id)).await?, refusal);
        }
    }
    assert_eq!(
        backend
            .refused(invite(room, eve, backend.token(), far_off(), None))
            .await?,
        Refusal::NotFound
    );
    Ok(())
}

/// Who accepts joins as a member, and costs one use.
pub async fn an_invite_admits(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let room = backend.room(ada).await?;
    let token = backend.invite(room, ada).await?;
    let committed = backend
        .done_with(&ctx(at(6)), accept(room, bob, token))
        .await?;
    assert_eq!(
        committed.events,
        [Event::MemberJoined {
            room_id: room,
            seq: Seq(2),
            member: Member {
                user_id: bob,
                username: "Bob".to_owned(),
                role: Role::Member,
                joined_at: at(6),
            },
        }]
    );
    assert_eq!(
        committed.outcome,
        Outcome::Room(Room {
            id: room,
            name: "Kitchen".to_owned(),
            created_at: at(0),
            member_count: 2,
            seq: Seq(2),
            role: Some(Role::Member),
        })
    );
    let listed = backend.store.invites(ada, room, at(6), None, 10).await?;
    let uses = listed.map(|page| page.items.iter().map(|i| i.uses).collect::<Vec<_>>());
    assert_eq!(uses, Ok(vec![1]));
    Ok(())
}

/// For someone in the room any known invite is fine: used up, expired or revoked, and no use is counted.
pub async fn a_member_accepts_any_known_invite_at_no_cost(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    let used_up = backend.token();
    made(&backend, room, ada, used_up, far_off(), Some(1)).await?;
    backend.done(accept(room, cem, used_up)).await?;
    let expired = backend.token();
    made(&backend, room, ada, expired, at(0), None).await?;
    let revoked = backend.token();
    let one = made(&backend, room, ada, revoked, far_off(), None).await?;
    backend.done(revoke(room, ada, one.id)).await?;
    let good = backend.token();
    made(&backend, room, ada, good, far_off(), Some(1)).await?;
    for token in [used_up, expired, revoked, good] {
        let committed = backend.done(accept(room, bob, token)).await?;
        assert_eq!(committed.events, []);
        let now = backend.store.room(bob, room).await?.expect("he is in it");
        assert_eq!(committed.outcome, Outcome::Room(now));
    }
    let eve = backend.user("Eve").await?;
    backend.done(accept(room, eve, good)).await?;
    Ok(())
}

/// An unknown token, one with another room's id, and one of a deleted room are not found.
pub async fn an_unknown_token_is_not_found(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let (room, other) = (backend.room(ada).await?, backend.room(ada).await?);
    let token = backend.invite(room, ada).await?;
    for (room, user, token) in [
        (room, bob, backend.token()),
        (room, ada, backend.token()),
        (other, bob, token),
        (other, ada, token),
        (RoomId(987_654), bob, token),
    ] {
        assert_eq!(
            backend.refused(accept(room, user, token)).await?,
            Refusal::NotFound
        );
    }
    assert_eq!(backend.store.invite_room(&backend.token()).await?, None);
    backend.done(delete_room(room, ada)).await?;
    assert_eq!(
        backend.refused(accept(room, bob, token)).await?,
        Refusal::NotFound
    );
    Ok(())
}

/// A user who is unknown, or was deleted, is admitted nowhere.
pub async fn only_a_living_user_is_admitted(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let room = backend.room(ada).await?;
    let token = backend.invite(room, ada).await?;
    backend.store.delete_user(bob, false, at(1)).await?;
    for user in [bob, UserId(987_654)] {
        assert_eq!(
            backend.refused(accept(room, user, token)).await?,
            Refusal::NotFound
        );
    }
    Ok(())
}

/// An invite admits as many as it says, in one batch and over several; coming back costs a use again.
pub async fn an_invite_is_used_up(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let mut users = Vec::new();
    for name in ["Bob", "Cem", "Dag", "Eve"] {
        users.push(backend.user(name).await?);
    }
    let token = backend.token();
    let one = made(&backend, room, ada, token, far_off(), Some(3)).await?;
    backend.done(accept(room, users[0], token)).await?;
    backend.done(leave(room, users[0])).await?;
    let answers = backend
        .commit(&[0, 1, 2, 3].map(|n| accept(room, users[n], token)))
        .await?;
    assert_eq!(
        answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, true, false, false]
    );
    assert_eq!(answers[2], Err(Refusal::InviteGone));
    assert_eq!(open(&backend, room, ada, at(0)).await?, []);
    assert_eq!(backend.store.invite_room(&token).await?, Some(room));
    backend.done(revoke(room, ada, one.id)).await?;
    Ok(())
}

/// It admits until just before its expiry, by the time of the batch.
pub async fn an_invite_expires(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let (bob, cem) = (backend.user("Bob").await?, backend.user("Cem").await?);
    let room = backend.room(ada).await?;
    let token = backend.token();
    let one = made(&backend, room, ada, token, at(60), None).await?;
    let last = at(60).minus(Duration::from_millis(1));
    assert_eq!(open(&backend, room, ada, last).await?, [one.id]);
    backend
        .done_with(&ctx(last), accept(room, bob, token))
        .await?;
    assert_eq!(open(&backend, room, ada, at(60)).await?, []);
    assert_eq!(
        backend
            .refused_with(&ctx(at(60)), accept(room, cem, token))
            .await?,
        Refusal::InviteGone
    );
    backend
        .done_with(&ctx(at(61)), revoke(room, ada, one.id))
        .await?;
    Ok(())
}

/// A revoked one admits nobody, is listed no more, and can't be revoked again; neither can an unknown or another room's.
pub async fn a_revoked_invite_is_gone(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let (room, other) = (backend.room(ada).await?, backend.room(ada).await?);
    let (token, kept) = (backend.token(), backend.token());
    let one = made(&backend, room, ada, token, far_off(), None).await?;
    let two = made(&backend, room, ada, kept, far_off(), None).await?;
    for (room, id) in [(other, one.id), (room, InviteId(987_654))] {
        assert_eq!(
            backend.refused(revoke(room, ada, id)).await?,
            Refusal::NotFound
        );
    }
    let committed = backend.done(revoke(room, ada, one.id)).await?;
    assert_eq!(
        (committed.events, committed.outcome),
        (vec![], Outcome::Done)
    );
    assert_eq!(open(&backend, room, ada, at(0)).await?, [two.id]);
    assert_eq!(
        backend.refused(revoke(room, ada, one.id)).await?,
        Refusal::NotFound
    );
    assert_eq!(
        backend.refused(accept(room, bob, token)).await?,
        Refusal::InviteGone
    );
    assert_eq!(backend.store.invite_room(&token).await?, Some(room));
    backend.done(accept(room, bob, kept)).await?;
    Ok(())
}

/// No invite from before a removal admits the removed one, even after another one did; later ones do.
pub async fn an_invite_older_than_a_removal_does_not_admit_again(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    let before = backend.invite(room, ada).await?;
    backend.done(remove(room, ada, bob)).await?;
    assert_eq!(
        backend.refused(accept(room, bob, before)).await?,
        Refusal::InviteGone
    );
    let after = backend.invite(room, ada).await?;
    backend.done(accept(room, bob, after)).await?;
    let inside = backend.done(accept(room, bob, before)).await?;
    assert_eq!(inside.events, [], "a member already is no error");
    backend.done(leave(room, bob)).await?;
    assert_eq!(
        backend.refused(accept(room, bob, before)).await?,
        Refusal::InviteGone
    );
    backend.done(accept(room, bob, after)).await?;
    backend.done(accept(room, cem, before)).await?;

    backend.done(remove(room, ada, bob)).await?;
    for token in [before, after] {
        assert_eq!(
            backend.refused(accept(room, bob, token)).await?,
            Refusal::InviteGone
        );
    }
    Ok(())
}

/// In one batch: an invite made before the removal is older, one made after it isn't.
pub async fn age_is_the_order_of_changes_not_of_time(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (before, after) = (backend.token(), backend.token());
    let answers = backend
        .commit(&[
            invite(room, ada, before, far_off(), None),
            remove(room, ada, bob),
            invite(room, ada, after, far_off(), None),
            accept(room, bob, before),
            accept(room, bob, after),
        ])
        .await?;
    assert_eq!(answers[3], Err(Refusal::InviteGone));
    assert!(answers[4].is_ok());
    Ok(())
}

/// Who left of their own will may come back by an old invite.
pub async fn leaving_closes_no_invite(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let token = backend.invite(room, ada).await?;
    backend.done(leave(room, bob)).await?;
    backend.done(accept(room, bob, token)).await?;
    Ok(())
}

/// An invite outlives the role and the membership of who made it.
pub async fn an_invite_outlives_its_makers_role(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.done(set_role(room, ada, bob, Role::Admin)).await?;
    let token = backend.invite(room, bob).await?;
    backend.done(leave(room, bob)).await?;
    backend.done(accept(room, cem, token)).await?;
    Ok(())
}

/// The limit counts those that still admit someone, at the time of the batch.
pub async fn a_room_has_so_many_open_invites_at_most(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let bob = backend.user("Bob").await?;
    let (room, other) = (backend.room(ada).await?, backend.room(ada).await?);
    let limited = |seconds| CommitContext {
        at: at(seconds),
        ..limited(Limits {
            invites_per_room: 2,
            ..Limits::default()
        })
    };
    let (now, later) = (limited(0), limited(60));
    let (once, short) = (backend.token(), backend.token());
    made(&backend, room, ada, once, far_off(), Some(1)).await?;
    made(&backend, room, ada, short, at(60), None).await?;
    let full = |ctx| {
        let another = invite(room, ada, backend.token(), far_off(), None);
        let backend = &backend;
        async move { backend.refused_with(ctx, another).await }
    };
    assert_eq!(full(&now).await?, Refusal::InvitesPerRoom);
    backend
        .done_with(&now, invite(other, ada, backend.token(), far_off(), None))
        .await?;
    backend.done(accept(room, bob, once)).await?;
    backend
        .done_with(&now, invite(room, ada, backend.token(), far_off(), None))
        .await?;
    assert_eq!(full(&now).await?, Refusal::InvitesPerRoom);
    let third = backend.token();
    backend
        .done_with(&later, invite(room, ada, third, far_off(), None))
        .await?;
    assert_eq!(full(&later).await?, Refusal::InvitesPerRoom);
    let ids = open(&backend, room, ada, at(60)).await?;
    backend.done(revoke(room, ada, ids[0])).await?;
    backend
        .done_with(&later, invite(room, ada, backend.token(), far_off(), None))
        .await?;
    Ok(())
}

/// A full room admits nobody more, until someone goes; the refused one costs no use.
pub async fn a_room_has_so_many_members_at_most(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    let ctx = limited(Limits {
        members_per_room: 2,
        ..Limits::default()
    });
    let token = backend.token();
    made(&backend, room, ada, token, far_off(), Some(1)).await?;
    for _ in 0..2 {
        assert_eq!(
            backend.refused_with(&ctx, accept(room, cem, token)).await?,
            Refusal::MembersPerRoom
        );
    }
    backend.done_with(&ctx, accept(room, bob, token)).await?;
    backend.done(leave(room, bob)).await?;
    backend.done_with(&ctx, accept(room, cem, token)).await?;
    Ok(())
}

/// An invite that is gone says so before a limit does, and the user's limit before the room's.
pub async fn an_invite_that_is_gone_says_so_first(backend: Backend) -> Tested {
    let (room, ada, _) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    let good = backend.invite(room, ada).await?;
    let expired = backend.token();
    made(&backend, room, ada, expired, at(0), None).await?;
    backend.done(create_room(cem, "Own")).await?;
    let ctx = limited(Limits {
        members_per_room: 2,
        rooms_per_user: 1,
        ..Limits::default()
    });
    assert_eq!(
        backend
            .refused_with(&ctx, accept(room, cem, expired))
            .await?,
        Refusal::InviteGone
    );
    assert_eq!(
        backend.refused_with(&ctx, accept(room, cem, good)).await?,
        Refusal::RoomsPerUser
    );
    Ok(())
}

/// Pages are ordered by id, hold only what is open, and end exactly.
pub async fn invites_are_paged_by_id(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let room = backend.room(ada).await?;
    let mut wanted = Vec::new();
    for n in 0..7 {
        let expires_at = if n % 3 == 1 { at(0) } else { far_off() };
        let one = made(&backend, room, ada, backend.token(), expires_at, None).await?;
        if expires_at > at(0) {
            wanted.push(one.id);
        }
    }
    wanted.sort_unstable();
    for limit in 1..=6_usize {
        let mut seen: Vec<InviteId> = Vec::new();
        loop {
            let after = seen.last().copied();
            let size = i64::try_from(limit).unwrap_or(i64::MAX);
            let page = backend.store.invites(ada, room, at(0), after, size).await?;
            let page = page.expect("an admin reads them");
            assert_eq!(page.items.len(), limit.min(wanted.len() - seen.len()));
            seen.extend(page.items.iter().map(|invite| invite.id));
            assert_eq!(page.has_more, seen.len() < wanted.len());
            if !page.has_more {
                break;
            }
        }
        assert_eq!(seen, wanted);
    }
    Ok(())
}
