use std::pin::pin;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::*;
use crate::model::limits::TextError;
use crate::protocol::rest::ListQuery;
use crate::store::Accounts as _;

#[tokio::test]
async fn all_that_is_wrong_with_a_registration_is_said_at_once() {
    let auth = Auth::new();
    let bad = Register {
        email: "ada".to_owned(),
        username: "a b".to_owned(),
        password: "short".to_owned(),
    };
    let error = auth.service.register(bad, address(1)).await;
    let error = error.expect_err("refused");
    assert_eq!(
        (error.code(), error.status()),
        (ErrorCode::ValidationFailed, 422)
    );
    let fields: Vec<_> = error
        .field_errors()
        .iter()
        .map(|f| (f.field.as_str(), f.code.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("email", TextError::Form.code()),
            ("username", TextError::Character.code()),
            ("password", TextError::TooShort(8).code()),
        ]
    );
    assert_eq!(auth.passwords.computed(), 0);
}

#[tokio::test]
async fn an_address_or_a_username_is_taken_once_in_whatever_case() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    assert_eq!(ada.email.as_deref(), Some("ada@example.com"));
    assert_eq!(ada.created_at, auth.clock.now());
    let same_email = Register {
        email: "ADA@Example.com".to_owned(),
        ..registration("bob")
    };
    assert_eq!(
        refused(auth.service.register(same_email, address(1)).await),
        (ErrorCode::EmailTaken, 409)
    );
    let same_name = Register {
        username: "Ada".to_owned(),
        ..registration("bob")
    };
    assert_eq!(
        refused(auth.service.register(same_name, address(1)).await),
        (ErrorCode::UsernameTaken, 409)
    );
}

#[tokio::test]
async fn thirty_registrations_a_minute_come_from_one_address() {
    let auth = Auth::new();
    for n in 0..30 {
        let name = format!("user{n}");
        let registered = auth.service.register(registration(&name), address(1)).await;
        registered.expect("registered");
    }
    let more = || auth.service.register(registration("more"), address(1));
    assert_eq!(refused(more().await), RATE_LIMITED);
    let elsewhere = registration("elsewhere");
    let elsewhere = auth.service.register(elsewhere, address(2)).await;
    elsewhere.expect("another address");
    auth.clock.advance(MINUTE);
    more().await.expect("a minute later");
}

