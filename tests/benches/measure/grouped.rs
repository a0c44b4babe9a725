//! Senders in their rooms, and the server's own way to send.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use chat_core::auth::{AuthError, Authenticator, Identity};
use chat_core::model::limits::Rates;
use chat_core::model::{RoomId, Timestamp, UserId};
use chat_core::service::Chat;
use chat_core::store::Store;
use tokio::task::JoinSet;

use super::seed;

/// A member and the room it writes into.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) user: UserId,
    pub(crate) room: RoomId,
}

/// New senders in a database, so many in a room.
pub(crate) async fn senders(store: &dyn Store, count: usize, room_size: usize) -> Vec<Sender> {
    let at = Timestamp::from_millis(1_769_860_800_000);
    let mut senders = Vec::new();
    for members in seed::users(store, at, count).await.chunks(room_size) {
        let room = seed::room(store, at, members).await;
        senders.extend(members.iter().map(|&user| Sender { user, room }));
    }
    senders
}

/// A chat with its senders.
pub(crate) struct Grouped {
    chat: Chat,
    senders: Vec<Sender>,
}

impl Grouped {
    pub(crate) async fn start(store: impl Store + 'static, count: usize, room_size: usize) -> Self {
        let senders = senders(&store, count, room_size).await;
        let rates = Rates {
            enabled: false,
            ..Rates::default()
        };
        let chat = Chat::builder()
            .store(store)
            .authenticator(Nobody)
            .rates(rates)
            .start()
            .await
            .expect("a chat");
        Self { chat, senders }
    }

    /// Messages sent until the time is over, at least one by each sender.
    pub(crate) async fn send_for(&self, time: Duration, content: &'static str) -> u32 {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for &Sender { user, room } in &self.senders {
            let chat = self.chat.clone();
            tasks.spawn(async move {
                let mut sent = 0;
                while sent == 0 || Instant::now() < end {
                    chat.send(user, room, content).await.expect("sent");
                    sent += 1;
                }
                sent
            });
        }
        tasks.join_all().await.into_iter().sum()
    }
}

/// Nobody calls from outside.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthenticated)
    }
}
