//! Two ends of one connection, in a model of a network that loses whatever is on its way when it is cut, at any byte.

use std::collections::VecDeque;

use super::*;

/// One end: what it wants to send, what is on its way from it, and what it has taken.
struct End {
    encoding: Encoding,
    sent: Sent<Vec<u8>>,
    received: Received,
    reader: RecordReader,
    /// The number of the next message of this end's own making.
    next: u32,
    /// Items that wait for room, with the number of messages in each.
    waiting: VecDeque<(Vec<u8>, u32)>,
    /// Bytes that the other end hasn't read.
    on_the_way: Vec<u8>,
    handled: Vec<u32>,
}

impl End {
    fn new(encoding: Encoding, limit_bytes: usize) -> Self {
        Self {
            encoding,
            sent: Sent::new(limit_bytes),
            received: Received::new(),
            reader: RecordReader::new(usize::MAX),
            next: 0,
            waiting: VecDeque::new(),
            on_the_way: Vec::new(),
            handled: Vec::new(),
        }
    }

    /// Makes an item of so many messages.
    fn say(&mut self, messages: u32) {
        let mut item = Vec::new();
        for _ in 0..messages {
            self.next += 1;
            self.encoding
                .event(&self.next.to_string(), &0, &mut item)
                .expect("a number");
        }
        self.waiting.push_back((item, messages));
        self.flush();
    }

    /// Sends what may be sent.
    fn flush(&mut self) {
        while self.sent.has_room()
            && let Some((item, messages)) = self.waiting.pop_front()
        {
            self.on_the_way.extend_from_slice(&item);
            let bytes = item.len();
            self.sent.keep(item, messages, bytes);
        }
    }

    fn write(&mut self, message: &HubMessage<'_>) {
        self.encoding.encode(message, &mut self.on_the_way);
    }

