//! The scrub: finds what rots where nobody reads, and costs what it may.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::TopicConfig;
use ringlog_runtime::sim::{NodeId, PlantedBug, Prng, SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::Offset;

use crate::observer::StorageObserver;
use crate::segment::batch_header::BatchHeader;
use crate::testing::{BatchSpec, Bench, Opened, append, on_shard};
use crate::tests::damage::{END, log_file, spec, with_three_segments};
use crate::{Log, Scrub};

const WEEK_MS: i64 = 7 * 86_400_000;

#[derive(Default)]
struct Counts {
    bytes: Cell<u64>,
    found: Cell<u64>,
    age_ms: Cell<i64>,
}

impl StorageObserver for Counts {
    fn scrubbed(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn scrub_found_damage(&self) {
        self.found.set(self.found.get() + 1);
    }

    fn longest_unchecked(&self, _dir_index: usize, age_ms: i64) {
        self.age_ms.set(age_ms);
    }
}

fn count(bench: &Bench) -> Rc<Counts> {
    let counts = Rc::new(Counts::default());
    bench.shard.set_observer(counts.clone());
    counts
}

/// A scrub of the directory of a log, and checks all that is due.
async fn scrub(bench: &Bench, opened: &Opened, interval_ms: i64) -> Scrub {
    let dir = opened.log.dir();
    if dir.scrub_rate().is_off() {
        dir.scrub_rate().set_bytes_per_second(1 << 40);
    }
    let scrub = Scrub::new(&bench.shard, dir, interval_ms);
    while scrub.step(|| vec![opened.log.clone()]).await {}
    scrub
}

fn flip(bench: &Bench, base: Offset, position: usize) {
    let mut bytes = fs::read(log_file(bench, base)).expect("there");
    bytes[position] ^= 4;
    fs::write(log_file(bench, base), bytes).expect("written");
}

/// The offsets that are fenced off.
fn fenced(log: &Log) -> Vec<Offset> {
    let is_fenced = |offset: &Offset| log.pass_damage(*offset).is_some();
    (0..log.log_end_offset()).filter(is_fenced).collect()
}

/// A changed payload was found by its consumer's checksum, if by anybody.
#[test]
fn a_changed_payload_is_fenced_before_anybody_reads_it() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let counts = count(&bench);
        let third = (0..2).map(|at| spec(at).build().len()).sum::<usize>();
        flip(&bench, END, third + 100);
        scrub(&bench, &opened, WEEK_MS).await;
        assert_eq!(fenced(&opened.log), [END + 4, END + 5]);
        assert_eq!(counts.found.get(), 1);
        assert!(counts.age_ms.get() >= 0);
        let path = bench.directory().join("ringlog-checked-segments");
        assert!(path.exists());
        // The next start knows of the damage, and that both sealed segments were checked.
        bench.close(opened).await;
        let opened = bench.open().await;
        let counts = count(&bench);
        assert_eq!(fenced(&opened.log), [END + 4, END + 5]);
        scrub(&bench, &opened, WEEK_MS).await;
        assert_eq!((counts.bytes.get(), counts.found.get()), (0, 0));
        // Until it is time again; what is known is not found once more.
        scrub(&bench, &opened, 0).await;
        assert!(counts.bytes.get() > 0);
        assert_eq!(counts.found.get(), 0);
        bench.close(opened).await;
    });
}

