//! What every real backend has to do, tested on each: one suite, run twice.

mod files;
mod mailboxes;
mod sockets;
mod streams_given_up;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use crate::{IoChoice, Launch, Runtime, launch};

/// Runs one shard on the backend until `main` ends. A panic in it aborts the tests.
fn run<Fut>(io: IoChoice, main: impl Fn(Runtime) -> Fut + Send + Sync + 'static)
where
    Fut: Future<Output = ()> + 'static,
{
    let how = Launch { shards: 1, io, pin: false, name: "test".into() };
    launch::<(), _, _>(how, move |rt, _mesh| main(rt)).unwrap().join().unwrap();
}

/// Makes two tests of each `async fn(Runtime)`: one on each backend.
macro_rules! on_each_backend {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test]
            fn $name() {
                crate::behaviour::run(crate::IoChoice::Uring, super::$name);
            })*
        }
        mod fallback {
            $(#[test]
            fn $name() {
                crate::behaviour::run(crate::IoChoice::Fallback, super::$name);
            })*
        }
    };
}
use on_each_backend;

/// A directory of the test's own, removed when dropped.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> TestDir {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringlog-runtime-{}-{number}", std::process::id());
        // Under the build's folder: `/tmp` may be a tmpfs, which knows no direct I/O.
        let dir = std::env::current_exe().unwrap().parent().unwrap().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        TestDir(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
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
