use super::*;
use crate::protocol::rest::{ChangePassword, DeleteAccount, DeleteAccountQuery};
use crate::store::{Change, CommitContext, JobKind, Store as _};

const NEW: &str = "battery staple";

impl Auth {
    async fn change(&self, caller: &Caller, current: &str, new: &str) -> Result<(), Error> {
        let change = ChangePassword {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
        };
        let changed = self.service.change_password(caller, change, address(1));
        changed.await
    }

    async fn delete(&self, caller: &Caller, password: &str) -> Result<(), Error> {
        let delete = DeleteAccount {
            password: password.to_owned(),
        };
        let query = DeleteAccountQuery {
            erase_messages: true,
        };
        let deleted = self
            .service
            .delete_account(caller, delete, query, address(1));
        deleted.await
    }
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (_, here) = auth.login("ada", address(1)).await;
    let (_, there) = auth.login("ada", address(2)).await;
    auth.change(&here, PASSWORD, NEW).await.expect("changed");
    assert_eq!(auth.heard(), [session_of(&there)]);
    let old = auth.try_login("ada", PASSWORD, address(1)).await;
    assert_eq!(refused(old), WRONG_LOGIN);
    let new = auth.try_login("ada", NEW, address(1)).await;
    new.expect("logged in");
    auth.service.me(&here).await.expect("still there");
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_to_one_that_is_allowed() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (_, here) = auth.login("ada", address(1)).await;
    let (_, there) = auth.login("ada", address(2)).await;
    assert_eq!(
        refused(auth.change(&here, "wrong", NEW).await),
        WRONG_PASSWORD
    );
    let long = "x".repeat(257);
    let error = auth.change(&here, &long, "short").await;
    let error = error.expect_err("refused");
    let fields: Vec<_> = error.field_errors().iter().map(|f| &f.field).collect();
    assert_eq!(fields, ["currentPassword", "newPassword"]);
    assert!(!auth.ended.contains(&session_of(&there)));
    auth.login("ada", address(1)).await;
}

#[tokio::test]
async fn a_deleted_account_is_gone_at_once_and_its_rooms_follow() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    let (tokens, here) = auth.login("ada", address(1)).await;
    let (_, there) = auth.login("ada", address(2)).await;
    let ctx = CommitContext {
        at: auth.clock.now(),
        limits: Limits::default(),
        outbox: None,
    };
    let create = Change::CreateRoom {
        by: ada.id,
        name: "a room".to_owned(),
    };
    let made = auth.store.commit(&ctx, &[create]).await.expect("committed");
    made[0].as_ref().expect("made");

    assert_eq!(refused(auth.delete(&here, "wrong").await), WRONG_PASSWORD);
    assert!(!auth.jobs_were_woken().await);
    auth.delete(&here, PASSWORD).await.expect("deleted");
    assert_eq!(auth.heard(), [session_of(&here), session_of(&there)]);
    assert!(auth.jobs_were_woken().await);
    let jobs = auth.store.jobs(10).await.expect("read");
    assert_eq!(jobs.len(), 1);
    let erase = JobKind::Deleted {
        erase_messages: true,
    };
    assert_eq!((jobs[0].user_id, jobs[0].kind), (ada.id, erase));

    let login = auth.try_login("ada", PASSWORD, address(1)).await;
    assert_eq!(refused(login), WRONG_LOGIN);
    let refresh = crate::protocol::rest::Refresh {
        refresh_token: tokens.refresh_token,
    };
    assert_eq!(
        refused(auth.service.refresh(refresh).await),
        NO_REFRESH_TOKEN
    );
    let unauthenticated = (ErrorCode::Unauthenticated, 401);
    assert_eq!(refused(auth.service.me(&here).await), unauthenticated);
    assert_eq!(refused(auth.delete(&here, PASSWORD).await), unauthenticated);
    let again = auth.register("ada").await;
    assert_ne!(again.id, ada.id);
}

#[tokio::test]
async fn wrong_passwords_count_alike_wherever_they_are_asked_for() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (_, caller) = auth.login("ada", address(1)).await;
    for _ in 0..3 {
        let guess = auth.try_login("ada", "wrong", address(1)).await;
        assert_eq!(refused(guess), WRONG_LOGIN);
        assert_eq!(
            refused(auth.change(&caller, "wrong", NEW).await),
            WRONG_PASSWORD
        );
        assert_eq!(refused(auth.delete(&caller, "wrong").await), WRONG_PASSWORD);
    }
    assert_eq!(refused(auth.delete(&caller, "wrong").await), WRONG_PASSWORD);
    assert_eq!(
        refused(auth.change(&caller, PASSWORD, NEW).await),
        RATE_LIMITED
    );
    assert_eq!(refused(auth.delete(&caller, PASSWORD).await), RATE_LIMITED);
    let login = auth.try_login("ada", PASSWORD, address(1)).await;
    assert_eq!(refused(login), RATE_LIMITED);
    auth.clock.advance(MINUTE);
    auth.change(&caller, PASSWORD, NEW).await.expect("changed");
}

#[tokio::test]
async fn two_changes_at_once_leave_one_password_and_no_doubt_which() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (_, here) = auth.login("ada", address(1)).await;
    let (_, there) = auth.login("ada", address(1)).await;
    let (a, b) = tokio::join!(
        auth.change(&here, PASSWORD, "battery staple a"),
        auth.change(&there, PASSWORD, "battery staple b"),
    );
    let won = match (&a, &b) {
        (Ok(()), Err(_)) => "battery staple a",
        (Err(_), Ok(())) => "battery staple b",
        both => panic!("one should win: {both:?}"),
    };
    let lost = a.and(b);
    assert_eq!(refused(lost), WRONG_PASSWORD);
    auth.try_login("ada", won, address(1))
        .await
        .expect("it counts");
}
