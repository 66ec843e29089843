//! The loop of a shard's thread: run tasks, take completions, fire timers, and sleep when there is
//! nothing of these.
//!
//! A turn runs a bounded number of tasks before it looks at completions again, so that a busy
//! shard still accepts, receives and times out. Before it sleeps, a shard looks around for some
//! microseconds, because a wake-up costs tens of them on a virtual machine; but only while that
//! has lately been worth it, because the time it takes is somebody else's on a busy machine.

use std::time::Duration;

use crate::driver::Driver;
use crate::executor::Executor;
use crate::{Instant, JoinHandle, Runtime, clock, turns};

/// Tasks run per turn.
const TURN_TASKS: usize = 256;

/// How long a shard looks for work before it sleeps.
pub(crate) const SPIN_MAX: Duration = Duration::from_micros(30);

/// Whether looking around before a sleep pays, learnt from how the last ones ended.
struct Spin {
    /// How long to look.
    time: Duration,
    /// Counts up when work came in time, or would have, and down faster when it did not.
    worth: u8,
}

impl Spin {
    const WORTH_MAX: u8 = 16;
    /// Looking in vain costs more than a wake-up that could have been spared: four out of five
    /// looks have to succeed.
    const VAIN: u8 = 4;
    /// A sleep is seen to end this much later than the work came, about.
    const WAKE_UP: Duration = Duration::from_micros(30);

    fn new(time: Duration) -> Spin {
        Spin { time, worth: Spin::WORTH_MAX }
    }

    fn pays(&self) -> bool {
        !self.time.is_zero() && self.worth > Spin::WORTH_MAX / 2
    }

    /// Notes whether work came while, or as soon as, it was looked for.
    fn note(&mut self, came: bool) {
        self.worth = match came {
            true => (self.worth + 1).min(Spin::WORTH_MAX),
            false => self.worth.saturating_sub(Spin::VAIN),
        };
    }

    fn note_sleep(&mut self, slept: Duration) {
        self.note(slept < self.time + Spin::WAKE_UP);
    }
}

/// How much of its time the shard works, told to the others once per window.
struct Load {
    since: Instant,
    idle: Duration,
    turns: u32,
}

impl Load {
    const WINDOW: Duration = Duration::from_millis(100);
    /// The clock is not read in every turn of a shard that has no pause.
    const TURNS: u32 = 64;

    fn new(now: Instant) -> Load {
        Load { since: now, idle: Duration::ZERO, turns: 0 }
    }

    /// Counts a turn. True if it is time to look at the clock.
    fn turn(&mut self) -> bool {
        self.turns = (self.turns + 1) % Load::TURNS;
        self.turns == 0
    }

    fn rested(&mut self, time: Duration) {
        self.idle += time;
    }

    /// In percent, when a window has ended.
    fn busy_percent(&mut self, now: Instant) -> Option<u8> {
        let window = now - self.since;
        if window < Load::WINDOW {
            return None;
        }
        let busy = window.saturating_sub(self.idle);
        *self = Load::new(now);
        Some((busy.as_micros() * 100 / window.as_micros()) as u8)
    }
}

/// Runs the shard until its main task has ended.
pub(crate) fn run(rt: &Runtime, main: &JoinHandle<()>, spin: Duration) {
    let executor = rt.executor();
    let shared = executor.shared();
    let mut spin = Spin::new(spin);
    let mut now = clock::monotonic();
    let mut load = Load::new(now);
    loop {
        let begun = now;
        if load.turn()
            && let Some(percent) = load.busy_percent(now)
        {
            shared.set_busy_percent(percent);
        }
        run_tasks(executor);
        if main.is_finished() {
            return;
        }
        look_around(rt);
        now = clock::monotonic();
        executor.turns().turn(now - begun);
        if executor.ready_len() > 0 {
            continue;
        }
        if spin.pays() {
            let until = now + spin.time;
            let (came, ended) = spin_until_work(rt, until);
            load.rested(ended - now);
            now = ended;
            spin.note(came);
            if came {
                continue;
            }
        }
        if executor.fall_asleep() {
            let timeout = executor.next_deadline().map(|deadline| deadline - now);
            park(rt.driver(), timeout);
            executor.awake();
            let awake = clock::monotonic();
            let slept = awake - now;
            spin.note_sleep(slept);
            load.rested(slept);
            now = awake;
        }
    }
}

/// Runs the tasks of one turn, each with an eye on the clock.
fn run_tasks(executor: &Executor) {
    let mut begun = turns::coarse();
    for _ in 0..TURN_TASKS {
        if !executor.run_one(0) {
            return;
        }
        let ended = turns::coarse();
        executor.turns().task(begun, ended);
        begun = ended;
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
    // Last: they let all others go first.
    any | executor.wake_yielded()
}

/// Whether work came, and the time by then.
fn spin_until_work(rt: &Runtime, until: Instant) -> (bool, Instant) {
    loop {
        let came = look_around(rt) || rt.executor().ready_len() > 0;
        let now = clock::monotonic();
        if came || now >= until {
            return (came, now);
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

#[cfg(test)]
mod tests {
    use super::{Load, Spin};
    use crate::Instant;
    use std::time::Duration;

    #[test]
    fn a_load_is_what_is_not_rest() {
        let start = Instant::from_nanos(0);
        let mut load = Load::new(start);
        load.rested(Duration::from_millis(30));
        assert_eq!(load.busy_percent(start + Duration::from_millis(99)), None);
        assert_eq!(load.busy_percent(start + Duration::from_millis(120)), Some(75));
        assert_eq!(load.busy_percent(start + Duration::from_millis(220)), Some(100));
        load.rested(Duration::from_secs(2));
        assert_eq!(load.busy_percent(start + Duration::from_secs(2)), Some(0));
        assert_eq!((0..640).filter(|_| load.turn()).count(), 10);
    }

    #[test]
    fn looking_around_stops_when_nothing_comes_and_starts_again_when_it_does() {
        let mut spin = Spin::new(Duration::from_micros(30));
        assert!(spin.pays());
        spin.note(false);
        assert!(spin.pays());
        spin.note(false);
        assert!(!spin.pays());
        (0..100).for_each(|_| spin.note_sleep(Duration::from_millis(1)));
        assert!(!spin.pays());
        (0..9).for_each(|_| spin.note_sleep(Duration::from_micros(40)));
        assert!(spin.pays());
        assert!(!Spin::new(Duration::ZERO).pays());
    }
}
