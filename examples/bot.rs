//! A bot: answers every `ping` with `pong`, in every room it is in.
//!
//! `CHAT_SERVER=http://127.0.0.1:8080 CHAT_TOKEN=… cargo run -p examples --example bot`

// -- the bot begins --
use chat_client::{Client, ClientEvent, model::Event};
use futures_util::StreamExt as _;

/// Answers until the connection is over.
pub(crate) async fn run(client: Client) -> chat_client::Result<()> {
    let me = client.me().await?.id;
    let mut events = client.connect().await?;
    while let Some(event) = events.next().await {
        let ClientEvent::Event(Event::MessageCreated(message)) = event else {
            continue;
        };
        if message.sender_id != me && message.content == "ping" {
            client.room(message.room_id).send("pong").await?;
        }
    }
    Ok(())
}
// -- the bot ends --

#[allow(dead_code)] // a test of this example brings its own
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = std::env::var("CHAT_SERVER")?;
    let token = std::env::var("CHAT_TOKEN")?;
    Ok(run(Client::builder(&server).access_token(&token).build()?).await?)
}
