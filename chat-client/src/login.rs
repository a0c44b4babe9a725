//! Who the client is: the tokens, renewed before they expire or when they are refused, once however many wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_core::model::{Timestamp, User};
use chat_core::protocol::paths;
use chat_core::protocol::rest::{Refresh, Tokens};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use crate::error::{Error, Result};
use crate::http::{Call, Http};
use crate::options::LoginOption;
use crate::tokens::{AccessToken, Credentials, TokenSource, TokenStore};

/// How long before its end an access token is renewed, at most.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a renewal that failed for now is left alone while the old token still holds.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// An access token in use, and when to ask for the next.
#[derive(Clone)]
pub(crate) struct TokenInUse {
    pub(crate) token: String,
    /// `None`: it is never renewed before it is refused.
    pub(crate) renew_at: Option<Timestamp>,
}

/// Where access tokens come from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Login {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Source(Arc<dyn TokenSource>, Arc<Http>),
    Stored(Arc<Stored>),
}

struct Stored {
    http: Arc<Http>,
    store: Arc<dyn TokenStore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the store held when it was last read, or was given since.
    held: Option<Arc<Held>>,
    /// The store hasn't been read yet.
    unread: bool,
    /// Counts logins and logouts, so that a renewal that began before one doesn't undo it.
    epoch: u64,
    /// The renewal under way.
    renewal: Option<Renewal>,
    /// No renewal before this time: the last one failed.
    paused_until: Timestamp,
}

type Renewal = Shared<BoxFuture<'static, Result<Arc<Held>>>>;

/// A login in use.
struct Held {
    credentials: Credentials,
    renew_at: Timestamp,
    /// Whether the store has it.
    saved: bool,
}

impl Held {
    fn token(&self) -> TokenInUse {
        TokenInUse {
            token: self.credentials.access_token.clone(),
            renew_at: Some(self.renew_at),
        }
    }
}

impl Login {
    pub(crate) fn new(option: &LoginOption, http: Arc<Http>) -> Self {
        let kind = match option {
            LoginOption::Source(source) => Kind::Source(Arc::clone(source), http),
            LoginOption::Store(store) => Kind::Stored(Arc::new(Stored {
                http,
                store: Arc::clone(store),
                state: Mutex::new(State {
                    unread: true,
                    ..State::default()
                }),
            })),
        };
        Self { kind }
    }

    /// A token to use now. One that is about to expire is still used while its successor is fetched.
    pub(crate) async fn token(&self) -> Result<TokenInUse> {
        let stored = match &self.kind {
            Kind::Source(source, http) => {
                let token = source.access_token(None).await;
                return Ok(in_use(token.map_err(Error::TokenStore)?, http));
            }
            Kind::Stored(stored) => stored,
        };
        let renewal = {
            let mut state = stored.state();
            match state.held.clone() {
                Some(held) => {
                    let now = stored.http.clock().now();
                    let due = now >= held.renew_at.max(state.paused_until);
                    let expired = now >= held.credentials.access_expires_at;
                    if due || expired {
                        let renewal = stored.renewal(&mut state, None);
                        if !expired {
                            return Ok(held.token());
                        }
                        renewal
                    } else {
                        return Ok(held.token());
                    }
                }
                None if state.unread => stored.renewal(&mut state, None),
                None => return Err(Error::NotLoggedIn),
            }
        };
        renewal.await.map(|held| held.token())
    }

    /// A token other than `refused`, which the server didn't take, or which is about to expire.
    pub(crate) async fn renewed(&self, refused: &str) -> Result<TokenInUse> {
        let stored = match &self.kind {
            Kind::Source(source, http) => {
                let token = source.access_token(Some(refused)).await;
                let token = token.map_err(Error::TokenStore)?;
                if token.token == refused {
                    return Err(Error::SessionEnded("the access token was refused".into()));
                }
                return Ok(in_use(token, http));
            }
            Kind::Stored(stored) => stored,
        };
        let renewal = {
            let mut state = stored.state();
            match &state.held {
                None if !state.unread => return Err(Error::NotLoggedIn),
                Some(held) if held.credentials.access_token != refused => return Ok(held.token()),
                _ => stored.renewal(&mut state, Some(refused)),
            }
        };
        renewal.await.map(|held| held.token())
    }

