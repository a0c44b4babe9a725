//! The account's logins.

use chat_client::model::{Session, SessionId};
use chat_client::protocol::rest::Page;
use futures_util::TryStreamExt as _;

use super::context::Context;
use crate::exit::Result;
use crate::output::{Cell, table};

pub(super) async fn list(context: &Context<'_>) -> Result<()> {
    let items: Vec<Session> = context.client()?.all_sessions().try_collect().await?;
    let page = Page {
        items,
        has_more: false,
    };
    context.output.result(&page, |look| {
        let row = |s: &Session| {
            let current = if s.current { "this one" } else { "" };
            [
                Cell::faint(s.id),
                Cell::new(&s.device),
                Cell::new(look.when(s.created_at)),
                Cell::new(look.when(s.last_used_at)),
                Cell::new(current),
            ]
        };
        let headings = ["id", "device", "logged in", "last used", ""];
        table(look, headings, page.items.iter().map(row).collect())
    })
}

pub(super) async fn end(context: &Context<'_>, id: SessionId) -> Result<()> {
    context.client()?.end_session(id).await?;
    context.output.note(&format!("session {id} has ended"));
    Ok(())
}
