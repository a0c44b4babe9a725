//! What happens in rooms, as it happens.

use std::collections::{BTreeMap, BTreeSet};

use chat_client::model::{Event, Room, RoomId, Seq, UserId};
use chat_client::{Client, ClientEvent, Connection, ConnectionState, Error};
use futures_util::StreamExt as _;

use super::context::Context;
use super::find;
use super::names::Names;
use crate::exit::{Failure, Result};
use crate::output::{clean, event_line};

/// Follows these rooms, after `since` or from now on, until a signal comes or none of them is left. Connections that are
/// lost are made again, and what was missed meanwhile is shown.
pub(super) async fn tail(
    context: &Context<'_>,
    rooms: &[String],
    since: Option<Seq>,
) -> Result<()> {
    let client = context.client()?;
    let mut tail = Tail::new(*context, client.clone(), rooms).await?;
    let mut connect = client.connect();
    for room in tail.rooms.values() {
        // A room's place is where it stood when it was looked at, so nothing is missed until the connection stands.
        connect = connect.resume_from(room.id, since.unwrap_or(room.seq));
    }
    let mut connection = connect.await?;
    let result = tail.follow(&mut connection).await;
    connection.close().await;
    result
}

struct Tail<'a> {
    context: Context<'a>,
    client: Client,
    rooms: BTreeMap<RoomId, Room>,
    /// Those of them that the user isn't in any more.
    gone: BTreeSet<RoomId>,
    /// Who the user is, once the server has said.
    me: Option<UserId>,
    /// Whether lines say which room they are from.
    several: bool,
    names: Names,
}

impl<'a> Tail<'a> {
    async fn new(context: Context<'a>, client: Client, wanted: &[String]) -> Result<Self> {
        let mut rooms = BTreeMap::new();
        let mut names = Names::default();
        for text in wanted {
            let room = find::room(&client, text).await?;
            if !context.output.is_json() {
                names.learn_room(&client, room.id).await?;
            }
            rooms.insert(room.id, room);
        }
        Ok(Self {
            context,
            client,
            several: rooms.len() > 1,
            rooms,
            gone: BTreeSet::new(),
            me: None,
            names,
        })
    }

    async fn follow(&mut self, connection: &mut Connection) -> Result<()> {
        let mut state = connection.state();
        loop {
            tokio::select! {
                biased;
                event = connection.next() => match event {
                    Some(event) => self.tell(event).await?,
                    None => break,
                },
                changed = state.changed() => {
                    if changed.is_err() {
                        // The connection is over; its last events are still to be read.
                        while let Some(event) = connection.next().await {
                            self.tell(event).await?;
                        }
                        break;
                    }
                    let now = state.borrow_and_update().clone();
                    self.tell_state(&now);
                }
            }
            if self.gone.len() == self.rooms.len() {
                return Err(Failure::not_found(
                    "you are in none of these rooms any more",
                ));
            }
        }
        let last = connection.state().borrow().clone();
        match last {
            ConnectionState::Closed { reason } => Err(reason.into()),
            _ => Err(Error::Closed.into()),
        }
    }

    fn tell_state(&self, state: &ConnectionState) {
        if let ConnectionState::Reconnecting {
            retry_in, reason, ..
        } = state
        {
            self.context.output.note(&format!(
                "{}: connecting again in {:.1} s",
                Failure::from(reason.clone()).message,
                retry_in.as_secs_f32()
            ));
        }
    }

    async fn tell(&mut self, event: ClientEvent) -> Result<()> {
        match event {
            ClientEvent::Connected(connected) => {
                self.me = Some(connected.user_id);
                let names: Vec<_> = self.rooms.values().map(|r| r.name.as_str()).collect();
                self.context
                    .output
                    .note(&format!("following {}", names.join(", ")));
            }
            ClientEvent::Event(event) => self.tell_event(&event).await?,
            ClientEvent::RoomGone { room_id } => {
                if let Some(room) = self.rooms.get(&room_id) {
                    self.gone.insert(room_id);
                    self.context
                        .output
                        .note(&format!("you are not in {} any more", room.name));
                }
            }
            ClientEvent::RoomJoined { room_id, .. } => {
                self.gone.remove(&room_id);
            }
            ClientEvent::Discontinuity {
                room_id,
                after,
                seq,
            } => {
                if let Some(room) = self.rooms.get(&room_id) {
                    self.context.output.note(&format!(
                        "part of what happened in {} between {after} and {seq} isn't kept any more",
                        room.name
                    ));
                }
            }
            // Other rooms, and what other programs left to be sent.
            _ => {}
        }
        Ok(())
    }

    async fn tell_event(&mut self, event: &Event) -> Result<()> {
        let room_id = event.room_id();
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return Ok(());
        };
        if let Event::RoomChanged { room: changed, .. } = event {
            room.name.clone_from(&changed.name);
        }
        let prefix = match (self.several, self.context.output.look.is_terminal()) {
            (false, _) => String::new(),
            (true, true) => format!("[{}] ", clean(&room.name)),
            (true, false) => format!("{room_id}\t"),
        };
        if !self.context.output.is_json() {
            self.learn_names(event).await;
        }
        let names = &self.names;
        self.context.output.result(event, |look| {
            prefix + &event_line(look, event, |user| names.get(user))
        })?;
        let gone = match event {
            Event::RoomDeleted { .. } => true,
            Event::MemberLeft { user_id, .. } => Some(*user_id) == self.me,
            _ => false,
        };
        if gone {
            self.gone.insert(room_id);
        }
        Ok(())
    }

    /// Learns what those are called whom the event speaks of. A name that can't be had for now is no reason to end.
    async fn learn_names(&mut self, event: &Event) {
        let user: UserId = match event {
            Event::MessageCreated(m) | Event::MessageEdited(m) | Event::MessageDeleted(m) => {
                m.sender_id
            }
            Event::MessagesDeleted { sender_id, .. } => *sender_id,
            Event::MemberLeft { user_id, .. } => *user_id,
            Event::MemberJoined { member, .. } | Event::MemberChanged { member, .. } => {
                self.names.learn_member(member);
                return;
            }
            Event::MembersChanged { .. }
            | Event::RoomChanged { .. }
            | Event::RoomDeleted { .. } => {
                return;
            }
        };
        // Without it the line says which user by id.
        let _ = self.names.learn(&self.client, user).await;
    }
}
