//! The promises, checked from outside once a run has settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chat_core::model::{Event, RoomId, Seq, UserId};
use chat_core::store::{Reader, Store as _};

use crate::bus::Published;
use crate::client::SimClient;
use crate::model::RoomModel;
use crate::world::{Pushed, World};

/// How long after its end a session may still be heard: 5 s by the contract, and a look at the connections takes 1 s.
const SESSION_END: Duration = Duration::from_secs(6);
/// Changes read at once.
const PAGE: i64 = 100;

/// Checks a run that has settled.
pub(crate) async fn check(world: &Arc<World>, clients: &[SimClient]) {
    let published = world.bus.published();
    let mut rooms = BTreeMap::new();
    for room in published
        .keys()
        .map(|(room, _)| *room)
        .collect::<BTreeSet<_>>()
    {
        if let Some(model) = read(world, room).await {
            rooms.insert(room, model);
        }
    }
    let truth = Truth {
        world,
        published,
        rooms,
    };
    truth.every_place_is_published_once();
    truth.every_send_is_stored_once();
    for client in clients {
        truth.the_client_knows_what_the_database_knows(client).await;
    }
    truth.nobody_heard_of_a_room_they_were_out_of();
    for session in world.heard_after_their_end(SESSION_END) {
        world.violation(format!(
            "SessionEnded: {session} was heard from after its end"
        ));
    }
}

/// A room as the database has it now; `None` once it is purged.
async fn read(world: &World, room: RoomId) -> Option<RoomModel> {
    let mut model = RoomModel::at(Seq(0));
    let mut since = Seq(0);
    loop {
        let page = world
            .database
            .changes(Reader::Node, room, since, Seq(0), PAGE)
            .await
            .expect("this connection doesn't fail")?;
        page.items.iter().for_each(|event| model.apply(event));
        model.last = page.seq;
        if !page.has_more {
            return Some(model);
        }
        since = page.seq;
    }
}

/// What is known from outside: what was published, and what the database says now.
struct Truth<'a> {
    world: &'a World,
    published: Published,
    rooms: BTreeMap<RoomId, RoomModel>,
}