    /// Who is logged in, without asking the server. `None` also with tokens from elsewhere, which don't say.
    pub(crate) async fn user(&self) -> Result<Option<User>> {
        let Kind::Stored(stored) = &self.kind else {
            return Ok(None);
        };
        let known = {
            let state = stored.state();
            (!state.unread).then(|| state.held.as_ref().map(|h| h.credentials.user.clone()))
        };
        match known {
            Some(user) => Ok(user),
            None => {
                let stored = stored.store.load().await.map_err(Error::TokenStore)?;
                Ok(stored.map(|c| c.user))
            }
        }
    }

    /// Takes these tokens from now on, and keeps them.
    pub(crate) async fn begin(&self, tokens: Tokens) -> Result<()> {
        let Kind::Stored(stored) = &self.kind else {
            return Err(Error::BadOption(
                "a client with access tokens from elsewhere can't log in".into(),
            ));
        };
        let epoch = stored.settle().await;
        let credentials = Credentials::new(tokens, stored.http.clock().now());
        let saved = stored.store.save(&credentials).await;
        let mut state = stored.state();
        if state.epoch == epoch {
            state.unread = false;
            state.held = Some(stored.hold(credentials, saved.is_ok()));
        }
        saved.map_err(Error::TokenStore)
    }

    /// Forgets the login.
    pub(crate) async fn end(&self) -> Result<()> {
        let Kind::Stored(stored) = &self.kind else {
            return Ok(());
        };
        stored.settle().await;
        stored.store.clear().await.map_err(Error::TokenStore)
    }
}

fn in_use(token: AccessToken, http: &Http) -> TokenInUse {
    TokenInUse {
        token: token.token,
        renew_at: token.expires_at.map(|at| renew_at(at, http)),
    }
}

/// When a token that ends at `expires_at` is renewed: with jitter, so that of several processes with one store the first
/// renews for all.
fn renew_at(expires_at: Timestamp, http: &Http) -> Timestamp {
    let left = expires_at.since(http.clock().now());
    let margin = MARGIN.min(left / 4);
    expires_at.minus(margin.mul_f64(0.75 + http.random().fraction() / 2.0))
}

