//! What a request on a connection's id leads to, by what that connection is doing: records in, records out, no I/O
//! (`signalr.md` of the contract, sections 2 and 5).

use std::time::Duration;

use chat_core::protocol::ErrorCode;
use chat_core::protocol::signalr::negotiate::Transport;
use tokio::time::Instant;

use super::refusal::Refusal;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A WebSocket: GET with an upgrade.
    Upgrade,
    /// Server-Sent Events: GET that accepts `text/event-stream`.
    Stream,
    /// A poll: any other GET.
    Poll,
    /// To send.
    Post,
    /// To end a long-polling connection.
    Delete,
}

/// What a connection is doing, as the one who asks may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none; or it is over, too old, or somebody else's.
    Unknown,
    /// Negotiated: no GET has chosen its transport yet.
    Fresh,
    /// Open over this transport.
    Active(Transport),
    /// Open over WebSockets, one after another: a new one takes the place of the last.
    Resumable,
    /// Its last record is queued.
    Closing(Transport),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection opens over this transport.
    Open(Transport),
    /// The connection goes on over a new WebSocket.
    Resume,
    /// The poll waits, and ends one that waits already.
    Poll,
    /// The body is taken as the connection's input.
    Take,
    /// The connection ends.
    End,
}

/// The table of requests.
///
/// # Errors
/// What to answer instead.
pub(super) fn decide(ask: Ask, standing: Standing) -> Result<Step, Refusal> {
    use Transport::{LongPolling, ServerSentEvents, WebSockets};
    match (ask, standing) {
        (_, Standing::Unknown) => Err(Refusal::no_connection()),
        (Ask::Upgrade, Standing::Fresh) => Ok(Step::Open(WebSockets)),
        (Ask::Stream, Standing::Fresh) => Ok(Step::Open(ServerSentEvents)),
        (Ask::Poll, Standing::Fresh) => Ok(Step::Open(LongPolling)),
        (Ask::Poll, Standing::Active(LongPolling) | Standing::Closing(LongPolling)) => {
            Ok(Step::Poll)
        }
        (Ask::Delete, Standing::Active(LongPolling) | Standing::Closing(LongPolling)) => {
            Ok(Step::End)
        }
        (Ask::Upgrade, Standing::Resumable) => Ok(Step::Resume),
        (_, Standing::Closing(_)) => Err(Refusal::no_connection()),
        (Ask::Post, Standing::Active(WebSockets) | Standing::Resumable) => Err(Refusal::new(
            ErrorCode::MethodNotAllowed,
            "a WebSocket connection takes no POST",
        )),
        (Ask::Post, Standing::Fresh | Standing::Active(_)) => Ok(Step::Take),
        (Ask::Delete, Standing::Fresh | Standing::Active(_) | Standing::Resumable) => {
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "only a long-polling connection is ended by DELETE",
            ))
        }
        (Ask::Upgrade, Standing::Active(WebSockets))
        | (Ask::Stream, Standing::Active(ServerSentEvents)) => Err(Refusal::status(
            409,
            ErrorCode::Conflict,
            "this connection is open already",
        )),
        (Ask::Upgrade | Ask::Stream | Ask::Poll, Standing::Active(_) | Standing::Resumable) => Err(
            Refusal::new(ErrorCode::InvalidRequest, "the transport can't change"),
        ),
    }
}

/// The polls of a connection: at most one waits.
#[derive(Debug, Default)]
pub(super) struct Polls {
    begun: u64,
    /// When the last one ended; `None` while one goes on, and before the first.
    rests_since: Option<Instant>,
}

/// A poll's place among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What a poll is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PollAnswer<T> {
    /// Nothing came for a while, or it is the first: poll again.
    Nothing,
    /// These records.
    Records(T),
    /// A newer poll waits.
    Superseded,
    /// The connection is over, and its last record was fetched.
    Over,
}

/// What there is for a poll.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waiting<T> {
    /// These records.
    Records(T),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing will come.
    Over,
}

impl Polls {
    /// A poll begins; one that waits is superseded.
    pub(super) fn begin(&mut self) -> Ticket {
        self.begun += 1;
        self.rests_since = None;
        Ticket(self.begun)
    }

