//! Calls over the connection that aren't sends.

use bytes::Bytes;
use chat_core::protocol::hub::{DeleteMessage, EditMessage, GetChanges, GetMessages, Method};
use chat_core::protocol::signalr::{EncodeError, Encoding, Raw};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// A call to be made.
#[derive(Debug)]
pub(crate) enum Request {
    Edit(EditMessage),
    Delete(DeleteMessage),
    Messages(GetMessages),
    Changes(GetChanges),
}

impl Request {
    /// Whether its result is the message that it changed: a change of the room like any other.
    pub(crate) const fn is_change(&self) -> bool {
        matches!(self, Self::Edit(_) | Self::Delete(_))
    }

    pub(crate) fn encode(
        &self,
        encoding: Encoding,
        id: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Edit(argument) => {
                encoding.invocation(Some(id), Method::EditMessage.target(), argument, out)
            }
            Self::Delete(argument) => {
                encoding.invocation(Some(id), Method::DeleteMessage.target(), argument, out)
            }
            Self::Messages(argument) => {
                encoding.invocation(Some(id), Method::GetMessages.target(), argument, out)
            }
            Self::Changes(argument) => {
                encoding.invocation(Some(id), Method::GetChanges.target(), argument, out)
            }
        }
    }
}

/// A result as it came.
#[derive(Debug)]
pub(crate) struct RawResult {
    pub(crate) encoding: Encoding,
    pub(crate) value: Bytes,
}

impl RawResult {
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        self.encoding
            .value(Raw(&self.value))
            .map_err(|e| Error::undecodable("a result isn't as documented", e))
    }
}

/// A call on its way to the connection's task.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    /// `None`: there is no connection now.
    pub(crate) reply: oneshot::Sender<Option<Result<RawResult>>>,
}
