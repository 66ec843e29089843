//! What wakers know of their executor: where to put a task that can run, and how to end a sleep.
//!
//! A waker may be used from any thread. On the executor's own thread the task goes straight to
//! the queue; from elsewhere it goes through a lock-free channel and the shard is woken if it
//! sleeps.
//!
//! The protocol against lost wake-ups: who hands something over first publishes it, then (after a
//! full fence) looks whether the shard sleeps. The shard first says that it sleeps, then (after a
//! full fence) looks once more for something to do. One of the two sees the other.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::mpsc;

use async_task::Runnable;

use crate::driver::Unparker;

thread_local! {
    static TOKEN: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// A number no other thread of this process ever has.
fn thread_token() -> u64 {
    TOKEN.with(|token| *token)
}

pub(crate) struct Shared {
    owner: u64,
    /// Tasks ready to run. Only the owner's thread touches it.
    ready: UnsafeCell<VecDeque<Runnable>>,
    remote: mpsc::Sender<Runnable>,
    asleep: AtomicBool,
    /// How much of its time the shard lately worked, in percent.
    busy: AtomicU8,
    unparker: Unparker,
}

// SAFETY: the one field that is not `Sync` by itself, `ready`, is only reached through
// `with_ready`, which checks that it is on the thread of the owner. `Runnable` is `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    /// For an executor on this thread.
    pub(super) fn new(unparker: Unparker) -> (Shared, mpsc::Receiver<Runnable>) {
        let (remote, incoming) = mpsc::channel();
        let shared = Shared {
            owner: thread_token(),
            ready: UnsafeCell::default(),
            remote,
            asleep: AtomicBool::new(false),
            busy: AtomicU8::new(0),
            unparker,
        };
        (shared, incoming)
    }

    /// Calls with the queue. `call` must not come back here: it moves tasks and runs none.
    pub(super) fn with_ready<R>(&self, call: impl FnOnce(&mut VecDeque<Runnable>) -> R) -> R {
        assert!(self.is_owner(), "the queue belongs to the executor's thread");
        // SAFETY: on the owner's thread, and the callers here (this file and the executor) pass
        // closures that only push to and pop from the queue, so there is no second borrow.
        call(unsafe { &mut *self.ready.get() })
    }

    fn is_owner(&self) -> bool {
        self.owner == thread_token()
    }

    /// Makes a task run, from whatever thread.
    pub(super) fn schedule(&self, task: Runnable) {
        if self.is_owner() {
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
