//! `chat-server serve`

use std::io::{self, Write as _};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Config, LogFormat, print, runtime};
use crate::{Server, telemetry};

/// The address at which the terminal client looks for a server by itself.
const CLIENT_DEFAULT: &str = "http://127.0.0.1:8080";

/// How a shell says that a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

pub(super) fn run(config: Config) -> anyhow::Result<()> {
    telemetry::start_logging(&config.log)?;
    raise_descriptor_limit();
    runtime()?.block_on(async {
        let stop = stop().context("signals can't be listened for")?;
        let format = config.log.format;
        let server = Server::bind(config).await?;
        let url = server.url();
        print(&format!("listening on {url}\n"))?;
        if format == LogFormat::Text {
            // What comes next is for a person, and not for the program that reads the line above. Nobody may be there.
            let _ = io::stderr().write_all(next_steps(&url).as_bytes());
        }
        server.run(stop).await;
        Ok(())
    })
}

/// What to type next, in another terminal.
fn next_steps(url: &str) -> String {
    let server = if url == CLIENT_DEFAULT {
        String::new()
    } else {
        format!("  export CHAT_SERVER={url}\n")
    };
    format!(
        "\nIn another terminal:\n{server}\
         \x20 chat register --email you@example.com --username you\n\
         \x20 chat login --email you@example.com\n\
         \x20 chat room create hello\n\
         \x20 chat send hello 'Hello, world'\n\
         The API: {url}/docs\n\n"
    )
}

/// Ready when SIGTERM or Ctrl-C asks the server to stop. Asked once more, the process ends at once.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut asked = async move || {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        asked().await;
        tokio::spawn(async move {
            asked().await;
            std::process::exit(INTERRUPTED);
        });
    })
}

/// A connection is a descriptor, and the usual limit of 1,024 is soon reached.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "descriptors"),
        Err(e) => tracing::warn!("the limit of open descriptors can't be raised: {e}"),
    }
}
