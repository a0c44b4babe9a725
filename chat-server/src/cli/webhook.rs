//! `chat-server webhook`

use anyhow::Context as _;
use chat_core::model::{Clock as _, EventKind, SystemClock, Webhook, WebhookId};
use chat_core::protocol::rest::CreateWebhook;
use chat_core::random::SystemRandom;
use chat_core::service::Error;
use chat_core::service::webhooks::Outgoing;
use chat_core::store::WebhookOwner;
use clap::Subcommand;

use super::{Config, print, quiet, runtime};
use crate::open::Database;

/// Webhooks read at once.
const PAGE: i64 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a webhook, and print it as JSON with its secret, which isn't shown again
    Add {
        /// Where events are posted to
        url: String,
        /// The tags of the events wanted, separated by commas; default: all
        #[arg(long, value_name = "TAGS", value_delimiter = ',', value_parser = event)]
        events: Option<Vec<EventKind>>,
    },
    /// Print the webhooks, one JSON object a line
    List,
    /// Remove a webhook
    Remove {
        /// Its id
        id: i64,
    },
    /// Have a webhook's dead deliveries tried once more
    Replay {
        /// Its id
        id: i64,
    },
}

fn event(name: &str) -> Result<EventKind, String> {
    EventKind::named(name).ok_or_else(|| {
        let names = EventKind::ALL.map(EventKind::as_str).join(", ");
        format!("must be one of {names}")
    })
}

pub(super) fn run(command: Command, config: &Config) -> anyhow::Result<()> {
    quiet(&config.log)?;
    let text = runtime()?.block_on(async {
        let database = Database::open(&config.storage.database).await?;
        // The operator's aren't limited.
        let outgoing = Outgoing::new(database.webhooks(), config.webhook_targets, i64::MAX);
        let text = answer(command, &outgoing).await;
        database.close().await.context("the database")?;
        text
    })?;
    print(&text)
}

async fn answer(command: Command, outgoing: &Outgoing) -> anyhow::Result<String> {
    let owner = WebhookOwner::Operator;
    let store = outgoing.store();
    match command {
        Command::Add { url, events } => {
            let new = CreateWebhook { url, events };
            let made = outgoing.create(owner, new, &SystemRandom, SystemClock.now());
            line(&made.await?)
        }
        Command::List => {
            let mut text = String::new();
            let mut after = None;
            loop {
                let page = store.webhooks(owner, after, PAGE).await?;
                let page = page.map_err(Error::from)?;
                for webhook in &page.items {
                    text += &line(webhook)?;
                }
                after = page.items.last().map(|webhook| webhook.id);
                if !page.has_more {
                    return Ok(text);
                }
            }
        }
        Command::Remove { id } => {
            let removed = store.delete_webhook(owner, WebhookId(id)).await?;
            removed.map_err(Error::from)?;
            Ok(format!("removed\t{id}\n"))
        }
        Command::Replay { id } => {
            let now = SystemClock.now();
            let replayed = store.replay_webhook(owner, WebhookId(id), now).await?;
            let replayed = replayed.map_err(Error::from)?;
            Ok(format!("replayed\t{replayed}\n"))
        }
    }
}

fn line(webhook: &Webhook) -> anyhow::Result<String> {
    Ok(serde_json::to_string(webhook).context("the webhook can't be written")? + "\n")
}