impl Stored {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, credentials: Credentials, saved: bool) -> Arc<Held> {
        Arc::new(Held {
            renew_at: renew_at(credentials.access_expires_at, &self.http),
            credentials,
            saved,
        })
    }

    /// Ends what is held, waits for a renewal under way, and returns the epoch that begins.
    async fn settle(&self) -> u64 {
        let (renewal, epoch) = {
            let mut state = self.state();
            state.epoch += 1;
            state.held = None;
            state.unread = false;
            state.paused_until = Timestamp::default();
            (state.renewal.take(), state.epoch)
        };
        if let Some(renewal) = renewal {
            // Whatever it gave belongs to the epoch before.
            let _ = renewal.await;
        }
        epoch
    }

    /// The renewal under way, or a new one. It runs in a task of its own: if it stopped with whoever waits for it, the
    /// answer could be lost, and with it the session once the server's 60 s for that are over.
    fn renewal(self: &Arc<Self>, state: &mut State, refused: Option<&str>) -> Renewal {
        if let Some(renewal) = &state.renewal {
            return renewal.clone();
        }
        let this = Arc::clone(self);
        let refused = refused.map(str::to_owned);
        let epoch = state.epoch;
        let in_use = state.held.clone();
        let task = tokio::spawn(async move {
            let result = this.renew(in_use, refused, epoch).await;
            let mut state = this.state();
            if state.epoch == epoch {
                state.renewal = None;
                match &result {
                    Ok(held) => {
                        state.unread = false;
                        state.held = Some(Arc::clone(held));
                    }
                    Err(Error::NotLoggedIn | Error::SessionEnded(_)) => {
                        state.unread = false;
                        state.held = None;
                    }
                    Err(_) => {}
                }
            }
            result
        });
        // The task doesn't panic; it is cancelled only when the runtime stops.
        let renewal = task
            .map(|joined| joined.unwrap_or(Err(Error::Closed)))
            .boxed()
            .shared();
        state.renewal = Some(renewal.clone());
        renewal
    }

    /// Reads the store again, since another process may have renewed, then refreshes if need be.
    async fn renew(
        &self,
        in_use: Option<Arc<Held>>,
        refused: Option<String>,
        epoch: u64,
    ) -> Result<Arc<Held>> {
        let mut tried: Option<String> = None;
        loop {
            let credentials = match (self.store.load().await, &in_use) {
                // Ours never reached the store, so what is there is older.
                (_, Some(held)) if !held.saved && tried.is_none() => held.credentials.clone(),
                (Ok(Some(stored)), _) => stored,
                (Ok(None), None) => return Err(Error::NotLoggedIn),
                (Ok(None), Some(_)) => {
                    return Err(Error::SessionEnded("logged out by another process".into()));
                }
                (Err(error), Some(held)) => {
                    tracing::warn!(
                        error = &*error as &dyn std::error::Error,
                        "the token store can't be read"
                    );
                    held.credentials.clone()
                }
                (Err(error), None) => return Err(Error::TokenStore(error)),
            };
            let known = refused.as_ref() == Some(&credentials.access_token)
                || in_use
                    .as_ref()
                    .is_some_and(|held| held.credentials.access_token == credentials.access_token);
            if !known {
                let held = self.hold(credentials.clone(), true);
                if self.http.clock().now() < held.renew_at {
                    return Ok(held);
                }
            }
            if tried.as_ref() == Some(&credentials.refresh_token) {
                // Refused, and nobody has a newer one.
                if let Err(error) = self.store.clear().await {
                    tracing::warn!(
                        error = &*error as &dyn std::error::Error,
                        "the token store can't be cleared"
                    );
                }
                return Err(Error::SessionEnded("log in again".into()));
            }
            let call = Call::post(paths::refresh())
                .body(&Refresh {
                    refresh_token: credentials.refresh_token.clone(),
                })
                // A repeated refresh returns the same successor for 60 s.
                .repeatable();
            match self.http.json::<Tokens>(&call, None).await {
                Ok(tokens) => return self.keep(tokens, epoch).await,
                Err(Error::Refused(refusal)) if refusal.status == 401 => {
                    tracing::info!(%refusal, "the refresh token was refused");
                    tried = Some(credentials.refresh_token);
                }
                Err(error) => {
                    let now = self.http.clock().now();
                    if refused.is_some() || now >= credentials.access_expires_at {
                        return Err(error);
                    }
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the access token couldn't be renewed for now"
                    );
                    self.state().paused_until = now.plus(RENEWAL_PAUSE);
                    let saved = in_use.as_ref().is_none_or(|held| held.saved);
                    return Ok(self.hold(credentials, saved));
                }
            }
        }
    }

    async fn keep(&self, tokens: Tokens, epoch: u64) -> Result<Arc<Held>> {
        let credentials = Credentials::new(tokens, self.http.clock().now());
        if self.state().epoch != epoch {
            return Err(Error::NotLoggedIn);
        }
        let saved = match self.store.save(&credentials).await {
            Ok(()) => true,
            Err(error) => {
                // The old refresh token in the store is of no use in a minute; the session goes on in this process.
                tracing::error!(
                    error = &*error as &dyn std::error::Error,
                    "the renewed login couldn't be saved"
                );
                false
            }
        };
        Ok(self.hold(credentials, saved))
    }
}
