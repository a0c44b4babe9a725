//! How a command ends: exit codes as a type, and failures that say what to do next.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::process::ExitCode;

use chat_client::Error;
use chat_client::protocol::ErrorCode;

/// What the process ends with. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done; also when whoever read the output has gone.
    Done = 0,
    /// Any other failure.
    Failed = 1,
    /// What was typed, or the configuration, makes no sense.
    Usage = 2,
    /// Not logged in, or refused credentials.
    Unauthenticated = 3,
    /// There is no such thing, or the caller may not know of it.
    NotFound = 4,
    /// The caller may not do that, or it contradicts what is there.
    Refused = 5,
    /// Too much at once.
    RateLimited = 6,
    /// The server can't be reached.
    Unreachable = 7,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command didn't do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// The error's code, for a program.
    pub code: Option<String>,
    /// What happened; empty where nothing need be said. It may hold text that others wrote.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure without a code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            hint: None,
        }
    }

    /// What was typed or configured makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message).with_code(ErrorCode::NotFound)
    }

    /// A signal asked the process to end: whoever sent it knows.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "")
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: impl fmt::Display) -> Self {
        self.code = Some(code.to_string());
        self
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = exit_of(&error);
        let code = match &error {
            Error::Refused(refusal) => match refusal.code {
                Some(code) => Some(code.to_string()),
                // Made by something in between: the status is all it says.
                None => Some(format!("status {}", refusal.status)),
            },
            Error::Unreachable(_) | Error::ConnectionLost(_) => Some("unreachable".to_owned()),
            Error::Timeout(_) => Some("timeout".to_owned()),
            other => other.code().map(|code| code.to_string()),
        };
        Self {
            exit,
            code,
            message: chain(&error),
            hint: hint(&error).map(str::to_owned),
        }
    }
}

impl From<io::Error> for Failure {
    /// For what is written to standard output: once its reader has gone, there is nothing left to do.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::new(
                Exit::Failed,
                format!("the output can't be written: {error}"),
            ),
        }
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Refused(refusal) => match (refusal.code, refusal.status) {
            (Some(ErrorCode::InvalidCredentials), _) | (_, 401) => Exit::Unauthenticated,
            (_, 404) => Exit::NotFound,
            (_, 403 | 409 | 410) => Exit::Refused,
            (_, 429) => Exit::RateLimited,
            // A proxy says that nothing stands behind it. Our server's own `unavailable` was reached.
            (None, 502..=504) => Exit::Unreachable,
            _ => Exit::Failed,
        },
        Error::NotLoggedIn | Error::SessionEnded(_) => Exit::Unauthenticated,
        Error::Unreachable(_) | Error::Timeout(_) | Error::ConnectionLost(_) => Exit::Unreachable,
        Error::BadOption(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::NotLoggedIn | Error::SessionEnded(_) => "log in with `chat login --email …`",
        Error::Unreachable(_) | Error::Timeout(_) => {
            "check that the server runs, and its address: --server or CHAT_SERVER"
        }
        Error::Malformed { .. } => "check the address: --server or CHAT_SERVER",
        Error::Refused(refusal) => match refusal.code? {
            ErrorCode::RateLimited | ErrorCode::Unavailable => "wait a little, then try again",
            ErrorCode::Unauthenticated | ErrorCode::TokenExpired => {
                "log in with `chat login --email …`"
            }
            ErrorCode::EmailTaken => "log in instead with `chat login --email …`",
            ErrorCode::Gone => "ask for another invite",
            ErrorCode::Forbidden => "`chat room members ROOM` shows who the admins are",
            _ => return None,
        },
        _ => return None,
    })
}

/// The error and what caused it, outermost first. A cause that the text above it says already is left out.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chat_client::Refusal;

    use super::*;

    fn refused(status: u16, code: Option<ErrorCode>) -> Exit {
        let refusal = Refusal {
            code,
            status,
            detail: String::new(),
            errors: Vec::new(),
            retry_after: None,
        };
        exit_of(&refusal.into())
    }

    #[test]
    fn every_refusal_has_the_exit_code_that_scripts_expect() {
        use ErrorCode as C;
        for (status, code, exit) in [
            (400, C::InvalidRequest, Exit::Failed),
            (401, C::Unauthenticated, Exit::Unauthenticated),
            (401, C::InvalidCredentials, Exit::Unauthenticated),
            (403, C::InvalidCredentials, Exit::Unauthenticated),
            (403, C::Forbidden, Exit::Refused),
            (404, C::NotFound, Exit::NotFound),
            (409, C::EmailTaken, Exit::Refused),
            (409, C::LimitReached, Exit::Refused),
            (410, C::Gone, Exit::Refused),
            (422, C::ValidationFailed, Exit::Failed),
            (429, C::RateLimited, Exit::RateLimited),
            (500, C::Internal, Exit::Failed),
            (503, C::Unavailable, Exit::Failed),
        ] {
            assert_eq!(refused(status, Some(code)), exit, "{status} {code}");
        }
    }

    #[test]
    fn a_proxy_without_a_server_behind_it_is_an_unreachable_server() {
        assert_eq!(refused(502, None), Exit::Unreachable);
        assert_eq!(refused(404, None), Exit::NotFound);
    }

    #[test]
    fn no_login_and_no_answer_have_codes_of_their_own() {
        assert_eq!(exit_of(&Error::NotLoggedIn), Exit::Unauthenticated);
        assert_eq!(
            exit_of(&Error::Timeout(Duration::from_secs(1))),
            Exit::Unreachable
        );
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(gone.exit, Exit::Done);
    }
}
