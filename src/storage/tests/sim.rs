//! A log on a simulated disk that loses power, over and over.
//!
//! A run appends, reads, deletes, checkpoints and stops, and crashes at any disk operation. The
//! model keeps every batch that was ever taken and the end of what was acknowledged. After each
//! start the log must be a prefix of the model that reaches the acknowledged end, byte for byte,
//! and a producer that sends its newest acknowledged batch again must be told so. The seed of a
//! failed run is in the message; `RINGLOG_STORAGE_SEEDS=<first>..<last>` runs others.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::{Flush, TopicConfig};
use ringlog_runtime::sim::{DiskFaults, SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::Offset;

use crate::testing::{BatchSpec, Bench, Opened, append, bytes_of, read_all};
use crate::{Log, LogDirs};

/// How often a run crashes, and how many batches it appends between two starts.
const LIVES: usize = 5;
const BATCHES: u64 = 60;
/// No life takes longer than this, in virtual time.
const LIFE: Duration = Duration::from_secs(600);

/// A batch that was taken.
#[derive(Clone)]
struct Taken {
    base_offset: Offset,
    end_offset: Offset,
    spec: BatchSpec,
}

/// What is known outside of the node.
#[derive(Default)]
struct Model {
    taken: Vec<Taken>,
    acknowledged_end: Offset,
    /// The largest offset that was asked to be deleted.
    deleted_to: Offset,
    next_sequence: i32,
    violations: Vec<String>,
    finished: bool,
}

type Shared = Arc<Mutex<Model>>;

impl Model {
    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }
}

fn lock(model: &Shared) -> std::sync::MutexGuard<'_, Model> {
    model.lock().expect("one thread")
}

/// The settings of a run: segments so small that they roll all the time.
fn config(seed: u64) -> TopicConfig {
    TopicConfig {
        segment_bytes: [40_000, 80_000, 300_000][(seed % 3) as usize],
        index_interval_bytes: [100, 4096][(seed / 3 % 2) as usize],
        flush: if seed % 5 == 4 { Flush::Async } else { Flush::Sync },
        flush_messages: if seed.is_multiple_of(2) { i64::MAX } else { 7 },
        file_delete_delay_ms: 10,
        ..Default::default()
    }
}

fn expected(taken: &Taken) -> Vec<u8> {
    taken.spec.build()
}

/// Compares the log with the model, after a start.
async fn verify(bench: &Bench, log: &Log, model: &Shared) {
    let batches = read_all(bench, log).await;
    let mut model = lock(model);
    let start = log.log_start_offset();
    if start > model.deleted_to {
        let deleted_to = model.deleted_to;
        model.violation(format!("the log starts at {start}, deleted was up to {deleted_to}"));
    }
    // The first batch may begin before the log does.
    let first = batches.first().map_or(log.log_end_offset(), |(header, _)| header.base_offset);
    let from = model.taken.partition_point(|taken| taken.base_offset < first);
    let known: Vec<Taken> = model.taken[from..].to_vec();
    for (at, (header, bytes)) in batches.iter().enumerate() {
        let same = known.get(at).is_some_and(|taken| {
            taken.base_offset == header.base_offset && expected(taken)[16..] == bytes[16..]
        });
        if !same {
            model.violation(format!("offset {} is not what was appended", header.base_offset));
            return;
        }
    }
    let end = log.log_end_offset();
    if end < model.acknowledged_end {
        let acknowledged = model.acknowledged_end;
        model.violation(format!("the log ends at {end}, acknowledged was {acknowledged}"));
        return;
    }
    model.taken.truncate(from + batches.len());
    model.next_sequence = match model.taken.last() {
        Some(last) => last.spec.base_sequence + last.spec.count,
        None => 0,
    };
    // Found again means durable from now on.
    model.acknowledged_end = end;
    // A client may have had the last five in flight, and sends them again.
    let sent_again: Vec<Taken> = model.taken.iter().rev().take(5).rev().cloned().collect();
    for taken in sent_again.iter().filter(|taken| taken.base_offset >= start) {
        match append(log, taken.spec) {
            Ok(again) if again.duplicate && again.base_offset == taken.base_offset => {}
            other => model.violation(format!("sent again, {}: {other:?}", taken.base_offset)),
        }
    }
}

