use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::auth::RefreshToken;
use crate::protocol::rest::Refresh;
use crate::store::{Accounts as _, Rotated, Rotation};

impl Auth {
    async fn refresh(&self, token: &str) -> Result<Tokens, Error> {
        let refresh_token = token.to_owned();
        self.service.refresh(Refresh { refresh_token }).await
    }
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_of_the_same_session() {
    let auth = Auth::new();
    let ada = auth.register("ada").await;
    let (first, caller) = auth.login("ada", address(1)).await;
    auth.clock.advance(DAY);
    let second = auth.refresh(&first.refresh_token).await.expect("refreshed");
    assert_eq!(auth.caller(&second).session, caller.session);
    assert_eq!(second.user, ada);
    assert_eq!(
        (second.expires_in, second.refresh_expires_in),
        (900, 2_592_000)
    );
    assert_ne!(second.refresh_token, first.refresh_token);
    // Used again and again, a session goes on.
    let mut tokens = second;
    for _ in 0..5 {
        auth.clock.advance(29 * DAY);
        tokens = auth
            .refresh(&tokens.refresh_token)
            .await
            .expect("refreshed");
    }
    auth.clock.advance(30 * DAY);
    assert_eq!(
        refused(auth.refresh(&tokens.refresh_token).await),
        NO_REFRESH_TOKEN
    );
}

#[tokio::test]
async fn fifty_refreshes_at_once_give_one_successor() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (tokens, _) = auth.login("ada", address(1)).await;
    let nodes = [&auth, &auth.another_node()];
    let uses = (0..50).map(|n| nodes[n % 2].refresh(&tokens.refresh_token));
    let mut successors: Vec<String> = join_all(uses)
        .await
        .into_iter()
        .map(|r| r.expect("refreshed").refresh_token)
        .collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    auth.refresh(&successors[0])
        .await
        .expect("it is the current one");
}

#[tokio::test]
async fn a_token_used_again_within_a_minute_answers_with_the_same_successor() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (first, _) = auth.login("ada", address(1)).await;
    let second = auth.refresh(&first.refresh_token).await.expect("refreshed");
    auth.clock.advance(MINUTE);
    let again = auth.another_node().refresh(&first.refresh_token).await;
    let again = again.expect("the reply was lost");
    assert_eq!(again.refresh_token, second.refresh_token);
    assert_eq!(again.refresh_expires_in, second.refresh_expires_in - 60);
    assert_eq!(auth.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_used_again_later_ends_the_session() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (first, caller) = auth.login("ada", address(1)).await;
    let second = auth.refresh(&first.refresh_token).await.expect("refreshed");
    auth.clock.advance(MINUTE + Duration::from_millis(1));
    assert_eq!(
        refused(auth.refresh(&first.refresh_token).await),
        NO_REFRESH_TOKEN
    );
    assert_eq!(auth.heard(), [session_of(&caller)]);
    assert_eq!(
        refused(auth.refresh(&second.refresh_token).await),
        NO_REFRESH_TOKEN
    );
}

#[tokio::test]
async fn an_older_token_ends_the_session_at_once() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (first, caller) = auth.login("ada", address(1)).await;
    let (_, untouched) = auth.login("ada", address(1)).await;
    let second = auth.refresh(&first.refresh_token).await.expect("refreshed");
    let third = auth
        .refresh(&second.refresh_token)
        .await
        .expect("refreshed");
    assert_eq!(
        refused(auth.refresh(&first.refresh_token).await),
        NO_REFRESH_TOKEN
    );
    assert!(auth.ended.contains(&session_of(&caller)));
    assert!(!auth.ended.contains(&session_of(&untouched)));
    assert_eq!(
        refused(auth.refresh(&third.refresh_token).await),
        NO_REFRESH_TOKEN
    );
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_alike() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (tokens, caller) = auth.login("ada", address(1)).await;
    let unknown = RefreshToken::generate(&SystemRandom).to_text();
    for token in ["", "x", &tokens.access_token, &unknown, &"A".repeat(60_000)] {
        assert_eq!(refused(auth.refresh(token).await), NO_REFRESH_TOKEN);
    }
    auth.service.logout(&caller).await.expect("logged out");
    assert_eq!(
        refused(auth.refresh(&tokens.refresh_token).await),
        NO_REFRESH_TOKEN
    );
}

