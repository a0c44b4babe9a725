//! Serving one connection: what comes in, what goes out, and what falls due.

use std::borrow::Cow;

use bytes::Bytes;
use chat_core::model::Message;
use chat_core::protocol::hub::{Closing, ClosingReason, Connected, Heads, RoomJoined, target};
use chat_core::protocol::signalr::{
    Arguments, CompletionResult, DecodeError, Encoding, HubMessage, Raw,
};
use chat_core::protocol::{ErrorCode, HubError};
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::driver::{Driver, End, has_room};
use super::event::ConnectionState;
use super::request::RawResult;
use super::session::{Pending, Renewal, Session};
use crate::changes::{Change, ChangesPage, decode_event};
use crate::error::{Disconnect, Error, Refusal, Result};
use crate::login::TokenInUse;

/// Deliveries that wait beyond the event queue while the application waits for an answer. Changes past it are dropped, and
/// fetched once the application has caught up.
const OVERFLOW: usize = 256;

impl Driver {
    /// Serves the connection until its end, of which it returns the reason.
    pub(crate) async fn serve(
        &mut self,
        session: &mut Session,
        first: &mut Option<oneshot::Sender<Result<()>>>,
    ) -> End {
        loop {
            match self.step(session, first).await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    async fn step(
        &mut self,
        session: &mut Session,
        first: &mut Option<oneshot::Sender<Result<()>>>,
    ) -> Result<(), End> {
        self.write_due(session)?;
        let behind = self.sync.waiting() > 0;
        let reading = !behind || session.calls.is_awaited();
        session.set_reading(reading, Instant::now());
        let wake_at = self.wake_at(session);
        let reading = session.is_reading();
        let can_call = session.connected_at.is_some() && session.calls.has_room();
        // Timers and the application's calls come before input: neither is endless, and input may be.
        select! {
            biased;
            () = self.events.closed() => return Err(End::for_good(Error::Closed)),
            () = sleep_until(wake_at) => self.on_time(session)?,
            () = has_room(&self.events), if behind => self.hand_on(),
            Some(call) = self.calls.recv(), if can_call || session.connected_at.is_none() => {
                if can_call {
                    session.call(call, self.options.call_timeout, Instant::now())?;
                } else {
                    let _ = call.reply.send(None);
                }
            }
            Some(send) = self.new_sends.recv(), if self.sends.has_room() => self.sends.push(send),
            token = session.renewal.fetched() => self.renewed(session, token)?,
            input = session.wire.receive(reading) => {
                let input = input.map_err(|disconnect| lost(session, disconnect))?;
                self.read(session, &input, first)?;
            }
        }
        Ok(())
    }

    /// Hands on what the application has room for, and writes what the connection has room for.
    fn write_due(&mut self, session: &mut Session) -> Result<(), End> {
        self.hand_on();
        if session.connected_at.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        while let Some((key, send)) = self.sends.next(now) {
            session.send(key, send, now)?;
        }
        // An application that is behind is not given more to catch up with.
        while self.sync.waiting() == 0
            && let Some(fetch) = self.sync.fetch(now)
        {
            session.fetch(fetch, self.options.call_timeout, now)?;
        }
        Ok(())
    }

    fn wake_at(&self, session: &Session) -> Instant {
        let mut at = session.wake_at(&self.options);
        let expires_at = self.sends.expires_at();
        let (pause, fetch) = if session.connected_at.is_some() {
            let fetch = self.sync.wake_at().filter(|_| self.sync.waiting() == 0);
            (self.sends.paused_until(Instant::now()), fetch)
        } else {
            (None, None)
        };
        for due in [expires_at, pause, fetch].into_iter().flatten() {
            at = at.min(due);
        }
        at
    }

    fn on_time(&mut self, session: &mut Session) -> Result<(), End> {
        let now = Instant::now();
        session.on_time(&self.options, now)?;
        self.expire();
        for pending in session.calls.expired(now) {
            match pending {
                Pending::Fetch(room) => self.sync.changes_failed(room, false, None, now),
                Pending::Authenticate(_) => {
                    return Err(End::lost(Disconnect::Silent(self.options.call_timeout)));
                }
                pending => pending.fail(&Error::Timeout(self.options.call_timeout)),
            }
        }
        if session.renewal.at.is_some_and(|at| at <= now) {
            session.renewal.at = None;
            let login = self.login.clone();
            let token = session.token();
            session.renewal.fetching = Some(Box::pin(async move { login.renewed(&token).await }));
        }
        Ok(())
    }

    /// A fresh token is there, or couldn't be had.
    fn renewed(&mut self, session: &mut Session, token: Result<TokenInUse>) -> Result<(), End> {
        let now = Instant::now();
        match token {
            Ok(token) => session.authenticate(token, self.options.call_timeout, now),
            Err(reason @ (Error::NotLoggedIn | Error::SessionEnded(_))) => {
                Err(End::for_good(reason))
            }
            Err(error) => {
                // The server lets a connection outlive its token for a while.
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "no fresh token for the connection yet"
                );
                session.renewal.later(now);
                Ok(())
            }
        }
    }

    /// Reads the records in a piece of input.
    fn read(
        &mut self,
        session: &mut Session,
        input: &Bytes,
        first: &mut Option<oneshot::Sender<Result<()>>>,
    ) -> Result<(), End> {
        let encoding = session.wire.encoding;
        let mut rest = &input[..];
        while let Some(record) = (session.wire.reader)
            .next(encoding, &mut rest)
            .map_err(|e| protocol(&e))?
        {
            session.heard(Instant::now());
            // A message of an unknown type is skipped.
            if let Some(message) = encoding.decode(&record).map_err(|e| protocol(&e))? {
                self.message(session, message, first)?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        session: &mut Session,
        message: HubMessage<'_>,
        first: &mut Option<oneshot::Sender<Result<()>>>,
    ) -> Result<(), End> {
        match message {
            HubMessage::Invocation {
                invocation_id,
                target,
                arguments,
                ..
            } => {
                if let Some(id) = invocation_id {
                    refuse_call(session, &id);
                }
                self.event(session, &target, arguments, first)
            }
            HubMessage::Completion {
                invocation_id,
                result,
            } => match session.calls.take(&invocation_id) {
                Some(pending) => self.completed(session, pending, result),
                None => Ok(()),
            },
            HubMessage::Close {
                error,
                allow_reconnect,
            } => {
                let disconnect = Disconnect::ClosedByServer(error.map(Cow::into_owned));
                let mut end = lost(session, disconnect);
                end.again &= allow_reconnect;
                Err(end)
            }
            _ => Ok(()),
        }
    }

    /// An event of the server's.
    fn event(
        &mut self,
        session: &mut Session,
        target: &str,
        arguments: Arguments<'_>,
        first: &mut Option<oneshot::Sender<Result<()>>>,
    ) -> Result<(), End> {
        let encoding = session.wire.encoding;
        let now = Instant::now();
        match target {
            target::CONNECTED => {
                let connected: Connected = argument(encoding, arguments)?;
                session.connected_at = Some(now);
                self.sync.connected(connected, now);
                self.state.send_replace(ConnectionState::Connected);
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
            }
            target::ROOM_JOINED => {
                let joined: RoomJoined = argument(encoding, arguments)?;
                self.sync.room_joined(joined.room, now);
            }
            target::HEADS => {
                let heads: Heads = argument(encoding, arguments)?;
                self.sync.heads(&heads.rooms, now);
            }
            target::CLOSING => {
                // A reason that isn't known here says no more than the end that follows.
                session.closing = (encoding.event_argument::<Closing>(arguments).ok())
                    .map(|closing| closing.reason);
            }
            _ => {
                if let Some(change) = decode_event(target, arguments, encoding) {
                    self.change(change, now);
                }
            }
        }
        Ok(())
    }

    /// A change of a room. What the application has no room for is as if it hadn't come: a hole, to be fetched.
    fn change(&mut self, change: Change, now: Instant) {
        if self.sync.waiting() < OVERFLOW {
            self.sync.change(change, now);
        } else {
            self.sync.missed(&change, now);
        }
    }

    fn completed(
        &mut self,
        session: &mut Session,
        pending: Pending,
        result: CompletionResult<'_>,
    ) -> Result<(), End> {
        let encoding = session.wire.encoding;
        let now = Instant::now();
        let value = match result {
            CompletionResult::Value(raw) => Ok(raw),
            CompletionResult::Void => Ok(Raw(b"null")),
            CompletionResult::Error(text) => {
                Err(Error::from(Refusal::from(HubError::parse(&text))))
            }
        };
        match pending {
            Pending::Send(key) => {
                let message = value.and_then(|raw| result_of::<Message>(encoding, raw));
                if let Ok(message) = &message {
                    self.change(message.clone().into(), now);
                }
                if let Some(finished) = self.sends.answered(key, message, now) {
                    self.finished(finished);
                }
            }
            Pending::Fetch(room) => {
                match value.and_then(|raw| result_of::<ChangesPage>(encoding, raw)) {
                    Ok(page) => self.sync.changes(room, page, now),
                    Err(error) => {
                        let gone = error.code() == Some(ErrorCode::NotFound);
                        if !gone {
                            tracing::warn!(%room, error = &error as &dyn std::error::Error, "changes couldn't be fetched");
                        }
                        self.sync
                            .changes_failed(room, gone, error.retry_after(), now);
                    }
                }
            }
            Pending::Authenticate(token) => match value {
                Ok(_) => session.renewal = Renewal::of(token, &*self.clock, now),
                Err(error) => {
                    // A new connection says what is wrong, or stands with yet another token.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the connection couldn't be renewed in place"
                    );
                    let text = error.to_string();
                    return Err(End::lost(Disconnect::ClosedByServer(Some(text))));
                }
            },
            Pending::Call { is_change, reply } => {
                if is_change
                    && let Ok(raw) = &value
                    && let Ok(message) = encoding.value::<Message>(*raw)
                {
                    self.change(message.into(), now);
                }
                let result = value.map(|raw| RawResult {
                    encoding,
                    value: Bytes::copy_from_slice(raw.0),
                });
                let _ = reply.send(Some(result));
            }
        }
        Ok(())
    }
}

/// The server asked for a result: this client has none to give, and says so.
fn refuse_call(session: &mut Session, id: &str) {
    let mut record = Vec::new();
    (session.wire.encoding).completion_error(id, "Client didn't provide a result.", &mut record);
    session.write(record, Instant::now());
}

/// The end of a connection; for the reason that the server announced, if it did.
fn lost(session: &Session, disconnect: Disconnect) -> End {
    match session.closing {
        Some(ClosingReason::SessionEnded) => {
            End::for_good(Error::SessionEnded("the server ended it".to_owned()))
        }
        Some(reason) => End::lost(Disconnect::Closing(reason)),
        None => End::lost(disconnect),
    }
}

fn protocol(error: &DecodeError) -> End {
    End::lost(Disconnect::Protocol(error.to_string()))
}

fn argument<T: serde::de::DeserializeOwned>(
    encoding: Encoding,
    arguments: Arguments<'_>,
) -> Result<T, End> {
    encoding.event_argument(arguments).map_err(|e| protocol(&e))
}

fn result_of<T: serde::de::DeserializeOwned>(encoding: Encoding, raw: Raw<'_>) -> Result<T> {
    encoding
        .value(raw)
        .map_err(|e| Error::undecodable("a result isn't as documented", e))
}
