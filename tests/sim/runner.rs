//! Runs many seeds on all cores and reports those that fail.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// More failures than this say nothing new.
const FAILURES_MAX: usize = 5;

/// Runs every seed; panics with the failing ones and how to replay them: by the test `replay`.
pub(crate) fn run_all<T>(
    seeds: Range<u64>,
    replay: &str,
    run: impl Fn(u64) -> Result<T, String> + Sync,
) {
    let next = AtomicU64::new(seeds.start);
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let enough = failures.lock().expect("whole").len() >= FAILURES_MAX;
            if seed >= seeds.end || enough {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
            let why = match outcome {
                Ok(Ok(_)) => continue,
                Ok(Err(why)) => why,
                Err(panic) => format!("panicked: {}", message(panic.as_ref())),
            };
            failures.lock().expect("whole").push((seed, why));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().expect("whole");
    failures.sort();
    let count = seeds.end - seeds.start;
    println!("{count} seeds in {:.1} s", started.elapsed().as_secs_f64());
    let report: String = failures.iter().map(|(seed, why)| describe(*seed, why, replay)).collect();
    assert!(failures.is_empty(), "{report}");
}

fn describe(seed: u64, why: &str, replay: &str) -> String {
    format!(
        "\nseed {seed}: {why}\n  replay: RINGLOG_SIM_SEED={seed} cargo test --test sim -- \
         --nocapture {replay}\n"
    )
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "?".to_owned())
}
