//! Messages sent: a run of them is one statement of the database, however long it is.

use serde::{Deserialize, Serialize};

use super::super::{Change, CommitContext, Committed, Outcome, Refusal, StoreError};
use super::commit::{Answer, unchanged};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::json;
use crate::model::{Event, Message, MessageId, RoomId, Seq, Timestamp, UserId};
use crate::store::rows::MessageRow;

/// A run of [`Change::SendMessage`], as the arrays that the stored functions take.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sends<'a> {
    rooms: Vec<i64>,
    senders: Vec<i64>,
    client_ids: Vec<Option<&'a str>>,
    contents: Vec<&'a str>,
}

impl<'a> Sends<'a> {
    /// The sends that a batch begins with.
    pub(super) fn at_the_head_of(changes: &'a [Change]) -> Self {
        let mut sends = Self::default();
        for change in changes {
            let Change::SendMessage {
                room_id,
                sender_id,
                content,
                client_message_id,
            } = change
            else {
                break;
            };
            sends.rooms.push(room_id.0);
            sends.senders.push(sender_id.0);
            sends.client_ids.push(client_message_id.as_deref());
            sends.contents.push(content);
        }
        sends
    }

    pub(super) fn len(&self) -> usize {
        self.contents.len()
    }

    /// What the database's rows mean, one for each send.
    pub(super) fn answers(&self, at: Timestamp, rows: Vec<SendRow>) -> Result<Vec<Answer>, Fault> {
        if rows.len() != self.len() {
            return Err(Fault::Short);
        }
        let mut answers: Vec<Answer> = Vec::with_capacity(rows.len());
        for (n, SendRow(id, seq, repeats, earlier, same)) in rows.into_iter().enumerate() {
            let answer = if let (Some(id), Some(seq)) = (id, seq) {
                Ok(Committed {
                    events: vec![Event::MessageCreated(self.message(n, at, id, seq))],
                    outcome: Outcome::Event,
                })
            } else if let Some(earlier) = earlier {
                let earlier = earlier.message(RoomId(self.rooms[n]));
                repeated(same == Some(true), earlier)
            } else if let Some(first) = repeats {
                self.repetition_of(usize::try_from(first).unwrap_or(n), n, &answers)?
            } else {
                Err(Refusal::NotFound)
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    fn message(&self, n: usize, at: Timestamp, id: i64, seq: i64) -> Message {
        Message {
            id: MessageId(id),
            room_id: RoomId(self.rooms[n]),
            seq: Seq(seq),
            changed_seq: Seq(seq),
            sender_id: UserId(self.senders[n]),
            content: self.contents[n].to_owned(),
            sent_at: at,
            edited_at: None,
            deleted_at: None,
            client_message_id: self.client_ids[n].map(str::to_owned),
        }
    }

    /// The answer of a send whose client id another one of this run had first.
    fn repetition_of(&self, first: usize, n: usize, answers: &[Answer]) -> Result<Answer, Fault> {
        let Some(Ok(Committed { events, .. })) = answers.get(first) else {
            return Err(Fault::Short);
        };
        let [Event::MessageCreated(message)] = &events[..] else {
            return Err(Fault::Short);
        };
        Ok(repeated(
            self.contents[n] == message.content,
            message.clone(),
        ))
    }
}

fn repeated(same_content: bool, message: Message) -> Answer {
    if same_content {
        Ok(unchanged(Outcome::Message(message)))
    } else {
        Err(Refusal::ClientMessageIdReused)
    }
}

/// What `send_messages` answers of a send: `id, seq, repeats, earlier, same`.
#[derive(Deserialize)]
pub(super) struct SendRow(
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<MessageRow>,
    Option<bool>,
);

/// Commits a batch of nothing but sends.
pub(super) async fn commit(
    database: &Database,
    ctx: &CommitContext,
    sends: &Sends<'_>,
) -> Result<Vec<Answer>, StoreError> {
    type Row = (
        Option<i64>,
        Option<i64>,
        Option<i64>,
        Option<String>,
        Option<bool>,
    );
    let rows: Vec<Row> = database
        .write(
            Statement::new(
                "SELECT id, seq, repeats, earlier::text, same FROM commit_sends($1, $2, $3, $4, $5, $6)",
            )
            .bind(&sends.rooms)
            .bind(&sends.senders)
            .bind(&sends.client_ids)
            .bind(&sends.contents)
            .bind(ctx.at.as_millis())
            .bind(ctx.outbox.map(|node| node.0)),
        )
        .await?;
    let rows = rows
        .into_iter()
        .map(|(id, seq, repeats, earlier, same)| {
            let earlier = earlier.as_deref().map(json).transpose()?;
            Ok(SendRow(id, seq, repeats, earlier, same))
        })
        .collect::<Result<_, Fault>>();
    rows.and_then(|rows| sends.answers(ctx.at, rows))
        .map_err(Fault::unchanged)
}
