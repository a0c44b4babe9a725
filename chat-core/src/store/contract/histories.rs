//! Random histories: whatever happens in a room, its events have no hole, and whoever catches up from any place in pages
//! of any size knows what everyone else does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::act::{
    accept, at, create_room, ctx, delete, delete_room, edit, far_off, invite, remove,
    remove_with_messages, rename_room, send, send_as, set_role,
};
use super::client::Client;
use super::{Backend, Tested};
use crate::model::{Event, MessageId, Role, RoomId, Seq, Timestamp, UserId};
use crate::store::{Change, CommitContext, NodeId, Reader, StoreError, SweepContext, TokenHash};

/// Histories that are tried.
const CASES: u32 = 64;
/// Users who take part; the last one is in no room at first.
const USERS: usize = 5;
/// Rooms in which it happens.
const ROOMS: usize = 2;

/// A change whose names are indexes, so that a shorter history still makes sense.
#[derive(Clone, Debug)]
enum Act {
    Send {
        who: usize,
        room: usize,
        text: u8,
        id: Option<u8>,
    },
    /// `who` is the author where it is `None`.
    Edit {
        who: Option<usize>,
        message: usize,
        text: u8,
    },
    Delete {
        who: Option<usize>,
        message: usize,
    },
    RenameRoom {
        who: usize,
        room: usize,
        name: u8,
    },
    Invite {
        who: usize,
        room: usize,
        max_uses: Option<i64>,
    },
    Accept {
        who: usize,
        room: usize,
        invite: usize,
    },
    SetRole {
        who: usize,
        room: usize,
        whom: usize,
        role: Role,
    },
    Remove {
        who: usize,
        room: usize,
        whom: usize,
        with_messages: bool,
    },
    Leave {
        who: usize,
        room: usize,
        with_messages: bool,
    },
    DeleteRoom {
        who: usize,
        room: usize,
    },
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Act>),
    RenameUser {
        who: usize,
        name: u8,
    },
    DeleteUser {
        who: usize,
        erase_messages: bool,
    },
    Sweep,
    /// A slow client reads one page.
    ReadPage {
        room: usize,
        limit: i64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let (who, room) = (|| 0..USERS, || 0..ROOMS);
    let role = prop_oneof![Just(Role::Admin), Just(Role::Member)];
    prop_oneof![
        8 => (who(), room(), 0..4_u8, prop::option::of(0..4_u8))
            .prop_map(|(who, room, text, id)| Act::Send { who, room, text, id }),
        4 => (prop::option::weighted(0.2, who()), 0..30_usize, 0..4_u8)
            .prop_map(|(who, message, text)| Act::Edit { who, message, text }),
        2 => (prop::option::of(who()), 0..30_usize)
            .prop_map(|(who, message)| Act::Delete { who, message }),
        1 => (who(), room(), 0..3_u8)
            .prop_map(|(who, room, name)| Act::RenameRoom { who, room, name }),
        2 => (who(), room(), prop::option::of(1..3_i64))
            .prop_map(|(who, room, max_uses)| Act::Invite { who, room, max_uses }),
        4 => (who(), room(), 0..4_usize)
            .prop_map(|(who, room, invite)| Act::Accept { who, room, invite }),
        2 => (who(), room(), who(), role)
            .prop_map(|(who, room, whom, role)| Act::SetRole { who, room, whom, role }),
        2 => (who(), room(), who(), any::<bool>()).prop_map(|(who, room, whom, with_messages)| {
            Act::Remove { who, room, whom, with_messages }
        }),
        2 => (who(), room(), any::<bool>())
            .prop_map(|(who, room, with_messages)| Act::Leave { who, room, with_messages }),
        1 => (who(), room()).prop_map(|(who, room)| Act::DeleteRoom { who, room }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(act(), 1..6).prop_map(Step::Commit),
        1 => (0..USERS, 0..3_u8).prop_map(|(who, name)| Step::RenameUser { who, name }),
        1 => (0..USERS, any::<bool>())
            .prop_map(|(who, erase_messages)| Step::DeleteUser { who, erase_messages }),
        1 => Just(Step::Sweep),
        4 => (0..ROOMS, 1..4_i64).prop_map(|(room, limit)| Step::ReadPage { room, limit }),
    ]
}

/// A history under way.
struct History<'a> {
    backend: &'a Backend,
    node: NodeId,
    ctx: CommitContext,
    users: Vec<UserId>,
    rooms: Vec<RoomId>,
    invites: Vec<Vec<TokenHash>>,
    messages: Vec<(RoomId, MessageId, UserId)>,
    /// All events so far.
    events: Vec<Event>,
    /// Clients that every event is pushed to.
    live: Vec<Client>,
    /// Clients that read a page now and then.
    slow: Vec<Client>,
    /// What clients held at each place where a step ended.
    then: Vec<Client>,
}

