//! Work that many ask for and one run of which serves all who asked before it began.

use std::cell::{Cell, RefCell};

use crate::sync::Semaphore;

/// See the head of this file. One run at a time; who asks meanwhile is served by the next, together
/// with all others who do. A run that is given up half-way serves nobody.
pub struct SharedRun<T> {
    turn: Semaphore,
    asked: Cell<u64>,
    /// How many of those who asked the last whole run serves, and its result.
    served: RefCell<(u64, Option<T>)>,
}

impl<T: Clone> SharedRun<T> {
    /// Nobody has asked.
    pub fn new() -> SharedRun<T> {
        SharedRun { turn: Semaphore::new(1), asked: Cell::new(0), served: RefCell::new((0, None)) }
    }

    /// The result of a run that begins after this is called: somebody else's or that of `work`.
    pub async fn join<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> T {
        let ticket = self.asked.get() + 1;
        self.asked.set(ticket);
        let _turn = self.turn.acquire(1).await;
        if let (served, Some(result)) = &*self.served.borrow()
            && *served >= ticket
        {
            return result.clone();
        }
        let serves = self.asked.get();
        let result = work().await;
        self.served.replace((serves, Some(result.clone())));
        result
    }
}

impl<T: Clone> Default for SharedRun<T> {
    fn default() -> SharedRun<T> {
        SharedRun::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Event;
    use crate::sync::tests_support::poll_now;

    #[test]
    fn those_who_ask_during_a_run_share_the_next() {
        let (shared, runs) = (SharedRun::new(), Cell::new(0));
        let gates: Vec<Event> = (0..3).map(|_| Event::default()).collect();
        let ask = || async {
            shared
                .join(|| {
                    let run = runs.get();
                    runs.set(run + 1);
                    let gate = &gates[run];
                    async move {
                        gate.wait().await;
                        run
                    }
                })
                .await
        };
        let mut asking: Vec<_> = (0..50).map(|_| Box::pin(ask())).collect();
        for one in &mut asking {
            assert!(poll_now(one.as_mut()).is_none());
        }
        gates[0].set();
        assert_eq!(poll_now(asking[0].as_mut()), Some(0));
        // They asked while the first was under way: it may have been too late for them.
        assert!(poll_now(asking[1].as_mut()).is_none());
        assert_eq!(runs.get(), 2);
        // A run that is given up serves nobody; the next one takes its place.
        drop(asking.remove(1));
        assert!(poll_now(asking[1].as_mut()).is_none());
        assert_eq!(runs.get(), 3);
        gates[2].set();
        for one in &mut asking[1..] {
            assert_eq!(poll_now(one.as_mut()), Some(2));
        }
        assert_eq!(runs.get(), 3);
    }
}
