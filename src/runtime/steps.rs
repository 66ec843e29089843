//! Long work on a shard in steps, so that others get their turn in between.
//!
//! Work that grows with what a client asks for may not keep the shard for more than a few
//! milliseconds at once ([`LONG_TASK`](crate::LONG_TASK) is what is told of). What is worth doing
//! on the shard at all is done in steps, and after some of them its task goes to the end of the
//! queue.

use crate::Runtime;

/// Counts the steps of one piece of work.
pub struct Steps {
    rt: Runtime,
    /// So many steps are taken in a turn.
    turn_steps: u32,
    taken: u32,
}

impl Steps {
    pub(crate) fn new(rt: Runtime, turn_steps: u32) -> Steps {
        assert!(turn_steps > 0, "a turn takes a step at least");
        Steps { rt, turn_steps, taken: 0 }
    }

    /// Counts a step. If those of this turn are taken, others go first.
    pub async fn step(&mut self) {
        self.steps(1).await;
    }

    /// Counts so many steps.
    pub async fn steps(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.taken = self.taken.saturating_add(count);
        if self.taken >= self.turn_steps {
            self.taken = 0;
            self.rt.yield_now().await;
        }
    }
}
