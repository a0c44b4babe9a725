//! Which room or user was meant.

use chat_client::model::{Member, Room, RoomId, UserId};
use chat_client::{Client, model};
use futures_util::TryStreamExt as _;

use crate::exit::{Exit, Failure, Result};

/// The room with this id or name. A number is an id, which isn't checked; a name is one of the caller's rooms', in any case
/// if none has it as it stands.
pub(super) async fn room_id(client: &Client, text: &str) -> Result<RoomId> {
    if let Some(id) = id(text) {
        return Ok(RoomId(id));
    }
    let rooms: Vec<Room> = client.all_rooms().try_collect().await?;
    room_named(&rooms, text).map(|room| room.id)
}

/// As [`room_id`], with the room as it is now.
pub(super) async fn room(client: &Client, text: &str) -> Result<model::Room> {
    if let Some(id) = id(text) {
        return Ok(client.room(RoomId(id)).get().await?);
    }
    let rooms: Vec<Room> = client.all_rooms().try_collect().await?;
    room_named(&rooms, text).cloned()
}

/// The member of a room with this id or username. `@` before a name says that it is one.
pub(super) async fn user_id(client: &Client, room: RoomId, text: &str) -> Result<UserId> {
    if let Some(id) = id(text) {
        return Ok(UserId(id));
    }
    let members: Vec<Member> = client.room(room).all_members().try_collect().await?;
    let name = text.strip_prefix('@').unwrap_or(text);
    members
        .iter()
        .find(|member| member.username.eq_ignore_ascii_case(name))
        .map(|member| member.user_id)
        .ok_or_else(|| {
            Failure::not_found(format!("no member of this room is called {name:?}"))
                .with_hint("`chat room members ROOM` shows who is in it")
        })
}

fn id(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // A number beyond all ids is nobody's.
    digits.then(|| text.parse().unwrap_or(model::MAX_INTEGER))
}

fn room_named<'a>(rooms: &'a [Room], name: &str) -> Result<&'a Room> {
    let name = name.trim();
    let mut named: Vec<&Room> = rooms.iter().filter(|room| room.name == name).collect();
    if named.is_empty() {
        let lower = name.to_lowercase();
        named = rooms
            .iter()
            .filter(|room| room.name.to_lowercase() == lower)
            .collect();
    }
    match named.as_slice() {
        [room] => Ok(room),
        [] => Err(
            Failure::not_found(format!("none of your rooms is called {name:?}"))
                .with_hint("`chat room list` shows them"),
        ),
        several => {
            let ids: Vec<_> = several.iter().map(|room| room.id.to_string()).collect();
            let what = format!("{} of your rooms are called {name:?}", several.len());
            Err(Failure::new(Exit::Usage, what)
                .with_code("ambiguous")
                .with_hint(format!("give the id: {}", ids.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_client::model::{Seq, Timestamp};

    use super::*;

    fn rooms() -> Vec<Room> {
        let names = ["tea", "Tea", "Lobby", "twice", "twice"];
        let room = |(index, name): (usize, &str)| Room {
            id: RoomId(i64::try_from(index).expect("small") + 1),
            name: name.into(),
            created_at: Timestamp::from_millis(0),
            member_count: 1,
            seq: Seq(1),
            role: None,
        };
        names.into_iter().enumerate().map(room).collect()
    }

    #[test]
    fn a_name_as_it_stands_wins_over_one_in_another_case() {
        let rooms = rooms();
        let id = |name| room_named(&rooms, name).expect("found").id;
        assert_eq!(id("tea"), RoomId(1));
        assert_eq!(id("Tea"), RoomId(2));
        assert_eq!(id("LOBBY"), RoomId(3));
    }

    #[test]
    fn a_name_that_several_rooms_have_is_ambiguous() {
        let rooms = rooms();
        for name in ["twice", "TEA"] {
            let failure = room_named(&rooms, name).expect_err("ambiguous");
            assert_eq!(failure.exit, Exit::Usage);
        }
        let missing = room_named(&rooms, "none").expect_err("missing");
        assert_eq!(missing.exit, Exit::NotFound);
    }

    #[test]
    fn a_number_is_an_id() {
        assert_eq!(id("12"), Some(12));
        assert_eq!(id("99999999999999999999"), Some(model::MAX_INTEGER));
        assert_eq!(id("12a"), None);
        assert_eq!(id("-1"), None);
    }
}
