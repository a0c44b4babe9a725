//! Which of a room's events were offered, and whether some are missing before them.

use crate::model::{Seq, Timestamp};
use crate::store::OFFER_HOLD;

/// Where a room's deliveries stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Place {
    /// The highest place that was offered.
    pub(in crate::store) seq: Seq,
    /// Places below it that weren't, as far as is known: copies of those that were count against it.
    pub(in crate::store) missing: i64,
    /// Until when first attempts wait for them.
    pub(in crate::store) held_until: Timestamp,
}

impl Place {
    /// Before the first event that is offered: what came earlier is nobody's.
    pub(in crate::store) fn before(first: Seq) -> Self {
        Self {
            seq: Seq(first.0 - 1),
            missing: 0,
            held_until: Timestamp::default(),
        }
    }

    /// Takes events of the room in, which are in order.
    pub(in crate::store) fn take(&mut self, seqs: impl IntoIterator<Item = Seq>, at: Timestamp) {
        if self.held_until <= at {
            // They had their time.
            self.missing = 0;
        }
        for seq in seqs {
            if seq > self.seq {
                let skipped = seq.0 - self.seq.0 - 1;
                if skipped > 0 {
                    self.missing += skipped;
                    self.held_until = at.plus(OFFER_HOLD);
                }
                self.seq = seq;
            } else if self.missing > 0 {
                self.missing -= 1;
                if self.missing == 0 {
                    self.held_until = at;
                }
            }
        }
    }

    /// When the next first attempt may be.
    pub(in crate::store) fn due(&self, at: Timestamp) -> Timestamp {
        self.held_until.max(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn what_comes_in_order_is_due_at_once() {
        let mut place = Place::before(Seq(7));
        place.take([Seq(7), Seq(8)], at(1));
        place.take([Seq(9)], at(2));
        assert_eq!((place.seq, place.due(at(2))), (Seq(9), at(2)));
    }

    #[test]
    fn what_is_missing_is_waited_for() {
        let mut place = Place::before(Seq(1));
        place.take([Seq(1), Seq(3), Seq(5)], at(1));
        assert_eq!(place.due(at(1)), at(1).plus(OFFER_HOLD));
        place.take([Seq(4)], at(2));
        assert_eq!(place.due(at(2)), at(1).plus(OFFER_HOLD));
        place.take([Seq(2)], at(2));
        assert_eq!(place.due(at(2)), at(2));
    }

    #[test]
    fn but_not_for_ever() {
        let mut place = Place::before(Seq(1));
        place.take([Seq(3)], at(1));
        assert_eq!(place.due(at(60)), at(60));
        place.take([Seq(4)], at(60));
        assert_eq!(place.due(at(60)), at(60));
        assert_eq!(place.missing, 0);
    }
}
