//! `chat-server keys`

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use chat_core::auth::SigningKey;
use chat_core::protocol::rest::JwkSet;
use clap::Subcommand;

use super::{Config, print, runtime};
use crate::config::VerifyKeys;
use crate::{keys, verify_keys};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a signing key, in a file that isn't there yet
    Generate {
        /// Where to; default: the `signing_key` setting
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
    },
    /// List the keys by their ids: what signs, and what verifies
    Show,
    /// Print the public keys as a JWKS, for `verify_keys` of servers without the signing key
    Jwks,
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<()> {
    match command {
        Command::Generate { out } => {
            let path = out.as_ref().unwrap_or(&config.auth.signing_key);
            let key = keys::make(path)?;
            print(&format!("{}\t{}\n", kid(&key), path.display()))
        }
        Command::Show => {
            let auth = &config.auth;
            let key = keys::read(&auth.signing_key)?;
            let mut out = format!("signs\t{}\t{}\n", kid(&key), auth.signing_key.display());
            if let Some(source) = &auth.verify_keys {
                for jwk in read(source)?.keys {
                    let kid = jwk.kid.unwrap_or_default();
                    let _ = match source {
                        VerifyKeys::File(path) => {
                            writeln!(out, "verifies\t{kid}\t{}", path.display())
                        }
                        VerifyKeys::Url(url) => writeln!(out, "verifies\t{kid}\t{url}"),
                    };
                }
            }
            print(&out)
        }
        Command::Jwks => {
            let own = keys::read(&config.auth.signing_key)?.verify_key().to_jwk();
            let mut set = JwkSet { keys: vec![own] };
            if let Some(source) = &config.auth.verify_keys {
                let more = read(source)?.keys;
                set.keys.extend(
                    more.into_iter()
                        .filter(|k| k.kid != set.keys[0].kid)
                        .collect::<Vec<_>>(),
                );
            }
            let text = serde_json::to_string_pretty(&set).context("the keys can't be written")?;
            print(&(text + "\n"))
        }
    }
}

fn read(source: &VerifyKeys) -> anyhow::Result<JwkSet> {
    Ok(runtime()?.block_on(verify_keys::read(source))?)
}

fn kid(key: &SigningKey) -> &str {
    key.verify_key().kid()
}
