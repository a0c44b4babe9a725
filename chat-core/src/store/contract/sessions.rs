//! Sessions and the rotation of their refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::act::{at, far_off};
use super::{Backend, Tested};
use crate::model::{Session, SessionId, Timestamp, User, UserId};
use crate::store::{
    Accounts, EndedSession, NewAccount, NewSession, Rotated, Rotation, StoreError, SweepContext,
    TokenHash,
};

/// How long a replaced token still answers.
const GRACE: Duration = Duration::from_secs(60);

async fn register(accounts: &dyn Accounts, username: &str) -> Result<User, StoreError> {
    let email = format!("{username}@example.org");
    let account = NewAccount {
        email: &email,
        username,
        password_hash: "$argon2id$first",
        at: at(0),
    };
    let user = accounts.create_account(&account).await?;
    Ok(user.expect("a new account"))
}

fn session(user_id: UserId, refresh_hash: TokenHash, at: Timestamp) -> NewSession<'static> {
    NewSession {
        user_id,
        device: "Laptop 💻",
        refresh_hash,
        at,
        expires_at: far_off(),
        address_hash: None,
        max_sessions: 50,
    }
}

/// An account with a session whose first refresh token is `[1; 32]`.
async fn logged_in(backend: &Backend) -> Result<(Arc<dyn Accounts>, User, SessionId), StoreError> {
    let accounts = backend.accounts();
    let user = register(&*accounts, "ada").await?;
    let made = accounts
        .create_session(&session(user.id, [1; 32], at(0)))
        .await?;
    let (id, ended) = made.expect("the user is there");
    assert_eq!(ended, []);
    Ok((accounts, user, id))
}

/// Presents the token `[presented; 32]`; its successor, if it is current, is `[successor; 32]`, sealed as that one byte.
async fn rotate(
    accounts: &dyn Accounts,
    presented: u8,
    successor: u8,
    now: Timestamp,
) -> Result<Rotated, StoreError> {
    accounts
        .rotate(&Rotation {
            presented: [presented; 32],
            successor: [successor; 32],
            sealed_successor: &[successor],
            at: now,
            expires_at: far_off(),
            grace_from: now.minus(GRACE),
        })
        .await
}

/// The ids of a user's sessions.
async fn living(
    accounts: &dyn Accounts,
    user: UserId,
    at: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    let page = accounts.sessions(user, at, None, 100).await?;
    Ok(page.items.iter().map(|session| session.id).collect())
}

/// A session is listed with its device and times.
pub async fn a_login_makes_a_session(backend: Backend) -> Tested {
    let (accounts, user, id) = logged_in(&backend).await?;
    let page = accounts.sessions(user.id, at(0), None, 10).await?;
    assert_eq!(
        page.items,
        [Session {
            id,
            device: "Laptop 💻".to_owned(),
            created_at: at(0),
            last_used_at: at(0),
            current: false,
        }]
    );
    assert!(!page.has_more);
    let nobody = session(UserId(987_654), [9; 32], at(0));
    assert_eq!(accounts.create_session(&nobody).await?, None);
    Ok(())
}

/// The current token is replaced by its successor, and the session's time goes on.
pub async fn the_current_token_is_replaced(backend: Backend) -> Tested {
    let (accounts, user, session) = logged_in(&backend).await?;
    let fresh = Rotated::Fresh {
        session,
        user: user.clone(),
    };
    for (n, seconds) in [(1, 100), (2, 900), (3, 1_800)] {
        assert_eq!(rotate(&*accounts, n, n + 1, at(seconds)).await?, fresh);
    }
    let page = accounts.sessions(user.id, at(1_800), None, 10).await?;
    let times: Vec<_> = page
        .items
        .iter()
        .map(|s| (s.created_at, s.last_used_at))
        .collect();
    assert_eq!(times, [(at(0), at(1_800))]);
    assert_eq!(backend.store.ended_sessions(at(0)).await?, []);
    Ok(())
}

