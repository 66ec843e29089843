//! Timers: a heap of deadlines, those of one moment in the order in which they were set.
//!
//! A timer that is given up leaves its heap entry behind until it comes up or until such entries
//! are the majority; then the heap is rebuilt. So both setting and giving up cost little, and the
//! memory is bounded by twice the timers that are waited for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

use slab::Slab;

use crate::Instant;

/// One timer: its slot, and its number, which no other timer ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    number: u64,
    slot: usize,
}

struct Timer {
    number: u64,
    waker: Waker,
}

#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, TimerKey)>>,
    timers: Slab<Timer>,
    next_number: u64,
}

impl Timers {
    pub(super) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        self.next_number += 1;
        let number = self.next_number;
        let key = TimerKey { number, slot: self.timers.insert(Timer { number, waker }) };
        self.heap.push(Reverse((deadline, key)));
        key
    }

    /// Wakes another task than before. False if the timer has fired.
    pub(super) fn update(&mut self, key: TimerKey, waker: &Waker) -> bool {
        match self.timers.get_mut(key.slot) {
            Some(timer) if timer.number == key.number => {
                timer.waker.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    pub(super) fn give_up(&mut self, key: TimerKey) {
        if !self.is_set(key) {
            return;
        }
        self.timers.remove(key.slot);
        if self.heap.len() > 64 && self.heap.len() > 2 * self.timers.len() {
            let mut heap = std::mem::take(&mut self.heap).into_vec();
            heap.retain(|Reverse((_, key))| self.is_set(*key));
            self.heap = heap.into();
        }
    }

    fn is_set(&self, key: TimerKey) -> bool {
        self.timers.get(key.slot).is_some_and(|timer| timer.number == key.number)
    }

    /// When the next timer fires.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, key))) = self.heap.peek() {
            if self.is_set(*key) {
                return Some(*deadline);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes one timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        if self.next_deadline()? > now {
            return None;
        }
        let Reverse((_, key)) = self.heap.pop()?;
        Some(self.timers.remove(key.slot).waker)
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use crate::Instant;
    use std::sync::{Arc, Mutex};
    use std::task::{Wake, Waker};

    struct Note(Arc<Mutex<Vec<u32>>>, u32);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().push(self.1);
        }
    }

    #[test]
    fn they_fire_by_deadline_and_then_in_order() {
        let woken = Arc::default();
        let waker = |n| Waker::from(Arc::new(Note(Arc::clone(&woken), n)));
        let mut timers = Timers::default();
        let at = Instant::from_nanos;
        for (deadline, n) in [(30, 3), (10, 1), (20, 2), (20, 4)] {
            timers.set(at(deadline), waker(n));
        }
        let given_up = timers.set(at(5), waker(99));
        timers.give_up(given_up);
        assert_eq!(timers.next_deadline(), Some(at(10)));
        assert!(timers.pop_due(at(9)).is_none());
        while let Some(waker) = timers.pop_due(at(29)) {
            waker.wake();
        }
        assert_eq!(*woken.lock().unwrap(), [1, 2, 4]);
        assert_eq!(timers.next_deadline(), Some(at(30)));
        assert!(!timers.update(given_up, &waker(5)));
    }

    #[test]
    fn timers_given_up_leave_no_memory_behind() {
        let mut timers = Timers::default();
        for i in 0..100_000 {
            let key = timers.set(Instant::from_nanos(1_000_000 + i), Waker::noop().clone());
            timers.give_up(key);
        }
        assert!(timers.heap.len() <= 65, "{}", timers.heap.len());
    }
}