/// Zeros where batches were, as a disk gives that lost a write, and a file that ends early.
#[test]
fn what_is_missing_of_a_sealed_file_is_fenced() {
    for zeros in [false, true] {
        with_three_segments(move |bench| async move {
            let opened = bench.open().await;
            let mut bytes = fs::read(log_file(&bench, END)).expect("there");
            let (whole, third) = (bytes.len(), (0..2).map(|at| spec(at).build().len()).sum());
            bytes.truncate(third);
            if zeros {
                bytes.resize(whole, 0);
            }
            fs::write(log_file(&bench, END), bytes).expect("written");
            scrub(&bench, &opened, WEEK_MS).await;
            assert_eq!(fenced(&opened.log), (END + 4..2 * END).collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_file_that_is_gone_is_found_by_the_scrub() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let counts = count(&bench);
        fs::remove_file(log_file(&bench, END)).expect("removed");
        scrub(&bench, &opened, WEEK_MS).await;
        assert_eq!(counts.found.get(), 1);
        assert_eq!(fenced(&opened.log), (END..2 * END).collect::<Vec<_>>());
    });
}

/// What was checked before a truncation is not what is there afterwards.
#[test]
fn a_truncation_forgets_what_was_checked() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let config = TopicConfig { segment_bytes: 10_000, ..Default::default() };
            let bench = Bench::new(runtime, &path, config);
            let opened = bench.open().await;
            let log = &opened.log;
            let fill = async |seed| {
                for _ in 0..40 {
                    let spec = BatchSpec { value_bytes: 900, seed, ..Default::default() };
                    append(log, spec).expect("taken");
                }
                log.wait_durable(log.end()).await.expect("written");
                log.wait_sealed().await.expect("sealed");
            };
            fill(1).await;
            let counts = count(&bench);
            let scrubbing = scrub(&bench, &opened, WEEK_MS).await;
            let before = counts.bytes.get();
            assert!(before > 30_000, "{before}");
            let file = bench.directory().join("ringlog-checked-segments");
            assert!(file.exists());
            assert_eq!(log.truncate_to(0).await.expect("cut"), 0);
            assert!(!file.exists());
            fill(2).await;
            while scrubbing.step(|| vec![log.clone()]).await {}
            assert!(counts.bytes.get() >= 2 * before, "sealed anew, checked anew");
            assert_eq!(counts.found.get(), 0);
        }
    });
}

const DATA: &str = "/data";
const RATE: u64 = 5_000;

/// What the lives of the simulated node tell.
#[derive(Default)]
struct Story {
    /// The log has all its segments, and is closed.
    is_filled: bool,
    fenced: Vec<Offset>,
    read_bytes: u64,
    /// Between the first check and the last.
    took: Duration,
    is_checked: bool,
}

type Shared = Arc<Mutex<Story>>;

fn lock(story: &Shared) -> std::sync::MutexGuard<'_, Story> {
    story.lock().expect("one thread")
}

/// The first life fills a log. Those behind it scrub it.
async fn live(runtime: Runtime, story: Shared) {
    let config = TopicConfig { segment_bytes: 40_000, ..Default::default() };
    let bench = Bench::new(runtime.clone(), &PathBuf::from(DATA), config);
    let opened = bench.open().await;
    let log = opened.log.clone();
    if log.log_end_offset() == 0 {
        let mut seed = 0;
        while log.segment_count() < 6 {
            let spec = BatchSpec { count: 2, value_bytes: 900, seed, ..Default::default() };
            append(&log, spec).expect("taken");
            seed = seed.wrapping_add(1);
        }
        bench.close(opened).await;
        lock(&story).is_filled = true;
        return;
    }
    let counts = count(&bench);
    log.dir().scrub_rate().set_bytes_per_second(RATE);
    let begun = runtime.now();
    scrub(&bench, &opened, WEEK_MS).await;
    let mut story = lock(&story);
    story.took = runtime.now() - begun;
    story.read_bytes = counts.bytes.get();
    story.fenced = fenced(&log);
    story.is_checked = true;
}

/// A simulated node whose log has one damaged byte.
struct Rotten {
    sim: Simulation,
    node: NodeId,
    story: Shared,
    /// The offsets of the damaged batch.
    expected: Vec<Offset>,
}

