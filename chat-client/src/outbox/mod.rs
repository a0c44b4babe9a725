//! Messages that must survive a kill of the program: kept until the server has answered.

mod file;
pub(crate) mod stage;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::model::{RoomId, UserId};
use serde::{Deserialize, Serialize};

pub use self::file::FileOutbox;
pub(crate) use self::stage::OutboxHandle;
use crate::error::Source;
use crate::realtime::NewSend;

/// A message that was to be sent and has no final answer yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntry {
    /// Whose message it is; `None` where the client doesn't know, with a fixed access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Where to.
    pub room_id: RoomId,
    /// Under which id: what makes it safe to send it once more.
    pub client_message_id: String,
    /// The text.
    pub content: String,
}

/// Keeps messages until they are sent.
///
/// An entry goes in before its message first goes out, and leaves once the server has stored or finally refused it. Entries
/// found at the next start are sent again under the same ids, so that each is stored once however often that happens.
#[async_trait]
pub trait Outbox: Send + Sync + fmt::Debug {
    /// All entries, in the order in which they were added.
    ///
    /// # Errors
    /// When they can't be read.
    async fn load(&self) -> Result<Vec<OutboxEntry>, Source>;

    /// Keeps these entries, in this order. Once it returns they must survive the process and the machine's power.
    ///
    /// # Errors
    /// When they couldn't be kept. None of them is then sent.
    async fn add(&self, entries: &[OutboxEntry]) -> Result<(), Source>;

    /// Forgets the entries with these ids. Need not be durable: an entry that comes back is sent again, to no effect.
    ///
    /// # Errors
    /// When they may still be there.
    async fn remove(&self, client_message_ids: &[String]) -> Result<(), Source>;
}

impl From<OutboxEntry> for NewSend {
    /// As one that another run of the program left: nobody waits for it, and it has no deadline.
    fn from(entry: OutboxEntry) -> Self {
        Self {
            room_id: entry.room_id,
            client_message_id: entry.client_message_id,
            content: entry.content,
            reply: None,
            deadline: None,
            timeout: Duration::ZERO,
        }
    }
}