impl<'a> History<'a> {
    /// Two rooms with the first user as admin and all others but the last as members.
    async fn begin(backend: &'a Backend, case: i64) -> Result<Self, StoreError> {
        let mut users = Vec::new();
        for n in 0..USERS {
            users.push(backend.user(&format!("user {n} of {case}")).await?);
        }
        let mut history = Self {
            backend,
            node: NodeId(case),
            ctx: CommitContext {
                outbox: Some(NodeId(case)),
                ..ctx(at(0))
            },
            users,
            rooms: Vec::new(),
            invites: Vec::new(),
            messages: Vec::new(),
            events: Vec::new(),
            live: Vec::new(),
            slow: Vec::new(),
            then: Vec::new(),
        };
        let admin = history.users[0];
        for _ in 0..ROOMS {
            let made = create_room(admin, "Kitchen");
            let made = backend.done_with(&history.ctx, made).await?;
            let room = made.event().room_id();
            history.rooms.push(room);
            history.live.push(Client::new(room, "Kitchen"));
            history.slow.push(Client::new(room, "Kitchen"));
            history.push(made.events);
            let token = backend.invite(room, admin).await?;
            history.invites.push(vec![token]);
            for n in 1..USERS - 1 {
                let join = accept(room, history.users[n], token);
                let joined = backend.done_with(&history.ctx, join).await?;
                history.push(joined.events);
            }
        }
        Ok(history)
    }

    /// Has the live clients know of events.
    fn push(&mut self, events: Vec<Event>) {
        for event in events {
            let client = self.live.iter_mut().find(|c| c.room == event.room_id());
            client.expect("a room of this history").push(&event);
            if let Event::MessageCreated(message) = &event {
                self.messages
                    .push((message.room_id, message.id, message.sender_id));
            }
            self.events.push(event);
        }
    }

    /// The change that an act is, unless there is nothing that it could name.
    fn change(&mut self, act: &Act) -> Option<Change> {
        let user = |n: usize| self.users[n];
        let room = |n: usize| self.rooms[n];
        let message = |n: usize| {
            let last = self.messages.len().checked_sub(1)?;
            Some(self.messages[last - n.min(last)])
        };
        Some(match *act {
            Act::Send {
                who,
                room: n,
                text,
                id: None,
            } => send(room(n), user(who), &format!("text {text}")),
            Act::Send {
                who,
                room: n,
                text,
                id: Some(id),
            } => send_as(room(n), user(who), &format!("text {text}"), &id.to_string()),
            Act::Edit {
                who,
                message: n,
                text,
            } => {
                let (room, id, author) = message(n)?;
                edit(room, who.map_or(author, user), id, &format!("text {text}"))
            }
            Act::Delete { who, message: n } => {
                let (room, id, author) = message(n)?;
                delete(room, who.map_or(author, user), id)
            }
            Act::RenameRoom { who, room: n, name } => {
                rename_room(room(n), user(who), &format!("Room {name}"))
            }
            Act::Invite {
                who,
                room: n,
                max_uses,
            } => {
                let token = self.backend.token();
                let change = invite(room(n), user(who), token, far_off(), max_uses);
                self.invites[n].push(token);
                change
            }
            Act::Accept {
                who,
                room: n,
                invite,
            } => {
                let newest = self.invites[n].len() - 1;
                let token = self.invites[n][newest - invite.min(newest)];
                accept(room(n), user(who), token)
            }
            Act::SetRole {
                who,
                room: n,
                whom,
                role,
            } => set_role(room(n), user(who), user(whom), role),
            Act::Remove {
                who,
                room: n,
                whom,
                with_messages: false,
            } => remove(room(n), user(who), user(whom)),
            Act::Remove {
                who,
                room: n,
                whom,
                with_messages: true,
            } => remove_with_messages(room(n), user(who), user(whom)),
            Act::Leave {
                who,
                room: n,
                with_messages: false,
            } => remove(room(n), user(who), user(who)),
            Act::Leave {
                who,
                room: n,
                with_messages: true,
            } => remove_with_messages(room(n), user(who), user(who)),
            Act::DeleteRoom { who, room: n } => delete_room(room(n), user(who)),
        })
    }

