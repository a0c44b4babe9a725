//! `chat`: the terminal client.

use std::process::ExitCode;

fn main() -> ExitCode {
    chat_cli::main()
}