#[tokio::test]
async fn a_login_gives_tokens_for_a_session_of_its_own() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    let request = Login {
        email: "Ada@EXAMPLE.com".to_owned(),
        password: PASSWORD.to_owned(),
        device: Some("laptop".to_owned()),
    };
    let tokens = auth.service.login(request, address(1)).await;
    let tokens = tokens.expect("logged in");
    assert_eq!(tokens.token_type, "Bearer");
    assert_eq!(
        (tokens.expires_in, tokens.refresh_expires_in),
        (900, 2_592_000)
    );
    assert_eq!(tokens.user, ada);
    let caller = auth.caller(&tokens);
    assert_eq!(caller.user_id, ada.id);
    auth.login("ada", address(1)).await;
    let sessions = auth.service.sessions(&caller, ListQuery::default()).await;
    let sessions = sessions.expect("listed").items;
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0].device, "laptop");
    assert_eq!(sessions[0].id.to_string(), session_of(&caller));
    assert_eq!(sessions[1].device, "");
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_look_and_cost_the_same() {
    let auth = Auth::new();
    auth.register("ada").await;
    let mut seen = Vec::new();
    for name in ["ada", "nobody"] {
        let before = auth.passwords.computed();
        let error = auth.try_login(name, "wrong password", address(1)).await;
        let error = error.expect_err("refused");
        seen.push((
            error.code(),
            error.status(),
            error.detail().to_owned(),
            auth.passwords.computed() - before,
        ));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(
        (seen[0].0, seen[0].1, seen[0].3),
        (WRONG_LOGIN.0, WRONG_LOGIN.1, 1)
    );

    // And they are limited the same: with the one above, ten from different addresses.
    for name in ["ada", "nobody"] {
        let mut outcomes = Vec::new();
        for n in 0..11 {
            let guess = auth
                .try_login(name, "wrong password", address(10 + n))
                .await;
            outcomes.push(refused(guess));
        }
        let expected = [vec![WRONG_LOGIN; 9], vec![RATE_LIMITED; 2]].concat();
        assert_eq!(outcomes, expected, "{name}");
    }
}

#[tokio::test]
async fn a_password_too_short_to_be_one_is_only_wrong_and_one_too_long_is_refused() {
    let auth = Auth::new();
    auth.register("ada").await;
    for guess in ["", "wrong"] {
        let guess = auth.try_login("ada", guess, address(1)).await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    let long = auth.try_login("ada", &"x".repeat(257), address(1)).await;
    assert_eq!(refused(long), (ErrorCode::ValidationFailed, 422));
    let bad = Login {
        email: "ada".to_owned(),
        password: PASSWORD.to_owned(),
        device: Some(String::new()),
    };
    let error = auth.service.login(bad, address(1)).await;
    let error = error.expect_err("refused");
    let fields: Vec<_> = error.field_errors().iter().map(|f| &f.field).collect();
    assert_eq!(fields, ["email", "device"]);
}

#[tokio::test]
async fn after_ten_wrong_passwords_even_the_right_one_waits() {
    let auth = Auth::new();
    auth.register("ada").await;
    for _ in 0..10 {
        let guess = auth.try_login("ada", "wrong password", address(1)).await;
        assert_eq!(refused(guess), WRONG_LOGIN);
        auth.clock.advance(Duration::from_secs(1));
    }
    let right = auth.try_login("ada", PASSWORD, address(1)).await;
    let error = right.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::RateLimited);
    assert_eq!(error.retry_after_seconds(), Some(50));
    auth.clock.advance(Duration::from_secs(50));
    auth.login("ada", address(1)).await;
}

#[tokio::test]
async fn right_passwords_never_count() {
    let auth = Auth::new();
    auth.register("ada").await;
    for _ in 0..30 {
        auth.login("ada", address(1)).await;
    }
}

#[tokio::test]
async fn an_address_is_limited_over_all_accounts() {
    let auth = Auth::new();
    auth.register("ada").await;
    for n in 0..10 {
        let guess = auth
            .try_login(&format!("user{n}"), "wrong password", address(1))
            .await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    let right = auth.try_login("ada", PASSWORD, address(1)).await;
    assert_eq!(refused(right), RATE_LIMITED);
    auth.login("ada", address(2)).await;
}

#[tokio::test]
async fn a_network_of_ipv6_is_one_address() {
    let auth = Auth::new();
    auth.register("ada").await;
    let host = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
    for n in 0..10 {
        let guess = auth.try_login("nobody", "wrong password", host(n)).await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    let right = auth.try_login("ada", PASSWORD, host(10)).await;
    assert_eq!(refused(right), RATE_LIMITED);
}

#[tokio::test]
async fn strangers_cannot_lock_an_owner_out() {
    let auth = Auth::new();
    auth.register("ada").await;
    let home = address(1);
    auth.login("ada", home).await;
    auth.clock.advance(29 * DAY);
    for n in 0..10 {
        let guess = auth
            .try_login("ada", "wrong password", address(10 + n))
            .await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    // A stranger who guesses right has to wait all the same.
    let guess = auth.try_login("ada", PASSWORD, address(30)).await;
    assert_eq!(refused(guess), RATE_LIMITED);
    // The owner's own count is untouched, on every node, and limited for itself.
    auth.login("ada", home).await;
    for _ in 0..10 {
        let guess = auth.try_login("ada", "wrong password", home).await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    let right = auth.try_login("ada", PASSWORD, home).await;
    assert_eq!(refused(right), RATE_LIMITED);
}

#[tokio::test]
async fn an_address_is_forgotten_as_the_owners_after_thirty_days() {
    let auth = Auth::new();
    auth.register("ada").await;
    let home = address(1);
    auth.login("ada", home).await;
    auth.clock.advance(31 * DAY);
    for n in 0..10 {
        let guess = auth
            .try_login("ada", "wrong password", address(10 + n))
            .await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    let right = auth.try_login("ada", PASSWORD, home).await;
    assert_eq!(refused(right), RATE_LIMITED);
}

#[tokio::test]
async fn all_nodes_know_the_owners_address_and_none_keeps_it_readable() {
    let auth = Auth::new();
    auth.register("ada").await;
    let home = address(1);
    auth.login("ada", home).await;
    let other = auth.another_node();
    for n in 0..10 {
        let guess = other
            .try_login("ada", "wrong password", address(10 + n))
            .await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    other.login("ada", home).await;
    let plain = crate::service::rates::SourceAddress::from(home);
    let hash = auth.service.address_hash(plain).await.expect("hashed");
    let kept_here = other.service.address_hash(plain).await.expect("hashed");
    assert_eq!(kept_here, hash);
    // Under a key of the database's own: else the few addresses there are could be hashed and compared.
    let elsewhere = Auth::new();
    let elsewhere = elsewhere.service.address_hash(plain).await;
    assert_ne!(elsewhere.expect("hashed"), hash);
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_ten() {
    let auth = Auth::new();
    auth.register("ada").await;
    let guesses = (0..50).map(|_| auth.try_login("ada", "wrong password", address(1)));
    let outcomes: Vec<_> = join_all(guesses).await.into_iter().map(refused).collect();
    let wrong = outcomes.iter().filter(|o| **o == WRONG_LOGIN).count();
    let limited = outcomes.iter().filter(|o| **o == RATE_LIMITED).count();
    assert_eq!((wrong, limited), (10, 40));
}

#[tokio::test]
async fn many_right_logins_at_once_from_one_address_all_succeed() {
    let auth = Auth::new();
    auth.register("ada").await;
    let logins = (0..50).map(|_| auth.try_login("ada", PASSWORD, address(1)));
    assert!(join_all(logins).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn with_rates_off_guesses_are_not_counted() {
    let rates = Rates {
        enabled: false,
        ..Rates::default()
    };
    let auth = Auth::with(&rates, Limits::default());
    auth.register("ada").await;
    for _ in 0..30 {
        let guess = auth.try_login("ada", "wrong password", address(1)).await;
        assert_eq!(refused(guess), WRONG_LOGIN);
    }
    auth.login("ada", address(1)).await;
}

#[tokio::test]
async fn of_too_many_sessions_the_one_longest_unused_ends() {
    let limits = Limits {
        sessions_per_user: 2,
        ..Limits::default()
    };
    let auth = Auth::with(&Rates::default(), limits);
    auth.register("ada").await;
    let (_, first) = auth.login("ada", address(1)).await;
    auth.clock.advance(MINUTE);
    let (_, second) = auth.login("ada", address(1)).await;
    auth.clock.advance(MINUTE);
    auth.login("ada", address(1)).await;
    assert_eq!(auth.heard(), [session_of(&first)]);
    assert!(auth.ended.contains(&session_of(&first)));
    assert!(!auth.ended.contains(&session_of(&second)));
}

#[tokio::test]
async fn a_password_hashed_at_another_cost_is_hashed_anew_by_the_login() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    let (old, dearer) = (auth.stored_hash(&ada).await, argon2_hash_of(PASSWORD, 16));
    let store = &auth.store;
    store
        .rehash_password(ada.id, &old, &dearer)
        .await
        .expect("set");
    assert_eq!(auth.stored_hash(&ada).await, dearer);
    auth.login("ada", address(1)).await;
    let renewed = auth.stored_hash(&ada).await;
    assert!(
        renewed.starts_with("$argon2id$v=19$m=8,t=1,p=1$"),
        "{renewed}"
    );
    auth.login("ada", address(1)).await;
    assert_eq!(auth.stored_hash(&ada).await, renewed);
}

/// Runs a story on a runtime with one thread that hashes.
fn on_one_hashing_thread(story: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime")
        .block_on(story);
}

/// Keeps that thread busy until the answer is dropped: a hash that is begun meanwhile isn't done.
fn hold_up_hashing() -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || held.recv().is_ok());
    release
}

#[test]
fn a_login_under_way_while_the_password_changes_leaves_no_session() {
    on_one_hashing_thread(a_login_while_the_password_changes());
}

async fn a_login_while_the_password_changes() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    let held = hold_up_hashing();
    let mut login = pin!(auth.try_login("ada", PASSWORD, address(1)));
    let begun = login.as_mut().now_or_never();
    assert!(begun.is_none(), "the password is being hashed");
    let old = auth.stored_hash(&ada).await;
    let new = argon2_hash_of("another password", 8);
    let at = auth.clock.now();
    let changed = auth.store.set_password(ada.id, &old, &new, None, at).await;
    assert!(changed.expect("set").is_some());
    drop(held);
    assert_eq!(refused(login.await), WRONG_LOGIN);
    let left = auth.store.sessions(ada.id, at, None, 10).await;
    assert!(left.expect("listed").items.is_empty());
}

#[test]
fn a_login_under_way_while_another_hashes_the_password_anew_succeeds() {
    on_one_hashing_thread(a_login_while_another_hashes_anew());
}

async fn a_login_while_another_hashes_anew() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    let held = hold_up_hashing();
    let mut login = pin!(auth.try_login("ada", PASSWORD, address(1)));
    let begun = login.as_mut().now_or_never();
    assert!(begun.is_none(), "the password is being hashed");
    let (old, new) = (auth.stored_hash(&ada).await, argon2_hash_of(PASSWORD, 8));
    let store = &auth.store;
    store
        .rehash_password(ada.id, &old, &new)
        .await
        .expect("set");
    drop(held);
    login.await.expect("logged in");
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_no_wrong_password() {
    use crate::store::memory::Fault;
    let auth = Auth::new();
    auth.register("ada").await;
    auth.store.fail_next(1, Fault::Unavailable);
    let login = auth.try_login("ada", PASSWORD, address(1)).await;
    let error = login.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert_eq!(error.retry_after_seconds(), Some(1));
    auth.login("ada", address(1)).await;
}

impl Auth {
    async fn stored_hash(&self, user: &User) -> String {
        let credentials = self.store.credentials(user.id).await;
        let credentials = credentials.expect("read").expect("an account");
        credentials.password_hash
    }
}

/// A PHC string of `password` at `memory` KiB.
fn argon2_hash_of(password: &str, memory: u32) -> String {
    use argon2::PasswordHasher as _;
    let params = argon2::Params::new(memory, 1, 1, None).expect("valid");
    let hash = argon2::Argon2::from(params).hash_password(password.as_bytes());
    hash.expect("hashed").to_string()
}
