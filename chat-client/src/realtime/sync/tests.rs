//! Whatever is lost, doubled, reordered or cut off on the way: the application ends where the server stands.

use chat_core::model::{Message, MessageId, Role, Timestamp};
use proptest::prelude::*;

use super::*;

const ROOM: RoomId = RoomId(7);
const ME: UserId = UserId(1);

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    Create,
    Edit(usize),
    Delete(usize),
    /// A change that leaves no row to be asked for.
    Pass,
    /// The event at this place of those under way arrives.
    Arrive(usize),
    /// It arrives, and will once more.
    Double(usize),
    Lose(usize),
    Heads,
    /// Time passes, and fetches that fall due are asked.
    Wait(u64),
    /// The oldest question is answered, with the room as it is now.
    Answer,
    Fail,
    /// The application takes what waits for it.
    Take(usize),
    Cut,
    /// Another run of the program goes on from the positions kept.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Create),
        3 => any::<usize>().prop_map(Step::Edit),
        2 => any::<usize>().prop_map(Step::Delete),
        1 => Just(Step::Pass),
        8 => (0..4_usize).prop_map(Step::Arrive),
        2 => (0..4_usize).prop_map(Step::Double),
        2 => (0..4_usize).prop_map(Step::Lose),
        1 => Just(Step::Heads),
        3 => (1..3_000_u64).prop_map(Step::Wait),
        4 => Just(Step::Answer),
        1 => Just(Step::Fail),
        3 => (1..9_usize).prop_map(Step::Take),
        1 => Just(Step::Cut),
        1 => Just(Step::Restart),
    ]
}

/// The server's room, the wire, and what the application made of it.
struct World {
    sync: Sync,
    now: Instant,
    head: Seq,
    messages: Vec<Message>,
    under_way: Vec<Event>,
    asked: VecDeque<Fetch>,
    positions: Positions,
    /// The application's copy.
    copy: BTreeMap<MessageId, Message>,
    told: Seq,
}