/// The token before, within the grace, answers with the successor that was made first, as often as it is asked.
pub async fn the_token_before_answers_again_within_the_grace(backend: Backend) -> Tested {
    let (accounts, user, session) = logged_in(&backend).await?;
    rotate(&*accounts, 1, 2, at(100)).await?;
    let again = Rotated::Again {
        session,
        user,
        sealed_successor: vec![2],
        expires_at: far_off(),
    };
    for (successor, seconds) in [(3, 100), (4, 130), (5, 160)] {
        assert_eq!(rotate(&*accounts, 1, successor, at(seconds)).await?, again);
    }
    let next = rotate(&*accounts, 2, 6, at(161)).await?;
    assert!(matches!(next, Rotated::Fresh { .. }), "{next:?}");
    for unused in [3, 4, 5] {
        let unknown = rotate(&*accounts, unused, 7, at(162)).await?;
        assert_eq!(unknown, Rotated::Unknown, "it was never given out");
    }
    Ok(())
}

/// The token before, later than the grace, is in other hands: the session ends, and all nodes learn of it.
pub async fn the_token_before_too_late_ends_the_session(backend: Backend) -> Tested {
    let (accounts, user, session) = logged_in(&backend).await?;
    rotate(&*accounts, 1, 2, at(100)).await?;
    let late = at(160).plus(Duration::from_millis(1));
    assert_eq!(
        rotate(&*accounts, 1, 3, late).await?,
        Rotated::Reused { session }
    );
    assert_eq!(living(&*accounts, user.id, late).await?, []);
    assert_eq!(
        backend.store.ended_sessions(late).await?,
        [EndedSession {
            session: session.to_string(),
            at: late,
        }]
    );
    for token in [1, 2, 3] {
        let after = rotate(&*accounts, token, 9, late).await?;
        assert_eq!(after, Rotated::Unknown);
    }
    Ok(())
}

/// An older token ends the session at once, however young it is.
pub async fn an_older_token_ends_the_session(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    for (n, older) in [(10_u8, 10), (20, 21), (30, 32)] {
        let user = register(&*accounts, &format!("user{n}")).await?;
        let first = session(user.id, [n; 32], at(0));
        let (session, _) = accounts.create_session(&first).await?.expect("made");
        for token in n..n + 4 {
            let fresh = rotate(&*accounts, token, token + 1, at(1)).await?;
            assert!(matches!(fresh, Rotated::Fresh { .. }), "{fresh:?}");
        }
        assert_eq!(
            rotate(&*accounts, older, 99, at(2)).await?,
            Rotated::Reused { session }
        );
        assert_eq!(
            rotate(&*accounts, n + 4, 99, at(2)).await?,
            Rotated::Unknown
        );
        assert_eq!(living(&*accounts, user.id, at(2)).await?, []);
    }
    Ok(())
}

/// A reuse is seen after a hundred rotations too.
pub async fn the_first_token_is_remembered(backend: Backend) -> Tested {
    let (accounts, _, session) = logged_in(&backend).await?;
    for n in 1..=100 {
        let fresh = rotate(&*accounts, n, n + 1, at(u64::from(n))).await?;
        assert!(matches!(fresh, Rotated::Fresh { .. }), "{fresh:?}");
    }
    assert_eq!(
        rotate(&*accounts, 1, 200, at(200)).await?,
        Rotated::Reused { session }
    );
    Ok(())
}

/// A token that was never given out, and one of a session that ended, are unknown and end nothing.
pub async fn an_unknown_token_ends_nothing(backend: Backend) -> Tested {
    let (accounts, user, session) = logged_in(&backend).await?;
    assert_eq!(rotate(&*accounts, 99, 2, at(1)).await?, Rotated::Unknown);
    assert_eq!(living(&*accounts, user.id, at(1)).await?, [session]);
    accounts.end_user_session(user.id, session, at(2)).await?;
    assert_eq!(rotate(&*accounts, 1, 2, at(3)).await?, Rotated::Unknown);
    Ok(())
}

