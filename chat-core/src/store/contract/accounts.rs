//! Registrations and passwords.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::act::{accept, at};
use super::{Backend, Tested};
use crate::model::{DELETED_USERNAME, User, UserId};
use crate::store::{Accounts, JobKind, NewAccount, NewSession, StoreError, TokenHash, UserRefusal};

fn account<'a>(email: &'a str, username: &'a str) -> NewAccount<'a> {
    NewAccount {
        email,
        username,
        password_hash: "$argon2id$first",
        at: at(0),
    }
}

/// An account that must not be refused.
async fn register(
    accounts: &dyn Accounts,
    email: &str,
    username: &str,
) -> Result<User, StoreError> {
    match accounts.create_account(&account(email, username)).await? {
        Ok(user) => Ok(user),
        Err(refusal) => panic!("{email}, {username}: {refusal:?}"),
    }
}

/// A session that lives for long.
async fn log_in(
    accounts: &dyn Accounts,
    user_id: UserId,
    n: u8,
) -> Result<crate::model::SessionId, StoreError> {
    let session = NewSession {
        user_id,
        device: "Laptop",
        refresh_hash: [n; 32],
        at: at(0),
        expires_at: at(1_000_000),
        address_hash: None,
        max_sessions: 50,
    };
    let made = accounts.create_session(&session).await?;
    Ok(made.expect("the user is there").0)
}

/// What was registered is what is checked at a login, as it was written.
pub async fn an_account_is_found_by_its_address_and_id(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "Ada@Example.org", "Ada.L-1_2").await?;
    assert_eq!(
        user,
        User {
            id: user.id,
            username: "Ada.L-1_2".to_owned(),
            email: Some("Ada@Example.org".to_owned()),
            created_at: at(0),
        }
    );
    for credentials in [
        accounts.credentials_by_email("Ada@Example.org").await?,
        accounts.credentials_by_email("aDA@eXAMPLE.ORG").await?,
        accounts.credentials(user.id).await?,
    ] {
        let credentials = credentials.expect("it is there");
        assert_eq!(credentials.user, user);
        assert_eq!(credentials.password_hash, "$argon2id$first");
    }
    for other in [
        "Ada@Example.org ",
        "ada@example.or",
        "%",
        "_da@Example.org",
        "",
    ] {
        assert!(accounts.credentials_by_email(other).await?.is_none());
    }
    assert!(accounts.credentials(UserId(987_654)).await?.is_none());
    Ok(())
}

/// A host's user has no credentials.
pub async fn a_hosts_user_has_no_credentials(backend: Backend) -> Tested {
    let user = backend.user("ada@example.org").await?;
    let accounts = backend.accounts();
    assert!(accounts.credentials(user).await?.is_none());
    assert!(
        accounts
            .credentials_by_email("ada@example.org")
            .await?
            .is_none()
    );
    let nothing = accounts.set_password(user, "", "new", None, at(1)).await?;
    assert_eq!(nothing, None);
    Ok(())
}

/// Addresses are compared without case, beyond ASCII too.
pub async fn an_address_is_unique_without_case(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    register(&*accounts, "zoë@müller.example", "zoe").await?;
    for taken in [
        "zoë@müller.example",
        "ZOË@MÜLLER.EXAMPLE",
        "Zoë@müller.Example",
    ] {
        assert_eq!(
            accounts.create_account(&account(taken, "other")).await?,
            Err(UserRefusal::EmailTaken)
        );
        let found = accounts.credentials_by_email(taken).await?;
        assert_eq!(found.expect("the same").user.username, "zoe");
    }
    register(&*accounts, "zoe@müller.example", "other").await?;
    Ok(())
}

/// Usernames are compared without case.
pub async fn a_username_is_unique_without_case(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    register(&*accounts, "a@example.org", "Ada_L").await?;
    for taken in ["Ada_L", "ada_l", "ADA_L"] {
        assert_eq!(
            accounts
                .create_account(&account("b@example.org", taken))
                .await?,
            Err(UserRefusal::UsernameTaken)
        );
    }
    for free in ["AdaXL", "Ada_L_", "Ada-L"] {
        let email = format!("{free}@example.org");
        register(&*accounts, &email, free).await?;
    }
    assert_eq!(
        accounts
            .create_account(&account("A@example.org", "ada_l"))
            .await?,
        Err(UserRefusal::EmailTaken),
        "both are taken"
    );
    Ok(())
}

