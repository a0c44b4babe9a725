use super::*;
use crate::model::SessionId;
use crate::protocol::rest::{ListQuery, UpdateUser};

impl Auth {
    async fn rename(&self, caller: &Caller, username: Option<&str>) -> Result<User, Error> {
        let username = username.map(str::to_owned);
        let update = UpdateUser { username };
        self.service.update_user(caller, update).await
    }
}

fn list(limit: i64, after: Option<SessionId>) -> ListQuery {
    ListQuery {
        limit: Some(limit),
        after: after.map(|id| id.0),
    }
}

#[tokio::test]
async fn the_session_that_asks_is_marked_and_pages_follow_each_other() {
    let auth = Auth::new();
    auth.register("ada").await;
    auth.register("bob").await;
    auth.login("ada", address(1)).await;
    let (_, caller) = auth.login("ada", address(1)).await;
    auth.login("ada", address(1)).await;
    auth.login("bob", address(1)).await;
    let first = auth.service.sessions(&caller, list(2, None)).await;
    let first = first.expect("listed");
    assert!(first.has_more);
    let current: Vec<bool> = first.items.iter().map(|s| s.current).collect();
    assert_eq!(current, [false, true]);
    let rest = list(2, Some(first.items[1].id));
    let rest = auth.service.sessions(&caller, rest).await.expect("listed");
    assert_eq!((rest.items.len(), rest.has_more), (1, false));
    for limit in [0, -1, 101] {
        let refusal = auth.service.sessions(&caller, list(limit, None)).await;
        let error = refusal.expect_err("refused");
        assert_eq!(error.field_errors()[0].field, "limit");
    }
}

#[tokio::test]
async fn a_logout_ends_the_session_here_and_on_all_nodes() {
    use crate::store::Store as _;
    let auth = Auth::new();
    auth.register("ada").await;
    let (_, caller) = auth.login("ada", address(1)).await;
    auth.service.logout(&caller).await.expect("logged out");
    assert!(auth.ended.contains(&session_of(&caller)));
    let ended = auth.store.ended_sessions(auth.clock.now()).await;
    let ended = ended.expect("read");
    assert_eq!(ended[0].session, session_of(&caller));
    auth.service.logout(&caller).await.expect("done already");
    assert_eq!(auth.heard().len(), 1);
}

#[tokio::test]
async fn anyone_ends_their_own_sessions_alone() {
    let auth = Auth::new();
    auth.register("ada").await;
    auth.register("bob").await;
    let (_, ada) = auth.login("ada", address(1)).await;
    let (_, bob) = auth.login("bob", address(1)).await;
    let id = |caller: &Caller| session_of(caller).parse::<SessionId>().expect("an id");
    let not_found = (ErrorCode::NotFound, 404);
    for nobodys in [id(&bob), SessionId(0), SessionId(i64::MAX)] {
        let ended = auth.service.end_session(&ada, nobodys).await;
        assert_eq!(refused(ended), not_found);
    }
    assert_eq!(auth.heard(), Vec::<String>::new());
    let ended = auth.service.end_session(&ada, id(&ada)).await;
    ended.expect("ended");
    assert_eq!(auth.heard(), [session_of(&ada)]);
    let again = auth.service.end_session(&ada, id(&ada)).await;
    assert_eq!(refused(again), not_found);
}

#[tokio::test]
async fn a_username_is_changed_under_the_rules_of_registering() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    auth.register("bob").await;
    let (_, caller) = auth.login("ada", address(1)).await;
    assert_eq!(auth.service.me(&caller).await.expect("read"), ada);
    assert_eq!(
        auth.rename(&caller, None).await.expect("nothing to do"),
        ada
    );
    assert!(!auth.jobs_were_woken().await);
    let taken = auth.rename(&caller, Some("BOB")).await;
    assert_eq!(refused(taken), (ErrorCode::UsernameTaken, 409));
    let bad = auth.rename(&caller, Some("deleted user")).await;
    assert_eq!(
        bad.expect_err("refused").field_errors()[0].field,
        "username"
    );
    assert!(!auth.jobs_were_woken().await);
    let renamed = auth.rename(&caller, Some("Ada.L")).await.expect("renamed");
    let expected = User {
        username: "Ada.L".to_owned(),
        ..ada
    };
    assert_eq!(renamed, expected);
    assert!(auth.jobs_were_woken().await);
}

#[tokio::test]
async fn a_caller_whose_session_is_not_of_this_server_has_none_here() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    for session in [None, Some("a host's own".to_owned())] {
        let caller = Caller {
            user_id: ada.id,
            session,
            expires_at: None,
        };
        let logout = auth.service.logout(&caller).await;
        assert_eq!(refused(logout), (ErrorCode::Unauthenticated, 401));
    }
}

#[tokio::test]
async fn secrets_are_not_in_debug_output() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (tokens, _) = auth.login("ada", address(1)).await;
    let shown = format!(
        "{:?} {:?} {tokens:?} {:?}",
        auth.service,
        auth.service.parts,
        login("ada", PASSWORD)
    );
    for secret in [PASSWORD, &tokens.access_token, &tokens.refresh_token] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
