//! A queue whose owners take turns: those of one owner stay in order, and each owner gets one of
//! them done before any gets another.
//!
//! Pure. An owner with nothing in the queue is not remembered.

use std::collections::{HashMap, VecDeque};

use crate::blocking::WorkOwner;

pub(crate) struct TurnQueue<T> {
    /// What each owner waits for; none is empty.
    waiting: HashMap<WorkOwner, VecDeque<T>>,
    /// The owners in the order of their turns, each once.
    turns: VecDeque<WorkOwner>,
}

impl<T> Default for TurnQueue<T> {
    fn default() -> TurnQueue<T> {
        TurnQueue { waiting: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> TurnQueue<T> {
    /// Puts an item behind the others of its owner.
    pub(crate) fn push(&mut self, owner: WorkOwner, item: T) {
        let items = self.waiting.entry(owner).or_default();
        if items.is_empty() {
            self.turns.push_back(owner);
        }
        items.push_back(item);
    }

    /// The first item of the owner whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let items = self.waiting.get_mut(&owner).expect("who has a turn waits for something");
        let item = items.pop_front();
        assert!(item.is_some(), "who waits for nothing has no turn");
        if items.is_empty() {
            self.waiting.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(queue: &mut TurnQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn owners_take_turns_and_their_items_stay_in_order() {
        let mut queue = TurnQueue::default();
        for (owner, item) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)] {
            queue.push(WorkOwner(owner), item);
        }
        assert_eq!([queue.pop(), queue.pop()], [Some(10), Some(20)]);
        // One that comes back has its turn behind those that wait.
        queue.push(WorkOwner(2), 21);
        assert_eq!(rest(&mut queue), [30, 11, 21, 31, 12]);
        assert!(queue.waiting.is_empty() && queue.turns.is_empty());
    }
}
