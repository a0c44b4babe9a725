//! The stock chat server.

use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    chat_server::cli::run(std::env::args_os(), &environment)
}