#[tokio::test]
async fn a_successor_that_was_tampered_with_is_no_token() {
    let auth = Auth::new();
    auth.register("ada").await;
    let (tokens, _) = auth.login("ada", address(1)).await;
    let presented = RefreshToken::parse(&tokens.refresh_token).expect("a token");
    let successor = RefreshToken::generate(&SystemRandom);
    let mut sealed = presented.seal(&successor, &SystemRandom).expect("sealed");
    sealed[20] ^= 1;
    let now = auth.clock.now();
    let rotation = Rotation {
        presented: presented.hash(),
        successor: successor.hash(),
        sealed_successor: &sealed,
        at: now,
        expires_at: now.plus(DAY),
        grace_from: now,
    };
    let rotated = auth.store.rotate(&rotation).await.expect("rotated");
    assert!(matches!(rotated, Rotated::Fresh { .. }));
    let again = auth.refresh(&tokens.refresh_token).await;
    assert_eq!(refused(again), (ErrorCode::Internal, 500));
}

#[tokio::test]
async fn a_refresh_without_an_answer_is_answered_the_second_time() {
    use crate::store::memory::Fault;
    let auth = Auth::new();
    auth.register("ada").await;
    for fault in [Fault::UncertainApplied, Fault::UncertainLost] {
        let (tokens, _) = auth.login("ada", address(1)).await;
        auth.store.fail_next(1, fault);
        let lost = auth.refresh(&tokens.refresh_token).await;
        assert_eq!(refused(lost), (ErrorCode::Unavailable, 503));
        let again = auth
            .refresh(&tokens.refresh_token)
            .await
            .expect("refreshed");
        auth.refresh(&again.refresh_token)
            .await
            .expect("the current one");
    }
}

/// What a client, or a thief, does with the tokens of one session.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Presents the newest of the tokens given out so far.
    PresentNewest,
    /// Presents any of them.
    Present(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::PresentNewest),
        3 => any::<prop::sample::Index>().prop_map(Step::Present),
        2 => (0_u64..90).prop_map(Step::Wait),
    ]
}

/// Presents tokens as the steps say, and checks each answer against the rule: the current one is replaced, the one before
/// answers with the same for 60 s, any other use ends the session for good.
async fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let auth = Auth::new();
    auth.register("ada").await;
    let (tokens, caller) = auth.login("ada", address(1)).await;
    let mut given = vec![tokens.refresh_token];
    let mut replaced_at = auth.clock.now();
    let mut alive = true;
    for step in steps {
        let age = match step {
            Step::Wait(seconds) => {
                auth.clock.advance(Duration::from_secs(seconds));
                continue;
            }
            Step::PresentNewest => 0,
            Step::Present(index) => index.index(given.len()),
        };
        let answer = auth.refresh(&given[given.len() - 1 - age]).await;
        let in_grace = auth.clock.now().since(replaced_at) <= MINUTE;
        match answer {
            Ok(tokens) if age == 0 => {
                prop_assert!(alive);
                prop_assert!(!given.contains(&tokens.refresh_token));
                given.push(tokens.refresh_token);
                replaced_at = auth.clock.now();
            }
            Ok(tokens) => {
                prop_assert!(alive && age == 1 && in_grace);
                prop_assert_eq!(Some(&tokens.refresh_token), given.last());
            }
            Err(error) => {
                prop_assert_eq!(error.code(), ErrorCode::InvalidRefreshToken);
                prop_assert!(!alive || age > 1 || (age == 1 && !in_grace));
                alive = false;
            }
        }
        prop_assert_eq!(auth.ended.contains(&session_of(&caller)), !alive);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_session_never_forks(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(follow(steps))?;
    }
}
