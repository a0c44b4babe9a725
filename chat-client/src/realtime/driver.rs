//! The task that owns the connection: makes it, keeps it, and makes it again.

use std::sync::Arc;
use std::time::Duration;

use chat_core::model::Clock;
use chat_core::protocol::hub::ClosingReason;
use chat_core::protocol::signalr::Encoding;
use chat_core::random::Random;
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::connector::Connector;
use super::event::{ClientEvent, ConnectionState, Delivery};
use super::request::Call;
use super::sends::{Finished, NewSend, Sends};
use super::session::Session;
use super::sync::Sync;
use super::wire::Wire;
use crate::error::{Disconnect, Error, Result};
use crate::login::Login;
use crate::outbox::OutboxHandle;

/// A connection that stood this long was good: the next try comes at once, and the pauses begin anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How far the pauses have grown, at most, after a connection that stood for less.
const SHORT_ATTEMPTS: u32 = 2;

/// How a connection is kept. All durations are upper bounds unless they say otherwise.
#[derive(Clone, Debug)]
pub(crate) struct RealtimeOptions {
    pub(crate) encoding: Encoding,
    pub(crate) handshake_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) server_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) reconnect_min: Duration,
    pub(crate) reconnect_max: Duration,
    pub(crate) event_queue: usize,
    pub(crate) send_queue: usize,
    pub(crate) record_limit_bytes: usize,
}

impl Default for RealtimeOptions {
    fn default() -> Self {
        Self {
            encoding: Encoding::Json,
            handshake_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(15),
            server_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            event_queue: 1_024,
            send_queue: 256,
            record_limit_bytes: 8 * 1024 * 1024,
        }
    }
}

/// All that the task owns.
pub(crate) struct Driver {
    pub(crate) login: Login,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) options: RealtimeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) new_sends: mpsc::Receiver<NewSend>,
    pub(crate) events: mpsc::Sender<Delivery>,
    pub(crate) state: watch::Sender<ConnectionState>,
    pub(crate) sync: Sync,
    pub(crate) sends: Sends,
    pub(crate) outbox: Option<OutboxHandle>,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: Error,
    /// Whether to connect again.
    pub(crate) again: bool,
}

impl End {
    pub(crate) const fn lost(disconnect: Disconnect) -> Self {
        Self {
            reason: Error::ConnectionLost(disconnect),
            again: true,
        }
    }

    pub(crate) const fn for_good(reason: Error) -> Self {
        Self {
            reason,
            again: false,
        }
    }
}

impl Driver {
    /// Runs until the application closes the connection, or it is over for another reason. `first` hears how the first try
    /// ended; unless `retry_first`, a first try that fails is also the last.
    pub(crate) async fn run(mut self, first: oneshot::Sender<Result<()>>, retry_first: bool) {
        let mut first = Some(first);
        // Tries since the last good connection.
        let mut attempt = 0;
        let mut refused_token = None;
        let reason = loop {
            let opening = self.open(refused_token.take());
            let opened = select! {
                biased;
                () = self.idle() => break Error::Closed,
                opened = opening => opened,
            };
            let mut wait = None;
            let end = match opened {
                Ok(mut session) => {
                    let end = self.serve(&mut session, &mut first).await;
                    attempt = match session.stood_for(Instant::now()) {
                        Some(stood) if stood >= GOOD_AFTER => 0,
                        // The server is there: short pauses do.
                        Some(_) => attempt.min(SHORT_ATTEMPTS),
                        None => attempt,
                    };
                    if token_is_over(&end.reason) {
                        refused_token = Some(session.token());
                    }
                    self.lose(session, &end.reason).await;
                    end
                }
                Err(failed) => {
                    let (end, token) = failed.into_end(attempt > 0);
                    wait = end.reason.retry_after();
                    refused_token = token;
                    end
                }
            };
            if !end.again {
                break end.reason;
            }
            // With a token that may do, the first try isn't over yet.
            if !retry_first && first.is_some() && refused_token.is_none() {
                break end.reason;
            }
            let delay = self.backoff(attempt).max(wait.unwrap_or_default());
            attempt += 1;
            tracing::info!(
                reason = &end.reason as &dyn std::error::Error,
                attempt,
                ?delay,
                "reconnecting"
            );
            self.state.send_replace(ConnectionState::Reconnecting {
                attempt,
                retry_in: delay,
                reason: end.reason,
            });
            select! {
                biased;
                () = self.idle() => break Error::Closed,
                () = sleep(delay) => {}
            }
        };
        self.finish(reason, first).await;
    }

    /// Everything that goes on without a connection. Returns when the application has closed it. Cancel safe.
    async fn idle(&mut self) {
        loop {
            let expires_at = self.sends.expires_at();
            select! {
                biased;
                () = self.events.closed() => return,
                () = at(expires_at) => self.expire(),
                () = has_room(&self.events), if self.sync.waiting() > 0 => self.hand_on(),
                Some(call) = self.calls.recv() => {
                    let _ = call.reply.send(None);
                }
                Some(send) = self.new_sends.recv(), if self.sends.has_room() => self.sends.push(send),
            }
        }
    }

