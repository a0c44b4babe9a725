//! What every command has at hand.

use std::io::{self, Read as _};

use chat_client::{Client, ClientBuilder, FileTokenStore};

use crate::credentials::login_file;
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::settings::Settings;

/// The longest text that is read from standard input: more than any message may have.
const TEXT_LIMIT_BYTES: u64 = 64 * 1024;

/// What every command has at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) output: &'a Output,
}

impl<'a> Context<'a> {
    pub(super) const fn new(settings: &'a Settings, output: &'a Output) -> Self {
        Self { settings, output }
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder(&self.settings.server)
            .user_agent(concat!("chat-cli/", env!("CARGO_PKG_VERSION")))
    }

    /// A client under the token that was given, else under the login that is kept.
    pub(super) fn client(&self) -> Result<Client> {
        match &self.settings.token {
            Some(token) => Ok(self.builder().access_token(token.0.as_str()).build()?),
            None => self.client_to_log_in(),
        }
    }

    /// A client under the login that is kept, even if a token was given.
    pub(super) fn client_to_log_in(&self) -> Result<Client> {
        let store = FileTokenStore::new(login_file(self.settings)?);
        Ok(self.builder().token_store(store).build()?)
    }
}

/// What was typed, or standard input for a single `-`, without the line break at its end.
pub(super) async fn text_of(words: Vec<String>) -> Result<String> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    blocking(|| {
        let mut text = String::new();
        io::stdin()
            .lock()
            .take(TEXT_LIMIT_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|e| Failure::usage(format!("standard input can't be read as text: {e}")))?;
        if text.len() as u64 > TEXT_LIMIT_BYTES {
            return Err(Failure::usage(
                "standard input is longer than any message: at most 4,000 characters",
            ));
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    })
    .await
}

/// Does what blocks beside the rest, so that a signal is still heard.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Failure::new(Exit::Failed, e.to_string())),
    }
}
