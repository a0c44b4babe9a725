//! A client with an outbox, to be killed: `outbox-client SERVER ROOM OUTBOX`, its access token in `CHAT_TOKEN`.
//!
//! Says `connected`, then sends each line of its input without waiting for the one before, and ends with its input once all
//! of them are answered. What an earlier run left is sent meanwhile.

use std::path::PathBuf;

use anyhow::Context as _;
use chat_client::model::RoomId;
use chat_client::{Client, FileOutbox};
use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, stdin, stdout};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let server = args.next().context("SERVER")?;
    let room = RoomId(args.next().context("ROOM")?.parse()?);
    let outbox = PathBuf::from(args.next().context("OUTBOX")?);
    let token = std::env::var("CHAT_TOKEN")?;
    let client = Client::builder(&server)
        .access_token(token)
        .outbox(FileOutbox::new(outbox))
        .build()?;
    let mut events = client.connect().await?;
    tokio::spawn(async move { while events.next().await.is_some() {} });
    stdout().write_all(b"connected\n").await?;
    stdout().flush().await?;

    let mut sends = JoinSet::new();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let room = client.room(room);
        sends.spawn(async move { room.send(line).await });
    }
    while let Some(sent) = sends.join_next().await {
        sent??;
    }
    Ok(())
}
