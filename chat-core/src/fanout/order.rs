//! A room's order on this node: is an event the next one, a duplicate, or beyond a hole? Pure, without I/O or time.

use std::collections::BTreeMap;

use crate::model::Seq;

/// Events that may wait behind a hole. Beyond it the newest are dropped: the fill reads them from the store.
const HELD_MAX: usize = 1_024;

/// Where a room stands, and what waits behind a hole.
#[derive(Debug)]
pub(crate) struct Order<T> {
    last: Seq,
    held: BTreeMap<Seq, T>,
    paused: bool,
}

/// What an event is, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one: it is to be delivered.
    Next,
    /// Delivered before, by itself or by a fill, or waiting already.
    Duplicate,
    /// Beyond a hole: it waits for what is missing.
    Beyond,
}

impl<T> Order<T> {
    /// A room that stands at `last`.
    pub(crate) const fn new(last: Seq) -> Self {
        Self {
            last,
            held: BTreeMap::new(),
            paused: false,
        }
    }

    /// The place of the last event that was delivered.
    pub(crate) const fn last(&self) -> Seq {
        self.last
    }

    /// Whether events wait behind a hole.
    pub(crate) fn has_hole(&self) -> bool {
        !self.held.is_empty() && !self.paused
    }

    /// What an event at `seq` is.
    pub(crate) fn place(&self, seq: Seq) -> Place {
        if seq <= self.last || self.held.contains_key(&seq) {
            Place::Duplicate
        } else if seq == self.last.next() && !self.paused {
            Place::Next
        } else {
            Place::Beyond
        }
    }

    /// The next event was delivered, or a fill covers everything up to `seq`: the room stands there, and what waited at or
    /// before it is done with.
    pub(crate) fn advance(&mut self, seq: Seq) {
        if seq > self.last {
            self.last = seq;
            if !self.held.is_empty() {
                self.held = self.held.split_off(&seq.next());
            }
        }
    }

    /// Keeps an event that lies beyond a hole.
    pub(crate) fn hold(&mut self, seq: Seq, event: T) {
        self.held.insert(seq, event);
        if self.held.len() > HELD_MAX {
            self.held.pop_last();
        }
    }

    /// The next event of those that waited, if the hole before it is closed; the room then stands at it.
    pub(crate) fn pop_ready(&mut self) -> Option<T> {
        if self.paused {
            return None;
        }
        let entry = self.held.first_entry()?;
        if *entry.key() != self.last.next() {
            return None;
        }
        let (seq, event) = entry.remove_entry();
        self.last = seq;
        Some(event)
    }

    /// Lets everything wait, the next event too, until [`Order::resume`].
    pub(crate) const fn pause(&mut self) {
        self.paused = true;
    }

    /// Ends a [`Order::pause`].
    pub(crate) const fn resume(&mut self) {
        self.paused = false;
    }

    /// Whether the room waits for [`Order::resume`].
    pub(crate) const fn is_paused(&self) -> bool {
        self.paused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Delivers as the fan-out does: the event if it is next, then what waited for it.
    fn offer(order: &mut Order<i64>, seq: i64, out: &mut Vec<i64>) {
        match order.place(Seq(seq)) {
            Place::Next => {
                order.advance(Seq(seq));
                out.push(seq);
            }
            Place::Beyond => order.hold(Seq(seq), seq),
            Place::Duplicate => {}
        }
        while let Some(e) = order.pop_ready() {
            out.push(e);
        }
    }

    #[test]
    fn an_event_beyond_a_hole_waits_for_what_is_missing() {
        let (mut order, mut out) = (Order::new(Seq(4)), Vec::new());
        offer(&mut order, 6, &mut out);
        assert!(out.is_empty() && order.has_hole());
        offer(&mut order, 5, &mut out);
        assert_eq!((out, order.has_hole()), (vec![5, 6], false));
    }

    #[test]
    fn a_fill_covers_what_waited_at_or_before_it() {
        let mut order = Order::new(Seq(0));
        for seq in [3, 5, 7] {
            assert_eq!(order.place(Seq(seq)), Place::Beyond);
            order.hold(Seq(seq), seq);
        }
        order.advance(Seq(6));
        assert_eq!(
            (order.last(), order.pop_ready(), order.pop_ready()),
            (Seq(6), Some(7), None)
        );
    }

    #[test]
    fn a_paused_room_lets_even_the_next_event_wait() {
        let (mut order, mut out) = (Order::new(Seq(0)), Vec::new());
        order.pause();
        offer(&mut order, 1, &mut out);
        assert!(out.is_empty());
        order.resume();
        offer(&mut order, 2, &mut out);
        assert_eq!(out, [1, 2]);
    }

    proptest! {
        #[test]
        fn any_arrival_with_copies_is_delivered_once_and_in_order(
            arrivals in Just((1_i64..=40).chain(10..=30).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let (mut order, mut out) = (Order::new(Seq(0)), Vec::new());
            for seq in arrivals {
                offer(&mut order, seq, &mut out);
            }
            prop_assert_eq!(out, (1_i64..=40).collect::<Vec<_>>());
        }

        #[test]
        fn a_fill_at_any_moment_neither_doubles_nor_swaps(
            arrivals in Just((1_i64..=30).collect::<Vec<_>>()).prop_shuffle(),
            at in 0_usize..30, covers in 1_i64..=30,
        ) {
            let (mut order, mut out) = (Order::new(Seq(0)), Vec::new());
            for (i, seq) in arrivals.into_iter().enumerate() {
                if i == at {
                    out.extend(order.last().0 + 1..=covers);
                    order.advance(Seq(covers));
                    while let Some(e) = order.pop_ready() {
                        out.push(e);
                    }
                }
                offer(&mut order, seq, &mut out);
            }
            prop_assert_eq!(out, (1_i64..=30).collect::<Vec<_>>());
        }
    }
}
