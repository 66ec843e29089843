//! Waiting for an offset to be reached, or for a condition to become true.
//!
//! Local to a shard. A future registers its waker each time it is polled without success; whoever
//! changes the state wakes those whom the change concerns, once. Wakers of futures that were
//! dropped stay until then, which is bounded by the number of polls between two changes.

use std::cell::RefCell;
use std::task::{Context, Waker};

use ringlog_types::Offset;

/// Tasks that wait until an offset is reached.
#[derive(Default)]
pub(crate) struct OffsetWaiters {
    waiting: RefCell<Vec<(Offset, Waker)>>,
}

impl OffsetWaiters {
    /// Wakes the task of `context` when `offset` is reached.
    pub(crate) fn register(&self, offset: Offset, context: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        let known =
            waiting.iter().any(|(at, waker)| *at == offset && waker.will_wake(context.waker()));
        if !known {
            waiting.push((offset, context.waker().clone()));
        }
    }

    /// Wakes everyone who waits for `offset` or less.
    pub(crate) fn wake_up_to(&self, offset: Offset) {
        // Waking may run foreign code, so nothing is borrowed meanwhile.
        let woken: Vec<Waker> = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.extract_if(.., |(at, _)| *at <= offset).map(|(_, waker)| waker).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Wakes everyone.
    pub(crate) fn wake_all(&self) {
        self.wake_up_to(Offset::MAX);
    }
}

/// Tasks that wait for anything to change.
#[derive(Default)]
pub(crate) struct Waiters {
    waiting: RefCell<Vec<Waker>>,
}

impl Waiters {
    /// Wakes the task of `context` at the next change.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
    }

    /// Wakes everyone.
    pub(crate) fn wake_all(&self) {
        let woken = self.waiting.take();
        woken.into_iter().for_each(Waker::wake);
    }
}
