//! What stands behind a shard: one enum of three backends, dispatched by `match` per operation.
//!
//! What a backend provides, with the same names everywhere (`Uring` is the model to read):
//!
//! - **Time**: `now`, `wall_clock_ms`. The real ones use the machine's clocks; the simulation its
//!   own, and its own randomness.
//! - **Waiting** (real backends): `poll()` hands in what was queued, takes what has completed,
//!   wakes its tasks and returns whether there was any, without sleeping and, when there is
//!   nothing, without a system call if it can; `park(timeout)` does the same but sleeps until
//!   there is something, the time is up (`None`: never), or an [`Unparker`] was used, even before
//!   the call. It may return early. `close()` gives up every operation and returns when none is
//!   in flight. The simulation's loop does all of this itself, for many shards.
//! - **Files**: the methods of [`Runtime`](crate::Runtime), taking and giving a [`File`]. An
//!   operation owns its buffers and a handle of its file until it has completed, whether or not
//!   its future is still there.
//! - **Sockets**: `listen`, `accept`, `connect`, and a stream with `recv`, `recv_into`, `send`,
//!   `shutdown`, `peer_addr`. A `recv` that is given up loses no bytes: the next one gets them. A
//!   `recv_into` or `send` that is given up halfway shuts the stream down, because nobody could
//!   tell where it stopped. Dropping the stream closes it when its operations have completed.
//!
//! Timers and tasks are the executor's: a backend only has to keep to the timeout of `park`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fallback::{Fallback, FallbackUnparker};
use crate::sim::SimDriver;
use crate::uring::{Uring, UringUnparker};
use crate::{Backend, Instant, clock};

pub(crate) enum Driver {
    Uring(Uring),
    Fallback(Fallback),
    Sim(SimDriver),
}

impl Driver {
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Driver::Uring(_) => Backend::Uring,
            Driver::Fallback(_) => Backend::Fallback,
            Driver::Sim(_) => Backend::Simulated,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Driver::Uring(_) | Driver::Fallback(_) => clock::monotonic(),
            Driver::Sim(sim) => sim.now(),
        }
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        match self {
            Driver::Uring(_) | Driver::Fallback(_) => clock::wall_clock_ms(),
            Driver::Sim(sim) => sim.wall_clock_ms(),
        }
    }

    /// Ends another shard's sleep, in the cheapest way from this one.
    pub(crate) fn unpark_other(&self, other: &Unparker) {
        match (self, other) {
            (Driver::Uring(uring), Unparker::Uring(other)) => uring.unpark_other(other),
            _ => other.unpark(),
        }
    }
}

/// Ends the sleep of one shard; usable from any thread, also after the shard has ended.
#[derive(Clone)]
pub(crate) enum Unparker {
    Uring(UringUnparker),
    Fallback(FallbackUnparker),
    /// Tells the simulation that the shard has something to do.
    Sim(Arc<AtomicBool>),
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        match self {
            Unparker::Uring(unparker) => unparker.unpark(),
            Unparker::Fallback(unparker) => unparker.unpark(),
            Unparker::Sim(runnable) => runnable.store(true, Ordering::Release),
        }
    }
}
