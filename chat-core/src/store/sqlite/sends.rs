//! Messages sent: a run of them is a fixed number of statements, however long it is.
//!
//! First one read: where the rooms of those who may write stand, the last id, and what was sent before under the same ids.
//! Then, from that, the answers and places of all; then one insert each into the tables. SQLite's write lock is held from
//! before the read, so nothing in it can have changed. A statement costs a change of threads and back, more than its work
//! on a few rows: BEGIN goes with the read and COMMIT with the inserts.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::{Change, CommitContext, Committed, Outcome, Refusal, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::{join_erasure, json, message_json};
use crate::model::{Event, Message, MessageId, RoomId, Seq, Timestamp, UserId};
use crate::store::rows::{MessageRow, sha256};

type Answer = Result<Committed, Refusal>;

/// [`Change::SendMessage`]
#[derive(Clone, Copy)]
pub(super) struct Send<'a> {
    room_id: RoomId,
    sender_id: UserId,
    content: &'a str,
    client_message_id: Option<&'a str>,
}

impl<'a> Send<'a> {
    pub(super) fn of(change: &'a Change) -> Option<Self> {
        match change {
            Change::SendMessage {
                room_id,
                sender_id,
                content,
                client_message_id,
            } => Some(Self {
                room_id: *room_id,
                sender_id: *sender_id,
                content,
                client_message_id: client_message_id.as_deref(),
            }),
            _ => None,
        }
    }
}

/// `$1`: `[[room, sender, clientMessageId]…]`. First row: the head of each one's room, null for who isn't in it, and the last
/// message id. Then a row for each whose id was used before.
macro_rules! look {
    () => {
        concat!(
            "SELECT json_group_array(r.seq ORDER BY i.key),
                    (SELECT value FROM counters WHERE name = 'message')
             FROM json_each($1) i
             LEFT JOIN members b ON b.room_id = i.value ->> 0 AND b.user_id = i.value ->> 1 AND b.left_seq IS NULL
             LEFT JOIN rooms r ON r.id = b.room_id;
             SELECT i.key, ",
            message_json!(),
            ", m.content, m.first_hash
             FROM json_each($1) i CROSS JOIN messages m
             ON m.room_id = i.value ->> 0 AND m.sender_id = i.value ->> 1 AND m.client_message_id = i.value ->> 2",
            join_erasure!()
        )
    };
}

/// Where a run stands between JSON and the tables, in the memory of the write connection.
///
/// An INSERT of many rows that calls a function might fail halfway, for all SQLite knows, so it keeps copies of the pages that
/// it touches, beyond 64 KiB in a temporary file. From here rows go into the tables without a function, and OR ROLLBACK says
/// that a failure ends the transaction anyway.
pub(super) const CREATE_RUN: &str = "CREATE TEMP TABLE run (
    room_id INTEGER, seq INTEGER, id INTEGER, sender_id INTEGER, client_message_id TEXT, content TEXT
)";

/// `$1`: `[[room, seq, id, sender, clientMessageId, content]…]`, `$2`: the time, `$3`: `[[room, head]…]`, `$4`: the last id.
macro_rules! insert {
    () => {
        "INSERT INTO run
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1);
         INSERT OR ROLLBACK INTO messages
             (room_id, seq, id, sender_id, changed_seq, sent_at, client_message_id, content)
         SELECT room_id, seq, id, sender_id, seq, $2, client_message_id, content FROM run;
         INSERT OR ROLLBACK INTO message_places (id, room_id, seq, sent_at)
         SELECT id, room_id, seq, $2 FROM run;
         DELETE FROM run;
         UPDATE rooms SET seq = h.value ->> 1 FROM json_each($3) h WHERE rooms.id = h.value ->> 0;
         UPDATE counters SET value = $4 WHERE name = 'message'"
    };
}

/// `$5`: `[[room, seq, event]…]`, `$6`: the node.
macro_rules! insert_outbox {
    () => {
        ";INSERT INTO outbox (room_id, seq, node, event)
         SELECT value ->> 0, value ->> 1, $6, value ->> 2 FROM json_each($5)"
    };
}

pub(super) const LOOK: &str = look!();
const BEGIN_AND_LOOK: &str = concat!("BEGIN IMMEDIATE;", look!());
pub(super) const INSERT: &str = insert!();
const INSERT_AND_COMMIT: &str = concat!(insert!(), "; COMMIT");
const INSERT_WITH_OUTBOX_AND_COMMIT: &str = concat!(insert!(), insert_outbox!(), "; COMMIT");

