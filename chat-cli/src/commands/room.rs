//! Rooms.

use std::io::{self, IsTerminal as _, Write as _};

use chat_client::model::{Role, Room};
use chat_client::protocol::rest::Page;
use futures_util::TryStreamExt as _;

use super::context::{Context, blocking};
use super::find;
use crate::exit::{Failure, Result};
use crate::output::{Cell, Look, clean, table};

pub(super) async fn create(context: &Context<'_>, name: &str) -> Result<()> {
    let room = context.client()?.create_room(name).await?;
    context.output.note(&format!(
        "made room {}, called {}: invite others with `chat room invite {}`",
        room.id, room.name, room.id
    ));
    context.output.result(&room, |_| format!("{}\n", room.id))
}

pub(super) async fn list(context: &Context<'_>) -> Result<()> {
    let items: Vec<Room> = context.client()?.all_rooms().try_collect().await?;
    if items.is_empty() {
        context
            .output
            .note("you are in no room: make one with `chat room create NAME`, or join one with `chat room join TOKEN`");
    }
    let page = Page {
        items,
        has_more: false,
    };
    context
        .output
        .result(&page, |look| rooms_text(look, &page.items))
}

pub(super) async fn show(context: &Context<'_>, room: &str) -> Result<()> {
    let room = find::room(&context.client()?, room).await?;
    context
        .output
        .result(&room, |look| rooms_text(look, std::slice::from_ref(&room)))
}

pub(super) async fn rename(context: &Context<'_>, room: &str, name: &str) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    let room = client.room(id).rename(name).await?;
    context
        .output
        .note(&format!("room {id} is called {} now", room.name));
    context.output.result(&room, |_| String::new())
}

pub(super) async fn delete(context: &Context<'_>, room: &str, yes: bool) -> Result<()> {
    let client = context.client()?;
    let id = if !yes && io::stdin().is_terminal() && io::stderr().is_terminal() {
        let room = find::room(&client, room).await?;
        let question = format!(
            "Delete {} with all messages, for all {} members? [y/N] ",
            room.name, room.member_count
        );
        if !confirm(question).await? {
            return Err(Failure::new(
                crate::exit::Exit::Failed,
                "nothing was deleted",
            ));
        }
        room.id
    } else {
        find::room_id(&client, room).await?
    };
    client.room(id).delete().await?;
    context.output.note(&format!("room {id} is deleted"));
    Ok(())
}

async fn confirm(question: String) -> Result<bool> {
    blocking(move || {
        let mut err = io::stderr();
        write!(err, "{}", clean(&question))?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    })
    .await
}

fn rooms_text(look: &Look, rooms: &[Room]) -> String {
    let row = |room: &Room| {
        let role = match room.role {
            Some(Role::Admin) => "admin",
            Some(Role::Member) => "member",
            None => "",
        };
        [
            Cell::faint(room.id),
            Cell::new(&room.name),
            Cell::new(room.member_count),
            Cell::new(role),
            Cell::faint(room.seq),
            Cell::faint(look.when(room.created_at)),
        ]
    };
    let headings = ["id", "name", "members", "you", "seq", "created"];
    table(look, headings, rooms.iter().map(row).collect())
}
