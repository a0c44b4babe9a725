//! What is printed: results on standard output, all else on standard error.

mod event;
mod json;
mod look;
mod message;
mod sanitise;
mod table;
mod time;

use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;

pub(crate) use self::event::event_line;
pub(crate) use self::look::Look;
pub(crate) use self::message::message_line;
pub(crate) use self::sanitise::line as clean;
pub(crate) use self::table::{Cell, table};
use crate::args::Global;
use crate::exit::{Failure, Result};

/// Prints results and notes in the form that was asked for.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    /// Whether standard error takes colours.
    error_colours: bool,
    /// How text looks on standard output.
    pub(crate) look: Look,
}

impl Output {
    /// As asked for, and as fits what standard output and standard error are.
    pub(crate) fn new(global: &Global) -> Self {
        let colours = |choice: ColorChoice| !global.no_color && choice != ColorChoice::Never;
        Self {
            json: global.json,
            quiet: global.quiet,
            error_colours: colours(AutoStream::choice(&io::stderr())),
            look: Look::system(
                io::stdout().is_terminal(),
                colours(AutoStream::choice(&io::stdout())),
            ),
        }
    }

    /// Whether results are JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: as JSON, or the text that `text` makes, line break included, if it isn't empty.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&Look) -> String,
    ) -> Result<()> {
        if self.json {
            self.print(&json::line(value)?)
        } else {
            self.print(&text(&self.look))
        }
    }

    /// Prints text on standard output as it is, at once.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints bytes on standard output as they are, at once.
    #[expect(
        clippy::unused_self,
        reason = "printing goes through whoever knows what was asked for"
    )]
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Says something beside the result, unless that was not wanted. It may hold text that others wrote.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            // There is nowhere to complain to.
            let _ = writeln!(io::stderr(), "{}", clean(text));
        }
    }

    /// Says why a command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        let _ = io::stderr().write_all(failure_text(failure, self.error_colours).as_bytes());
    }
}

fn failure_text(failure: &Failure, colours: bool) -> String {
    if failure.message.is_empty() {
        return String::new();
    }
    let paint = |text: &str, style| look::paint(colours, text, style);
    let head = match &failure.code {
        Some(code) => paint(&format!("error[{}]", clean(code)), look::ERROR),
        None => paint("error", look::ERROR),
    };
    let mut text = format!("{head}: {}\n", clean(&failure.message));
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("{}: {}\n", paint("hint", look::HINT), clean(hint)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_failure_is_its_code_what_happened_and_what_to_do() {
        let failure = Failure::new(Exit::NotFound, "no \x1b[2Jsuch\nroom")
            .with_code("not_found")
            .with_hint("look again");
        assert_eq!(
            failure_text(&failure, false),
            "error[not_found]: no [2Jsuch room\nhint: look again\n"
        );
        assert!(failure_text(&failure, true).starts_with("\x1b["));
    }
}
