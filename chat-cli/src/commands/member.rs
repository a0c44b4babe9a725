//! Who is in a room.

use chat_client::model::{Member, Role};
use chat_client::protocol::rest::Page;
use futures_util::TryStreamExt as _;

use super::context::Context;
use super::find;
use crate::exit::Result;
use crate::output::{Cell, table};

pub(super) async fn list(context: &Context<'_>, room: &str) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    let items: Vec<Member> = client.room(id).all_members().try_collect().await?;
    let page = Page {
        items,
        has_more: false,
    };
    context.output.result(&page, |look| {
        let row = |member: &Member| {
            [
                Cell::faint(member.user_id),
                Cell::new(&member.username),
                Cell::new(role_name(member.role)),
                Cell::faint(look.when(member.joined_at)),
            ]
        };
        let headings = ["id", "name", "role", "joined"];
        table(look, headings, page.items.iter().map(row).collect())
    })
}

pub(super) async fn leave(context: &Context<'_>, room: &str, delete_messages: bool) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    client.room(id).leave(delete_messages).await?;
    context.output.note(&format!("left room {id}"));
    Ok(())
}

pub(super) async fn kick(
    context: &Context<'_>,
    room: &str,
    user: &str,
    delete_messages: bool,
) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    let user = find::user_id(&client, id, user).await?;
    client.room(id).remove(user, delete_messages).await?;
    context
        .output
        .note(&format!("removed user {user} from room {id}"));
    Ok(())
}

pub(super) async fn role(context: &Context<'_>, room: &str, user: &str, role: Role) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    let user = find::user_id(&client, id, user).await?;
    let member = client.room(id).set_role(user, role).await?;
    let what = role_name(member.role);
    context.output.note(&format!(
        "{}'s role in room {id} is {what} now",
        member.username
    ));
    context.output.result(&member, |_| String::new())
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
    }
}
