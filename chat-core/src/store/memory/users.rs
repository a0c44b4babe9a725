//! Users of hosts, renaming and deletion, and the jobs that follow.

use super::database::{Database, UserRow};
use crate::model::limits::fold;
use crate::model::{DELETED_USERNAME, RoomId, Timestamp, User, UserId};
use crate::store::{EndedSession, Job, JobKind, UserRefusal};

impl Database {
    pub(super) fn identify(
        &mut self,
        issuer: &str,
        subject: &str,
        name: &str,
        at: Timestamp,
    ) -> Option<UserId> {
        let key = (issuer.to_owned(), subject.to_owned());
        if let Some(&id) = self.subjects.get(&key) {
            return self.users.get(&id).filter(|row| !row.deleted).map(|_| id);
        }
        let id = UserId(self.next_id());
        self.subjects.insert(key, id);
        self.users.insert(
            id,
            UserRow {
                username: name.to_owned(),
                created_at: at,
                deleted: false,
                login: None,
            },
        );
        Some(id)
    }

    pub(super) fn rename_user(&mut self, id: UserId, username: &str) -> Result<User, UserRefusal> {
        let row = self
            .users
            .get_mut(&id)
            .filter(|row| !row.deleted)
            .ok_or(UserRefusal::NotFound)?;
        if row.username != username {
            if row.login.is_some() {
                let folded = fold(username);
                if self
                    .usernames
                    .get(&folded)
                    .is_some_and(|&owner| owner != id)
                {
                    return Err(UserRefusal::UsernameTaken);
                }
                self.usernames.remove(&fold(&row.username));
                self.usernames.insert(folded, id);
            }
            username.clone_into(&mut row.username);
            let rooms: Vec<RoomId> = self.rooms_of(id).collect();
            self.add_jobs(id, rooms, JobKind::Renamed);
        }
        self.user_view(id, true).ok_or(UserRefusal::NotFound)
    }

    fn add_jobs(&mut self, user_id: UserId, rooms: Vec<RoomId>, kind: JobKind) {
        for room_id in rooms {
            let job = Job {
                room_id,
                user_id,
                kind,
            };
            if !self.jobs.values().any(|waiting| *waiting == job) {
                let age = self.next_id();
                self.jobs.insert(age, job);
            }
        }
    }

    pub(super) fn delete_user(
        &mut self,
        id: UserId,
        erase_messages: bool,
        at: Timestamp,
    ) -> Option<Vec<EndedSession>> {
        let row = self.users.get_mut(&id).filter(|row| !row.deleted)?;
        row.deleted = true;
        let name = std::mem::replace(&mut row.username, DELETED_USERNAME.to_owned());
        if let Some(login) = row.login.take() {
            self.emails.remove(&fold(&login.email));
            self.usernames.remove(&fold(&name));
        }
        self.addresses.retain(|(user, _), _| *user != id);
        self.jobs.retain(|_, job| job.user_id != id);
        let rooms: Vec<RoomId> = if erase_messages {
            self.ever_rooms_of(id)
                .filter(|&room| self.live_room(room).is_some())
                .collect()
        } else {
            self.rooms_of(id).collect()
        };
        self.add_jobs(id, rooms, JobKind::Deleted { erase_messages });
        Some(self.end_sessions_of(id, None, at))
    }

    pub(super) fn jobs(&self, limit: i64) -> Vec<Job> {
        let limit = usize::try_from(limit).unwrap_or(0);
        self.jobs.values().take(limit).copied().collect()
    }
}
