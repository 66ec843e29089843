//! The log engine in a simulated world: a workload, faults, and checkers, from a seed. The whole
//! node with clients over a simulated network is in `broker`.
//!
//! Each seed makes one history: producers, readers and housekeeping on the shipped storage code,
//! over a simulated disk, through several crashes and restarts. What must hold is in `model` and
//! `checkers`. A seed that fails is a bug report; it is printed with the command to replay it.
//!
//! `cargo test` runs a few hundred histories. For many:
//! `RINGLOG_SIM_SEEDS=20000 cargo test --release --test sim`. One again, with its story:
//! `RINGLOG_SIM_SEED=<seed> cargo test --test sim -- --nocapture one_seed`; with
//! `RINGLOG_SIM_SCRUB=1` if it was one with a scrub.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

mod batches;
mod broker;
mod checkers;
mod faults;
mod history;
mod kafka_files;
mod model;
mod opening;
mod regressions;
mod runner;
mod workload;

use std::ops::Range;

use history::Plan;
use ringlog_runtime::sim::PlantedBug;

/// How many histories a plain `cargo test` runs.
const SEEDS: u64 = 300;
/// The test that replays one of them.
const ONE_SEED: &str = "one_seed";

pub(crate) fn from_environment(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

/// The seeds to run: so many from 0, if the environment asks for no others.
fn seeds(count: u64) -> Range<u64> {
    let first = from_environment("RINGLOG_SIM_FIRST").unwrap_or(0);
    first..first + from_environment("RINGLOG_SIM_SEEDS").unwrap_or(count)
}

#[test]
fn histories_keep_every_promise() {
    runner::run_all(seeds(SEEDS), ONE_SEED, |seed| history::run(seed, &Plan::from_seed(seed)));
}

/// The same while the scrub reads what is sealed, beside retention, truncation and crashes.
#[test]
fn histories_with_a_scrub_keep_every_promise() {
    runner::run_all(seeds(SEEDS / 3), ONE_SEED, |seed| {
        history::run(seed, &Plan { scrub: true, ..Plan::from_seed(seed) })
    });
}

#[test]
fn one_seed() {
    let Some(seed) = from_environment("RINGLOG_SIM_SEED") else { return };
    let plan = Plan::from_seed(seed);
    println!("seed {seed}: {plan:#?}");
    let _ = tracing_subscriber::fmt().with_env_filter("debug").without_time().try_init();
    match history::run(seed, &plan) {
        Ok(summary) => println!("{summary:?}"),
        Err(why) => panic!("seed {seed}: {why}"),
    }
}

#[test]
fn a_crash_at_every_disk_operation_loses_nothing() {
    runner::run_all(0..2, ONE_SEED, faults::crash_everywhere);
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..10 {
        let plan = Plan::from_seed(seed);
        let first = history::run(seed, &plan).expect("it keeps its promises");
        let second = history::run(seed, &plan).expect("it keeps its promises");
        assert_eq!(first, second, "seed {seed}");
    }
}

/// The checkers themselves: the first history that ends badly with a bug that `plant` puts in, and
/// why.
fn find_planted(plant: impl Fn(&mut Plan)) -> (u64, String) {
    let found = (0..1_000).find_map(|seed| {
        let mut plan = Plan::from_seed(seed);
        plant(&mut plan);
        history::run(seed, &plan).err().map(|why| (seed, why))
    });
    found.expect("the planted bug is found within 1,000 seeds")
}

/// A bug in the storage code: it counts a write as durable before it returns. What is found has to
/// be the loss itself.
#[test]
fn acknowledging_before_the_write_is_found() {
    let (seed, why) =
        find_planted(|plan| plan.planted = Some(PlantedBug::AcknowledgeBeforeWritten));
    println!("the planted bug is found by seed {seed}: {why}");
    assert!(why.contains("lost: the log ends at"), "seed {seed}: {why}");
}

/// A bug in the storage code: recovery looks for the next batch in the payload of a torn one.
#[test]
fn taking_a_batch_out_of_a_payload_is_found() {
    let (seed, why) = find_planted(|plan| {
        plan.nested_batches = true;
        plan.planted = Some(PlantedBug::SearchPayloads);
    });
    println!("the planted bug is found by seed {seed}: {why}");
}

/// A bug in the storage code: it cuts a log whose recovery point on disk is beyond the cut. A write
/// that a crash cuts off is then taken for damage to what was durable.
#[test]
fn truncating_below_the_recovery_point_is_found() {
    let (seed, why) = find_planted(|plan| {
        plan.planted = Some(PlantedBug::KeepRecoveryPoint);
        plan.truncate = true;
    });
    println!("the planted bug is found by seed {seed}: {why}");
}

/// A disk that reports flushes it has not made.
#[test]
fn a_disk_that_lies_is_found() {
    let (seed, why) = find_planted(|plan| plan.lying_disk = true);
    println!("the lying disk is found by seed {seed}: {why}");
}

/// A file system that takes durable writes and makes none of them, as FUSE does with direct ones,
/// and says what it is.
#[test]
fn a_disk_that_ignores_durable_writes_is_flushed() {
    runner::run_all(seeds(50), ONE_SEED, |seed| {
        history::run(seed, &Plan { ignores_dsync: true, ..Plan::from_seed(seed) })
    });
}

/// A bug in the storage code: it trusts the durable writes of such a disk.
#[test]
fn trusting_a_disk_that_ignores_durable_writes_is_found() {
    let (seed, why) = find_planted(|plan| {
        plan.ignores_dsync = true;
        plan.planted = Some(PlantedBug::TrustDurableWrites);
    });
    println!("the planted bug is found by seed {seed}: {why}");
    assert!(why.contains("lost: the log ends at"), "seed {seed}: {why}");
}
