//! A host's users, who knows whom, and what nodes share: ended sessions and secrets.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::act::{at, delete_room, leave, remove};
use super::{Backend, Tested};
use crate::model::{DELETED_USERNAME, User, UserId};
use crate::store::{EndedSession, StoreError, UserRefusal};

/// The same issuer and subject are the same user, whatever the name says later.
pub async fn a_hosts_user_is_known_again(backend: Backend) -> Tested {
    let store = &backend.store;
    let ada = store.identify("app", "ada", "Ada", at(1)).await?;
    let ada = ada.expect("a new user");
    assert_eq!(
        store.identify("app", "ada", "Lovelace", at(2)).await?,
        Some(ada)
    );
    assert_eq!(
        store.user(ada, ada).await?,
        Some(User {
            id: ada,
            username: "Ada".to_owned(),
            email: None,
            created_at: at(1),
        })
    );
    Ok(())
}

/// Issuer and subject are compared exactly, as a pair.
pub async fn issuer_and_subject_are_compared_exactly(backend: Backend) -> Tested {
    let pairs = [
        ("app", "ada"),
        ("App", "ada"),
        ("app", "Ada"),
        ("app", "ada "),
        ("appa", "da"),
        ("ap", "pada"),
        ("app", ""),
        ("", "app"),
        ("app", "ad\u{e4}"),
        ("app", "ada\u{308}"),
        ("app", "ad%"),
        ("app", "ad_"),
        ("app", "'; DROP TABLE users; --"),
    ];
    let mut ids = BTreeSet::new();
    for (issuer, subject) in pairs {
        let id = backend.store.identify(issuer, subject, "Name", at(0));
        ids.extend(id.await?);
    }
    assert_eq!(ids.len(), pairs.len());
    Ok(())
}

/// Names of a host's users follow no rule and need not be unique.
pub async fn a_hosts_names_are_free(backend: Backend) -> Tested {
    let long = "Ω".repeat(500);
    for (n, name) in ["Ada", "Ada", "ada", "", " 🦀 \n", &long]
        .iter()
        .enumerate()
    {
        let subject = n.to_string();
        let id = backend.store.identify("app", &subject, name, at(0)).await?;
        let id = id.expect("a new user");
        let user = backend.store.user(id, id).await?.expect("it is there");
        assert_eq!(user.username, *name);
    }
    Ok(())
}

/// Of many first sights at once one makes the user.
pub async fn concurrent_first_sights_are_one_user(backend: Backend) -> Tested {
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let store = Arc::clone(&backend.store);
        tasks.spawn(async move {
            let name = format!("Ada {n}");
            store.identify("app", "ada", &name, at(0)).await
        });
    }
    let mut ids = BTreeSet::new();
    while let Some(id) = tasks.join_next().await {
        ids.insert(id.expect("no task panics")?.expect("a user"));
    }
    assert_eq!(ids.len(), 1);
    Ok(())
}

/// A deleted user of a host stays deleted under its subject.
pub async fn a_deleted_user_is_not_made_again(backend: Backend) -> Tested {
    let ada = backend.user("Ada").await?;
    let store = &backend.store;
    assert_eq!(store.delete_user(ada, false, at(1)).await?, Some(vec![]));
    assert_eq!(store.identify("contract", "Ada", "Ada", at(2)).await?, None);
    assert_eq!(store.delete_user(ada, false, at(3)).await?, None);
    assert_eq!(
        store.rename_user(ada, "Eve").await?,
        Err(UserRefusal::NotFound)
    );
    Ok(())
}

/// An id that is nobody's is deleted and renamed by nobody.
pub async fn nobody_is_not_deleted_or_renamed(backend: Backend) -> Tested {
    let nobody = UserId(987_654);
    let store = &backend.store;
    assert_eq!(store.delete_user(nobody, true, at(1)).await?, None);
    assert_eq!(
        store.rename_user(nobody, "Eve").await?,
        Err(UserRefusal::NotFound)
    );
    assert_eq!(store.jobs(10).await?, []);
    Ok(())
}

/// Whether `caller` may see the profile of `user`.
async fn sees(backend: &Backend, caller: UserId, user: UserId) -> Result<bool, StoreError> {
    let seen = backend.store.user(caller, user).await?;
    assert!(seen.iter().all(|seen| seen.id == user));
    Ok(seen.is_some())
}

/// Users who never shared a room don't see each other, and nobody sees an id that is nobody's.
pub async fn strangers_do_not_see_each_other(backend: Backend) -> Tested {
    let (_, ada, bob) = backend.room_of_two().await?;
    let (cem, eve) = (backend.user("Cem").await?, backend.user("Eve").await?);
    let other = backend.room(cem).await?;
    backend.admit(other, cem, ada).await?;
    for (caller, user, wanted) in [
        (ada, bob, true),
        (bob, ada, true),
        (ada, cem, true),
        (bob, cem, false),
        (cem, bob, false),
        (eve, ada, false),
        (ada, eve, false),
        (eve, eve, true),
        (ada, UserId(987_654), false),
        (UserId(987_654), ada, false),
    ] {
        assert_eq!(sees(&backend, caller, user).await?, wanted);
    }
    Ok(())
}