/// Of fifty uses of the current token at once one is fresh, and the others answer its successor.
pub async fn fifty_uses_at_once_make_one_successor(backend: Backend) -> Tested {
    let (accounts, user, session) = logged_in(&backend).await?;
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let accounts = Arc::clone(&accounts);
        let successor = 100 + n;
        tasks.spawn(async move {
            let rotated = rotate(&*accounts, 1, successor, at(10)).await?;
            Ok::<_, StoreError>((successor, rotated))
        });
    }
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    while let Some(answer) = tasks.join_next().await {
        match answer.expect("no task panics")? {
            (successor, Rotated::Fresh { .. }) => fresh.push(successor),
            (
                _,
                Rotated::Again {
                    sealed_successor, ..
                },
            ) => again.push(sealed_successor),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(fresh.len(), 1);
    assert_eq!(again, vec![vec![fresh[0]]; 49]);
    assert_eq!(living(&*accounts, user.id, at(10)).await?, [session]);
    let next = rotate(&*accounts, fresh[0], 9, at(11)).await?;
    assert!(matches!(next, Rotated::Fresh { .. }), "{next:?}");
    Ok(())
}

/// At its expiry a session is over: not listed, and none of its tokens known, whether current or replaced.
pub async fn a_session_expires(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "ada").await?;
    let short = NewSession {
        expires_at: at(100),
        ..session(user.id, [1; 32], at(0))
    };
    let (id, _) = accounts.create_session(&short).await?.expect("made");
    let last = at(100).minus(Duration::from_millis(1));
    assert_eq!(living(&*accounts, user.id, last).await?, [id]);
    assert_eq!(living(&*accounts, user.id, at(100)).await?, []);
    assert_eq!(rotate(&*accounts, 1, 2, at(100)).await?, Rotated::Unknown);
    let rotation = Rotation {
        presented: [1; 32],
        successor: [2; 32],
        sealed_successor: &[2],
        at: last,
        expires_at: at(130),
        grace_from: last.minus(GRACE),
    };
    let fresh = accounts.rotate(&rotation).await?;
    assert!(matches!(fresh, Rotated::Fresh { .. }), "{fresh:?}");
    assert_eq!(
        rotate(&*accounts, 1, 3, at(129)).await?,
        Rotated::Again {
            session: id,
            user: user.clone(),
            sealed_successor: vec![2],
            expires_at: at(130),
        }
    );
    for token in [1, 2] {
        let over = rotate(&*accounts, token, 3, at(130)).await?;
        assert_eq!(over, Rotated::Unknown);
    }
    assert_eq!(living(&*accounts, user.id, at(130)).await?, []);
    let sweep = SweepContext {
        at: at(130),
        retain_from: None,
        forget_ended_before: at(0),
        max_rows: 100,
    };
    while backend.store.sweep(&sweep).await? {}
    assert_eq!(rotate(&*accounts, 2, 3, at(131)).await?, Rotated::Unknown);
    Ok(())
}

/// Of too many sessions those longest unused end, and all nodes learn of it.
pub async fn the_session_longest_unused_ends(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let (ada, bob) = (
        register(&*accounts, "ada").await?,
        register(&*accounts, "bob").await?,
    );
    let log_in = |user: &User, n: u8, seconds| {
        let new = NewSession {
            max_sessions: 3,
            ..session(user.id, [n; 32], at(seconds))
        };
        let accounts = &accounts;
        async move { Ok::<_, StoreError>(accounts.create_session(&new).await?.expect("made")) }
    };
    let (his, _) = log_in(&bob, 50, 0).await?;
    let mut hers = Vec::new();
    for n in 1..=3 {
        let (id, ended) = log_in(&ada, n, u64::from(n)).await?;
        assert_eq!(ended, []);
        hers.push(id);
    }
    rotate(&*accounts, 1, 11, at(10)).await?;
    let (fourth, ended) = log_in(&ada, 4, 20).await?;
    let second = EndedSession {
        session: hers[1].to_string(),
        at: at(20),
    };
    assert_eq!(backend.store.ended_sessions(at(20)).await?, ended);
    assert_eq!(ended, [second]);
    let mut wanted = [hers[0], hers[2], fourth];
    wanted.sort_unstable();
    assert_eq!(living(&*accounts, ada.id, at(20)).await?, wanted);
    assert_eq!(living(&*accounts, bob.id, at(20)).await?, [his]);
    assert_eq!(rotate(&*accounts, 2, 12, at(21)).await?, Rotated::Unknown);

    let only = NewSession {
        max_sessions: 1,
        ..session(ada.id, [5; 32], at(30))
    };
    let (last, ended) = accounts.create_session(&only).await?.expect("made");
    assert_eq!(ended.len(), 3);
    assert_eq!(living(&*accounts, ada.id, at(30)).await?, [last]);
    Ok(())
}

