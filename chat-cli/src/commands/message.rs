//! Messages.

use chat_client::model::limits::PAGE_LIMIT;
use chat_client::model::{Message, MessageId};
use chat_client::protocol::rest::{HistoryQuery, Page};
use chat_client::{Client, Room};

use super::context::{Context, text_of};
use super::find;
use super::names::Names;
use crate::args::History;
use crate::exit::Result;
use crate::output::message_line;

pub(super) async fn send(context: &Context<'_>, room: &str, text: Vec<String>) -> Result<()> {
    let client = context.client()?;
    let text = text_of(text).await?;
    let id = find::room_id(&client, room).await?;
    let message = client.room(id).send(text).await?;
    context
        .output
        .result(&message, |_| format!("{}\n", message.id))
}

pub(super) async fn edit(
    context: &Context<'_>,
    room: &str,
    message: MessageId,
    text: Vec<String>,
) -> Result<()> {
    let client = context.client()?;
    let text = text_of(text).await?;
    let id = find::room_id(&client, room).await?;
    let message = client.room(id).edit(message, text).await?;
    context
        .output
        .note(&format!("message {} is edited", message.id));
    context.output.result(&message, |_| String::new())
}

pub(super) async fn delete(context: &Context<'_>, room: &str, message: MessageId) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    client.room(id).delete_message(message).await?;
    context
        .output
        .note(&format!("message {message} is deleted"));
    Ok(())
}

pub(super) async fn history(context: &Context<'_>, args: History) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, &args.room).await?;
    let room = client.room(id);
    let wanted = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let page = match args.after {
        Some(after) => forwards(&room, after, wanted).await?,
        None => backwards(&room, args.before, wanted).await?,
    };
    if page.has_more && !context.output.is_json() {
        let next = match (args.after, page.items.first(), page.items.last()) {
            (Some(_), _, Some(last)) => format!("later ones: --after {}", last.id),
            (None, Some(first), _) => format!("earlier ones: --before {}", first.id),
            _ => String::new(),
        };
        context.output.note(&next);
    }
    let names = names_of(context, &client, &room, &page.items).await?;
    context.output.result(&page, |look| {
        let line = |m: &Message| message_line(look, m, &names.get(m.sender_id));
        page.items.iter().map(line).collect()
    })
}

/// What the writers are called, which only text tells.
async fn names_of(
    context: &Context<'_>,
    client: &Client,
    room: &Room,
    messages: &[Message],
) -> Result<Names> {
    let mut names = Names::default();
    if context.output.is_json() || messages.is_empty() {
        return Ok(names);
    }
    names.learn_room(client, room.id()).await?;
    for message in messages {
        names.learn(client, message.sender_id).await?;
    }
    Ok(names)
}

/// The messages just after `after`, at most `wanted`.
async fn forwards(room: &Room, mut after: MessageId, wanted: usize) -> Result<Page<Message>> {
    let mut items: Vec<Message> = Vec::new();
    loop {
        let query = HistoryQuery {
            limit: Some(page_limit(wanted - items.len())),
            before: None,
            after: Some(after),
        };
        let page = room.history(query).await?;
        after = page.items.last().map_or(after, |message| message.id);
        let empty = page.items.is_empty();
        items.extend(page.items);
        if empty || !page.has_more || items.len() >= wanted {
            return Ok(Page {
                items,
                has_more: page.has_more,
            });
        }
    }
}

/// The messages just before `before`, or the newest, at most `wanted`.
async fn backwards(
    room: &Room,
    mut before: Option<MessageId>,
    wanted: usize,
) -> Result<Page<Message>> {
    let mut newest_first: Vec<Message> = Vec::new();
    loop {
        let query = HistoryQuery {
            limit: Some(page_limit(wanted - newest_first.len())),
            before,
            after: None,
        };
        let page = room.history(query).await?;
        before = page.items.first().map(|message| message.id).or(before);
        let empty = page.items.is_empty();
        newest_first.extend(page.items.into_iter().rev());
        if empty || !page.has_more || newest_first.len() >= wanted {
            newest_first.reverse();
            return Ok(Page {
                items: newest_first,
                has_more: page.has_more,
            });
        }
    }
}

fn page_limit(wanted: usize) -> i64 {
    i64::try_from(wanted)
        .unwrap_or(i64::MAX)
        .min(*PAGE_LIMIT.end())
}
