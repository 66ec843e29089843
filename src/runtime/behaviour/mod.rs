//! What every backend has to do, tested on each: one suite for io_uring, for the fallback, and for
//! the simulation, by which everything above the runtime is judged.
//!
//! Three kinds of promise. Those under `everywhere` hold on all three, in the simulation for
//! several seeds, each with its own delays and its own order of tasks. Those under `in_order` say
//! in which order ready tasks run, which the simulation keeps only if it is told to. Those under
//! `real` are about what the simulation does not have: threads, processor time, descriptors, other
//! processes' sockets, connections that change shards.

mod files;
mod mailboxes;
mod sockets;
mod streams_given_up;
mod tasks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sim::{SimOptions, Simulation};
use crate::{Backend, IoChoice, Launch, Mesh, Runtime, launch};

/// Where a test runs.
#[derive(Clone, Copy, Debug)]
enum On {
    Uring,
    Fallback,
    /// In a world without faults; its delays, and what the network cuts, follow the seed.
    Simulation {
        seed: u64,
        in_order: bool,
    },
}

/// How many worlds a test of the simulation sees.
const SEEDS: u64 = 5;

/// What has not ended after so many steps of the world waits for ever. The longest takes a fifth.
const STEPS_MAX: u64 = 5_000_000;

/// Runs shards until `main` has ended on all of them. A panic in it fails the test, or aborts all.
fn run_shards<M, Fut>(
    on: On,
    shards: usize,
    main: impl Fn(Runtime, Mesh<M>) -> Fut + Send + Sync + 'static,
) where
    M: Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let io = match on {
        On::Uring => IoChoice::Uring,
        On::Fallback => IoChoice::Fallback,
        On::Simulation { seed, in_order } => {
            let options = SimOptions { shuffle_tasks: !in_order, ..SimOptions::default() };
            let mut world = Simulation::new(seed, options);
            let node = world.add_node("test");
            world.start(node, shards, main);
            for _ in 0..STEPS_MAX {
                if !world.is_running(node) {
                    return;
                }
                assert!(world.step(), "seed {seed}: all wait, and nothing will happen");
            }
            panic!("seed {seed}: it does not end");
        }
    };
    let how = Launch { shards, io, pin: false, name: "test".into() };
    launch(how, main).unwrap().join().unwrap();
}

/// Runs one shard.
fn run<Fut>(on: On, main: impl Fn(Runtime) -> Fut + Send + Sync + 'static)
where
    Fut: Future<Output = ()> + 'static,
{
    run_shards::<(), _>(on, 1, move |rt, _mesh| main(rt));
}

/// Makes a test of each `async fn(Runtime)` for each backend that promises it.
macro_rules! on_each_backend {
    (
        everywhere: $($all:ident),* $(,)?;
        in_order: $($ordered:ident),* $(,)?;
        real: $($real:ident),* $(,)?;
    ) => {
        mod uring {
            $(#[test]
            fn $all() {
                crate::behaviour::run(crate::behaviour::On::Uring, super::$all);
            })*
            $(#[test]
            fn $ordered() {
                crate::behaviour::run(crate::behaviour::On::Uring, super::$ordered);
            })*
            $(#[test]
            fn $real() {
                crate::behaviour::run(crate::behaviour::On::Uring, super::$real);
            })*
        }
        mod fallback {
            $(#[test]
            fn $all() {
                crate::behaviour::run(crate::behaviour::On::Fallback, super::$all);
            })*
            $(#[test]
            fn $ordered() {
                crate::behaviour::run(crate::behaviour::On::Fallback, super::$ordered);
            })*
            $(#[test]
            fn $real() {
                crate::behaviour::run(crate::behaviour::On::Fallback, super::$real);
            })*
        }
        mod simulation {
            $(#[test]
            fn $all() {
                for seed in 0..crate::behaviour::SEEDS {
                    let on = crate::behaviour::On::Simulation { seed, in_order: false };
                    crate::behaviour::run(on, super::$all);
                }
            })*
            $(#[test]
            fn $ordered() {
                for seed in 0..crate::behaviour::SEEDS {
                    let on = crate::behaviour::On::Simulation { seed, in_order: true };
                    crate::behaviour::run(on, super::$ordered);
                }
            })*
        }
    };
}
use on_each_backend;

/// A directory of the test's own. A real one is removed when dropped.
struct TestDir {
    path: PathBuf,
    is_real: bool,
}

impl TestDir {
    async fn new(rt: &Runtime) -> TestDir {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringlog-runtime-{}-{number}", std::process::id());
        let is_real = rt.backend() != Backend::Simulated;
        let path = match is_real {
            // Under the build's folder: `/tmp` may be a tmpfs, which knows no direct I/O.
            true => std::env::current_exe().unwrap().parent().unwrap().join(name),
            false => Path::new("/simulated").join(name),
        };
        rt.create_dir_all(&path).await.unwrap();
        TestDir { path, is_real }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        if self.is_real {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// How long anything may take that has to happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a thread has had of its processor: how long, and how many times.
pub(crate) struct CpuUse {
    time: Duration,
    slices: u64,
}

impl CpuUse {
    pub(crate) fn of_this_thread() -> CpuUse {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().unwrap());
        let time = Duration::from_nanos(numbers.next().unwrap());
        CpuUse { time, slices: numbers.nth(1).unwrap() }
    }

    /// Since then, about a second, this thread neither looked for work all the time, which takes
    /// time, nor now and then, which takes slices. Others' load adds a little to both.
    pub(crate) fn assert_idle_since(self) {
        let now = CpuUse::of_this_thread();
        let (time, slices) = (now.time - self.time, now.slices - self.slices);
        assert!(time < Duration::from_millis(100) && slices < 50, "{time:?} in {slices} slices");
    }
}

/// Bytes that differ from place to place.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut prng = crate::sim::Prng::new(seed);
    let words = std::iter::repeat_with(|| prng.next_u64().to_le_bytes());
    words.take(len.div_ceil(8)).flatten().take(len).collect()
}