/// A refused registration leaves nothing: neither of its two names is taken.
pub async fn a_refused_registration_leaves_nothing(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    register(&*accounts, "a@example.org", "ada").await?;
    let name_taken = account("b@example.org", "ada");
    assert_eq!(
        accounts.create_account(&name_taken).await?,
        Err(UserRefusal::UsernameTaken)
    );
    assert!(
        accounts
            .credentials_by_email("b@example.org")
            .await?
            .is_none()
    );
    let address_taken = account("a@example.org", "bob");
    assert_eq!(
        accounts.create_account(&address_taken).await?,
        Err(UserRefusal::EmailTaken)
    );
    register(&*accounts, "b@example.org", "bob").await?;
    Ok(())
}

/// A host's users hold no names against accounts.
pub async fn a_hosts_user_takes_no_username(backend: Backend) -> Tested {
    backend.user("ada").await?;
    let accounts = backend.accounts();
    register(&*accounts, "a@example.org", "ada").await?;
    let other = backend.user("Bob").await?;
    let renamed = backend.store.rename_user(other, "ada").await?;
    assert_eq!(renamed.map(|user| user.username), Ok("ada".to_owned()));
    Ok(())
}

/// Of many registrations of one address, or of one name, at once one is made.
pub async fn concurrent_registrations_make_one_account(backend: Backend) -> Tested {
    for (one_email, refusal) in [
        (true, UserRefusal::EmailTaken),
        (false, UserRefusal::UsernameTaken),
    ] {
        let mut tasks = JoinSet::new();
        for n in 0..20 {
            let accounts = backend.accounts();
            tasks.spawn(async move {
                let (email, username) = if one_email {
                    ("One@example.org".to_owned(), format!("name{n}"))
                } else {
                    (format!("{n}@example.org"), "One".to_owned())
                };
                accounts.create_account(&account(&email, &username)).await
            });
        }
        let mut made = 0;
        while let Some(answer) = tasks.join_next().await {
            match answer.expect("no task panics")? {
                Ok(_) => made += 1,
                Err(refused) => assert_eq!(refused, refusal),
            }
        }
        assert_eq!(made, 1);
    }
    Ok(())
}

/// An account's new name is free or refused, compared without case but for its own.
pub async fn an_account_is_renamed_to_a_free_name(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let store = &backend.store;
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    let bob = register(&*accounts, "b@example.org", "Bob").await?;
    assert_eq!(
        store.rename_user(ada.id, "BOB").await?,
        Err(UserRefusal::UsernameTaken)
    );
    let renamed = store.rename_user(ada.id, "ADA").await?;
    assert_eq!(
        renamed,
        Ok(User {
            username: "ADA".to_owned(),
            ..ada.clone()
        })
    );
    store.rename_user(ada.id, "eve").await?.expect("free");
    store.rename_user(bob.id, "Ada").await?.expect("free again");
    register(&*accounts, "c@example.org", "bob").await?;
    assert_eq!(
        store.rename_user(ada.id, "ada").await?,
        Err(UserRefusal::UsernameTaken)
    );
    let login = accounts.credentials_by_email("a@example.org").await?;
    assert_eq!(login.expect("it is there").user.username, "eve");
    Ok(())
}

/// Of many renamings to one name at once one is done.
pub async fn concurrent_renamings_share_no_name(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        let email = format!("{n}@example.org");
        let user = register(&*accounts, &email, &format!("name{n}")).await?;
        let store = Arc::clone(&backend.store);
        let name = if n % 2 == 0 { "one" } else { "ONE" };
        tasks.spawn(async move { store.rename_user(user.id, name).await });
    }
    let mut done = 0;
    while let Some(answer) = tasks.join_next().await {
        match answer.expect("no task panics")? {
            Ok(_) => done += 1,
            Err(refused) => assert_eq!(refused, UserRefusal::UsernameTaken),
        }
    }
    assert_eq!(done, 1);
    Ok(())
}

/// An account's own profile has its address, and nobody else's sight of it.
pub async fn an_address_is_shown_to_its_owner_alone(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    let bob = register(&*accounts, "b@example.org", "bob").await?;
    let room = backend.room(ada.id).await?;
    let token = backend.invite(room, ada.id).await?;
    backend.done(accept(room, bob.id, token)).await?;
    let store = &backend.store;
    assert_eq!(store.user(ada.id, ada.id).await?, Some(ada.clone()));
    let seen = store
        .user(bob.id, ada.id)
        .await?
        .expect("they share a room");
    assert_eq!(seen, User { email: None, ..ada });
    Ok(())
}