/// Appends, waits for some, reads some.
async fn work(bench: &Bench, log: &Rc<Log>, model: &Shared) {
    let runtime = bench.runtime();
    let count = runtime.random_u64() % BATCHES;
    let largest = [200, 3000, 9000][(runtime.random_u64() % 3) as usize];
    for _ in 0..count {
        if !append_one(bench, log, model, largest) {
            return;
        }
        let end = log.log_end_offset();
        match runtime.random_u64() % 10 {
            0..4 => {
                let (log, model) = (log.clone(), model.clone());
                drop(runtime.spawn(async move {
                    if log.wait_durable(log.end_at(end)).await.is_ok() {
                        let mut model = lock(&model);
                        model.acknowledged_end = model.acknowledged_end.max(end);
                    }
                }));
            }
            4 => {
                if log.wait_durable(log.end_at(end)).await.is_err() {
                    return;
                }
                let mut model = lock(model);
                model.acknowledged_end = model.acknowledged_end.max(end);
            }
            5 => read_some(bench, log, model).await,
            6 => runtime.sleep(Duration::from_micros(runtime.random_u64() % 20_000)).await,
            _ => {}
        }
    }
}

fn append_one(bench: &Bench, log: &Log, model: &Shared, largest: u64) -> bool {
    let runtime = bench.runtime();
    let mut model = lock(model);
    let spec = BatchSpec {
        count: 1 + (runtime.random_u64() % 4) as i32,
        value_bytes: (runtime.random_u64() % largest) as usize,
        seed: runtime.random_u64() as u8,
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: model.next_sequence,
        timestamp: 1_700_000_000_000 + runtime.random_u64() as i64 % 1000,
    };
    match append(log, spec) {
        Ok(appended) => {
            model.next_sequence += spec.count;
            let end_offset = appended.last_offset + 1;
            model.taken.push(Taken { base_offset: appended.base_offset, end_offset, spec });
            true
        }
        Err(crate::AppendError::Storage(_)) => false,
        Err(error) => {
            model.violation(format!("refused: {error}"));
            false
        }
    }
}

/// Reads somewhere and compares.
async fn read_some(bench: &Bench, log: &Log, model: &Shared) {
    let (start, end) = (log.log_start_offset(), log.committed_offset());
    if start >= end {
        return;
    }
    let offset = start + (bench.runtime().random_u64() % (end - start) as u64) as i64;
    let bytes_max = 1 + (bench.runtime().random_u64() % 50_000) as usize;
    let Ok(read) = log.read(offset, bytes_max, end, true).await else { return };
    let bytes = bytes_of(bench, &read.pieces).await;
    let mut model = lock(model);
    let from = model.taken.partition_point(|taken| taken.end_offset <= offset);
    let mut expected_bytes = Vec::new();
    for taken in &model.taken[from..] {
        if expected_bytes.len() >= bytes.len() {
            break;
        }
        let mut batch = expected(taken);
        batch[..8].copy_from_slice(&taken.base_offset.to_be_bytes());
        batch[12..16].copy_from_slice(&0i32.to_be_bytes());
        expected_bytes.extend(batch);
    }
    let same = bytes.len() <= expected_bytes.len() && expected_bytes[..bytes.len()] == bytes;
    if !same || bytes.is_empty() {
        model.violation(format!("a read at {offset} gave other bytes ({})", bytes.len()));
    }
}

/// One life of the node: start, check, work, and perhaps a clean stop.
async fn live(runtime: Runtime, seed: u64, model: Shared) {
    let bench = Bench::new(runtime, &PathBuf::from("/data"), config(seed));
    let opened = match bench.try_open().await {
        Ok(opened) => opened,
        Err(crate::StorageError::Io { .. } | crate::StorageError::NoDirectory(_)) => {
            // An error of the disk; the next life tries again.
            lock(&model).finished = true;
            return;
        }
        Err(error) => {
            lock(&model).violation(format!("it does not open: {error}"));
            return;
        }
    };
    for fenced in &opened.report.fenced {
        lock(&model).violation(format!("damage is reported: {fenced:?}"));
    }
    let log = opened.log.clone();
    verify(&bench, &log, &model).await;
    let rounds = bench.runtime().random_u64() % 4;
    for _ in 0..rounds {
        work(&bench, &log, &model).await;
        between(&bench, &opened, &model).await;
    }
    if bench.runtime().random_u64().is_multiple_of(3) && log.close().await.is_ok() {
        {
            let mut model = lock(&model);
            model.acknowledged_end = model.acknowledged_end.max(log.log_end_offset());
        }
        let dirs = &opened.dirs.dirs;
        if dirs.write_checkpoints(bench.runtime(), &[log.checkpoint()]).await.is_ok() {
            let _ = dirs.mark_clean_shutdown(bench.runtime(), |_| true).await;
        }
    }
    lock(&model).finished = true;
}

