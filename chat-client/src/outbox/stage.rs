//! Between the application and the connection: sends pass through the outbox in their order, many to a sync.

use std::sync::Arc;

use chat_core::model::UserId;
use tokio::select;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Outbox, OutboxEntry};
use crate::error::Error;
use crate::realtime::NewSend;

/// Where the connection's task reports what is done with.
#[derive(Debug)]
pub(crate) struct OutboxHandle(mpsc::Sender<String>);

impl OutboxHandle {
    /// The message has its final answer.
    pub(crate) fn done(&mut self, client_message_id: &str) {
        match self.0.try_send(client_message_id.to_owned()) {
            Ok(()) => {}
            // The entry stays, and is sent once more at the next start: the server stores it once.
            Err(TrySendError::Full(_)) => tracing::debug!("the outbox is behind"),
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

/// Passes sends from `incoming` to `outgoing`, each kept in the outbox before. Ends with `outgoing`.
pub(crate) fn start(
    outbox: Arc<dyn Outbox>,
    user_id: Option<UserId>,
    mut incoming: mpsc::Receiver<NewSend>,
    outgoing: mpsc::Sender<NewSend>,
    capacity: usize,
) -> OutboxHandle {
    let (done, mut finished) = mpsc::channel(capacity);
    let stage = async move {
        let mut sends = Vec::new();
        let mut ids = Vec::new();
        loop {
            select! {
                biased;
                () = outgoing.closed() => break,
                n = finished.recv_many(&mut ids, capacity) => {
                    if n == 0 {
                        break;
                    }
                    if let Err(error) = outbox.remove(&ids).await {
                        tracing::warn!(error = &*error as &dyn std::error::Error, "the outbox couldn't forget what was sent");
                    }
                    ids.clear();
                }
                n = incoming.recv_many(&mut sends, capacity) => {
                    if n == 0 {
                        break;
                    }
                    let entries: Vec<_> = sends.iter().map(|s| entry(s, user_id)).collect();
                    match outbox.add(&entries).await {
                        Ok(()) => for send in sends.drain(..) {
                            // A connection that is over has nothing to answer; the entry waits for the next.
                            let _ = outgoing.send(send).await;
                        },
                        Err(error) => for send in sends.drain(..) {
                            if let Some(reply) = send.reply {
                                let _ = reply.send(Err(Error::Outbox(Arc::clone(&error))));
                            }
                        },
                    }
                }
            }
        }
        // What the last answers were about.
        finished.close();
        while let Some(id) = finished.recv().await {
            ids.push(id);
        }
        if !ids.is_empty()
            && let Err(error) = outbox.remove(&ids).await
        {
            tracing::warn!(
                error = &*error as &dyn std::error::Error,
                "the outbox couldn't forget what was sent"
            );
        }
    };
    tokio::spawn(stage);
    OutboxHandle(done)
}

fn entry(send: &NewSend, user_id: Option<UserId>) -> OutboxEntry {
    OutboxEntry {
        user_id,
        room_id: send.room_id,
        client_message_id: send.client_message_id.clone(),
        content: send.content.clone(),
    }
}