/// A password is replaced if it still is the one that was checked.
pub async fn a_password_is_replaced_once(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "a@example.org", "ada").await?;
    let set = |old, new| accounts.set_password(user.id, old, new, None, at(1));
    assert_eq!(set("$argon2id$other", "$second").await?, None);
    assert_eq!(set("$argon2id$first", "$second").await?, Some(vec![]));
    assert_eq!(set("$argon2id$first", "$third").await?, None);
    let now = accounts.credentials(user.id).await?.expect("it is there");
    assert_eq!(now.password_hash, "$second");
    let nobody = accounts.set_password(UserId(987_654), "", "$new", None, at(1));
    assert_eq!(nobody.await?, None);
    Ok(())
}

/// Of many replacements of one password at once one is done.
pub async fn concurrent_password_changes_replace_it_once(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let user = register(&*accounts, "a@example.org", "ada").await?;
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let accounts = backend.accounts();
        tasks.spawn(async move {
            let new = format!("$new{n}");
            let set = accounts.set_password(user.id, "$argon2id$first", &new, None, at(1));
            Ok::<_, StoreError>(set.await?.map(|_| new))
        });
    }
    let mut done = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        done.extend(answer.expect("no task panics")?);
    }
    let now = accounts.credentials(user.id).await?.expect("it is there");
    assert_eq!(done, [now.password_hash]);
    Ok(())
}

/// A new password ends every session but the one that set it, and all nodes learn of it.
pub async fn a_new_password_ends_other_sessions(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    let bob = register(&*accounts, "b@example.org", "bob").await?;
    let mut hers = Vec::new();
    for n in 0..3 {
        hers.push(log_in(&*accounts, ada.id, n).await?);
    }
    let his = log_in(&*accounts, bob.id, 9).await?;
    let ended = accounts
        .set_password(ada.id, "$argon2id$first", "$second", Some(hers[1]), at(7))
        .await?;
    let mut ended = ended.expect("it was the password");
    ended.sort_by(|a, b| a.session.cmp(&b.session));
    let mut wanted = [hers[0], hers[2]].map(|id| id.to_string());
    wanted.sort();
    assert_eq!(
        ended.iter().map(|e| &e.session).collect::<Vec<_>>(),
        wanted.iter().collect::<Vec<_>>()
    );
    assert!(ended.iter().all(|ended| ended.at == at(7)));
    let mut noted = backend.store.ended_sessions(at(7)).await?;
    noted.sort_by(|a, b| a.session.cmp(&b.session));
    assert_eq!(noted, ended);
    for (user, wanted) in [(ada.id, hers[1]), (bob.id, his)] {
        let page = accounts.sessions(user, at(7), None, 10).await?;
        let ids: Vec<_> = page.items.iter().map(|session| session.id).collect();
        assert_eq!(ids, [wanted]);
    }
    let all = accounts
        .set_password(ada.id, "$second", "$third", None, at(8))
        .await?;
    assert_eq!(all.map(|ended| ended.len()), Some(1));
    Ok(())
}

/// A wrong old hash ends no session.
pub async fn a_refused_password_ends_no_session(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    log_in(&*accounts, ada.id, 1).await?;
    let refused = accounts.set_password(ada.id, "$other", "$new", None, at(1));
    assert_eq!(refused.await?, None);
    let page = accounts.sessions(ada.id, at(1), None, 10).await?;
    assert_eq!(page.items.len(), 1);
    assert_eq!(backend.store.ended_sessions(at(0)).await?, []);
    Ok(())
}

/// A stronger hash of the same password ends no session, and doesn't undo a newer password.
pub async fn a_rehash_ends_no_session(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    log_in(&*accounts, ada.id, 1).await?;
    for (old, new, wanted) in [
        ("$argon2id$first", "$stronger", "$stronger"),
        ("$argon2id$first", "$late", "$stronger"),
    ] {
        accounts.rehash_password(ada.id, old, new).await?;
        let now = accounts.credentials(ada.id).await?.expect("it is there");
        assert_eq!(now.password_hash, wanted);
    }
    let page = accounts.sessions(ada.id, at(1), None, 10).await?;
    assert_eq!(page.items.len(), 1);
    Ok(())
}