impl Truth<'_> {
    fn broken(&self, what: String) {
        self.world.violation(what);
    }

    /// Each room's places are 1, 2, 3 … up to its head; each was published, and always with the same event.
    fn every_place_is_published_once(&self) {
        for (room, seq) in self.world.bus.clashes() {
            self.broken(format!("Clash: two events were published at {room}/{seq}"));
        }
        let mut heads: BTreeMap<RoomId, Seq> = self
            .rooms
            .iter()
            .map(|(id, room)| (*id, room.last))
            .collect();
        for (room, seq) in self.published.keys() {
            let head = heads.entry(*room).or_default();
            if seq > head && self.rooms.get(room).is_some_and(|r| !r.deleted) {
                self.broken(format!(
                    "Lost: {room}/{seq} was published, and the room stands at {head}"
                ));
            }
            *head = (*head).max(*seq);
        }
        let acknowledged = self.world.bus.acknowledged();
        for (room, head) in heads {
            for seq in (1..=head.0).map(Seq) {
                if !acknowledged.contains(&(room, seq)) {
                    self.broken(format!("Unpublished: {room}/{seq} never reached the bus"));
                }
            }
        }
    }

    /// What was acknowledged is there, and nothing is there twice.
    fn every_send_is_stored_once(&self) {
        for send in self.world.sends() {
            let made: Vec<_> = self
                .published
                .values()
                .filter_map(|event| match event {
                    Event::MessageCreated(m) if m.content == send.content => Some(m),
                    _ => None,
                })
                .collect();
            let (client, id) = (send.client, &send.client_message_id);
            if made.len() > 1 {
                let places = made.iter().map(|m| format!(" {}/{}", m.room_id, m.seq));
                self.broken(format!(
                    "StoredTwice: {id} of client {client} stands at{}",
                    places.collect::<String>()
                ));
            }
            let Some(message) = send.acknowledged else {
                continue;
            };
            if message.client_message_id.as_ref() != Some(id) {
                self.broken(format!(
                    "Mangled: {id} of client {client} was answered without its id"
                ));
            }
            if !made
                .iter()
                .any(|m| m.id == message.id && m.seq == message.seq)
            {
                self.broken(format!(
                    "Lost: {id} of client {client} was acknowledged at {}/{} and isn't there",
                    send.room, message.seq
                ));
            }
            let Some(room) = self.rooms.get(&send.room).filter(|room| !room.deleted) else {
                continue;
            };
            let bulk = self
                .published
                .range((send.room, message.seq)..)
                .any(|(_, e)| {
                    matches!(e, Event::MessagesDeleted { room_id, sender_id, .. }
                    if *room_id == send.room && *sender_id == message.sender_id)
                });
            if !bulk && !room.messages.contains_key(&message.id) {
                self.broken(format!(
                    "Lost: {id} of client {client} was acknowledged at {}/{} and isn't in the database",
                    send.room, message.seq
                ));
            }
        }
    }

    async fn the_client_knows_what_the_database_knows(&self, client: &SimClient) {
        let number = client.number;
        let user = self.world.users[number];
        let memberships = self.world.database.memberships(user).await;
        let memberships: BTreeMap<RoomId, Seq> = memberships
            .expect("this connection doesn't fail")
            .iter()
            .map(|m| (m.room_id, m.head))
            .collect();
        let known = client.rooms();
        for room in known.keys().filter(|room| !memberships.contains_key(room)) {
            self.broken(format!("Left: client {number} thinks that it is in {room}"));
        }
        for (room, head) in memberships {
            let (Some(theirs), Some(ours)) = (known.get(&room), self.rooms.get(&room)) else {
                self.broken(format!(
                    "Missing: client {number} doesn't know that it is in {room}/{head}"
                ));
                continue;
            };
            if let Some(difference) = difference(theirs, ours) {
                self.broken(format!(
                    "Missing: client {number} in {room}/{head}: {difference}"
                ));
            }
        }
    }

    /// Pushes of a room are for those who were in it at that place, or are again when they get it: what a node missed it reads
    /// from the database, which doesn't say who was out of the room for a while.
    fn nobody_heard_of_a_room_they_were_out_of(&self) {
        for pushed in self.world.all_pushed() {
            let Pushed {
                client,
                room,
                seq,
                member,
                end,
            } = pushed;
            let user = self.world.users[client];
            // Who was out before the end may not have been told, and then hears of the end alone: the room can't be read any more.
            let missed_leaving = end && self.was_ever_in(room, user);
            if !member && !missed_leaving && !self.was_in(room, user, seq) {
                self.broken(format!(
                    "Outsider: client {client} was pushed {room}/{seq}, and wasn't in it"
                ));
            }
        }
    }

    fn was_ever_in(&self, room: RoomId, user: UserId) -> bool {
        let mut events = self.published.range((room, Seq(0))..=(room, Seq(i64::MAX)));
        events.any(|(_, event)| {
            matches!(event, Event::MemberJoined { member, .. } if member.user_id == user)
        })
    }

    /// Whether a user was in a room at a place: between a join and the leaving after it, both included.
    fn was_in(&self, room: RoomId, user: UserId, seq: Seq) -> bool {
        let mut is_in = false;
        for (_, event) in self.published.range((room, Seq(0))..=(room, seq)) {
            match event {
                Event::MemberJoined { member, .. } if member.user_id == user => is_in = true,
                Event::MemberLeft {
                    user_id, seq: at, ..
                } if *user_id == user && *at < seq => {
                    // The room's own end follows the last one out.
                    let next = self.published.get(&(room, at.next()));
                    is_in = at.next() == seq && matches!(next, Some(Event::RoomDeleted { .. }));
                }
                _ => {}
            }
        }
        is_in
    }
}

/// What a client's view of a room lacks of the database's, or has beyond it, from where the client came in.
fn difference(theirs: &RoomModel, ours: &RoomModel) -> Option<String> {
    for message in ours.standing().filter(|m| m.changed_seq > theirs.start) {
        let Some(known) = theirs.messages.get(&message.id) else {
            return Some(format!("it misses the message at {}", message.seq));
        };
        if known != message {
            return Some(format!("it has {known:?} and not {message:?}"));
        }
    }
    for message in theirs.standing() {
        if !ours.standing().any(|m| m.id == message.id) {
            return Some(format!("it still has the message at {}", message.seq));
        }
    }
    for (user, state) in &theirs.members {
        let truth = ours.members.get(user).cloned().flatten();
        if *state != truth {
            return Some(format!(
                "it thinks that user {user} is {state:?} and not {truth:?}"
            ));
        }
    }
    if theirs.name.is_some() && theirs.name != ours.name {
        return Some(format!(
            "it calls it {:?} and not {:?}",
            theirs.name, ours.name
        ));
    }
    None
}
