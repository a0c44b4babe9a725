//! Stories of the auth role, against the memory store and a clock that is moved by hand.

mod login;
mod password;
mod refresh;
mod sessions;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::{AccountParts, AccountService};
use crate::auth::{Caller, EndedSessions, Keys, PasswordCost, Passwords, SigningKey, TokenNames};
use crate::model::limits::{Lifetimes, Limits, Rates};
use crate::model::{Clock, ManualClock, User};
use crate::protocol::ErrorCode;
use crate::protocol::rest::{Login, Register, Tokens};
use crate::random::SystemRandom;
use crate::service::Error;
use crate::service::rates::RateLimits;
use crate::store::memory::Memory;

const PASSWORD: &str = "correct horse";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// An auth node with its database.
struct Auth {
    service: AccountService,
    store: Memory,
    clock: Arc<ManualClock>,
    keys: Arc<Keys>,
    passwords: Arc<Passwords>,
    ended: Arc<EndedSessions>,
    jobs: Arc<Notify>,
    /// The sessions whose end was told, in order.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Auth {
    fn new() -> Self {
        Self::with(&Rates::default(), Limits::default())
    }

    fn with(rates: &Rates, limits: Limits) -> Self {
        Self::on(Memory::new(), ManualClock::shared(), rates, limits)
    }

    /// Another node of the same cluster.
    fn another_node(&self) -> Self {
        Self::on(
            self.store.connect(),
            Arc::clone(&self.clock),
            &Rates::default(),
            Limits::default(),
        )
    }

    fn on(store: Memory, clock: Arc<ManualClock>, rates: &Rates, limits: Limits) -> Self {
        let random = Arc::new(SystemRandom);
        let shared_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let signing = SigningKey::generate(&*random).expect("generated");
        let keys = Arc::new(Keys::new(
            TokenNames::default(),
            Some(signing),
            Arc::clone(&shared_clock),
            Arc::clone(&random) as _,
        ));
        let passwords = Passwords::new(PasswordCost::MINIMAL, Arc::clone(&random) as _, 2);
        let passwords = Arc::new(passwords);
        let ended = Arc::new(EndedSessions::new(Lifetimes::default().access));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        ended.listen(move |s| log.lock().expect("no panic").push(s.session.clone()));
        let jobs = Arc::new(Notify::new());
        let service = AccountService::new(AccountParts {
            accounts: Arc::new(store.clone()),
            store: Arc::new(store.clone()),
            keys: Arc::clone(&keys),
            passwords: Arc::clone(&passwords),
            ended: Arc::clone(&ended),
            rates: Arc::new(RateLimits::new(rates, &shared_clock)),
            jobs: Arc::clone(&jobs),
            clock: shared_clock,
            random,
            lifetimes: Lifetimes::default(),
            limits,
        });
        Self {
            service: service.expect("there is a signing key"),
            store,
            clock,
            keys,
            passwords,
            ended,
            jobs,
            heard,
        }
    }

    /// Registers `name`, whose address is `name@example.com`, from an address that nothing else comes from.
    async fn register(&self, name: &str) -> User {
        let registered = self
            .service
            .register(registration(name), address(250))
            .await;
        registered.expect("registered")
    }

    async fn try_login(&self, name: &str, password: &str, from: IpAddr) -> Result<Tokens, Error> {
        self.service.login(login(name, password), from).await
    }

    async fn login(&self, name: &str, from: IpAddr) -> (Tokens, Caller) {
        let tokens = self.try_login(name, PASSWORD, from).await;
        let tokens = tokens.expect("logged in");
        let caller = self.caller(&tokens);
        (tokens, caller)
    }

    /// Who comes with these tokens.
    fn caller(&self, tokens: &Tokens) -> Caller {
        let claims = self.keys.verify(&tokens.access_token).expect("good");
        Caller {
            user_id: claims.user_id,
            session: Some(claims.session_id.to_string()),
            expires_at: Some(claims.expires_at),
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    /// Whether the runner of jobs was woken since this was last asked.
    async fn jobs_were_woken(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.jobs.notified())
            .await
            .is_ok()
    }
}

/// `192.0.2.n`
fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn registration(name: &str) -> Register {
    Register {
        email: format!("{name}@example.com"),
        username: name.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn login(name: &str, password: &str) -> Login {
    Login {
        email: format!("{name}@example.com"),
        password: password.to_owned(),
        device: None,
    }
}

fn session_of(caller: &Caller) -> String {
    caller.session.clone().expect("a session")
}

/// The code and status of what must have been refused.
fn refused<T>(result: Result<T, Error>) -> (ErrorCode, u16) {
    match result {
        Ok(_) => panic!("it should have been refused"),
        Err(e) => (e.code(), e.status()),
    }
}

const WRONG_LOGIN: (ErrorCode, u16) = (ErrorCode::InvalidCredentials, 401);
const WRONG_PASSWORD: (ErrorCode, u16) = (ErrorCode::InvalidCredentials, 403);
const RATE_LIMITED: (ErrorCode, u16) = (ErrorCode::RateLimited, 429);
const NO_REFRESH_TOKEN: (ErrorCode, u16) = (ErrorCode::InvalidRefreshToken, 401);