/// Another's profile is public: without an address.
pub async fn a_profile_is_public(backend: Backend) -> Tested {
    let (_, ada, bob) = backend.room_of_two().await?;
    assert_eq!(
        backend.store.user(bob, ada).await?,
        Some(User {
            id: ada,
            username: "Ada".to_owned(),
            email: None,
            created_at: at(0),
        })
    );
    Ok(())
}

/// A member sees everyone who ever was in the room, however they left; they see who came before they left.
pub async fn a_former_member_sees_who_came_before_it_left(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let (cem, dag) = (backend.user("Cem").await?, backend.user("Dag").await?);
    backend.admit(room, ada, cem).await?;
    backend.done(leave(room, bob)).await?;
    backend.admit(room, ada, dag).await?;
    backend.done(remove(room, ada, cem)).await?;
    for (caller, user, wanted) in [
        (ada, bob, true),
        (dag, bob, true),
        (dag, cem, true),
        (cem, bob, true),
        (cem, dag, true),
        (bob, ada, true),
        (bob, cem, true),
        (bob, dag, false),
    ] {
        assert_eq!(sees(&backend, caller, user).await?, wanted);
    }
    backend.admit(room, ada, bob).await?;
    assert!(sees(&backend, bob, dag).await?, "he is back");
    backend.done(leave(room, bob)).await?;
    assert!(sees(&backend, bob, dag).await?, "he came back after Dag");
    let eve = backend.user("Eve").await?;
    backend.admit(room, ada, eve).await?;
    assert!(!sees(&backend, bob, eve).await?, "she came after him");
    assert!(sees(&backend, eve, bob).await?, "he was there before her");
    Ok(())
}

/// Who came back counts from when they first came.
pub async fn who_comes_back_was_there_before(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.admit(room, ada, cem).await?;
    backend.done(leave(room, bob)).await?;
    backend.done(leave(room, cem)).await?;
    backend.admit(room, ada, bob).await?;
    assert!(sees(&backend, cem, bob).await?);
    Ok(())
}

/// A deleted room is left by everyone, and not forgotten.
pub async fn a_deleted_room_is_remembered(backend: Backend) -> Tested {
    let (room, ada, bob) = backend.room_of_two().await?;
    let cem = backend.user("Cem").await?;
    backend.admit(room, ada, cem).await?;
    backend.done(leave(room, cem)).await?;
    backend.done(delete_room(room, ada)).await?;
    for caller in [ada, bob, cem] {
        for user in [ada, bob, cem] {
            assert!(sees(&backend, caller, user).await?);
        }
    }
    Ok(())
}

/// A deleted user is seen by those who saw it, under the name of all deleted users.
pub async fn a_deleted_user_is_seen_without_its_name(backend: Backend) -> Tested {
    let (_, ada, bob) = backend.room_of_two().await?;
    let eve = backend.user("Eve").await?;
    backend.store.delete_user(bob, false, at(1)).await?;
    let seen = backend.store.user(ada, bob).await?.expect("they met");
    assert_eq!((seen.id, seen.username.as_str()), (bob, DELETED_USERNAME));
    assert_eq!(seen.email, None);
    assert_eq!(backend.store.user(eve, bob).await?, None);
    Ok(())
}

/// An ended session is seen by all from its moment on, once; noted again, from the later moment on.
pub async fn an_ended_session_is_seen_since_its_moment(backend: Backend) -> Tested {
    let store = &backend.store;
    let ended = |session: &str, seconds| EndedSession {
        session: session.to_owned(),
        at: at(seconds),
    };
    let (one, two) = (ended("17", 1), ended("the host's, of any form: é/ü", 5));
    store.end_session(&one).await?;
    store.end_session(&ended(&two.session, 4)).await?;
    store.end_session(&two).await?;
    store.end_session(&two).await?;
    store.end_session(&ended(&two.session, 3)).await?;
    for (since, wanted) in [
        (0, vec![one.clone(), two.clone()]),
        (1, vec![one, two.clone()]),
        (2, vec![two.clone()]),
        (5, vec![two]),
        (6, vec![]),
    ] {
        let mut seen = store.ended_sessions(at(since)).await?;
        seen.sort_by_key(|ended| ended.at);
        assert_eq!(seen, wanted);
    }
    Ok(())
}

/// The first secret of a name is everyone's, any bytes.
pub async fn a_secret_is_made_once(backend: Backend) -> Tested {
    let store = &backend.store;
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(store.secret("one", &bytes).await?, bytes);
    assert_eq!(store.secret("one", b"other").await?, bytes);
    assert_eq!(store.secret("One", b"other").await?, b"other");
    assert_eq!(store.secret("none", b"").await?, b"");
    Ok(())
}

/// Of many nodes that start at once all get the same secret.
pub async fn concurrent_nodes_share_a_secret(backend: Backend) -> Tested {
    let mut tasks = JoinSet::new();
    for n in 0..20_u8 {
        let store = Arc::clone(&backend.store);
        tasks.spawn(async move { store.secret("key", &[n; 32]).await });
    }
    let mut secrets = BTreeSet::new();
    while let Some(secret) = tasks.join_next().await {
        secrets.insert(secret.expect("no task panics")?);
    }
    assert_eq!(secrets.len(), 1);
    Ok(())
}

/// The database answers.
pub async fn the_database_answers(backend: Backend) -> Tested {
    backend.store.ping().await
}
