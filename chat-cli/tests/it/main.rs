//! The command as it is run: its output, exit codes and files, against a server that answers in the API's words.

mod errors;
mod logins;
mod results;
mod terminal;
mod usage;
mod world;
