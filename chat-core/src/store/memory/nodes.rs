//! What nodes share beside rooms: ended sessions, secrets, outbox and leases; and the sweep.

use super::database::Database;
use crate::model::{Event, RoomId, Seq, Timestamp};
use crate::store::{EndedSession, INVITE_KEPT, NodeId, SweepContext};

impl Database {
    pub(super) fn ended_since(&self, since: Timestamp) -> Vec<EndedSession> {
        self.ended_sessions
            .iter()
            .filter(|(_, at)| **at >= since)
            .map(|(session, &at)| EndedSession {
                session: session.clone(),
                at,
            })
            .collect()
    }

    pub(super) fn secret(&mut self, name: &str, fresh: &[u8]) -> Vec<u8> {
        self.secrets
            .entry(name.to_owned())
            .or_insert_with(|| fresh.to_vec())
            .clone()
    }

    pub(super) fn outbox(&self, node: NodeId, limit: i64) -> Vec<Event> {
        self.outbox
            .values()
            .filter(|(owner, _)| *owner == node)
            .take(usize::try_from(limit).unwrap_or(0))
            .map(|(_, event)| event.clone())
            .collect()
    }

    pub(super) fn outbox_delete(&mut self, published: &[(RoomId, Seq)]) {
        for key in published {
            self.outbox.remove(key);
        }
    }

    pub(super) fn take_over(&mut self, node: NodeId, at: Timestamp) -> u64 {
        let mut taken = 0;
        for (owner, _) in self.outbox.values_mut() {
            if *owner != node && self.leases.get(owner).is_none_or(|&until| until < at) {
                *owner = node;
                taken += 1;
            }
        }
        taken
    }

    pub(super) fn sweep(&mut self, ctx: &SweepContext) -> bool {
        let mut budget = Budget(usize::try_from(ctx.max_rows).unwrap_or(0));
        let more = [
            self.purge_rooms(&mut budget),
            self.prune_messages(ctx.retain_from, &mut budget),
            self.forget(ctx, &mut budget),
        ];
        more.contains(&true)
    }

    /// Removes deleted rooms with what is in them. Who was in them stays.
    fn purge_rooms(&mut self, budget: &mut Budget) -> bool {
        let deleted: Vec<RoomId> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.deleted)
            .map(|(&id, _)| id)
            .collect();
        for id in deleted {
            let Some(room) = self.rooms.get_mut(&id) else {
                continue;
            };
            for place in budget.take(room.messages.keys().copied()) {
                room.messages.remove(&place);
            }
            let invites = self
                .invites
                .iter()
                .filter(|(_, row)| row.invite.room_id == id)
                .map(|(&hash, _)| hash);
            for hash in budget.take(invites) {
                self.invites.remove(&hash);
            }
            let emptied = room.messages.is_empty()
                && !self.invites.values().any(|row| row.invite.room_id == id);
            if !emptied || budget.take(std::iter::once(id)).is_empty() {
                return true;
            }
            self.rooms.remove(&id);
        }
        false
    }

    /// Removes messages that are past retention, and remembers up to where `changes` is incomplete now.
    fn prune_messages(&mut self, retain_from: Option<Timestamp>, budget: &mut Budget) -> bool {
        let Some(retain_from) = retain_from else {
            return false;
        };
        for room in self.rooms.values_mut().filter(|room| !room.deleted) {
            let mut old = room
                .messages
                .iter()
                .filter(|(_, row)| row.message.sent_at < retain_from)
                .map(|(&place, _)| place);
            let gone = budget.take(&mut old);
            let more = old.next().is_some();
            drop(old);
            for place in gone {
                let Some(row) = room.messages.remove(&place) else {
                    continue;
                };
                room.message_places.remove(&row.message.id);
                room.changed.remove(&row.message.changed_seq);
                room.pruned = room.pruned.max(row.message.changed_seq);
                if let Some(text) = row.message.client_message_id {
                    room.sent.remove(&(row.message.sender_id, text));
                }
            }
            if more {
                return true;
            }
        }
        false
    }

    fn forget(&mut self, ctx: &SweepContext, budget: &mut Budget) -> bool {
        let invites = self
            .invites
            .iter()
            .filter(|(_, row)| row.invite.expires_at.plus(INVITE_KEPT) <= ctx.at)
            .map(|(&hash, _)| hash);
        for hash in budget.take(invites) {
            self.invites.remove(&hash);
        }
        let expired = self
            .sessions
            .iter()
            .filter(|(_, row)| row.expires_at <= ctx.at)
            .map(|(&id, _)| id);
        for id in budget.take(expired) {
            self.sessions.remove(&id);
            self.refresh_tokens.retain(|_, session| *session != id);
        }
        let ended = self
            .ended_sessions
            .iter()
            .filter(|(_, at)| **at < ctx.forget_ended_before)
            .map(|(session, _)| session.clone());
        for session in budget.take(ended) {
            self.ended_sessions.remove(&session);
        }
        // A step that used up its rows may have left some: the next one tells.
        budget.0 == 0
    }
}

/// Rows that a step may still touch.
struct Budget(usize);

impl Budget {
    fn take<T>(&mut self, rows: impl Iterator<Item = T>) -> Vec<T> {
        let taken: Vec<T> = rows.take(self.0).collect();
        self.0 -= taken.len();
        taken
    }
}
