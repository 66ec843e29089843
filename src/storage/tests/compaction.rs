//! Compaction of a log on a simulated disk, with a loss of power or a kill at any disk operation.
//!
//! A program appends keyed records, compacts, reads, and starts again where it was stopped. The
//! model keeps every record that was taken. Whatever happens: a record that is there is the one
//! that got that offset; of each key the newest acknowledged record is there, unless it is a
//! tombstone whose time is over; and what compaction was not allowed to touch is all there.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::{CleanupPolicy, TopicConfig};
use ringlog_record::{BatchBuilder, BatchView, Compression, RecordIter, decompressed_records};
use ringlog_runtime::sim::{DiskFaults, NodeId, SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::Offset;

use crate::testing::{Bench, read_all};
use crate::{
    AppendOrigin, BackgroundRate, CleanOptions, Cleaned, CompactionError, Log, StorageError,
};

const PATIENCE: Duration = Duration::from_secs(600);
/// The time at which the records of a test are written, and the clock of its compactions.
const NOW: i64 = 1_700_000_000_000;
const DELETE_RETENTION_MS: i64 = 1_000;

type KeyValue = (Vec<u8>, Option<Vec<u8>>);

/// What is known outside of the node.
#[derive(Default)]
pub(super) struct Model {
    pub(super) records: BTreeMap<Offset, KeyValue>,
    pub(super) acknowledged_end: Offset,
    /// Nothing from here on was to be touched.
    pub(super) touched_end: Offset,
    /// Tombstones may be gone.
    pub(super) forgets_tombstones: bool,
    pub(super) next_sequence: i32,
    pub(super) rounds: u32,
    pub(super) records_dropped: u64,
    finished: bool,
    violation: Option<String>,
}

type Shared = Arc<Mutex<Model>>;

fn lock(model: &Shared) -> std::sync::MutexGuard<'_, Model> {
    model.lock().expect("one thread")
}

fn config(seed: u64) -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        segment_bytes: [2_000, 4_000, 7_000][(seed % 3) as usize],
        index_interval_bytes: [100, 1_000][(seed / 3 % 2) as usize],
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: DELETE_RETENTION_MS,
        file_delete_delay_ms: 10,
        ..TopicConfig::default()
    }
}

pub(super) fn options(key_bytes_max: usize) -> CleanOptions {
    let rate = Arc::new(BackgroundRate::default());
    CleanOptions { key_bytes_max, load_factor: 0.9, rate }
}

/// Appends a batch with a few records of a few keys, some of them tombstones.
fn append_some(runtime: &Runtime, log: &Log, model: &Shared, producer_id: i64) -> bool {
    let below = |limit: u64| runtime.random_u64() % limit;
    let codecs = [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Gzip];
    let codec = codecs[below(4) as usize];
    let count = 1 + below(5) as i64;
    let mut builder = BatchBuilder::new(NOW).compression(codec, None);
    let sequence = lock(model).next_sequence;
    if producer_id >= 0 {
        builder = builder.producer(producer_id, 0, sequence);
    }
    let mut records = Vec::new();
    for index in 0..count {
        let key = format!("key-{}", below(20)).into_bytes();
        let value = vec![runtime.random_u64() as u8; below(300) as usize];
        let value = (below(8) > 0).then_some(value);
        builder.push(NOW + index, Some(&key), value.as_deref(), &[]);
        records.push((key, value));
    }
    let (batch, summary) = builder.build().expect("it has records");
    let appended = log.append(&batch, &summary, AppendOrigin::Client, 0, NOW);
    let Ok(appended) = appended else { return false };
    let mut model = lock(model);
    model.next_sequence += count as i32;
    // A crash may have taken what had these offsets before.
    drop(model.records.split_off(&appended.base_offset));
    let offsets = appended.base_offset..;
    model.records.extend(offsets.zip(records));
    true
}

/// The records of a log, by their offsets.
pub(super) async fn records_of(bench: &Bench, log: &Log) -> BTreeMap<Offset, KeyValue> {
    let mut records = BTreeMap::new();
    for (_, bytes) in read_all(bench, log).await {
        let batch = BatchView::check(&bytes).expect("whole");
        let unpacked = decompressed_records(&batch, 1 << 20).expect("sound");
        for record in RecordIter::new(&batch, &unpacked) {
            let record = record.expect("sound");
            let key = record.key.unwrap_or_default().to_vec();
            records.insert(record.offset, (key, record.value.map(<[u8]>::to_vec)));
        }
    }
    records
}

