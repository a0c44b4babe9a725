//! The command line of `chat-server`.

mod healthcheck;
mod keys;
mod serve;
mod settings;
mod webhook;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use self::settings::Settings;
use crate::config::{Config, Environment, Log, LogFormat};
use crate::open::Database;
use crate::{asyncapi, openapi, telemetry, typescript};

/// The chat server: rooms, messages and accounts over REST and SignalR, on an embedded database
#[derive(Debug, Parser)]
#[command(name = "chat-server", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C (the default)
    Serve,
    /// Bring the database to this version's schema
    Migrate,
    /// Print the effective configuration, and where each value was said
    Config,
    /// Print the OpenAPI document
    Openapi,
    /// Print the AsyncAPI document of the hub
    Asyncapi {
        /// TypeScript declarations of its methods and events instead
        #[arg(long)]
        typescript: bool,
    },
    /// Make and show the keys of access tokens
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make and remove the operator's own webhooks, which get the events of all rooms
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Ask a running server whether it is ready: exit code 0 or 1
    Healthcheck,
}

/// Runs what `arguments`, the program's name first, ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors: they go to stdout. A closed stream is nobody's fault.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The whole chain on one line.
            let _ = writeln!(io::stderr(), "chat-server: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli, environment: &Environment) -> anyhow::Result<()> {
    let flags = cli.settings.flags;
    let load = || Config::load(&flags, environment);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(load()?),
        Command::Migrate => {
            let config = load()?;
            quiet(&config.log)?;
            runtime()?.block_on(async {
                let database = Database::open(&config.storage.database).await?;
                database.migrate().await?;
                database.close().await.context("the database")
            })?;
            let name = &config.storage.database;
            print(&format!("{name} has this version's schema\n"))
        }
        Command::Config => print(&Config::show(&flags, environment)?),
        Command::Openapi => print(&(openapi::document().to_pretty_json()? + "\n")),
        Command::Asyncapi { typescript: true } => print(&typescript::declarations()),
        Command::Asyncapi { typescript: false } => {
            print(&(serde_json::to_string_pretty(&asyncapi::document())? + "\n"))
        }
        Command::Keys(command) => keys::run(&command, &load()?),
        Command::Webhook(command) => webhook::run(command, &load()?),
        Command::Healthcheck => healthcheck::run(&load()?),
    }
}

/// Logs what is wrong, and nothing else, while a command runs that answers on its own.
fn quiet(log: &Log) -> anyhow::Result<()> {
    let log = Log {
        filter: "warn".to_owned(),
        format: log.format,
    };
    Ok(telemetry::start_logging(&log)?)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Writes a result. A reader that has had enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
