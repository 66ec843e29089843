//! The whole node in a simulated world: clients over a simulated network, faults, and a ledger.
//!
//! Each seed makes one history: the shipped broker on one machine, and on another producers,
//! consumers and an administrator that speak the wire protocol. Connections break, the network
//! holds back, the broker is killed, stopped, and loses its power with what it had not flushed.
//! What must hold is in `ledger`: every acknowledged record is there once, in order, at its offset,
//! and nothing else is; requests are answered in their order.
//!
//! `RINGLOG_SIM_SEEDS` and `RINGLOG_SIM_FIRST` count here too. One again, with its story:
//! `RINGLOG_SIM_SEED=<seed> cargo test --test sim -- --nocapture broker::one_history`.

mod administrator;
mod asker;
mod consumer;
mod deny_all;
mod history;
mod ledger;
mod producer;
mod wide_topics;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};

use history::{Plan, Summary};
use ringlog_runtime::sim::PlantedBug;

use crate::{from_environment, runner, seeds};

/// How many histories a plain `cargo test` runs.
const SEEDS: u64 = 100;

#[test]
fn clients_keep_what_was_acknowledged() {
    let (seeds, happened) = (seeds(SEEDS), Happened::default());
    let count = seeds.end - seeds.start;
    runner::run_all(seeds, "broker::one_history", |seed| {
        history::run(seed, &Plan::from_seed(seed)).map(|summary| happened.add(&summary))
    });
    println!("{happened:?}");
    if count >= SEEDS {
        happened.is_plenty(count);
    }
}

/// What all histories came to: promises are only kept if they were put to the test.
#[derive(Debug, Default)]
struct Happened {
    starts: AtomicU64,
    acknowledged: AtomicU64,
    retries: AtomicU64,
    topics_deleted: AtomicU64,
}

impl Happened {
    fn add(&self, summary: &Summary) {
        self.starts.fetch_add(summary.starts.into(), Ordering::Relaxed);
        self.acknowledged.fetch_add(summary.acknowledged, Ordering::Relaxed);
        self.retries.fetch_add(summary.retries, Ordering::Relaxed);
        self.topics_deleted.fetch_add(summary.topics_deleted, Ordering::Relaxed);
    }

    fn is_plenty(&self, histories: u64) {
        let counts = [&self.starts, &self.acknowledged, &self.retries, &self.topics_deleted];
        let of_each = counts.map(|count| count.load(Ordering::Relaxed) / histories);
        assert!(of_each.iter().all(|count| *count > 0), "too little happens: {of_each:?}");
    }
}

#[test]
fn one_history() {
    let Some(seed) = from_environment("RINGLOG_SIM_SEED") else { return };
    let plan = Plan::from_seed(seed);
    println!("seed {seed}: {plan:#?}");
    match history::run(seed, &plan) {
        Ok(summary) => println!("{summary:?}"),
        Err(why) => panic!("seed {seed}: {why}"),
    }
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..5 {
        let plan = Plan::from_seed(seed);
        let first = history::run(seed, &plan).expect("it keeps its promises");
        let second = history::run(seed, &plan).expect("it keeps its promises");
        assert_eq!(first, second, "seed {seed}");
    }
}

/// The checkers themselves: the first history that ends badly with a bug that `plant` puts in.
fn find_planted(plant: impl Fn(&mut Plan)) -> (u64, String) {
    let found = (0..300).find_map(|seed| {
        let mut plan = Plan::from_seed(seed);
        plant(&mut plan);
        history::run(seed, &plan).err().map(|why| (seed, why))
    });
    found.expect("the planted bug is found within 300 seeds")
}

/// A bug in the storage code: it counts a write as durable before it returns. A client has to be
/// the one that misses its records: a consumer, an idempotent producer whose next batch does not
/// follow what is left, or one that gets the id of another, when it is the metadata that miss
/// records.
#[test]
fn acknowledging_before_the_write_is_found() {
    let (seed, why) =
        find_planted(|plan| plan.planted = Some(PlantedBug::AcknowledgeBeforeWritten));
    println!("the planted bug is found by seed {seed}: {why}");
    let missed = ["lost: ", "was record", "OutOfOrderSequenceNumber", "is given out twice"];
    assert!(missed.iter().any(|missed| why.contains(missed)), "seed {seed}: {why}");
}

/// A disk that reports flushes it has not made.
#[test]
fn a_disk_that_lies_is_found() {
    let (seed, why) = find_planted(|plan| plan.lying_disk = true);
    println!("the lying disk is found by seed {seed}: {why}");
}