/// Compares the log with the model.
pub(super) fn check(found: &BTreeMap<Offset, KeyValue>, model: &Model) -> Result<(), String> {
    for (offset, record) in found {
        if model.records.get(offset) != Some(record) {
            return Err(format!("offset {offset} is not what was appended"));
        }
    }
    let mut newest: HashMap<&[u8], Offset> = HashMap::new();
    let acknowledged = model.records.range(..model.acknowledged_end);
    newest.extend(acknowledged.map(|(offset, (key, _))| (&key[..], *offset)));
    for offset in newest.values() {
        let is_tombstone = model.records[offset].1.is_none();
        let may_be_gone = is_tombstone && model.forgets_tombstones;
        if !found.contains_key(offset) && !may_be_gone {
            let end = model.acknowledged_end;
            return Err(format!("the newest record of a key is gone: {offset}, below {end}"));
        }
    }
    let untouched = model.touched_end..model.acknowledged_end.max(model.touched_end);
    match model.records.range(untouched).find(|(offset, _)| !found.contains_key(offset)) {
        Some((offset, _)) => Err(format!("{offset} was not to be touched, and is gone")),
        None => Ok(()),
    }
}

pub(super) async fn compact(
    log: &Log,
    model: &Shared,
    options: &CleanOptions,
    now_ms: i64,
) -> Result<Option<Cleaned>, StorageError> {
    let cleanable = match log.cleanable(now_ms).await {
        Ok(cleanable) => cleanable,
        Err(crate::ReadError::Storage(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    };
    if cleanable.dirty_bytes == 0 {
        return Ok(None);
    }
    {
        let mut model = lock(model);
        model.touched_end = model.touched_end.max(cleanable.dirty_end);
        model.forgets_tombstones |= now_ms > NOW + DELETE_RETENTION_MS;
    }
    match log.compact(&cleanable, options, now_ms).await {
        Ok(cleaned) => {
            let mut model = lock(model);
            model.rounds += 1;
            model.records_dropped += cleaned.records_read - cleaned.records_left;
            assert!(cleaned.end_offset <= cleanable.dirty_end);
            Ok(Some(cleaned))
        }
        Err(CompactionError::Overtaken) => Ok(None),
        Err(CompactionError::Storage(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

/// One life: looks at what is there, goes on, and stops orderly if it comes so far.
async fn life(runtime: Runtime, seed: u64, model: Shared) {
    let bench = Bench::new(runtime.clone(), &PathBuf::from("/data"), config(seed));
    let Ok(opened) = bench.try_open().await else { return };
    let log = opened.log.clone();
    let judge = async |what: &str| {
        let found = records_of(&bench, &log).await;
        let mut model = lock(&model);
        if let Err(why) = check(&found, &model) {
            model.violation.get_or_insert(format!("{what}: {why}"));
        }
    };
    if !opened.report.fenced.is_empty() {
        lock(&model).violation = Some(format!("taken for damage: {:?}", opened.report));
    }
    let end = log.log_end_offset();
    {
        let mut model = lock(&model);
        if end < model.acknowledged_end {
            model.violation = Some(format!("the log ends at {end}"));
        }
        model.acknowledged_end = end;
        drop(model.records.split_off(&end));
        let of_ours = log.describe_producers(10);
        let last = of_ours.first().map_or(-1, |producer| producer.last_sequence);
        model.next_sequence = last + 1;
    }
    judge("after a start").await;
    let table = [40 * crate::compaction::key_map::SLOT_BYTES, 1 << 20][(seed % 2) as usize];
    for round in 0..3 {
        for _ in 0..20 + runtime.random_u64() % 20 {
            if !append_some(&runtime, &log, &model, 5) {
                return;
            }
        }
        let end = log.log_end_offset();
        if log.wait_durable(log.end()).await.is_err() || log.wait_sealed().await.is_err() {
            return;
        }
        lock(&model).acknowledged_end = end;
        let now_ms = NOW + round * DELETE_RETENTION_MS * 2;
        // Somebody reads while segments are replaced.
        let reading = {
            let (log, runtime) = (log.clone(), runtime.clone());
            runtime.clone().spawn(async move { read_on(&runtime, &log, end).await })
        };
        let compacted = compact(&log, &model, &options(table), now_ms).await;
        if compacted.is_err() || reading.await.is_err() {
            return;
        }
        judge("after a compaction").await;
        let checkpoint = log.checkpoint();
        let dirs = &opened.dirs.dirs;
        if dirs.write_checkpoints(&runtime, &[checkpoint]).await.is_err() {
            return;
        }
    }
    bench.close(opened).await;
    lock(&model).finished = true;
}

/// Reads the log from front to back; offsets ascend, whatever compaction does meanwhile.
async fn read_on(runtime: &Runtime, log: &Log, end: Offset) -> Result<(), StorageError> {
    let mut offset = log.log_start_offset();
    while offset < end {
        let bytes = match log.read_whole_batches(offset, 500, end).await {
            Ok(bytes) => bytes,
            Err(crate::ReadError::Storage(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        };
        assert!(!bytes.is_empty(), "nothing at {offset}, below {end}");
        let mut left = &bytes[..];
        while !left.is_empty() {
            let batch = BatchView::check(left).expect("whole");
            let last = batch.base_offset() + i64::from(batch.last_offset_delta());
            assert!(last >= offset, "offset {last} again, after {offset}");
            offset = last + 1;
            left = &left[batch.size()..];
        }
        runtime.sleep(Duration::from_micros(runtime.random_u64() % 300)).await;
    }
    Ok(())
}

fn start(seed: u64, model: &Shared) -> (Simulation, NodeId) {
    let mut sim = Simulation::new(seed, SimOptions::default());
    let node = sim.add_node("node");
    let shared = model.clone();
    sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| life(runtime, seed, shared.clone()));
    (sim, node)
}

fn finish(sim: &mut Simulation, node: NodeId, model: &Shared, what: &str) {
    for _ in 0..2 {
        lock(model).finished = false;
        sim.restart(node);
        let done = model.clone();
        sim.run_until(|| lock(&done).finished, PATIENCE);
        sim.kill(node);
        let model = lock(model);
        assert_eq!(model.violation, None, "{what}");
        assert!(model.finished, "{what}: the last life does not end");
    }
}

/// Every so many operations; `RINGLOG_COMPACTION_EVERY=1` crashes at each.
fn crash_step() -> usize {
    let text = std::env::var("RINGLOG_COMPACTION_EVERY");
    text.map_or(37, |text| text.parse().expect("a number"))
}

#[test]
fn a_crash_at_any_disk_operation_loses_no_newest_record() {
    for seed in 0..4 {
        let model = Shared::default();
        let (mut sim, node) = start(seed, &model);
        let done = model.clone();
        sim.run_until(|| lock(&done).finished, PATIENCE);
        {
            let model = lock(&model);
            assert_eq!(model.violation, None, "seed {seed}");
            assert!(model.finished && model.rounds >= 2, "seed {seed}: {} rounds", model.rounds);
            assert!(model.records_dropped > 50, "seed {seed}: {}", model.records_dropped);
        }
        let operations = sim.disk_ops(node);
        let (step, first) = (crash_step(), 1 + seed * 3 % crash_step() as u64);
        for n in (first..=operations).step_by(step) {
            let model = Shared::default();
            let (mut sim, node) = start(seed, &model);
            sim.crash_after_ops(node, n);
            sim.run_until_idle(PATIENCE);
            finish(&mut sim, node, &model, &format!("seed {seed}, crash at operation {n}"));
        }
    }
}

#[test]
fn compaction_survives_lives_that_end_anyhow() {
    for seed in 0..12 {
        let model = Shared::default();
        let (mut sim, node) = start(seed, &model);
        for _ in 0..4 {
            sim.set_disk_faults(node, DiskFaults { slow: 0.01, ..Default::default() });
            let operations = 1 + sim.random_u64() % 900;
            sim.crash_after_ops(node, operations);
            let done = model.clone();
            sim.run_until(|| lock(&done).finished, PATIENCE);
            match sim.random_u64() % 3 {
                0 => sim.kill(node),
                _ => sim.crash(node),
            }
            lock(&model).finished = false;
            sim.restart(node);
        }
        sim.kill(node);
        finish(&mut sim, node, &model, &format!("seed {seed}"));
    }
}

/// What `check` is for: each mistake that compaction could make is one to it.
#[test]
fn the_checkers_bite() {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let record = |key: &str, value: Option<&str>| (bytes(key), value.map(bytes));
    let appended = [
        (0, record("a", Some("old"))),
        (1, record("b", Some("old"))),
        (2, record("a", Some("new"))),
        (3, record("c", None)),
        (4, record("b", Some("new"))),
    ];
    let records = BTreeMap::from(appended);
    let mut model = Model { records, acknowledged_end: 5, touched_end: 4, ..Model::default() };
    let mut sound = model.records.clone();
    sound.retain(|offset, _| *offset >= 2);
    assert_eq!(check(&sound, &model), Ok(()));
    let without = |offset: Offset| {
        let mut found = sound.clone();
        found.remove(&offset);
        found
    };
    let why = |found: &BTreeMap<Offset, KeyValue>, model: &Model| check(found, model).unwrap_err();
    assert!(why(&without(2), &model).contains("newest record of a key is gone: 2"));
    assert!(why(&without(4), &model).contains("newest record of a key is gone: 4"));
    assert!(why(&without(3), &model).contains("newest record of a key is gone: 3"));
    let mut moved = sound.clone();
    moved.insert(1, record("a", Some("old")));
    assert!(why(&moved, &model).contains("offset 1 is not what was appended"));
    model.touched_end = 1;
    assert!(why(&sound, &model).contains("1 was not to be touched"));
    model.touched_end = 4;
    model.forgets_tombstones = true;
    assert_eq!(check(&without(3), &model), Ok(()));
}
