//! Virtual time: a queue of what happens next, and the hash of all that happened.
//!
//! Events of one moment happen in the order they were scheduled, so that the order of a run is a
//! function of its seed. The hash covers every event and every draw-dependent decision; two runs
//! of one seed that differ anywhere differ in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

/// A queue ordered by time, then by the order of scheduling.
pub(crate) struct EventQueue<E> {
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Slab<E>,
    scheduled: u64,
}

impl<E> EventQueue<E> {
    pub(crate) fn new() -> EventQueue<E> {
        EventQueue { order: BinaryHeap::new(), events: Slab::new(), scheduled: 0 }
    }

    pub(crate) fn schedule(&mut self, at: u64, event: E) {
        self.scheduled += 1;
        let key = self.events.insert(event);
        self.order.push(Reverse((at, self.scheduled, key)));
    }

    /// The time of the next event.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at, _, key)) = self.order.pop()?;
        Some((at, self.events.remove(key)))
    }
}

/// A running hash of everything that happened. Not for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn new(seed: u64) -> Trace {
        Trace(seed ^ 0x243f_6a88_85a3_08d3)
    }

    pub(crate) fn note(&mut self, what: u64, detail: u64) {
        let mixed = (self.0 ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ detail;
        self.0 = mixed.rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{EventQueue, Trace};

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let mut queue = EventQueue::new();
        for (at, name) in [(5, "d"), (1, "a"), (3, "b"), (3, "c")] {
            queue.schedule(at, name);
        }
        assert_eq!(queue.next_at(), Some(1));
        let got: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(got, [(1, "a"), (3, "b"), (3, "c"), (5, "d")]);
    }

    #[test]
    fn the_trace_depends_on_every_note_and_their_order() {
        let run = |notes: &[(u64, u64)]| {
            let mut trace = Trace::new(1);
            notes.iter().for_each(|(a, b)| trace.note(*a, *b));
            trace.hash()
        };
        assert_eq!(run(&[(1, 2), (3, 4)]), run(&[(1, 2), (3, 4)]));
        assert_ne!(run(&[(1, 2), (3, 4)]), run(&[(3, 4), (1, 2)]));
        assert_ne!(run(&[(1, 2)]), run(&[(1, 3)]));
    }
}
