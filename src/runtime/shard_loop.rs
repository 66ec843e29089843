//! The loop of a shard's thread: run tasks, take completions, fire timers, and sleep when there is
//! nothing of these.
//!
//! A turn runs a bounded number of tasks before it looks at completions again, so that a busy
//! shard still accepts, receives and times out. Before it sleeps, a shard looks around for some
//! microseconds: a wake-up costs tens of them on a virtual machine.

use std::time::Duration;

use crate::driver::Driver;
use crate::{JoinHandle, Runtime, clock};

/// Tasks run per turn.
const TURN_TASKS: usize = 256;

/// How long a shard looks for work before it sleeps.
pub(crate) const SPIN_MAX: Duration = Duration::from_micros(30);

/// Runs the shard until its main task has ended.
pub(crate) fn run(rt: &Runtime, main: &JoinHandle<()>, spin: Duration) {
    let executor = rt.executor();
    loop {
        for _ in 0..TURN_TASKS {
            if !executor.run_one(0) {
                break;
            }
        }
        if main.is_finished() {
            return;
        }
        look_around(rt);
        if executor.ready_len() > 0 || spin_until_work(rt, spin) {
            continue;
        }
        if executor.fall_asleep() {
            let now = clock::monotonic();
            let timeout = executor.next_deadline().map(|deadline| deadline - now);
            park(rt.driver(), timeout);
            executor.awake();
        }
    }
}

/// Takes whatever has happened since the last look. True if there was anything.
fn look_around(rt: &Runtime) -> bool {
    let executor = rt.executor();
    let mut any = executor.run_hooks();
    any |= executor.take_remote();
    any |= poll(rt.driver());
    if executor.next_deadline().is_some() {
        any |= executor.fire_timers(clock::monotonic());
    }
    any
}

fn spin_until_work(rt: &Runtime, spin: Duration) -> bool {
    if spin.is_zero() {
        return false;
    }
    let until = clock::monotonic() + spin;
    loop {
        if look_around(rt) || rt.executor().ready_len() > 0 {
            return true;
        }
        if clock::monotonic() >= until {
            return false;
        }
        std::hint::spin_loop();
    }
}

fn poll(driver: &Driver) -> bool {
    match driver {
        Driver::Uring(uring) => uring.poll(),
        Driver::Fallback(fallback) => fallback.poll(),
        Driver::Sim(_) => unreachable!("the simulation has its own loop"),
    }
}

fn park(driver: &Driver, timeout: Option<Duration>) {
    match driver {
        Driver::Uring(uring) => uring.park(timeout),
        Driver::Fallback(fallback) => fallback.park(timeout),
        Driver::Sim(_) => unreachable!("the simulation has its own loop"),
    }
}
