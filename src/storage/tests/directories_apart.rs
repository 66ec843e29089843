//! Two directories on one shard, one in trouble: the other goes on, and who waits for the first is
//! told in time.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::TopicConfig;
use ringlog_runtime::sim::{DirTrouble, DiskFaults, SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::{TopicPartition, Uuid};

use crate::testing::{BatchSpec, append};
use crate::{Log, LogDirs, StorageError, StorageOptions, StorageShard};

const SICK: &str = "/sick";
const SOUND: &str = "/sound";
/// What may wait for a directory's disk.
const DIRTY_BYTES_MAX: usize = 64 << 10;
const BATCH_BYTES: usize = 8_000;
/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So many producers write to each directory, each with one batch under way.
const PRODUCERS: usize = 20;

/// What happens, and when.
#[derive(Default)]
struct Story {
    in_trouble: bool,
    /// Batches acknowledged in the sick directory and in the sound one, while there is trouble.
    acknowledged: [u64; 2],
    /// Answers that came too late.
    late: Vec<Duration>,
    /// Requests that were told that the disk takes nothing.
    told: u64,
    /// Requests that were told that it is full.
    refused: u64,
    waiting_bytes_max: usize,
}

type Shared = Arc<Mutex<Story>>;

/// Sends batches as a request does: gate, append, wait; and notes how it went.
async fn produce(runtime: Runtime, log: Rc<Log>, place: usize, story: Shared, end: Rc<Cell<bool>>) {
    let spec = BatchSpec { value_bytes: BATCH_BYTES, ..Default::default() };
    while !end.get() {
        let begun = runtime.now();
        let outcome = async {
            let turn = log.queue_for_room(BATCH_BYTES);
            if let Some(turn) = &turn {
                turn.room_by(begun + TIMEOUT).await?;
            }
            let appended = append(&log, spec);
            drop(turn);
            match appended {
                Ok(appended) => {
                    log.wait_committed_by(appended.end, begun + TIMEOUT).await.map(|()| true)
                }
                Err(crate::AppendError::NoSpace) => {
                    story.lock().expect("one thread").refused += 1;
                    runtime.sleep(Duration::from_millis(500)).await;
                    Ok(false)
                }
                Err(error) => panic!("{error}"),
            }
        };
        let outcome = outcome.await;
        let took = runtime.now() - begun;
        {
            let mut story = story.lock().expect("one thread");
            match outcome {
                Ok(acknowledged) => {
                    story.acknowledged[place] += u64::from(acknowledged && story.in_trouble);
                }
                Err(StorageError::HeldUp) => story.told += 1,
                Err(error) => panic!("{error}"),
            }
            // It is looked at twice a second.
            if took > TIMEOUT + Duration::from_secs(1) {
                story.late.push(took);
            }
        }
        runtime.sleep(Duration::from_millis(200)).await;
    }
}

async fn live(runtime: Runtime, story: Shared) {
    let paths = [PathBuf::from(SICK), PathBuf::from(SOUND)];
    let opened = LogDirs::open(&runtime, &paths, 1, None).await.expect("they open");
    let options = StorageOptions { dirty_bytes_max: DIRTY_BYTES_MAX, ..Default::default() };
    let shard = StorageShard::new(runtime.clone(), options);
    let end = Rc::new(Cell::new(false));
    // So small that hardly any blocks are there ahead of the writes.
    let config = Arc::new(TopicConfig { segment_bytes: 200_000, ..Default::default() });
    let mut logs = Vec::new();
    for place in [0, 1] {
        let dir = opened.dirs.get(place).expect("in use").clone();
        for index in 0..2 {
            let name = TopicPartition::new(format!("t{place}"), index);
            let (id, config) = (Uuid::METADATA_TOPIC, config.clone());
            let log = Log::create(&shard, &dir, name, id, config).await.expect("made");
            for _ in 0..PRODUCERS / 2 {
                let (runtime, log) = (runtime.clone(), log.clone());
                let task = produce(runtime.clone(), log, place, story.clone(), end.clone());
                drop(runtime.spawn(task));
            }
            logs.push((place, log));
        }
    }
    let (space_runtime, dirs) = (runtime.clone(), opened.dirs.clone());
    drop(runtime.spawn(async move {
        loop {
            space_runtime.sleep(Duration::from_millis(500)).await;
            dirs.check_space(&space_runtime).await;
        }
    }));
    loop {
        runtime.sleep(Duration::from_millis(500)).await;
        let held_up = shard.held_up_directories();
        logs.iter()
            .filter(|(place, log)| log.look() || held_up.contains(place))
            .for_each(|(_, log)| log.look_again());
        let mut story = story.lock().expect("one thread");
        let waiting_bytes = logs[0].1.waiting_bytes();
        story.waiting_bytes_max = story.waiting_bytes_max.max(waiting_bytes);
    }
}

/// Sends one batch as a request whose time is over soon, and notes what it was told.
async fn produce_once(runtime: Runtime, log: Rc<Log>, told: Arc<Mutex<[u64; 2]>>) {
    let spec = BatchSpec { value_bytes: BATCH_BYTES, ..Default::default() };
    let deadline = runtime.now() + Duration::from_secs(1);
    let outcome = async {
        if let Some(turn) = log.queue_for_room(BATCH_BYTES) {
            turn.room_by(deadline).await?;
            return log.wait_committed_by(append(&log, spec).expect("taken").end, deadline).await;
        }
        log.wait_committed_by(append(&log, spec).expect("taken").end, deadline).await
    };
    let outcome = outcome.await;
    told.lock().expect("one thread")[usize::from(outcome.is_err())] += 1;
}

/// A request was told that its disk takes nothing when its time was over, though the disk moved.
#[test]
fn a_disk_that_is_slow_is_waited_for() {
    let told = Arc::new(Mutex::new([0; 2]));
    let mut sim = Simulation::new(3, SimOptions::default());
    let node = sim.add_node("node");
    let shared = told.clone();
    sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| {
        let told = shared.clone();
        async move {
            let paths = [PathBuf::from(SICK)];
            let opened = LogDirs::open(&runtime, &paths, 1, None).await.expect("they open");
            let options = StorageOptions { dirty_bytes_max: DIRTY_BYTES_MAX, ..Default::default() };
            let shard = StorageShard::new(runtime.clone(), options);
            let dir = opened.dirs.get(0).expect("in use").clone();
            let (name, id) = (TopicPartition::new("t", 0), Uuid::METADATA_TOPIC);
            let log = Log::create(&shard, &dir, name, id, Arc::default()).await.expect("made");
            runtime.sleep(Duration::from_secs(5)).await;
            for _ in 0..400 {
                let task = produce_once(runtime.clone(), log.clone(), told.clone());
                drop(runtime.spawn(task));
            }
            loop {
                runtime.sleep(Duration::from_millis(500)).await;
                shard.held_up_directories();
                log.look();
            }
        }
    });
    sim.run_for(Duration::from_secs(4));
    sim.set_disk_faults(node, DiskFaults { slow: 1.0, ..DiskFaults::default() });
    sim.run_for(Duration::from_secs(600));
    assert_eq!(*told.lock().expect("one thread"), [400, 0]);
}

