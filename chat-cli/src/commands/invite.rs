//! The ways into a room.

use chat_client::model::{self, InviteId};
use chat_client::protocol::rest::{CreateInvite, Page};
use futures_util::TryStreamExt as _;

use super::context::{Context, text_of};
use super::find;
use crate::args::Invite;
use crate::exit::Result;
use crate::output::{Cell, clean, table};

pub(super) async fn create(context: &Context<'_>, args: Invite) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, &args.room).await?;
    let invite = client
        .room(id)
        .create_invite(CreateInvite {
            expires_in: args.expires_in,
            max_uses: args.max_uses,
        })
        .await?;
    let uses = match invite.max_uses {
        Some(1) => "once".to_owned(),
        Some(uses) => format!("{uses} times"),
        None => "any number of times".to_owned(),
    };
    context.output.note(&format!(
        "admits {uses} and ends {}; shown only now: join with `chat room join TOKEN`",
        context.output.look.relative(invite.expires_at)
    ));
    context.output.result(&invite, |_| {
        format!("{}\n", clean(invite.token.as_deref().unwrap_or_default()))
    })
}

pub(super) async fn list(context: &Context<'_>, room: &str) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    let items: Vec<model::Invite> = client.room(id).all_invites().try_collect().await?;
    let page = Page {
        items,
        has_more: false,
    };
    context.output.result(&page, |look| {
        let row = |invite: &model::Invite| {
            let max = invite.max_uses.map(|n| n.to_string()).unwrap_or_default();
            [
                Cell::faint(invite.id),
                Cell::new(look.when(invite.created_at)),
                Cell::new(look.when(invite.expires_at)),
                Cell::new(invite.uses),
                Cell::new(max),
            ]
        };
        let headings = ["id", "created", "expires", "used", "at most"];
        table(look, headings, page.items.iter().map(row).collect())
    })
}

pub(super) async fn revoke(context: &Context<'_>, room: &str, invite: InviteId) -> Result<()> {
    let client = context.client()?;
    let id = find::room_id(&client, room).await?;
    client.room(id).revoke_invite(invite).await?;
    context
        .output
        .note(&format!("invite {invite} admits no one any more"));
    Ok(())
}

pub(super) async fn join(context: &Context<'_>, token: String) -> Result<()> {
    let client = context.client()?;
    let token = text_of(vec![token]).await?;
    let room = client.accept_invite(token.trim()).await?;
    context.output.note(&format!(
        "you are in room {}, called {}: follow it with `chat tail {}`",
        room.id, room.name, room.id
    ));
    context.output.result(&room, |_| format!("{}\n", room.id))
}