/// What happens now and then: deletion, checkpoints, memory running short.
async fn between(bench: &Bench, opened: &Opened, model: &Shared) {
    let log = &opened.log;
    match bench.runtime().random_u64() % 5 {
        0 => {
            let (start, end) = (log.log_start_offset(), log.committed_offset());
            let before = start + (bench.runtime().random_u64() % (end - start + 1) as u64) as i64;
            {
                let mut model = lock(model);
                model.deleted_to = model.deleted_to.max(before);
            }
            let _ = log.delete_records(before).await;
        }
        1 => {
            let checkpoint = [log.checkpoint()];
            let _ = opened.dirs.dirs.write_checkpoints(bench.runtime(), &checkpoint).await;
        }
        2 => while log.evict_oldest_chunk() > 0 {},
        3 => {
            log.count_unchecked(1 << 30);
            log.start_checkpoint();
            log.kick_writer();
        }
        _ => {}
    }
}

/// One run. Returns what was violated.
fn run(seed: u64, lying: bool) -> Vec<String> {
    let mut sim = Simulation::new(seed, SimOptions::default());
    let model: Shared = Arc::default();
    let node = sim.add_node("node");
    let shared = model.clone();
    sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| live(runtime, seed, shared.clone()));
    sim.set_lying_disk(node, lying);
    for life in 0..LIVES {
        lock(&model).finished = false;
        if life > 0 {
            sim.restart(node);
        }
        if life + 1 < LIVES {
            let errors = sim.random_u64().is_multiple_of(4);
            let rate = if errors { 0.001 } else { 0.0 };
            sim.set_disk_faults(
                node,
                DiskFaults {
                    write_error: rate,
                    sync_error: rate,
                    slow: 0.01,
                    ..Default::default()
                },
            );
            let ops = 1 + sim.random_u64() % 400;
            sim.crash_after_ops(node, ops);
        } else {
            sim.set_disk_faults(node, DiskFaults::default());
        }
        let done = model.clone();
        sim.run_until(|| lock(&done).finished, LIFE);
        if sim.random_u64().is_multiple_of(4) {
            sim.kill(node);
        } else {
            sim.crash(node);
        }
        let violations = lock(&model).violations.clone();
        if !violations.is_empty() {
            return violations;
        }
    }
    let mut model = lock(&model);
    if !model.finished {
        model.violation("the last life did not end".to_owned());
    }
    model.violations.clone()
}

/// A log on a disk too small for what is appended: nothing fails, appends are refused, and go on
/// when there is space.
#[test]
fn a_full_disk_refuses_and_resumes() {
    for seed in 0..5 {
        let mut options = SimOptions::default();
        options.disk.capacity_bytes = 6 << 20;
        let mut sim = Simulation::new(seed, options);
        let node = sim.add_node("node");
        let refused = Arc::new(Mutex::new(0));
        let ended = Arc::new(Mutex::new(0));
        let (seen, end) = (refused.clone(), ended.clone());
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
            let (seen, end) = (seen.clone(), end.clone());
            async move {
                let bench = Bench::new(runtime.clone(), &PathBuf::from("/data"), config(seed));
                let log = bench.open().await.log;
                let spec = BatchSpec { value_bytes: 30_000, ..Default::default() };
                while log.log_end_offset() < 400 {
                    match append(&log, spec) {
                        Ok(_) => runtime.sleep(Duration::from_millis(50)).await,
                        Err(crate::AppendError::NoSpace) => {
                            *seen.lock().expect("one thread") += 1;
                            runtime.sleep(Duration::from_millis(500)).await;
                        }
                        Err(error) => panic!("seed {seed}: {error}"),
                    }
                }
                log.wait_durable(log.end_at(400)).await.expect("written in the end");
                assert_eq!(read_all(&bench, &log).await.len(), 400);
                *end.lock().expect("one thread") = 1;
            }
        });
        sim.run_for(Duration::from_secs(60));
        assert!(*refused.lock().expect("one thread") > 10, "seed {seed}: it never was full");
        sim.disk(node).set_capacity_bytes(1 << 30);
        sim.run_until(|| *ended.lock().expect("one thread") == 1, LIFE);
        assert_eq!(*ended.lock().expect("one thread"), 1, "seed {seed}: it does not resume");
    }
}