/// Commits a batch of nothing but sends.
pub(super) async fn commit(
    database: &Database,
    ctx: &CommitContext,
    sends: &[Send<'_>],
) -> Result<Vec<Answer>, StoreError> {
    let keys = keys(sends).map_err(Fault::unchanged)?;
    let mut transaction = database.writer().await?;
    let rows = sqlx::query(BEGIN_AND_LOOK)
        .bind(keys)
        .fetch_all(transaction.connection())
        .await;
    let run = match rows
        .map_err(Fault::from)
        .and_then(|rows| Run::plan(ctx.at, sends, &rows))
    {
        Ok(run) => run,
        Err(fault) => return Err(transaction.abandon(fault).await),
    };
    if run.messages.is_empty() {
        return transaction.finish(Ok(run.answers)).await;
    }
    let statement = match ctx.outbox {
        None => run.insert(INSERT_AND_COMMIT, ctx.at),
        Some(node) => run
            .insert(INSERT_WITH_OUTBOX_AND_COMMIT, ctx.at)
            .and_then(|s| Ok(s.bind(super::outbox::rows(&run.answers)?).bind(node.0))),
    };
    match statement {
        Ok(statement) => transaction.commit_with(statement).await?,
        Err(fault) => return Err(transaction.abandon(fault).await),
    }
    Ok(run.answers)
}

/// Applies a run of sends within a transaction.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    ctx: &CommitContext,
    sends: &[Send<'_>],
) -> Result<Vec<Answer>, Fault> {
    let rows = sqlx::query(LOOK)
        .bind(keys(sends)?)
        .fetch_all(&mut *connection)
        .await?;
    let run = Run::plan(ctx.at, sends, &rows)?;
    if !run.messages.is_empty() {
        run.insert(INSERT, ctx.at)?.execute(connection).await?;
    }
    Ok(run.answers)
}

fn keys(sends: &[Send<'_>]) -> Result<String, Fault> {
    let keys: Vec<_> = sends
        .iter()
        .map(|send| (send.room_id, send.sender_id, send.client_message_id))
        .collect();
    Ok(serde_json::to_string(&keys)?)
}

/// What was sent before under the same `clientMessageId`.
struct Earlier {
    message: Message,
    first: FirstContent,
}

enum FirstContent {
    Text(String),
    Hash(Vec<u8>),
}

impl Earlier {
    fn answer(&self, content: &str) -> Answer {
        let same = match &self.first {
            FirstContent::Text(text) => text == content,
            FirstContent::Hash(hash) => *hash == sha256(content.as_bytes()),
        };
        if same {
            Ok(Committed {
                events: Vec::new(),
                outcome: Outcome::Message(self.message.clone()),
            })
        } else {
            Err(Refusal::ClientMessageIdReused)
        }
    }
}

/// A message to insert: `[room, seq, id, sender, clientMessageId, content]`.
type NewMessage<'a> = (RoomId, Seq, MessageId, UserId, Option<&'a str>, &'a str);

/// A run of sends with their answers and places.
struct Run<'a> {
    answers: Vec<Answer>,
    messages: Vec<NewMessage<'a>>,
    /// Where the rooms stand after it.
    heads: HashMap<RoomId, Seq>,
    last_id: i64,
}

impl<'a> Run<'a> {
    fn plan(at: Timestamp, sends: &[Send<'a>], rows: &[SqliteRow]) -> Result<Self, Fault> {
        let (first, rest) = rows
            .split_first()
            .ok_or(Fault::Sql(sqlx::Error::RowNotFound))?;
        let places: Vec<Option<i64>> = json(first.try_get(0)?)?;
        let mut run = Self {
            answers: Vec::with_capacity(sends.len()),
            messages: Vec::with_capacity(sends.len()),
            heads: HashMap::new(),
            last_id: first.try_get(1)?,
        };
        let mut earlier = HashMap::new();
        for row in rest {
            let index = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
            let send = sends
                .get(index)
                .ok_or(Fault::Sql(sqlx::Error::RowNotFound))?;
            let message: MessageRow = json(row.try_get(1)?)?;
            let first = match row.try_get(3)? {
                Some(hash) => FirstContent::Hash(hash),
                None => FirstContent::Text(row.try_get(2)?),
            };
            let message = message.message(send.room_id);
            earlier.insert(
                (send.room_id, send.sender_id, send.client_message_id),
                Earlier { message, first },
            );
        }
        for (send, head) in sends.iter().zip(places) {
            let Some(head) = head else {
                run.answers.push(Err(Refusal::NotFound));
                continue;
            };
            let key = (send.room_id, send.sender_id, send.client_message_id);
            if let Some(earlier) = earlier.get(&key) {
                run.answers.push(earlier.answer(send.content));
                continue;
            }
            let message = run.add(at, send, Seq(head));
            if send.client_message_id.is_some() {
                // The rest of the batch may send it again.
                let first = FirstContent::Text(send.content.to_owned());
                earlier.insert(
                    key,
                    Earlier {
                        message: message.clone(),
                        first,
                    },
                );
            }
            run.answers.push(Ok(Committed {
                events: vec![Event::MessageCreated(message)],
                outcome: Outcome::Event,
            }));
        }
        Ok(run)
    }

    fn add(&mut self, at: Timestamp, send: &Send<'a>, head: Seq) -> Message {
        let place = self.heads.entry(send.room_id).or_insert(head);
        *place = place.next();
        self.last_id += 1;
        let (id, seq) = (MessageId(self.last_id), *place);
        self.messages.push((
            send.room_id,
            seq,
            id,
            send.sender_id,
            send.client_message_id,
            send.content,
        ));
        Message {
            id,
            room_id: send.room_id,
            seq,
            changed_seq: seq,
            sender_id: send.sender_id,
            content: send.content.to_owned(),
            sent_at: at,
            edited_at: None,
            deleted_at: None,
            client_message_id: send.client_message_id.map(str::to_owned),
        }
    }

    fn insert(&self, sql: &'static str, at: Timestamp) -> Result<Statement<'static>, Fault> {
        let heads: Vec<_> = self.heads.iter().collect();
        Ok(sqlx::query(sql)
            .bind(serde_json::to_string(&self.messages)?)
            .bind(at.as_millis())
            .bind(serde_json::to_string(&heads)?)
            .bind(self.last_id))
    }
}