impl World {
    fn new() -> Self {
        let mut positions = Positions::new();
        positions.set(ROOM, Seq::ZERO);
        let mut world = Self {
            sync: Sync::new(&positions),
            now: Instant::now(),
            head: Seq::ZERO,
            messages: Vec::new(),
            under_way: Vec::new(),
            asked: VecDeque::new(),
            positions,
            copy: BTreeMap::new(),
            told: Seq::ZERO,
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.under_way.clear();
        self.asked.clear();
        let rooms = vec![Head {
            id: ROOM,
            seq: self.head,
        }];
        let connected = Connected {
            user_id: ME,
            connection_id: "c".into(),
            server_time: Timestamp::default(),
            rooms,
        };
        self.sync.connected(connected, self.now);
    }

    fn create(&mut self) {
        self.head = self.head.next();
        let message = Message {
            id: MessageId(1_000 - self.head.0),
            room_id: ROOM,
            seq: self.head,
            changed_seq: self.head,
            sender_id: ME,
            content: format!("at {}", self.head),
            sent_at: Timestamp::default(),
            edited_at: None,
            deleted_at: None,
            client_message_id: None,
        };
        self.messages.push(message.clone());
        self.under_way.push(Event::MessageCreated(message));
    }

    fn change(&mut self, at: usize, deleted: bool) {
        let n = self.messages.len();
        let Some(message) = self.messages.get_mut(at.checked_rem(n).unwrap_or(0)) else {
            return;
        };
        if message.deleted_at.is_some() {
            return;
        }
        self.head = self.head.next();
        message.changed_seq = self.head;
        message.content = format!("at {}", self.head);
        let event = if deleted {
            message.deleted_at = Some(Timestamp::default());
            message.content.clear();
            Event::MessageDeleted(message.clone())
        } else {
            Event::MessageEdited(message.clone())
        };
        self.under_way.push(event);
    }

    fn pass(&mut self) {
        self.head = self.head.next();
        self.under_way.push(Event::MembersChanged {
            room_id: ROOM,
            seq: self.head,
            role: Role::Admin,
        });
    }

    /// A page of two, as the API has it.
    fn page(&self, fetch: Fetch) -> ChangesPage {
        let mut rows: Vec<_> = self
            .messages
            .iter()
            .filter(|m| m.changed_seq > fetch.since)
            .collect();
        rows.sort_by_key(|m| m.changed_seq);
        let has_more = rows.len() > 2;
        rows.truncate(2);
        let seq = match rows.last() {
            Some(last) if has_more => last.changed_seq,
            _ => self.head,
        };
        let event = |m: &&Message| {
            let message = (*m).clone();
            if message.deleted_at.is_some() {
                Event::MessageDeleted(message)
            } else if message.seq > fetch.from {
                Event::MessageCreated(message)
            } else {
                Event::MessageEdited(message)
            }
        };
        ChangesPage {
            items: rows.iter().map(event).map(Change::from).collect(),
            seq,
            has_more,
            complete: true,
        }
    }

    fn ask(&mut self) {
        while let Some(fetch) = self.sync.fetch(self.now) {
            assert_eq!(self.asked.len(), 0, "one question a room at a time");
            self.asked.push_back(fetch);
        }
    }

    fn answer(&mut self) {
        if let Some(fetch) = self.asked.pop_front() {
            let page = self.page(fetch);
            self.sync.changes(ROOM, page, self.now);
        }
    }

    fn take(&mut self, n: usize) {
        for _ in 0..n {
            let Some(delivery) = self.sync.take() else {
                return;
            };
            if let Some((room, position)) = delivery.position {
                self.positions.apply(room, position);
            }
            let Some(ClientEvent::Event(event)) = delivery.event else {
                continue;
            };
            assert!(event.seq() > self.told, "{event:?} after {}", self.told);
            self.told = event.seq();
            let (message, created) = match event {
                Event::MessageCreated(m) => (m, true),
                Event::MessageEdited(m) | Event::MessageDeleted(m) => (m, false),
                _ => continue,
            };
            let known = self.copy.insert(message.id, message.clone());
            assert!(
                created || known.is_some() || message.deleted_at.is_some(),
                "{message:?} was edited before it was created"
            );
        }
    }

    fn carry_out(&mut self, step: &Step) {
        let pick = |at: usize, n: usize| at.checked_rem(n);
        match *step {
            Step::Create => self.create(),
            Step::Edit(at) => self.change(at, false),
            Step::Delete(at) => self.change(at, true),
            Step::Pass => self.pass(),
            Step::Arrive(at) => {
                if let Some(at) = pick(at, self.under_way.len()) {
                    let event = self.under_way.remove(at);
                    self.sync.change(event.into(), self.now);
                }
            }
            Step::Double(at) => {
                if let Some(at) = pick(at, self.under_way.len()) {
                    let event = self.under_way[at].clone();
                    self.sync.change(event.into(), self.now);
                }
            }
            Step::Lose(at) => {
                if let Some(at) = pick(at, self.under_way.len()) {
                    self.under_way.remove(at);
                }
            }
            Step::Heads => {
                let head = Head {
                    id: ROOM,
                    seq: self.head,
                };
                self.sync.heads(&[head], self.now);
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.ask();
            }
            Step::Answer => self.answer(),
            Step::Fail => {
                if self.asked.pop_front().is_some() {
                    self.sync.changes_failed(ROOM, false, None, self.now);
                }
            }
            Step::Take(n) => self.take(n),
            Step::Cut => self.connect(),
            Step::Restart => {
                self.sync = Sync::new(&self.positions);
                self.connect();
            }
        }
    }

    /// Nothing is lost any more: the connection's own means bring all up to date.
    fn settle(&mut self) {
        self.carry_out(&Step::Heads);
        for _ in 0..200 {
            self.carry_out(&Step::Wait(40_000));
            self.answer();
        }
        self.take(usize::MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_application_ends_where_the_server_stands(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.carry_out(step);
        }
        world.settle();
        prop_assert_eq!(world.positions.get(ROOM), Some(world.head));
        prop_assert_eq!(world.sync.wake_at(), None);
        for message in &world.messages {
            prop_assert_eq!(world.copy.get(&message.id), Some(message));
        }
        prop_assert_eq!(world.copy.len(), world.messages.len());
    }
}

#[test]
fn no_more_is_held_than_a_bound() {
    let mut world = World::new();
    (0..1_000).for_each(|_| world.create());
    world.under_way.remove(0);
    while !world.under_way.is_empty() {
        world.carry_out(&Step::Arrive(0));
    }
    assert_eq!(world.sync.rooms[&ROOM].held.len(), HELD_PER_ROOM);
    world.settle();
    world.settle();
    world.settle();
    assert_eq!(world.positions.get(ROOM), Some(world.head));
}

#[test]
fn many_rooms_are_caught_up_a_few_at_a_time() {
    let mut positions = Positions::new();
    (1..=20).for_each(|id| positions.set(RoomId(id), Seq(1)));
    let mut sync = Sync::new(&positions);
    let now = Instant::now();
    let rooms = (1..=20).map(|id| Head {
        id: RoomId(id),
        seq: Seq(2),
    });
    let connected = Connected {
        user_id: ME,
        connection_id: "c".into(),
        server_time: Timestamp::default(),
        rooms: rooms.collect(),
    };
    sync.connected(connected, now);
    let asked: Vec<_> = std::iter::from_fn(|| sync.fetch(now)).collect();
    assert_eq!(asked.len(), FETCHES);
    let page = ChangesPage {
        items: Vec::new(),
        seq: Seq(2),
        has_more: false,
        complete: true,
    };
    sync.changes(asked[0].room_id, page, now);
    assert!(sync.fetch(now).is_some());
    assert!(sync.fetch(now).is_none());
}