/// With a deletion the login, the sessions and the names are gone in one act, and the rest follows by jobs.
pub async fn a_deleted_account_is_gone_at_once(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let store = &backend.store;
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    let bob = register(&*accounts, "b@example.org", "bob").await?;
    let room = backend.room(ada.id).await?;
    let token = backend.invite(room, ada.id).await?;
    backend.done(accept(room, bob.id, token)).await?;
    let sessions = [
        log_in(&*accounts, ada.id, 1).await?,
        log_in(&*accounts, ada.id, 2).await?,
    ];
    let ended = store.delete_user(ada.id, false, at(5)).await?;
    let mut ended = ended.expect("she was there");
    ended.sort_by(|a, b| a.session.cmp(&b.session));
    let mut wanted = sessions.map(|id| id.to_string());
    wanted.sort();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().map(|e| &e.session).eq(&wanted));
    let mut noted = store.ended_sessions(at(5)).await?;
    noted.sort_by(|a, b| a.session.cmp(&b.session));
    assert_eq!(noted, ended);

    assert!(accounts.credentials(ada.id).await?.is_none());
    assert!(
        accounts
            .credentials_by_email("a@example.org")
            .await?
            .is_none()
    );
    let page = accounts.sessions(ada.id, at(5), None, 10).await?;
    assert_eq!(page.items, []);
    let session = NewSession {
        user_id: ada.id,
        device: "",
        refresh_hash: [3; 32],
        at: at(6),
        expires_at: at(1_000_000),
        address_hash: None,
        max_sessions: 50,
    };
    assert_eq!(accounts.create_session(&session).await?, None);
    let late = accounts.set_password(ada.id, "$argon2id$first", "$new", None, at(6));
    assert_eq!(late.await?, None);
    let seen = store
        .user(bob.id, ada.id)
        .await?
        .expect("they shared a room");
    assert_eq!(
        (seen.username.as_str(), seen.email),
        (DELETED_USERNAME, None)
    );
    let jobs = store.jobs(10).await?;
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].room_id, jobs[0].user_id), (room, ada.id));
    assert_eq!(
        jobs[0].kind,
        JobKind::Deleted {
            erase_messages: false
        }
    );
    assert_eq!(store.delete_user(ada.id, false, at(6)).await?, None);
    Ok(())
}

/// A deleted account's address and name are free, and two deleted accounts share their tombstone's name.
pub async fn a_deleted_accounts_names_are_free(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let ada = register(&*accounts, "a@example.org", "ada").await?;
        backend.store.delete_user(ada.id, true, at(1)).await?;
        ids.push(ada.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "an id is never given again");
    Ok(())
}

/// Whether an address is known is a matter of the account, the address and the time.
pub async fn an_address_is_known_from_a_login(backend: Backend) -> Tested {
    let accounts = backend.accounts();
    let ada = register(&*accounts, "a@example.org", "ada").await?;
    let bob = register(&*accounts, "b@example.org", "bob").await?;
    let (home, away): (TokenHash, TokenHash) = ([1; 32], [2; 32]);
    let log_in = |seconds, address_hash| {
        let session = NewSession {
            user_id: ada.id,
            device: "",
            refresh_hash: backend.token(),
            at: at(seconds),
            expires_at: at(1_000_000),
            address_hash,
            max_sessions: 50,
        };
        let accounts = &accounts;
        async move { accounts.create_session(&session).await }
    };
    let knows = |user, address, since| {
        let accounts = &accounts;
        async move { accounts.knows_address(user, &address, at(since)).await }
    };
    log_in(1, None).await?;
    assert!(!knows(ada.id, home, 0).await?);
    let (session, _) = log_in(5, Some(home)).await?.expect("she is there");
    for (user, address, since, wanted) in [
        (ada.id, home, 4, true),
        (ada.id, home, 5, true),
        (ada.id, home, 6, false),
        (ada.id, away, 0, false),
        (bob.id, home, 0, false),
    ] {
        assert_eq!(knows(user, address, since).await?, wanted);
    }
    accounts.end_user_session(ada.id, session, at(6)).await?;
    assert!(
        knows(ada.id, home, 5).await?,
        "the session ended, the login was"
    );
    log_in(9, Some(home)).await?;
    assert!(knows(ada.id, home, 8).await?);
    backend.store.delete_user(ada.id, false, at(10)).await?;
    assert!(!knows(ada.id, home, 0).await?);
    Ok(())
}
