//! The token of a connection that lives longer than it, against a scripted hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_client::model::{Clock, Timestamp};
use chat_client::protocol::ErrorCode;
use chat_client::{
    AccessToken, Client, ConnectionState, Refusal, Source, TokenSource, async_trait,
};
use serde_json::json;
use tokio::time::Instant;

use crate::hub::{Hub, ROOM};

/// Gives `token-1`, `token-2` …, each good for 15 minutes of the paused clock.
#[derive(Debug)]
struct Tokens {
    began: Instant,
    given: AtomicU64,
}

#[async_trait]
impl TokenSource for Tokens {
    async fn access_token(&self, refused: Option<&str>) -> Result<AccessToken, Source> {
        if refused.is_some() {
            self.given.fetch_add(1, Ordering::SeqCst);
        }
        let n = self.given.load(Ordering::SeqCst);
        let ends = self.began.elapsed() + Duration::from_secs(900);
        Ok(AccessToken {
            token: format!("token-{n}"),
            expires_at: Some(Timestamp::from_millis(0).plus(ends)),
        })
    }
}

/// Wall time that goes with the paused clock.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0).plus(self.0.elapsed())
    }
}

fn renewing(hub: &Hub) -> Client {
    let began = Instant::now();
    let given = AtomicU64::new(1);
    hub.builder()
        .token_source(Tokens { began, given })
        .clock(Arc::new(PausedClock(began)))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_renewed_in_place_before_its_token_ends() {
    let mut hub = Hub::new();
    let client = renewing(&hub);
    let (connection, mut peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 5)]));
    let connection = connection.unwrap();
    assert_eq!(peer.token, "token-1");
    let began = Instant::now();
    for n in 2..5 {
        let call = loop {
            tokio::select! {
                call = peer.call() => break call,
                () = tokio::time::sleep(Duration::from_secs(10)) => peer.write(r#"{"type":6}"#).await,
            }
        };
        assert_eq!(call.target, "Authenticate");
        assert_eq!(call.argument["accessToken"], format!("token-{n}"));
        let age = began.elapsed().as_secs() - (n - 2) * 820;
        assert!((800..900).contains(&age), "renewed after {age} s");
        peer.complete(&call.id, json!({"expiresIn": 900})).await;
    }
    assert!(matches!(
        *connection.state().borrow(),
        ConnectionState::Connected
    ));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_at_once() {
    let mut hub = Hub::new();
    let client = renewing(&hub);
    let refusal = Refusal {
        code: Some(ErrorCode::TokenExpired),
        status: 401,
        detail: "expired".into(),
        errors: vec![],
        retry_after: None,
    };
    hub.refuse_next(refusal.into());
    let (connection, mut peer) = tokio::join!(client.connect(), hub.connected(&[(ROOM, 5)]));
    let _connection = connection.unwrap();
    assert_eq!(peer.token, "token-2");
    // A connection ended because its token did comes back with another.
    peer.closing("tokenExpired", true).await;
    assert_eq!(hub.connected(&[(ROOM, 5)]).await.token, "token-3");
}