/// An expired session takes no one's place.
pub async fn expired_sessions_do_not_count(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "ada").await?;
    let new = |n: u8, seconds, expires_at| NewSession {
        max_sessions: 2,
        expires_at,
        ..session(user.id, [n; 32], at(seconds))
    };
    let kept = accounts.create_session(&new(1, 0, far_off())).await?;
    let (kept, _) = kept.expect("made");
    accounts.create_session(&new(2, 5, at(10))).await?;
    let made = accounts.create_session(&new(3, 20, far_off())).await?;
    let (third, ended) = made.expect("made");
    assert_eq!(ended, []);
    let mut wanted = [kept, third];
    wanted.sort_unstable();
    assert_eq!(living(&*accounts, user.id, at(20)).await?, wanted);
    Ok(())
}

/// Logins at once keep no more sessions than allowed.
pub async fn concurrent_logins_keep_the_limit(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "ada").await?;
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let accounts = Arc::clone(&accounts);
        let new = NewSession {
            max_sessions: 5,
            ..session(user.id, [n; 32], at(u64::from(n)))
        };
        tasks.spawn(async move { accounts.create_session(&new).await });
    }
    let mut ended = 0;
    while let Some(made) = tasks.join_next().await {
        ended += made.expect("no task panics")?.expect("made").1.len();
    }
    assert_eq!(ended, 15);
    assert_eq!(living(&*accounts, user.id, at(20)).await?.len(), 5);
    Ok(())
}

/// Someone ends a session of their own, once, and nobody else's.
pub async fn a_session_is_ended_by_its_owner(backend: Backend) -> Tested {
    let (accounts, ada, id) = logged_in(&backend).await?;
    let bob = register(&*accounts, "bob").await?;
    let end = |user, session| accounts.end_user_session(user, session, at(5));
    assert!(!end(bob.id, id).await?);
    assert!(!end(ada.id, SessionId(987_654)).await?);
    assert_eq!(living(&*accounts, ada.id, at(5)).await?, [id]);
    assert_eq!(backend.store.ended_sessions(at(0)).await?, []);
    assert!(end(ada.id, id).await?);
    assert!(!end(ada.id, id).await?);
    assert_eq!(living(&*accounts, ada.id, at(5)).await?, []);
    assert_eq!(
        backend.store.ended_sessions(at(0)).await?,
        [EndedSession {
            session: id.to_string(),
            at: at(5),
        }]
    );
    Ok(())
}

/// A rotation racing the end of its session never brings it back.
pub async fn a_rotation_does_not_revive_an_ended_session(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "ada").await?;
    for n in 0..20 {
        let new = session(user.id, [n; 32], at(0));
        let (id, _) = accounts.create_session(&new).await?.expect("made");
        let rotating = {
            let accounts = Arc::clone(&accounts);
            tokio::spawn(async move { rotate(&*accounts, n, 100 + n, at(1)).await })
        };
        let ending = {
            let accounts = Arc::clone(&accounts);
            let user = user.id;
            tokio::spawn(async move { accounts.end_user_session(user, id, at(1)).await })
        };
        let rotated = rotating.await.expect("no panic")?;
        assert!(ending.await.expect("no panic")?);
        assert!(
            matches!(rotated, Rotated::Fresh { .. } | Rotated::Unknown),
            "{rotated:?}"
        );
        assert_eq!(living(&*accounts, user.id, at(1)).await?, []);
        let after = rotate(&*accounts, 100 + n, 200, at(2)).await?;
        assert_eq!(after, Rotated::Unknown);
    }
    Ok(())
}

/// Pages are ordered by id, hold the user's own, and end exactly.
pub async fn sessions_are_paged_by_id(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let (ada, bob) = (
        register(&*accounts, "ada").await?,
        register(&*accounts, "bob").await?,
    );
    let mut wanted = Vec::new();
    for n in 0..5 {
        let hers = session(ada.id, [n; 32], at(0));
        let made = accounts.create_session(&hers).await?;
        wanted.push(made.expect("made").0);
        let his = session(bob.id, [50 + n; 32], at(0));
        accounts.create_session(&his).await?.expect("made");
    }
    wanted.sort_unstable();
    for limit in 1..=6_usize {
        let mut seen: Vec<SessionId> = Vec::new();
        loop {
            let after = seen.last().copied();
            let size = i64::try_from(limit).unwrap_or(i64::MAX);
            let page = accounts.sessions(ada.id, at(0), after, size).await?;
            assert_eq!(page.items.len(), limit.min(5 - seen.len()));
            seen.extend(page.items.iter().map(|session| session.id));
            assert_eq!(page.has_more, seen.len() < 5);
            if !page.has_more {
                break;
            }
        }
        assert_eq!(seen, wanted);
    }
    Ok(())
}
