//! Times as people say them.

use std::time::Duration;

use chat_client::model::Timestamp;
use jiff::civil::DateTime;

use super::Look;

/// How much of a span that lies ahead may be over already, and it is still called by its full length.
const SLACK: Duration = Duration::from_secs(30);

impl Look {
    /// When something is or was: for a person relative to now, for a program as on the wire.
    pub(crate) fn when(&self, at: Timestamp) -> String {
        if self.terminal {
            self.relative(at)
        } else {
            at.to_string()
        }
    }

    /// The time of a message: for a person the local time of day, with the date unless it is today's, for a program as on the
    /// wire.
    pub(super) fn time_of_day(&self, at: Timestamp) -> String {
        if !self.terminal {
            return at.to_string();
        }
        let local = self.local(at);
        if local.date() == self.local(self.now()).date() {
            local.strftime("%H:%M").to_string()
        } else {
            local.strftime("%Y-%m-%d %H:%M").to_string()
        }
    }

    fn local(&self, at: Timestamp) -> DateTime {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
        self.zone.to_datetime(at)
    }

    /// When something is or was, relative to now.
    pub(crate) fn relative(&self, at: Timestamp) -> String {
        let now = self.now();
        let (seconds, future) = if at > now {
            // What was given 7 days a moment ago ends in 7 days, not in 6 and a bit.
            ((at.since(now) + SLACK).as_secs(), true)
        } else {
            (now.since(at).as_secs(), false)
        };
        let (number, unit) = match seconds {
            0..60 if future => return "in under a minute".to_owned(),
            0..60 => return "just now".to_owned(),
            60..3_600 => (seconds / 60, "minute"),
            3_600..86_400 => (seconds / 3_600, "hour"),
            86_400..2_592_001 => (seconds / 86_400, "day"),
            _ => return self.local(at).strftime("%Y-%m-%d").to_string(),
        };
        let s = if number == 1 { "" } else { "s" };
        if future {
            format!("in {number} {unit}{s}")
        } else {
            format!("{number} {unit}{s} ago")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_how_long_ago_and_a_program_when() {
        let look = Look::person();
        let now = look.now();
        for (ago, text) in [
            (0, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (86_400, "1 day ago"),
            (2_592_000, "30 days ago"),
            (31_536_000, "2025-01-31"),
        ] {
            assert_eq!(look.when(now.minus(Duration::from_secs(ago))), text);
        }
        assert_eq!(
            look.when(now.plus(Duration::from_secs(604_800))),
            "in 7 days"
        );
        let a_moment_later = now.plus(Duration::from_millis(604_799_980));
        assert_eq!(look.when(a_moment_later), "in 7 days");
        assert_eq!(Look::program().when(now), "2026-01-31T12:00:00.000Z");
    }

    #[test]
    fn a_message_has_its_local_time_with_the_date_unless_it_is_todays() {
        let look = Look {
            zone: jiff::tz::TimeZone::fixed(jiff::tz::offset(13)),
            ..Look::person()
        };
        // Noon in UTC is one in the morning of the next day there.
        assert_eq!(look.time_of_day(look.now()), "01:00");
        let before = look.now().minus(Duration::from_secs(2 * 3600));
        assert_eq!(look.time_of_day(before), "2026-01-31 23:00");
    }
}