/// Stopping while the disk is full: it ends in time, what could not be written was not
/// acknowledged, and the next start finds everything that was.
#[test]
fn closing_on_a_full_disk_ends() {
    for seed in 0..5 {
        let mut options = SimOptions::default();
        options.disk.capacity_bytes = 3 << 20;
        let mut sim = Simulation::new(seed, options);
        let node = sim.add_node("node");
        let model = Shared::default();
        let shared = model.clone();
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
            stop_when_full(runtime, seed, shared.clone())
        });
        let done = model.clone();
        sim.run_until(|| lock(&done).finished, Duration::from_secs(30));
        assert!(lock(&model).finished, "seed {seed}: closing does not end");
        assert!(!sim.disk(node).exists("/data/.kafka_cleanshutdown"));
        sim.kill(node);
        sim.disk(node).set_capacity_bytes(1 << 30);
        lock(&model).finished = false;
        sim.restart(node);
        sim.run_until(|| lock(&done).finished, LIFE);
        assert!(lock(&model).finished, "seed {seed}: it does not start again");
    }
}

/// The first life fills the disk and stops; the second looks at what is left.
async fn stop_when_full(runtime: Runtime, seed: u64, model: Shared) {
    let bench = Bench::new(runtime.clone(), &PathBuf::from("/data"), config(seed));
    let opened = bench.open().await;
    let log = opened.log.clone();
    let acknowledged = lock(&model).acknowledged_end;
    assert!(log.log_end_offset() >= acknowledged, "seed {seed}: acknowledged batches are lost");
    if acknowledged > 0 {
        bench.close(opened).await;
        lock(&model).finished = true;
        return;
    }
    let spec = BatchSpec { value_bytes: 30_000, ..Default::default() };
    let waiting = log.clone();
    let told = model.clone();
    drop(runtime.spawn(async move {
        for end in 1.. {
            if waiting.wait_durable(waiting.end_at(end)).await.is_err() {
                return;
            }
            lock(&told).acknowledged_end = end;
        }
    }));
    for _ in 0..200 {
        append(&log, spec).expect("memory takes it");
    }
    let started = runtime.now();
    let error = log.close().await.expect_err("the disk is too small");
    assert!(runtime.now() - started < Duration::from_secs(12), "seed {seed}");
    let (acknowledged, durable) = (lock(&model).acknowledged_end, log.durable_offset());
    assert!(0 < acknowledged && acknowledged <= durable && durable < 200, "seed {seed}");
    let crate::StorageError::Unwritten { bytes, durable_offset, log_end_offset: 200 } = error
    else {
        panic!("seed {seed}: {error}");
    };
    assert!(bytes > 0 && durable_offset == durable, "seed {seed}");
    assert!(log.recovery_point() <= durable);
    assert!(append(&log, spec).is_err(), "it takes nothing any more");
    // Others close at once when the time is over already.
    assert!(log.close_by(started).await.is_err());
    lock(&model).finished = true;
}

