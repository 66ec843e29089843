//! `flush=async`: acknowledged and visible is what has left the process, so that killing it loses
//! nothing of that, while the loss of power may.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::{Flush, TopicConfig};
use ringlog_runtime::sim::{SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};

use crate::testing::{BatchSpec, Bench, append, on_shard};

fn config() -> TopicConfig {
    TopicConfig { flush: Flush::Async, segment_bytes: 300_000, ..Default::default() }
}

/// Appends for as long as it lives, and notes what was acknowledged.
async fn produce(runtime: Runtime, acknowledged: Arc<Mutex<i64>>, ends: Arc<Mutex<Vec<i64>>>) {
    let bench = Bench::new(runtime.clone(), &PathBuf::from("/data"), config());
    let opened = bench.open().await;
    let log = opened.log;
    ends.lock().expect("one thread").push(log.log_end_offset());
    for _ in 0..10_000 {
        log.wait_writable().await;
        let value_bytes = (runtime.random_u64() % 9000) as usize;
        let appended = append(&log, BatchSpec { value_bytes, ..Default::default() });
        let end = appended.expect("taken").last_offset + 1;
        assert!(log.committed_offset() < end, "nobody sees what only the process has");
        let waiting = log.clone();
        let acknowledged = acknowledged.clone();
        let wait = async move {
            waiting.wait_committed(waiting.end_at(end)).await.expect("written");
            let mut acknowledged = acknowledged.lock().expect("one thread");
            *acknowledged = end.max(*acknowledged);
        };
        match runtime.random_u64() % 4 {
            0 => wait.await,
            _ => drop(runtime.spawn(wait)),
        }
    }
}

/// Acknowledgements went out while the records waited in memory for company.
#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    for seed in 0..20 {
        let mut sim = Simulation::new(seed, SimOptions::default());
        let node = sim.add_node("node");
        let (acknowledged, ends) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (told, found) = (acknowledged.clone(), ends.clone());
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
            produce(runtime, told.clone(), found.clone())
        });
        for life in 0..6 {
            let time = Duration::from_micros(5_000 + sim.random_u64() % 60_000);
            sim.run_for(time);
            sim.kill(node);
            let before = *acknowledged.lock().expect("one thread");
            sim.restart(node);
            sim.run_until(|| ends.lock().expect("one thread").len() > life + 1, time * 1000);
            let end = *ends.lock().expect("one thread").last().expect("opened");
            assert!(end >= before, "seed {seed}: it ends at {end}, acknowledged was {before}");
        }
        assert!(*acknowledged.lock().expect("one thread") > 20, "seed {seed}: it does nothing");
    }
}

/// A flush that is asked for comes while appends go on without a pause.
#[test]
fn flushes_are_not_put_off_by_appends() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let config = TopicConfig { flush_messages: 100, ..config() };
            let bench = Bench::new(runtime.clone(), &path, config);
            let opened = bench.open().await;
            let log = &opened.log;
            for _ in 0..1000 {
                let end = append(log, BatchSpec::default()).expect("taken").last_offset + 1;
                log.wait_committed(log.end_at(end)).await.expect("written");
                // The next one is there before the writer looks again.
                append(log, BatchSpec::default()).expect("taken");
                assert!(end - log.durable_offset() < 200, "{end}, {}", log.durable_offset());
            }
            bench.close(opened).await;
        }
    });
}
