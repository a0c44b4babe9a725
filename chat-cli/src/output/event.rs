//! An event as a line: what `tail` shows.

use chat_client::model::{Event, LeaveReason, Role, UserId};

use super::look::{FAINT, Look};
use super::{message_line, sanitise};

/// An event, its line break included. `name` is what to call a user. Messages look as in the history; the rest is told in a
/// sentence behind `*`, for a program as the fields `*`, place and sentence.
pub(crate) fn event_line(look: &Look, event: &Event, name: impl Fn(UserId) -> String) -> String {
    let sentence = match event {
        Event::MessageCreated(message) | Event::MessageEdited(message) => {
            return message_line(look, message, &name(message.sender_id));
        }
        Event::MessageDeleted(message) => format!(
            "message #{} of {} was deleted",
            message.id,
            name(message.sender_id)
        ),
        Event::MessagesDeleted { sender_id, .. } => {
            format!("all that {} wrote was deleted", name(*sender_id))
        }
        Event::MemberJoined { member, .. } => format!("{} joined", member.username),
        Event::MemberChanged { member, .. } => {
            format!("{} is {} now", member.username, article(member.role))
        }
        Event::MembersChanged { role, .. } => format!("everyone is {} now", article(*role)),
        Event::MemberLeft {
            user_id, reason, ..
        } => {
            let what = match reason {
                LeaveReason::Left => "left",
                LeaveReason::Removed => "was removed",
                LeaveReason::AccountDeleted => "deleted their account",
            };
            format!("{} {what}", name(*user_id))
        }
        Event::RoomChanged { room, .. } => format!("the room is called {} now", room.name),
        Event::RoomDeleted { .. } => "the room was deleted".to_owned(),
    };
    if look.terminal {
        let text = format!("* {}", sanitise::line(&sentence));
        format!("{}\n", look.paint(&text, FAINT))
    } else {
        format!("*\t{}\t{}\n", event.seq(), sanitise::field(&sentence))
    }
}

const fn article(role: Role) -> &'static str {
    match role {
        Role::Admin => "an admin",
        Role::Member => "a member",
    }
}

#[cfg(test)]
mod tests {
    use chat_client::model::{RoomId, Seq};

    use super::*;

    #[test]
    fn what_happens_is_told_in_a_sentence() {
        let left = Event::MemberLeft {
            room_id: RoomId(7),
            seq: Seq(5),
            user_id: UserId(9),
            reason: LeaveReason::Removed,
        };
        let name = |_| "ann\x1b[2J".to_owned();
        assert_eq!(
            event_line(&Look::person(), &left, name),
            "* ann[2J was removed\n"
        );
        assert_eq!(
            event_line(&Look::program(), &left, name),
            "*\t5\tann[2J was removed\n"
        );
    }
}
