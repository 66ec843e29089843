//! A state of which two versions are asked for: all that was decided, and what is committed.
//!
//! Decisions go by the newest version, so that two in a row do not contradict each other. Reads
//! that a client may act on go by the committed one: what is only in the log of a leader may never
//! have happened. Clones have to be cheap (`S` is made of persistent maps): one is kept for each
//! batch between the two.

use std::collections::VecDeque;

use ringlog_types::Offset;

/// The versions of a state between the committed and the newest one.
#[derive(Debug, Clone)]
pub struct Versioned<S> {
    committed: S,
    /// State after the batch that ends before an offset, oldest first.
    uncommitted: VecDeque<(Offset, S)>,
}

impl<S: Clone + Default> Default for Versioned<S> {
    fn default() -> Self {
        Versioned { committed: S::default(), uncommitted: VecDeque::new() }
    }
}

impl<S: Clone> Versioned<S> {
    /// With everything that was decided.
    pub fn newest(&self) -> &S {
        self.uncommitted.back().map_or(&self.committed, |(_, state)| state)
    }

    /// With what is committed alone.
    pub fn committed(&self) -> &S {
        &self.committed
    }

    /// Changes the state by a batch whose records end before `end_offset`. Batches that are in the
    /// log already when it is loaded, and committed, are applied the same way.
    pub fn apply(&mut self, end_offset: Offset, change: impl FnOnce(&mut S)) {
        if let Some((last, state)) = self.uncommitted.back_mut() {
            assert!(*last <= end_offset, "batches are applied in the order of the log");
            if *last == end_offset {
                // Another record of the same batch.
                change(state);
                return;
            }
        }
        let mut state = self.newest().clone();
        change(&mut state);
        self.uncommitted.push_back((end_offset, state));
    }

    /// Everything below `high_watermark` is committed.
    pub fn commit(&mut self, high_watermark: Offset) {
        while self.uncommitted.front().is_some_and(|(end, _)| *end <= high_watermark) {
            if let Some((_, state)) = self.uncommitted.pop_front() {
                self.committed = state;
            }
        }
    }

    /// What was appended at `offset` and beyond is gone (a truncation, a failed append).
    pub fn revert_to(&mut self, offset: Offset) {
        while self.uncommitted.back().is_some_and(|(end, _)| *end > offset) {
            self.uncommitted.pop_back();
        }
    }

    /// How many batches are not committed.
    pub fn uncommitted_count(&self) -> usize {
        self.uncommitted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_see_what_is_committed_and_decisions_all() {
        let mut state = Versioned::<Vec<i32>>::default();
        state.apply(1, |s| s.push(1));
        state.apply(3, |s| s.push(2));
        state.apply(3, |s| s.push(3));
        assert_eq!((state.newest().as_slice(), state.committed().len()), (&[1, 2, 3][..], 0));
        state.commit(2);
        assert_eq!((state.committed().as_slice(), state.uncommitted_count()), (&[1][..], 1));
        state.commit(3);
        assert_eq!(state.committed(), &[1, 2, 3]);
    }

    #[test]
    fn what_is_cut_off_was_never_decided() {
        let mut state = Versioned::<Vec<i32>>::default();
        state.apply(1, |s| s.push(1));
        state.apply(2, |s| s.push(2));
        state.revert_to(1);
        state.apply(2, |s| s.push(9));
        state.commit(2);
        assert_eq!(state.committed(), &[1, 9]);
    }
}