    async fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let answers = self.backend.store.commit(&self.ctx, changes).await?;
        assert_eq!(answers.len(), changes.len());
        for committed in answers.into_iter().flatten() {
            self.push(committed.events);
        }
        Ok(())
    }

    async fn run_jobs(&mut self) -> Result<(), StoreError> {
        loop {
            let jobs = self.backend.store.jobs(3).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            let changes: Vec<Change> = jobs.iter().map(crate::store::Job::change).collect();
            self.commit(&changes).await?;
        }
    }

    async fn take(&mut self, step: &Step) -> Result<(), StoreError> {
        self.ctx.at = self.ctx.at.plus(std::time::Duration::from_secs(1));
        let store = &self.backend.store;
        match step {
            Step::Commit(acts) => {
                let changes: Vec<Change> = acts.iter().filter_map(|act| self.change(act)).collect();
                self.commit(&changes).await?;
            }
            Step::RenameUser { who, name } => {
                let name = format!("name {name}");
                // A deleted user is not renamed, and no job follows.
                let _ = store.rename_user(self.users[*who], &name).await?;
                self.run_jobs().await?;
            }
            Step::DeleteUser {
                who,
                erase_messages,
            } => {
                store
                    .delete_user(self.users[*who], *erase_messages, self.ctx.at)
                    .await?;
                self.run_jobs().await?;
            }
            Step::Sweep => {
                store
                    .sweep(&SweepContext {
                        at: self.ctx.at,
                        retain_from: None,
                        forget_ended_before: Timestamp::from_millis(0),
                        max_rows: 2,
                    })
                    .await?;
            }
            Step::ReadPage { room, limit } => {
                if !self.live[*room].deleted {
                    self.slow[*room]
                        .read_page(self.backend, Reader::Node, Seq::ZERO, *limit)
                        .await?;
                }
            }
        }
        self.then.extend(self.live.iter().cloned());
        Ok(())
    }

    /// Checks what must be so after any history.
    async fn check(&mut self) -> Result<(), StoreError> {
        for (live, slow) in self.live.iter().zip(&mut self.slow) {
            live.assert_is_current(self.backend, &self.users, 3).await?;
            if live.deleted {
                continue;
            }
            assert_eq!(self.backend.head(live.room).await?, live.seq);
            while slow
                .read_page(self.backend, Reader::Node, Seq::ZERO, 100)
                .await?
            {}
            assert_eq!(&*slow, live, "read page by page meanwhile");
            let member = live.members.keys().next();
            let readers = [
                Reader::Node,
                member.map_or(Reader::Node, |&user| Reader::Member(user)),
            ];
            let newcomer = Client::new(live.room, "Kitchen");
            let earlier = self.then.iter().filter(|client| client.room == live.room);
            for (n, client) in std::iter::once(&newcomer).chain(earlier).enumerate() {
                let mut client = client.clone();
                let from = client.seq;
                let limit = [1, 2, 3, 7, 100][n % 5];
                client.catch_up(self.backend, readers[n % 2], limit).await?;
                assert_eq!(&client, live, "from {from} by {limit}");
            }
        }
        let mut by_room: BTreeMap<RoomId, Vec<Event>> = BTreeMap::new();
        for event in self.backend.store.outbox(self.node, 10_000).await? {
            by_room.entry(event.room_id()).or_default().push(event);
        }
        for &room in &self.rooms {
            let events = self.events.iter().filter(|e| e.room_id() == room);
            assert!(events.eq(&by_room[&room]), "the outbox has them all");
        }
        Ok(())
    }
}

/// After any history: places without a hole, an admin in every room, and one state for all, whether they were pushed each
/// event, caught up from any place in pages of any size, read a page now and then, or read everything.
pub async fn whoever_catches_up_knows_what_everyone_does(backend: Backend) -> Tested {
    let cases = AtomicI64::new(0);
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    };
    let runtime = tokio::runtime::Handle::current();
    let steps = prop::collection::vec(step(), 1..24);
    let outcome = tokio::task::block_in_place(|| {
        TestRunner::new(config).run(&steps, |steps| {
            runtime.block_on(async {
                let case = cases.fetch_add(1, Ordering::Relaxed);
                let history = async {
                    let mut history = History::begin(&backend, case).await?;
                    for step in &steps {
                        history.take(step).await?;
                    }
                    history.check().await
                };
                let failed = |error: StoreError| TestCaseError::fail(format!("{error:?}"));
                history.await.map_err(failed)
            })
        })
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\nafter {steps:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