/// The dirty bytes of one directory were everyone's: when its disk took nothing, what was durable
/// on another was not acknowledged either, for as long as that lasted.
#[test]
fn trouble_of_one_directory_is_not_the_others() {
    for (seed, trouble) in [(0, DirTrouble::Hung), (1, DirTrouble::Full)] {
        let mut sim = Simulation::new(seed, SimOptions::default());
        let node = sim.add_node("node");
        let story = Shared::default();
        let told = story.clone();
        sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| live(runtime, told.clone()));
        sim.run_for(Duration::from_secs(2));
        sim.set_dir_trouble(node, Path::new(SICK), Some(trouble));
        // What the last allocation left is written first.
        sim.run_for(Duration::from_secs(12));
        story.lock().expect("one thread").in_trouble = true;
        sim.run_for(Duration::from_secs(15));
        let named = format!("{trouble:?}, seed {seed}");
        {
            let story = story.lock().expect("one thread");
            let [sick, sound] = story.acknowledged;
            assert!(sick == 0 && sound > 1_000, "{named}: {sick} {sound}");
            assert!(story.late.is_empty(), "{named}: {:?}", story.late);

            let (told, refused) = (story.told > 0, story.refused > 0);
            assert!(told || refused, "{named}: nobody was told");
            assert_eq!(refused, trouble == DirTrouble::Full, "{named}");
            assert!(story.waiting_bytes_max <= 4 * DIRTY_BYTES_MAX, "{named}");
        }
        story.lock().expect("one thread").in_trouble = false;
        sim.set_dir_trouble(node, Path::new(SICK), None);
        sim.run_for(Duration::from_secs(8));
        let mut told = story.lock().expect("one thread");
        told.acknowledged = [0; 2];
        told.in_trouble = true;
        drop(told);
        sim.run_for(Duration::from_secs(5));
        let [sick, sound] = story.lock().expect("one thread").acknowledged;
        assert!(sick > 100 && sound > 100, "{named}: {sick} {sound} afterwards");
    }
}
