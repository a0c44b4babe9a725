//! A message as a line.

use chat_client::model::Message;

use super::look::{FAINT, Look};
use super::sanitise;

/// A message, its line break included: time, id, who, and what they say. For a program the fields id, time, username and
/// content, with tabs between.
pub(crate) fn message_line(look: &Look, message: &Message, username: &str) -> String {
    if !look.terminal {
        return format!(
            "{}\t{}\t{}\t{}\n",
            message.id,
            message.sent_at,
            sanitise::field(username),
            sanitise::field(&message.content)
        );
    }
    let name = sanitise::line(username);
    let head = format!("{} #{} ", look.time_of_day(message.sent_at), message.id);
    let indent = head.chars().count() + name.chars().count() + 2;
    let mut text = format!(
        "{}{}: ",
        look.paint(&head, FAINT),
        look.name(&name, message.sender_id.0)
    );
    for (index, line) in sanitise::lines(&message.content).iter().enumerate() {
        if index > 0 {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str(line);
    }
    if message.edited_at.is_some() {
        text.push_str(&look.paint(" (edited)", FAINT));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use chat_client::model::{MessageId, RoomId, Seq, Timestamp, UserId};

    use super::*;

    fn message() -> Message {
        let at = Timestamp::from_millis(1_769_860_800_000);
        Message {
            id: MessageId(42),
            room_id: RoomId(7),
            seq: Seq(3),
            changed_seq: Seq(4),
            sender_id: UserId(9),
            content: "one\n\x1b]0;two\x07".into(),
            sent_at: at,
            edited_at: Some(at),
            deleted_at: None,
            client_message_id: None,
        }
    }

    #[test]
    fn a_person_reads_lines_under_each_other() {
        assert_eq!(
            message_line(&Look::person(), &message(), "ann"),
            "12:00 #42 ann: one\n               ]0;two (edited)\n"
        );
    }

    #[test]
    fn a_program_reads_one_line() {
        assert_eq!(
            message_line(&Look::program(), &message(), "ann"),
            "42\t2026-01-31T12:00:00.000Z\tann\tone\\n]0;two\n"
        );
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let look = Look {
            colours: true,
            ..Look::person()
        };
        let text = message_line(&look, &message(), "ann");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            message_line(&Look::person(), &message(), "ann")
        );
    }
}
