//! Chat in a terminal: what the command `chat` does.
//!
//! [`main`] parses ([`args`]), resolves what holds for this run (flags, environment, configuration), runs one command over
//! the SDK and ends with an [`Exit`]. Results go to standard output, all else to standard error.

pub mod args;
mod commands;
mod credentials;
pub mod exit;
mod output;
mod settings;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::Cli;
use self::exit::{Exit, Failure, Result};
use self::output::Output;
use self::settings::{Environment, Settings};

/// Does what the process's arguments say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, and come this way too.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // A reader that has gone is no failure, and there is nowhere to tell of any other.
            let _ = error.print();
            return exit.into();
        }
    };
    let output = Output::new(&cli.global);
    match run(cli, &output) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli, output: &Output) -> Result<()> {
    let command = match commands::offline(cli.command, output)? {
        Some(command) => command,
        None => return Ok(()),
    };
    let settings = Settings::resolve(&cli.global, Environment::read()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("the runtime can't be started: {e}")))?;
    let result = runtime.block_on(commands::online(command, &settings, output));
    // A blocking read of standard input must not hold up the end.
    runtime.shutdown_background();
    result
}