    fn acknowledge(&mut self) {
        if let Some(ack) = self.received.acknowledgement() {
            self.write(&ack);
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(record) = self.reader.next(self.encoding, &mut input).expect("sound") {
            let message = self
                .encoding
                .decode(&record)
                .expect("sound")
                .expect("known");
            if !self.received.take(&message).expect("a number that can be") {
                continue;
            }
            match message {
                HubMessage::Invocation { target, .. } => {
                    self.handled.push(target.parse().expect("a number"));
                }
                HubMessage::Ack { sequence_id } => {
                    self.sent.acknowledge(sequence_id);
                }
                HubMessage::Ping | HubMessage::Sequence { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        self.flush();
    }

    /// The first thing on a new socket.
    fn reattach(&mut self) {
        self.reader = RecordReader::new(usize::MAX);
        self.received.reattached();
        self.on_the_way.clear();
        let sequence = self.sent.reattached();
        self.write(&sequence);
        let replay: Vec<u8> = self.sent.replay().flatten().copied().collect();
        self.on_the_way.extend(replay);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// An end makes an item of some messages.
    Say(usize, u32),
    Ping(usize),
    Acknowledge(usize),
    /// A part of what is on its way from an end arrives, perhaps in the middle of a record.
    Arrive(usize, prop::sample::Index),
    /// The socket is cut, after a part of what is on its way from each end has arrived.
    Cut([prop::sample::Index; 2]),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = || 0..2_usize;
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        4 => (end(), 1..4_u32).prop_map(|(end, messages)| Step::Say(end, messages)),
        1 => end().prop_map(Step::Ping),
        2 => end().prop_map(Step::Acknowledge),
        4 => (end(), index()).prop_map(|(end, part)| Step::Arrive(end, part)),
        2 => (index(), index()).prop_map(|(a, b)| Step::Cut([a, b])),
    ];
    prop::collection::vec(step, 0..80)
}

struct Network {
    ends: [End; 2],
    /// Each end measures the Sequence record by what has come on the last socket, as official clients do.
    is_strict: bool,
}

impl Network {
    /// The first `bytes` on their way from an end arrive.
    fn arrive(&mut self, from: usize, bytes: usize) {
        let bytes: Vec<u8> = self.ends[from].on_the_way.drain(..bytes).collect();
        self.ends[1 - from].read(&bytes);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say(end, messages) => self.ends[*end].say(*messages),
            Step::Ping(end) => self.ends[*end].write(&HubMessage::Ping),
            Step::Acknowledge(end) => self.ends[*end].acknowledge(),
            Step::Arrive(from, part) => {
                let bytes = part.index(self.ends[*from].on_the_way.len() + 1);
                self.arrive(*from, bytes);
            }
            Step::Cut(parts) => {
                for (from, part) in parts.iter().enumerate() {
                    let bytes = part.index(self.ends[from].on_the_way.len() + 1);
                    self.arrive(from, bytes);
                }
                self.reattach();
            }
        }
    }

    fn reattach(&mut self) {
        for end in &mut self.ends {
            end.reattach();
        }
        for from in 0..2 {
            let HubMessage::Sequence { sequence_id } = self.ends[from].sent.clone().reattached()
            else {
                panic!("no Sequence");
            };
            let strict = self.ends[1 - from].received.at() + 1;
            assert!(
                !self.is_strict || sequence_id <= strict,
                "{sequence_id} > {strict}"
            );
        }
    }

    /// Lets everything arrive, with acknowledgements, until nothing waits any more.
    fn settle(&mut self) {
        self.reattach();
        loop {
            for end in &mut self.ends {
                end.acknowledge();
            }
            if self.ends.iter().all(|end| end.on_the_way.is_empty()) {
                return;
            }
            for from in 0..2 {
                let bytes = self.ends[from].on_the_way.len();
                self.arrive(from, bytes);
            }
        }
    }
}

/// Goes through the steps, and sees that each end has handled all that the other has said, once and in order.
fn nothing_is_lost_or_doubled(encoding: Encoding, limit_bytes: usize, steps: &[Step]) {
    let mut network = Network {
        ends: [0, 1].map(|_| End::new(encoding, limit_bytes)),
        is_strict: limit_bytes == REPLAY_BYTES,
    };
    for step in steps {
        network.step(step);
        for end in &network.ends {
            // The last item may be over it, and as much is kept once more.
            assert!(end.sent.bytes() < 2 * limit_bytes + 2 * 200);
        }
    }
    network.settle();
    let [a, b] = &network.ends;
    for (from, to) in [(a, b), (b, a)] {
        assert!(from.waiting.is_empty(), "nothing waits for ever");
        assert_eq!(to.handled, (1..=from.next).collect::<Vec<_>>());
        assert_eq!(to.received.last(), i64::from(from.next));
    }
}

proptest! {
    #[test]
    fn cut_anywhere_nothing_is_lost_or_doubled(steps in steps(), encoding in 0..2_usize) {
        nothing_is_lost_or_doubled(Encoding::ALL[encoding], REPLAY_BYTES, &steps);
    }

    #[test]
    fn with_a_full_buffer_nothing_is_lost_or_doubled_either(steps in steps(), encoding in 0..2_usize) {
        nothing_is_lost_or_doubled(Encoding::ALL[encoding], 100, &steps);
    }
}

#[test]
fn cut_at_every_byte_nothing_is_lost_or_doubled() {
    for encoding in Encoding::ALL {
        let mut at = 0;
        loop {
            let mut network = Network {
                ends: [0, 1].map(|_| End::new(encoding, REPLAY_BYTES)),
                is_strict: true,
            };
            for messages in [1, 2, 1] {
                network.ends[0].say(messages);
                network.ends[0].write(&HubMessage::Ping);
            }
            if at > network.ends[0].on_the_way.len() {
                break;
            }
            network.arrive(0, at);
            network.reattach();
            network.settle();
            assert_eq!(network.ends[1].handled, [1, 2, 3, 4], "cut at {at}");
            at += 1;
        }
        assert!(at > 30);
    }
}