/// A flush that fails takes log and directory offline; whoever waits is told, nobody later is
/// acknowledged, and a new start finds what was acknowledged.
#[test]
fn a_failed_write_takes_the_directory_offline() {
    let mut served = 0;
    for seed in 0..40 {
        let mut sim = Simulation::new(seed, SimOptions::default());
        let node = sim.add_node("node");
        let outcome = Arc::new(Mutex::new(None));
        let shared = outcome.clone();
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
            let shared = shared.clone();
            async move {
                let config = TopicConfig::default();
                let bench = Bench::new(runtime, &PathBuf::from("/data"), config);
                let Ok(opened) = bench.try_open().await else { return };
                let mut failed = 0;
                for _ in 0..100 {
                    let Ok(appended) = append(&opened.log, BatchSpec::default()) else {
                        failed += 1;
                        continue;
                    };
                    let waited =
                        opened.log.wait_durable(opened.log.end_at(appended.last_offset + 1)).await;
                    assert!(waited.is_err() || failed == 0, "acknowledged after a failure");
                    failed += i32::from(waited.is_err());
                }
                let offline = opened.log.failure().is_some() && opened.log.dir().is_offline();
                *shared.lock().expect("one thread") = Some((failed > 0, offline));
            }
        });
        sim.fail_after_ops(node, 30 + seed, 5);
        sim.run_until_idle(LIFE);
        let outcome = outcome.lock().expect("one thread").take();
        // The failure may come while the log is opened.
        served += usize::from(outcome.is_some());
        assert!(outcome.is_none_or(|both| both == (true, true)), "seed {seed}: {outcome:?}");
    }
    assert!(served >= 20, "only {served} of 40 logs were served when the write failed");
}

/// A process that was killed while it made its log had made the directory, but not its name
/// durable. The next one found it there and filled it, and a loss of power took all of it.
#[test]
fn a_log_that_a_killed_process_began_is_kept() {
    for seed in 0..200 {
        let mut sim = Simulation::new(seed, SimOptions::default());
        let node = sim.add_node("node");
        // What the latest life found, and up to where it then had acknowledged.
        let known = Arc::new(Mutex::new((0, 0)));
        let shared = known.clone();
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
            let shared = shared.clone();
            async move {
                let bench = Bench::new(runtime, &PathBuf::from("/data"), TopicConfig::default());
                let opened = bench.open().await;
                let found = opened.log.log_end_offset();
                let appended = append(&opened.log, BatchSpec::default()).expect("there is room");
                let end = appended.last_offset + 1;
                opened
                    .log
                    .wait_durable(opened.log.end_at(end))
                    .await
                    .expect("the disk is in order");
                *shared.lock().expect("one thread") = (found, end);
            }
        });
        while sim.disk_ops(node) < 1 + seed % 40 && sim.step() {}
        sim.kill(node);
        sim.restart(node);
        sim.run_until_idle(LIFE);
        let (_, acknowledged) = *known.lock().expect("one thread");
        assert!(acknowledged > 0, "seed {seed}: nothing was acknowledged");
        sim.crash(node);
        sim.restart(node);
        sim.run_until_idle(LIFE);
        let (found, _) = *known.lock().expect("one thread");
        assert!(found >= acknowledged, "seed {seed}: lost: {found} of {acknowledged}");
    }
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("RINGLOG_STORAGE_SEEDS") else { return default };
    let (first, last) = text.split_once("..").expect("RINGLOG_STORAGE_SEEDS=<first>..<last>");
    first.parse().expect("a number")..last.parse().expect("a number")
}

#[test]
fn nothing_acknowledged_is_lost() {
    for seed in seeds(0..100) {
        let violations = run(seed, false);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let found = (0..100).find(|seed| !run(*seed, true).is_empty());
    assert!(found.is_some(), "acknowledging before the flush goes unnoticed");
}

/// On CIFS, 9p or vboxsf a directory cannot be flushed, and all that was said was "Invalid
/// argument".
#[test]
fn a_directory_that_cannot_be_flushed_is_named_with_its_file_system() {
    let mut options = SimOptions::default();
    options.disk.refuses_dir_sync = true;
    let mut sim = Simulation::new(1, options);
    let node = sim.add_node("node");
    let said: Arc<Mutex<Option<String>>> = Arc::default();
    let told = said.clone();
    sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
        let told = told.clone();
        async move {
            let opened = LogDirs::open(&runtime, &["/data".into()], 1, None).await;
            let refused = opened.err().map(|error| error.to_string());
            *told.lock().unwrap() = Some(refused.unwrap_or_default());
        }
    });
    assert!(sim.run_until(|| said.lock().unwrap().is_some(), LIFE));
    let said = said.lock().unwrap().clone().unwrap();
    assert!(said.starts_with("/ cannot be used: its file system (simulated)"), "{said}");
    assert!(said.contains("Invalid argument") && said.ends_with("ext4 or XFS"), "{said}");
}
