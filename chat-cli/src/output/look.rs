//! How text looks: for a person at a terminal, or for the next program.

use anstyle::{AnsiColor, Color, Style};
use chat_client::model::{Clock as _, Timestamp};
use jiff::tz::TimeZone;

/// The style of the word `error`.
pub(super) const ERROR: Style = colour(AnsiColor::Red).bold();
/// The style of the word `hint`.
pub(super) const HINT: Style = colour(AnsiColor::Cyan).bold();
/// The style of what is there but not looked at first: ids, times.
pub(super) const FAINT: Style = Style::new().dimmed();
/// The style of headings and names.
pub(super) const STRONG: Style = Style::new().bold();

/// What names are told apart by.
const NAMES: [AnsiColor; 6] = [
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Magenta,
    AnsiColor::Cyan,
    AnsiColor::BrightRed,
];

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// How text looks on standard output.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Whether a person reads it: aligned, with headings, times as people say them. Else fields with tabs between, times as
    /// on the wire.
    pub(super) terminal: bool,
    /// Whether there are colours.
    pub(super) colours: bool,
    /// Where the person is.
    pub(super) zone: TimeZone,
    /// When that is; `None`: whenever it is asked for.
    pub(super) now: Option<Timestamp>,
}

impl Look {
    /// With the system's clock and time zone.
    pub(super) fn system(terminal: bool, colours: bool) -> Self {
        Self {
            terminal,
            colours,
            zone: TimeZone::system(),
            now: None,
        }
    }

    /// Whether a person reads it.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        self.now
            .unwrap_or_else(|| chat_client::model::SystemClock.now())
    }

    /// The text in this style.
    pub(super) fn paint(&self, text: &str, style: Style) -> String {
        paint(self.colours, text, style)
    }

    /// A user's name in the colour that is always theirs.
    pub(super) fn name(&self, name: &str, user: i64) -> String {
        let index = usize::try_from(user).unwrap_or(0) % NAMES.len();
        self.paint(name, colour(NAMES[index]).bold())
    }
}

/// The text in this style, if there are colours.
pub(super) fn paint(colours: bool, text: &str, style: Style) -> String {
    if colours {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
impl Look {
    /// A person in UTC without colours, at 2026-01-31 12:00.
    pub(super) fn person() -> Self {
        Self {
            terminal: true,
            colours: false,
            zone: TimeZone::UTC,
            now: Some(Timestamp::from_millis(1_769_860_800_000)),
        }
    }

    /// A program.
    pub(super) fn program() -> Self {
        Self {
            terminal: false,
            ..Self::person()
        }
    }
}