    /// What to answer now; `None`: the poll waits on. `waiting` takes what there is, and is asked for the newest poll alone.
    pub(super) fn answer<T>(
        &self,
        ticket: Ticket,
        is_due: bool,
        waiting: impl FnOnce() -> Waiting<T>,
    ) -> Option<PollAnswer<T>> {
        if ticket.0 < self.begun {
            return Some(PollAnswer::Superseded);
        }
        // The first is answered at once, whatever there is: clients wait for it before they send.
        if ticket.0 == 1 {
            return Some(PollAnswer::Nothing);
        }
        match waiting() {
            Waiting::Records(records) => Some(PollAnswer::Records(records)),
            Waiting::Over => Some(PollAnswer::Over),
            Waiting::Nothing => is_due.then_some(PollAnswer::Nothing),
        }
    }

    /// A poll was answered, or given up by its client.
    pub(super) fn end(&mut self, ticket: Ticket, now: Instant) {
        if ticket.0 == self.begun {
            self.rests_since = Some(now);
        }
    }

    /// When the connection counts as left by its client; `None` while a poll goes on.
    pub(super) fn rests_until(&self, patience: Duration) -> Option<Instant> {
        self.rests_since.map(|since| since + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: [Ask; 5] = [Ask::Upgrade, Ask::Stream, Ask::Poll, Ask::Post, Ask::Delete];

    /// A row of signalr.md's table: the status of each ask, 0 for one that is taken.
    fn row(standing: Standing) -> [u16; 5] {
        ASKS.map(|ask| decide(ask, standing).map_or_else(|refusal| refusal.code(), |_| 0))
    }

    #[test]
    fn each_request_is_answered_by_what_the_connection_is_doing() {
        use Transport::{LongPolling, ServerSentEvents, WebSockets};
        for (standing, statuses) in [
            (Standing::Unknown, [404; 5]),
            (Standing::Fresh, [0, 0, 0, 0, 400]),
            (Standing::Active(WebSockets), [409, 400, 400, 405, 400]),
            (Standing::Resumable, [0, 400, 400, 405, 400]),
            (Standing::Active(ServerSentEvents), [400, 409, 400, 0, 400]),
            (Standing::Active(LongPolling), [400, 400, 0, 0, 0]),
            (Standing::Closing(WebSockets), [404; 5]),
            (Standing::Closing(ServerSentEvents), [404; 5]),
            (Standing::Closing(LongPolling), [404, 404, 0, 404, 0]),
        ] {
            assert_eq!(row(standing), statuses, "{standing:?}");
        }
        for (ask, transport) in [
            (Ask::Upgrade, WebSockets),
            (Ask::Stream, ServerSentEvents),
            (Ask::Poll, LongPolling),
        ] {
            let step = decide(ask, Standing::Fresh).expect("taken");
            assert_eq!(step, Step::Open(transport));
        }
    }

    #[test]
    fn the_first_poll_is_answered_at_once_and_later_ones_by_what_there_is() {
        let mut polls = Polls::default();
        let first = polls.begin();
        let answer = polls.answer(first, false, || -> Waiting<()> {
            panic!("nothing is taken")
        });
        assert_eq!(answer, Some(PollAnswer::Nothing));
        polls.end(first, Instant::now());

        let second = polls.begin();
        let answer = |is_due, waiting| polls.answer(second, is_due, || waiting);
        assert_eq!(answer(false, Waiting::Nothing), None);
        assert_eq!(answer(true, Waiting::Nothing), Some(PollAnswer::Nothing));
        assert_eq!(
            answer(true, Waiting::Records(7)),
            Some(PollAnswer::Records(7))
        );
        assert_eq!(answer(false, Waiting::Over), Some(PollAnswer::Over));
    }

    #[test]
    fn a_newer_poll_ends_the_older_which_takes_nothing_any_more() {
        let mut polls = Polls::default();
        let (_, older, newer) = (polls.begin(), polls.begin(), polls.begin());
        let taken = || -> Waiting<()> { panic!("nothing is taken") };
        assert_eq!(
            polls.answer(older, true, taken),
            Some(PollAnswer::Superseded)
        );
        // Its end is not the end of polling.
        polls.end(older, Instant::now());
        assert_eq!(polls.rests_until(Duration::ZERO), None);
        polls.end(newer, Instant::now());
        assert!(polls.rests_until(Duration::ZERO).is_some());
    }

    #[test]
    fn a_connection_is_left_when_no_poll_came_for_a_while_after_the_last_ended() {
        let (mut polls, patience) = (Polls::default(), Duration::from_secs(15));
        assert_eq!(polls.rests_until(patience), None, "none has come");
        let ticket = polls.begin();
        assert_eq!(polls.rests_until(patience), None, "one goes on");
        let now = Instant::now();
        polls.end(ticket, now);
        assert_eq!(polls.rests_until(patience), Some(now + patience));
        polls.begin();
        assert_eq!(polls.rests_until(patience), None);
    }
}
