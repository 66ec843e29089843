//! Deadlines of a state machine, one for each key.
//!
//! Whoever runs the machine sleeps until [`Timers::next`] and then asks for what is due. A deadline
//! that is moved out with every heartbeat costs nothing until the earlier one is due: its owner
//! then looks whether the time has really come, and sets it again.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Deadlines by the monotonic clock, in milliseconds.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(u64, K)>,
    at_ms: HashMap<K, u64>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_time: BTreeSet::new(), at_ms: HashMap::new() }
    }
}

impl<K: Ord + Hash + Clone> Timers<K> {
    /// Sets the deadline of `key`, whatever it was.
    pub fn set(&mut self, key: K, at_ms: u64) {
        self.cancel(&key);
        self.by_time.insert((at_ms, key.clone()));
        self.at_ms.insert(key, at_ms);
        assert_eq!(self.by_time.len(), self.at_ms.len(), "a key has one deadline");
    }

    /// Makes sure that `key` is due at `at_ms` or before.
    pub fn set_at_latest(&mut self, key: K, at_ms: u64) {
        if self.at_ms.get(&key).is_none_or(|before_ms| *before_ms > at_ms) {
            self.set(key, at_ms);
        }
    }

    /// Forgets the deadline of `key`.
    pub fn cancel(&mut self, key: &K) {
        if let Some(at_ms) = self.at_ms.remove(key) {
            let was_there = self.by_time.remove(&(at_ms, key.clone()));
            assert!(was_there, "a deadline is in both maps");
        }
    }

    /// Whether `key` has a deadline.
    pub fn contains(&self, key: &K) -> bool {
        self.at_ms.contains_key(key)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes one that is due at `now_ms`, the earliest first.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        let (at_ms, _) = self.by_time.first()?;
        if *at_ms > now_ms {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.at_ms.remove(&key);
        Some(key)
    }

    /// How many keys have a deadline.
    pub fn len(&self) -> usize {
        self.at_ms.len()
    }

    /// Whether nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.at_ms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_deadline_and_is_due_once() {
        let mut timers = Timers::default();
        timers.set("a", 30);
        timers.set("b", 20);
        timers.set("a", 10);
        timers.set_at_latest("b", 25);
        timers.set_at_latest("b", 15);
        assert_eq!((timers.next(), timers.len()), (Some(10), 2));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(15), Some("a"));
        assert_eq!(timers.pop_due(15), Some("b"));
        assert_eq!(timers.pop_due(u64::MAX), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn what_is_cancelled_is_never_due() {
        let mut timers = Timers::default();
        timers.set(1, 5);
        timers.cancel(&1);
        timers.cancel(&2);
        assert_eq!((timers.next(), timers.pop_due(100)), (None, None));
    }
}
