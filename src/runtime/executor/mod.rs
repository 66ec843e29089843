//! The executor: the tasks and timers of one shard, shared by all drivers.
//!
//! Everything runs on the thread that made it. Wakers may be used and dropped anywhere. The
//! executor does not know how a shard waits: the loop in `shard_loop` (or the simulation) runs
//! tasks here, lets the driver take completions, and sleeps in the driver.

mod join;
mod shared;
mod sleep;
mod timers;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::Runnable;
use pin_project_lite::pin_project;
use slab::Slab;

pub use self::join::JoinHandle;
pub(crate) use self::shared::Shared;
pub use self::sleep::{Elapsed, Sleep, Timeout};
use self::timers::Timers;
use crate::Instant;
use crate::driver::Unparker;
use crate::turns::Turns;

/// Something that is looked after once per turn of the loop.
pub(crate) trait TurnHook {
    /// Does what is due. True if that may have made a task ready, or if there is more to do.
    fn turn(&self) -> bool;

    /// Whether there is something to do before the shard may end. The simulation asks, which
    /// cannot wait in `close`.
    fn has_last_words(&self) -> bool {
        false
    }

    /// Says goodbye: the shard ends.
    fn close(&self) {}
}

pub(crate) struct Executor {
    shared: Arc<Shared>,
    remote: mpsc::Receiver<Runnable>,
    /// A waker for every task that lives, to find them all at the end.
    live: Rc<RefCell<Slab<Waker>>>,
    timers: RefCell<Timers>,
    hooks: RefCell<Vec<Rc<dyn TurnHook>>>,
    closed: Cell<bool>,
    /// Tasks that let others go first until the next turn.
    yielded: RefCell<Vec<Waker>>,
    turns: Turns,
}

impl Executor {
    pub(crate) fn new(unparker: Unparker) -> Executor {
        let (shared, remote) = Shared::new(unparker);
        Executor {
            shared: Arc::new(shared),
            remote,
            live: Rc::default(),
            timers: RefCell::default(),
            hooks: RefCell::default(),
            closed: Cell::new(false),
            yielded: RefCell::default(),
            turns: Turns::default(),
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Who is told of the loop's turns.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(crate) fn add_hook(&self, hook: Rc<dyn TurnHook>) {
        self.hooks.borrow_mut().push(hook);
    }

    /// Starts a task. On a closed executor it is dropped without having run.
    pub(crate) fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        let live = Rc::clone(&self.live);
        let key = live.borrow_mut().insert(Waker::noop().clone());
        let future = Listed { future, entry: LiveEntry { live, key } };
        let shared = Arc::clone(&self.shared);
        let schedule = move |task| shared.schedule(task);
        let (runnable, task) = async_task::spawn_local(future, schedule);
        self.live.borrow_mut()[key] = runnable.waker();
        if self.closed.get() {
            drop(runnable);
        } else {
            runnable.schedule();
        }
        JoinHandle::new(task)
    }

    /// How many tasks are ready to run.
    pub(crate) fn ready_len(&self) -> usize {
        self.shared.with_ready(|ready| ready.len())
    }

    /// Runs the ready task at `index` in the queue. False if there is none.
    pub(crate) fn run_one(&self, index: usize) -> bool {
        let task = self.shared.with_ready(|ready| match index {
            0 => ready.pop_front(),
            _ => ready.remove(index),
        });
        match task {
            Some(task) => {
                self.turns.tag().set(0);
                task.run();
                true
            }
            None => false,
        }
    }

    /// Wakes a task when this turn is over and it was looked for what has completed meanwhile.
    pub(crate) fn wake_next_turn(&self, task: &Waker) {
        self.yielded.borrow_mut().push(task.clone());
    }

    /// Wakes those that let others go first in the turn that is over. True if there were any.
    pub(crate) fn wake_yielded(&self) -> bool {
        let mut any = false;
        // None of them runs before it is its turn.
        for task in self.yielded.borrow_mut().drain(..) {
            task.wake();
            any = true;
        }
        any
    }

    /// Takes over what other threads have made ready. True if there was anything.
    pub(crate) fn take_remote(&self) -> bool {
        let mut any = false;
        while let Ok(task) = self.remote.try_recv() {
            self.shared.with_ready(|ready| ready.push_back(task));
            any = true;
        }
        any
    }

    /// Calls the hooks. True if a task may have become ready.
    pub(crate) fn run_hooks(&self) -> bool {
        // Few and long-lived: indexed, so that a hook may add another.
        let mut any = false;
        let mut index = 0;
        loop {
            let Some(hook) = self.hooks.borrow().get(index).map(Rc::clone) else { return any };
            any |= hook.turn();
            index += 1;
        }
    }

    /// Whether a hook has something to do before the shard may end.
    pub(crate) fn has_last_words(&self) -> bool {
        self.hooks.borrow().iter().any(|hook| hook.has_last_words())
    }

    /// When the next timer fires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow_mut().next_deadline()
    }

    /// Wakes the tasks whose timers are due. True if there were any.
    pub(crate) fn fire_timers(&self, now: Instant) -> bool {
        let mut any = false;
        loop {
            let Some(waker) = self.timers.borrow_mut().pop_due(now) else { return any };
            waker.wake();
            any = true;
        }
    }

    /// Announces a sleep. False if there is something to do first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.shared.fall_asleep();
        let work = self.take_remote() | self.run_hooks() || self.ready_len() > 0;
        if work {
            self.shared.awake();
        }
        !work
    }

    pub(crate) fn awake(&self) {
        self.shared.awake();
    }

    /// Drops every task, wherever it waits. Nothing runs here afterwards.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.yielded.take();
        loop {
            let wakers: Vec<Waker> = self.live.borrow().iter().map(|(_, w)| w.clone()).collect();
            wakers.into_iter().for_each(Waker::wake);
            while let Some(task) = self.shared.with_ready(|ready| ready.pop_front()) {
                drop(task);
            }
            if self.live.borrow().is_empty() {
                break;
            }
            // Another thread has taken a task out of its sleep and not handed it over yet.
            if let Ok(task) = self.remote.recv_timeout(Duration::from_millis(1)) {
                drop(task);
            }
        }
        for hook in self.hooks.take() {
            hook.close();
        }
    }
}

pin_project! {
    /// A task's future with its entry. An async block would hold the future twice: as what it
    /// captured, and as what it waits for.
    struct Listed<F> {
        #[pin]
        future: F,
        // Dropped after the future.
        entry: LiveEntry,
    }
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// Held by a task for as long as its future lives.
struct LiveEntry {
    live: Rc<RefCell<Slab<Waker>>>,
    key: usize,
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        let waker = self.live.borrow_mut().remove(self.key);
        drop(waker);
    }
}
