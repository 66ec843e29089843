//! What wakers know of their executor: where to put a task that can run, and how to end a sleep.
//!
//! A waker may be used from any thread. On the executor's own thread the task goes straight to
//! the queue; from elsewhere it goes through a lock-free channel and the shard is woken if it
//! sleeps.
//!
//! The protocol against lost wake-ups: who hands something over first publishes it, then (after a
//! full fence) looks whether the shard sleeps. The shard first says that it sleeps, then (after a
//! full fence) looks once more for something to do. One of the two sees the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::mpsc;

use async_task::Runnable;

use crate::driver::Unparker;
use crate::owned::Owned;

pub(crate) struct Shared {
    /// Tasks ready to run.
    ready: Owned<VecDeque<Runnable>>,
    remote: mpsc::Sender<Runnable>,
    asleep: AtomicBool,
    /// How much of its time the shard lately worked, in percent.
    busy: AtomicU8,
    unparker: Unparker,
}

impl Shared {
    /// For an executor on this thread.
    pub(super) fn new(unparker: Unparker) -> (Shared, mpsc::Receiver<Runnable>) {
        let (remote, incoming) = mpsc::channel();
        let shared = Shared {
            ready: Owned::new(VecDeque::new()),
            remote,
            asleep: AtomicBool::new(false),
            busy: AtomicU8::new(0),
            unparker,
        };
        (shared, incoming)
    }

    /// Calls with the queue. `call` must not come back here: it moves tasks and runs none.
    ///
    /// # Panics
    /// On any other thread than the executor's.
    pub(super) fn with_ready<R>(&self, call: impl FnOnce(&mut VecDeque<Runnable>) -> R) -> R {
        self.ready.with(call).expect("the queue belongs to the executor's thread")
    }

    /// Makes a task run, from whatever thread.
    pub(super) fn schedule(&self, task: Runnable) {
        if self.ready.is_here() {
            self.with_ready(|ready| ready.push_back(task));
        } else if self.remote.send(task).is_ok() {
            self.wake();
        }
    }

    /// Ends the shard's sleep, if it sleeps, after something was put where it looks.
    pub(crate) fn wake(&self) {
        if self.take_asleep() {
            self.unparker.unpark();
        }
    }

    /// Whether the shard sleeps and nobody is waking it yet; then that is up to the caller.
    pub(crate) fn take_asleep(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// How much of its time the shard lately worked, in percent; of one that sleeps now, none.
    pub(crate) fn busy_percent(&self) -> u8 {
        match self.asleep.load(Ordering::Relaxed) {
            true => 0,
            false => self.busy.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_busy_percent(&self, percent: u8) {
        self.busy.store(percent, Ordering::Relaxed);
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.unparker
    }

    /// Says that the shard is about to sleep; the caller then looks for work once more.
    pub(super) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