impl Rotten {
    /// Which byte is damaged, the seed decides.
    fn new(seed: u64, planted: Option<PlantedBug>) -> Rotten {
        let mut sim = Simulation::new(seed, SimOptions::default());
        let node = sim.add_node("node");
        if let Some(bug) = planted {
            sim.plant(node, bug);
        }
        let story = Shared::default();
        let told = story.clone();
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| live(runtime, told.clone()));
        sim.run_until(|| lock(&story).is_filled, Duration::from_secs(60));
        sim.kill(node);
        let mut prng = Prng::new(seed);
        let mut files = sim.disk(node).files(format!("{DATA}/t-0")).expect("there");
        files.retain(|path| path.extension().is_some_and(|suffix| suffix == "log"));
        // The open one is not the scrub's.
        files.pop();
        let path = prng.pick(&files).clone();
        let bytes = sim.disk(node).read(&path).expect("there");
        let (mut batches, mut at) = (Vec::new(), 0);
        while let Ok(header) = BatchHeader::parse(&bytes[at..], (bytes.len() - at) as u64) {
            batches.push((at, header));
            at += header.size;
        }
        let (start, header) = *prng.pick(&batches);
        let within = match prng.below(3) {
            // The leader epoch, at 12 to 15, nothing vouches for.
            0 => prng.below(8),
            1 => 16 + prng.below(45),
            _ => 61 + prng.below(header.size as u64 - 61),
        };
        let mask = 1 << prng.below(8);
        sim.disk(node).corrupt(&path, start as u64 + within, mask).expect("within the file");
        let expected = (header.base_offset..header.next_offset()).collect();
        Rotten { sim, node, story, expected }
    }

    /// Starts the node again, and lets its scrub go over the log.
    fn scrub(&mut self) -> Result<(), String> {
        let story = self.story.clone();
        lock(&story).is_checked = false;
        self.sim.restart(self.node);
        self.sim.run_until(|| lock(&story).is_checked, Duration::from_secs(36_000));
        match lock(&story) {
            story if !story.is_checked => Err("the scrub does not end".to_owned()),
            story if story.fenced == self.expected => Ok(()),
            story => Err(format!("{:?} is fenced, not {:?}", story.fenced, self.expected)),
        }
    }
}

/// Damages one byte of one batch, lets the scrub go over the log, and judges what it found.
fn check_rot(seed: u64, planted: Option<PlantedBug>) -> Result<(), String> {
    let mut rotten = Rotten::new(seed, planted);
    rotten.scrub()?;
    let story = lock(&rotten.story);
    // The last piece of a segment is not waited for.
    let least = Duration::from_secs(story.read_bytes.saturating_sub(2 * 41_000) / RATE);
    if story.read_bytes < 5 * 38_000 || story.took < least {
        return Err(format!("{} bytes in {:?}", story.read_bytes, story.took));
    }
    Ok(())
}

/// What a segment counts as checked for has to be on disk before that is.
#[test]
fn a_scrub_that_loses_power_forgets_no_damage() {
    for seed in 0..3 {
        let mut was_cut_off = 0;
        for operation in 1..80 {
            let mut rotten = Rotten::new(seed, None);
            lock(&rotten.story).is_checked = false;
            rotten.sim.restart(rotten.node);
            rotten.sim.crash_after_ops(rotten.node, operation);
            let story = rotten.story.clone();
            rotten.sim.run_until(|| lock(&story).is_checked, Duration::from_secs(3_600));
            was_cut_off += usize::from(!lock(&story).is_checked);
            rotten.sim.crash(rotten.node);
            let verdict = rotten.scrub();
            assert!(verdict.is_ok(), "seed {seed}, operation {operation}: {verdict:?}");
        }
        assert!(was_cut_off > 20, "seed {seed}: the power failed {was_cut_off} times");
    }
}

#[test]
fn a_bit_that_changes_in_a_sealed_segment_is_found() {
    for seed in 0..60 {
        let verdict = check_rot(seed, None);
        assert!(verdict.is_ok(), "seed {seed}: {verdict:?}");
    }
}

/// A scrub that takes the checksums for right passes over payloads.
#[test]
fn a_scrub_that_looks_away_is_found_out() {
    let missed =
        (0..20).find(|seed| check_rot(*seed, Some(PlantedBug::ScrubBelievesChecksums)).is_err());
    assert!(missed.is_some(), "a scrub that checks nothing passes for one that does");
}