    /// One try: token, transport, handshake. Borrows nothing, so that the rest goes on meanwhile.
    fn open(
        &self,
        refused_token: Option<String>,
    ) -> impl Future<Output = Result<Session, OpenError>> + Send + use<> {
        let login = self.login.clone();
        let connector = Arc::clone(&self.connector);
        let clock = Arc::clone(&self.clock);
        let options = self.options.clone();
        async move {
            let renewed = refused_token.is_some();
            let token = match refused_token {
                Some(refused) => login.renewed(&refused).await,
                None => login.token().await,
            }
            .map_err(OpenError::from)?;
            let failed = |error: Error| OpenError {
                refused_token: (error.is_unauthenticated() && !renewed)
                    .then(|| token.token.clone()),
                error,
            };
            loop {
                let transport = connector.connect(&token.token).await.map_err(failed)?;
                let opened = Wire::open(
                    transport,
                    options.encoding,
                    options.handshake_timeout,
                    options.record_limit_bytes,
                );
                match opened.await {
                    Ok(wire) => return Ok(Session::new(wire, token, &*clock, Instant::now())),
                    // Something between here and the server lets the transport be opened, and nothing through.
                    Err(Error::Timeout(_) | Error::ConnectionLost(_))
                        if connector.has_other_way() => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
    }

    /// The pause before a try: none at first, then doubling up to a bound, spread by half to either side.
    fn backoff(&self, attempt: u32) -> Duration {
        let Some(doublings) = attempt.checked_sub(1) else {
            return Duration::ZERO;
        };
        let pause = self
            .options
            .reconnect_min
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.options.reconnect_max);
        pause.mul_f64(0.5 + self.random.fraction())
    }

    /// Hands on what the application has room for.
    pub(crate) fn hand_on(&mut self) {
        while self.sync.waiting() > 0
            && let Ok(permit) = self.events.try_reserve()
        {
            if let Some(delivery) = self.sync.take() {
                permit.send(delivery);
            }
        }
    }

    pub(crate) fn expire(&mut self) {
        for finished in self.sends.expire(Instant::now()) {
            self.finished(finished);
        }
    }

    /// A message left the queue, sent or not.
    pub(crate) fn finished(&mut self, finished: Finished) {
        let stays = finished
            .unheard
            .as_ref()
            .is_some_and(|error| !matches!(error, Error::Refused(_)));
        if let Some(outbox) = self.outbox.as_mut().filter(|_| !stays) {
            outbox.done(&finished.client_message_id);
        }
        if let Some(error @ Error::Refused(_)) = finished.unheard {
            self.sync.tell(ClientEvent::SendFailed {
                room_id: finished.room_id,
                client_message_id: finished.client_message_id,
                error,
            });
        }
    }

    /// Whoever waited for an answer on this connection hears that none comes; sends go out again on the next.
    async fn lose(&mut self, session: Session, reason: &Error) {
        let wire = session.fail_calls(reason);
        self.sends.disconnected();
        self.sync.disconnected();
        if matches!(reason, Error::Closed) {
            wire.close().await;
        }
    }

    async fn finish(mut self, reason: Error, first: Option<oneshot::Sender<Result<()>>>) {
        self.calls.close();
        self.new_sends.close();
        while let Ok(send) = self.new_sends.try_recv() {
            self.sends.push(send);
        }
        self.sends.fail(&reason);
        if let Some(first) = first {
            let _ = first.send(Err(reason.clone()));
        }
        tracing::debug!(
            reason = &reason as &dyn std::error::Error,
            "the connection is over"
        );
        self.state.send_replace(ConnectionState::Closed { reason });
        while let Some(delivery) = self.sync.take() {
            if self.events.send(delivery).await.is_err() {
                break;
            }
        }
    }
}

/// Why no connection came about.
struct OpenError {
    error: Error,
    /// The token that was refused, if another may do.
    refused_token: Option<String>,
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self {
            error,
            refused_token: None,
        }
    }
}

impl OpenError {
    /// Whether to try again: not where waiting doesn't help. What makes no sense before the first connection may be the
    /// wrong address; afterwards it is a server in trouble.
    fn into_end(self, tried_before: bool) -> (End, Option<String>) {
        let again = match &self.error {
            Error::NotLoggedIn | Error::SessionEnded(_) | Error::BadOption(_) | Error::Closed => {
                false
            }
            Error::Refused(refusal) => {
                self.refused_token.is_some()
                    || tried_before && refusal.status != 403
                    || refusal.is_retryable()
            }
            Error::Malformed { .. } => tried_before,
            _ => true,
        };
        let end = End {
            reason: self.error,
            again,
        };
        (end, self.refused_token)
    }
}

/// Whether the connection ended because its token had.
fn token_is_over(reason: &Error) -> bool {
    matches!(
        reason,
        Error::ConnectionLost(Disconnect::Closing(ClosingReason::TokenExpired))
    )
}

/// Waits until then, or for ever.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits until the application has room for an event, or is gone.
pub(crate) async fn has_room(events: &mpsc::Sender<Delivery>) {
    let _ = events.reserve().await;
}
