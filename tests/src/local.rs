//! A server in this process, on a runtime of its own: with other times than the usual, a clock that can be moved, and its tasks
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chat_core::auth::{Keys, PasswordCost, SigningKey, TokenNames};
use chat_core::model::{Clock, SystemClock, Timestamp};
use chat_core::random::SystemRandom;
use chat_core::service::Chat;
use chat_core::store::memory::Memory;
use chat_server::config::{Environment, Flags};
use chat_server::hub::HubOptions;
use chat_server::{Config, Server};
use tokio::runtime::Runtime;

use crate::{Api, Person};

/// The time of day, and what was added to it.
#[derive(Debug, Default)]
struct MovedClock(AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now + self.0.load(Ordering::Acquire))
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Local {
    chat: Chat,
    url: String,
    clock: Arc<MovedClock>,
    runtime: Option<Runtime>,
}

impl Local {
    /// Starts it, with these times and bounds of its hub's connections.
    pub async fn start(options: HubOptions) -> Self {
        let variables = [
            ("CHAT_LISTEN".to_owned(), "127.0.0.1:0".into()),
            ("CHAT_RATE_LIMITS".to_owned(), "off".into()),
        ];
        let environment: Environment = variables.into_iter().collect();
        let config = Config::load(&Flags::default(), &environment).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let clock = Arc::new(MovedClock::default());
        let started = runtime.spawn({
            let clock: Arc<dyn Clock> = Arc::<MovedClock>::clone(&clock);
            async move {
                let (memory, random) = (Memory::new(), Arc::new(SystemRandom));
                let key = SigningKey::generate(&*random).expect("a key");
                let names = TokenNames::default();
                let keys = Keys::new(names, Some(key), Arc::clone(&clock), random);
                let chat = Chat::builder()
                    .store(memory.clone())
                    .accounts(memory, Arc::new(keys))
                    .clock(clock)
                    .password_cost(PasswordCost::MINIMAL)
                    .rates(config.rates.clone())
                    .start()
                    .await
                    .expect("a chat");
                let server = Server::bind_chat(config, chat.clone()).await;
                let server = server.expect("a port").hub(options);
                let url = server.url();
                tokio::spawn(server.run(std::future::pending()));
                (chat, url)
            }
        });
        let (chat, url) = started.await.expect("it starts");
        Self {
            chat,
            url,
            clock,
            runtime: Some(runtime),
        }
    }

    /// Someone new, registered and logged in.
    pub async fn person(&self, username: &str) -> Person {
        Person::register(&self.url, username).await
    }

    /// Calls without a token.
    #[must_use]
    pub fn anyone(&self) -> Api {
        Api::new(&self.url)
    }

    /// Connections to the hub that are open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.chat.fanout_stats().connections()
    }

    /// Tasks that it runs now, its own upkeep included.
    ///
    /// # Panics
    /// Never: it runs for as long as it is here.
    #[must_use]
    pub fn tasks(&self) -> usize {
        let runtime = self.runtime.as_ref().expect("it runs");
        runtime.metrics().num_alive_tasks()
    }

    /// Moves its clock on: tokens run out, while nobody waits.
    pub fn later(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::AcqRel);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A runtime mustn't be waited for where others run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
