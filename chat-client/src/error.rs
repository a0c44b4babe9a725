//! What can go wrong, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::protocol::hub::ClosingReason;
use chat_core::protocol::{ErrorCode, FieldError, HubError, Problem};

/// The result of what the SDK does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of another layer: a network's, a file system's.
pub type Source = Arc<dyn StdError + Send + Sync>;

/// Why a call failed.
///
/// [`is_retryable`](Self::is_retryable) says whether the same call may succeed later as it is. The SDK has then already
/// tried again for a while, where that is safe. `Display` speaks for this layer only: print the
/// [`source`](StdError::source)s as well.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server understood and said no. [`Refusal::code`] says what to do.
    #[error("{0}")]
    Refused(Box<Refusal>),

    /// Nobody is logged in: call [`login`](crate::Client::login) first.
    #[error("not logged in")]
    NotLoggedIn,

    /// The session is over: logged out, revoked, expired, or the account deleted. Log in again.
    #[error("the session has ended: {0}")]
    SessionEnded(String),

    /// No connection could be made, or it broke. Whether the server acted is then unknown, unless the call changes
    /// nothing. Check the address and the network; try again.
    #[error("the server can't be reached")]
    Unreachable(#[source] Source),

    /// No answer in time. Whether the server acted is unknown, unless the call changes nothing. Try again.
    #[error("no answer within {0:?}")]
    Timeout(Duration),

    /// The server's answer isn't one that this API gives: something else may stand at the address, or another version.
    #[error("the server's answer makes no sense: {what}")]
    Malformed {
        /// What about it.
        what: String,
        /// What the decoder said.
        #[source]
        source: Option<Source>,
    },

    /// The realtime connection was lost while the call was under way. Whether the server acted is unknown. Try again.
    #[error("the connection was lost")]
    ConnectionLost(#[source] Disconnect),

    /// The realtime connection is closed for good, or was dropped. Connect again.
    #[error("the connection is closed")]
    Closed,

    /// This client has a realtime connection already.
    #[error("this client is connected already")]
    AlreadyConnected,

    /// The token store failed, or the token source. What a store should have kept is kept in memory meanwhile.
    #[error("the token store failed")]
    TokenStore(#[source] Source),

    /// The outbox failed: nothing was sent.
    #[error("the outbox failed")]
    Outbox(#[source] Source),

    /// The client was set up wrongly.
    #[error("bad option: {0}")]
    BadOption(String),
}

/// What the server said when it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What happened, for a program. `None` where the answer has no code, as from a proxy in between, or one that this
    /// version doesn't know.
    pub code: Option<ErrorCode>,
    /// The HTTP status; for a hub call the one that its code goes with, 0 without a code.
    pub status: u16,
    /// What happened and what to do, for a person.
    pub detail: String,
    /// With `validation_failed`: the fields.
    pub errors: Vec<FieldError>,
    /// How long the server wants the caller to wait before trying again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        for error in &self.errors {
            write!(f, "; {} {}", error.field, error.detail)?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, " (retry after {} s)", wait.as_secs())?;
        }
        Ok(())
    }
}

/// Why a realtime connection ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The server ended it on purpose.
    #[error("the server is closing the connection: {}", closing_text(*.0))]
    Closing(ClosingReason),
    /// The server ended it, with this error text if it gave one.
    #[error("the server closed the connection{}", .0.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    ClosedByServer(Option<String>),
    /// Nothing came for this long.
    #[error("nothing heard from the server for {0:?}")]
    Silent(Duration),
    /// The network failed.
    #[error("the connection broke")]
    Transport(#[source] Source),
    /// The other end doesn't speak the hub protocol.
    #[error("the server broke the hub protocol: {0}")]
    Protocol(String),
}

fn closing_text(reason: ClosingReason) -> &'static str {
    match reason {
        ClosingReason::Draining => "it stops",
        ClosingReason::Slow => "it was read too slowly",
        ClosingReason::TokenExpired => "the access token ran out",
        ClosingReason::SessionEnded => "the session ended",
    }
}

impl Error {
    /// The code that the server refused with.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::SessionEnded(_) | Self::NotLoggedIn => Some(ErrorCode::Unauthenticated),
            _ => None,
        }
    }

    /// Whether the same call may succeed later as it is.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Unreachable(_) | Self::Timeout(_) | Self::ConnectionLost(_) => true,
            _ => false,
        }
    }

    /// How long the server wants the caller to wait before trying again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// Whether the server has said its last word on a message: it is not stored, and never will be as it is.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_)) && !self.is_retryable() && !self.is_unauthenticated()
    }

    /// Whether the access token was refused: then nothing was done, and another token may do.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 401
            && refusal.code != Some(ErrorCode::InvalidCredentials))
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed {
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn undecodable(
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::Malformed {
            what: what.into(),
            source: Some(Arc::new(source)),
        }
    }
}

impl Refusal {
    /// Whether the same call may succeed later as it is: the rate was too high, or the server couldn't do it now.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<HubError> for Refusal {
    fn from(error: HubError) -> Self {
        Self {
            code: error.code,
            status: error.code.map_or(0, ErrorCode::status),
            detail: error.detail,
            errors: Vec::new(),
            retry_after: error.retry_after,
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self {
            code: Some(problem.code),
            status: problem.status,
            detail: problem.detail,
            errors: problem.errors,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_refusal_is_as_retryable_as_the_same_over_rest() {
        let limited: Error = Refusal::from(HubError::parse(
            "rate_limited: too many messages (retry after 3 s)",
        ))
        .into();
        assert!(limited.is_retryable());
        assert_eq!(limited.retry_after(), Some(Duration::from_secs(3)));
        let forbidden: Error = Refusal::from(HubError::parse("forbidden: no")).into();
        assert!(!forbidden.is_retryable());
        assert_eq!(forbidden.code(), Some(ErrorCode::Forbidden));
    }

    #[test]
    fn an_error_is_small_and_can_be_shared() {
        fn shareable<T: Clone + Send + Sync + 'static>() {}
        shareable::<Error>();
        assert!(std::mem::size_of::<Error>() <= 64);
    }
}
