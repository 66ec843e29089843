//! The yardstick of a shard's loop: how long each turn takes, and which task takes too long.
//!
//! While a turn lasts, nobody else of the shard is served: its longest turn is the least that a
//! request may have to wait. A turn is measured from the look at completions before it to the one
//! after it, without the sleep in between. A single task is measured by the system's coarse clock,
//! which costs a few nanoseconds and moves every 1 to 10 ms: good enough for what is long.
//!
//! The simulation has no turns: its time stands still while tasks run.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A task that keeps the shard for longer is told of.
pub const LONG_TASK: Duration = Duration::from_millis(20);

/// What is told of a shard's turns. Called on the shard's thread, in its loop.
pub trait TurnWatch {
    /// A turn took so long.
    fn turn(&self, took: Duration);

    /// A task kept the shard for [`LONG_TASK`] or more. `tag` is what it called itself last, 0 if
    /// nothing ([`Runtime::set_task_tag`](crate::Runtime::set_task_tag)).
    fn long_task(&self, took: Duration, tag: u16);
}

#[derive(Default)]
pub(crate) struct Turns {
    watch: OnceCell<Rc<dyn TurnWatch>>,
    /// What the running task called itself.
    tag: Cell<u16>,
}

impl Turns {
    pub(crate) fn set_watch(&self, watch: Rc<dyn TurnWatch>) {
        assert!(self.watch.set(watch).is_ok(), "a shard's turns have one watch");
    }

    pub(crate) fn tag(&self) -> &Cell<u16> {
        &self.tag
    }

    pub(crate) fn turn(&self, took: Duration) {
        if let Some(watch) = self.watch.get() {
            watch.turn(took);
        }
    }

    /// A task has run from `begun` to `ended` of the coarse clock.
    pub(crate) fn task(&self, begun: Duration, ended: Duration) {
        let took = ended.saturating_sub(begun);
        if took >= LONG_TASK
            && let Some(watch) = self.watch.get()
        {
            watch.long_task(took, self.tag.get());
        }
    }
}

/// The system's coarse monotonic clock.
pub(crate) fn coarse() -> Duration {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::{LONG_TASK, TurnWatch, Turns, coarse};

    #[derive(Default)]
    struct Told(RefCell<Vec<(Duration, u16)>>);

    impl TurnWatch for Told {
        fn turn(&self, took: Duration) {
            self.0.borrow_mut().push((took, u16::MAX));
        }

        fn long_task(&self, took: Duration, tag: u16) {
            self.0.borrow_mut().push((took, tag));
        }
    }

    #[test]
    fn long_tasks_are_told_with_their_tag() {
        let (turns, told) = (Turns::default(), Rc::<Told>::default());
        let at = Duration::from_millis;
        turns.task(at(0), at(90));
        turns.set_watch(told.clone());
        turns.tag().set(7);
        turns.task(at(0), LONG_TASK - at(1));
        turns.task(at(5), at(5) + LONG_TASK);
        turns.task(at(5), at(4));
        turns.turn(at(3));
        assert_eq!(told.0.take(), [(LONG_TASK, 7), (at(3), u16::MAX)]);
    }

    #[test]
    fn the_coarse_clock_runs() {
        let start = coarse();
        std::thread::sleep(Duration::from_millis(30));
        assert!(coarse() > start);
    }
}
