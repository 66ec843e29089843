//! The roll: what a crash leaves of a segment that was begun, and what appends wait for.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::TopicConfig;
use ringlog_runtime::sim::{SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::Offset;

use crate::Log;
use crate::testing::{BatchSpec, Bench, append, on_shard, read_all};

/// As many batches of one record fill a segment.
const SEGMENT_BATCHES: Offset = 10;

fn spec(offset: Offset) -> BatchSpec {
    BatchSpec { value_bytes: 900, seed: offset as u8, ..Default::default() }
}

fn batch_bytes() -> u64 {
    spec(0).build().len() as u64
}

fn log_file(bench: &Bench, base: Offset) -> PathBuf {
    bench.directory().join(format!("{base:020}.log"))
}

/// Runs a test on a log with two segments and a record in a third, left as a crash leaves it
/// before anything of it was sealed or checkpointed.
fn with_log<F, Fut>(test: F)
where
    F: Fn(Bench) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let segment_bytes = (SEGMENT_BATCHES as u64 * batch_bytes()) as i32;
            let config = TopicConfig { segment_bytes, ..Default::default() };
            let bench = Bench::new(runtime, &path, config);
            let opened = bench.open().await;
            for offset in 0..=2 * SEGMENT_BATCHES {
                append(&opened.log, spec(offset)).expect("taken");
            }
            opened.log.wait_durable(opened.log.end()).await.expect("written");
            opened.log.wait_sealed().await.expect("sealed");
            opened.log.pause_writer().await;
            drop(opened);
            for entry in fs::read_dir(bench.directory()).expect("there") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|suffix| suffix == "snapshot") {
                    fs::remove_file(path).expect("removed");
                }
            }
            test(bench).await;
        }
    });
}

/// Makes the newest segment one that was begun and got nothing.
fn empty_newest(bench: &Bench, prepared: &[u8]) -> PathBuf {
    let newest = log_file(bench, 2 * SEGMENT_BATCHES);
    fs::write(&newest, prepared).expect("written");
    newest
}

/// Cuts bytes off the segment before it.
fn tear(bench: &Bench, bytes: u64) {
    let path = log_file(bench, SEGMENT_BATCHES);
    let file = fs::File::options().write(true).open(path).expect("there");
    file.set_len(SEGMENT_BATCHES as u64 * batch_bytes() - bytes).expect("cut");
}

/// The files of the next segment are begun while the last write to the one before is under way.
#[test]
fn a_segment_that_got_nothing_says_nothing_of_the_one_before() {
    with_log(|bench| async move {
        let mut rotten = vec![0; 1 << 20];
        rotten[70_000] = 1;
        for (torn, prepared) in [
            (50, vec![]),
            (50, vec![0; 1 << 20]),
            (50, rotten),
            (batch_bytes(), vec![0; 5000]),
            (0, vec![0; 5000]),
        ] {
            // In the turn before, the log was found to be shorter.
            let whole: Vec<u8> = (SEGMENT_BATCHES..2 * SEGMENT_BATCHES).flat_map(stored).collect();
            fs::write(log_file(&bench, SEGMENT_BATCHES), whole).expect("written");
            tear(&bench, torn);
            let newest = empty_newest(&bench, &prepared);
            let (log, report) = bench.open_after_crash(0).await;
            assert_eq!(report.fenced, []);
            assert_eq!(report.cuts.len(), usize::from(torn == 50));
            let lost = Offset::from(torn > 0);
            assert_eq!(log.log_end_offset(), 2 * SEGMENT_BATCHES - lost);
            assert!(!newest.exists(), "it is removed");
            append(&log, spec(0)).expect("taken");
            log.wait_durable(log.end()).await.expect("written");
            let kept = (2 * SEGMENT_BATCHES - lost + 1) as usize;
            assert_eq!(read_all(&bench, &log).await.len(), kept);
            log.pause_writer().await;
        }
    });
}

/// A batch as it is in the log.
fn stored(offset: Offset) -> Vec<u8> {
    let mut bytes = spec(offset).build();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
    bytes
}

/// With a batch in the next segment, the one before it was whole: what is missing there was
/// durable. Once it was a gap that nobody was told of.
#[test]
fn a_segment_that_ends_before_the_next_has_lost_something() {
    with_log(|bench| async move {
        tear(&bench, 2 * batch_bytes());
        let (log, report) = bench.open_after_crash(0).await;
        assert_eq!(report.fenced.len(), 1, "{report:?}");
        let fence = report.fenced[0].fence;
        let end = 2 * SEGMENT_BATCHES;
        assert_eq!((fence.first_offset, fence.end_offset), (end - 2, end));
        assert_eq!(log.log_end_offset(), end + 1);
        log.read(end - 1, 1, end + 1, true).await.expect_err("it is damaged");
        let next = log.pass_damage(end - 2).expect("a fence hides it");
        assert_eq!(next, end);
        log.read(next, 1, end + 1, true).await.expect("it is whole");
    });
}

/// How long records wait for their commit, in virtual time: those that begin a segment, and all
/// others.
async fn latencies(runtime: Runtime, told: Arc<Mutex<[Vec<Duration>; 2]>>) {
    let config = TopicConfig { segment_bytes: 400_000, ..Default::default() };
    let bench = Bench::new(runtime.clone(), &PathBuf::from("/data"), config);
    let opened = bench.open().await;
    let log: &Rc<Log> = &opened.log;
    let load = BatchSpec { value_bytes: 20_000, ..Default::default() };
    for _ in 0..300 {
        let before = log.segment_count();
        // Several producers share a write, and the next is being filled meanwhile.
        let first = append(log, load).expect("taken");
        let begun = runtime.now();
        append(log, load).expect("taken");
        log.wait_durable(first.end).await.expect("written");
        let last = append(log, load).expect("taken");
        log.wait_durable(last.end).await.expect("written");
        let rolled = log.segment_count() > before;
        told.lock().expect("one thread")[usize::from(rolled)].push(runtime.now() - begun);
    }
    bench.close(opened).await;
}

/// Each roll waited for three new files and the flush of their directory, one after the other.
#[test]
fn a_roll_waits_for_little_more_than_a_write() {
    let told = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let mut sim = Simulation::new(7, SimOptions::default());
    let node = sim.add_node("node");
    let shared = told.clone();
    sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| latencies(runtime, shared.clone()));
    sim.run_until_idle(Duration::from_secs(600));
    let told = told.lock().expect("one thread");
    let mean = |all: &[Duration]| all.iter().sum::<Duration>() / all.len() as u32;
    let [others, rolls] = [mean(&told[0]), mean(&told[1])];
    assert!(told[1].len() > 10, "{}", told[1].len());
    assert!(rolls < 2 * others, "{rolls:?} at a roll, {others:?} otherwise");
}
