//! The metadata log with its snapshots on a simulated disk: one that loses power at any operation,
//! and one on which files are damaged or missing.
//!
//! A life opens the log, compares the topics with what was acknowledged, and creates and deletes
//! topics under limits so small that snapshots are written and old ones removed all the time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_metadata::{BrokerEndpoint, Controller, Decision, Image, Registration, Unlimited};
use ringlog_metadata::{SnapshotId, parse_snapshot_name};
use ringlog_runtime::sim::{NodeId, SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_storage::{LogDirs, StorageOptions, StorageShard};
use ringlog_types::{BrokerId, Uuid};
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;

use crate::error::NodeError;
use crate::metadata_source::embedded::log::{self, MetadataLog};

pub(crate) const LOG: &str = "/data/__cluster_metadata-0";
/// How many histories of crashes are run.
const SEEDS: u64 = 12;
/// No life takes longer than this, in virtual time.
const LIFE: Duration = Duration::from_secs(600);

/// What is known outside of the node.
#[derive(Default)]
struct Model {
    topics: BTreeSet<String>,
    /// The topic whose creation or removal was asked for and not acknowledged.
    in_work: Option<String>,
    changes: u64,
    /// Why the log did not open.
    refused: Option<String>,
    log_start_offset: i64,
    finished: bool,
    violations: Vec<String>,
}

type Shared = Arc<Mutex<Model>>;

fn lock(model: &Shared) -> MutexGuard<'_, Model> {
    model.lock().expect("one thread")
}

fn config() -> BrokerConfig {
    BrokerConfig {
        metadata_log_max_record_bytes_between_snapshots: 700,
        metadata_log_max_snapshot_interval_ms: 30_000,
        metadata_max_retention_bytes: 6_000,
        node_id: BrokerId(1),
        ..BrokerConfig::default()
    }
}

/// The metadata of a node, as the broker's controller keeps it.
pub(crate) struct Node {
    rt: Runtime,
    decisions: Controller,
    pub(crate) log: MetadataLog,
}

impl Node {
    pub(crate) async fn open(rt: &Runtime) -> Result<Node, NodeError> {
        let storage = StorageShard::new(rt.clone(), StorageOptions::default());
        let mut opened = LogDirs::open(rt, &[PathBuf::from("/data")], 1, None).await?;
        let config = config();
        let log = log::open(&storage, &opened.dirs, &config, &mut opened.logs);
        let (log, image) = log.await?;
        let decisions = Controller::new(image, Arc::new(config));
        Ok(Node { rt: rt.clone(), decisions, log })
    }

    pub(crate) async fn register(&mut self) -> Result<(), NodeError> {
        let bootstrap = self.decisions.bootstrap();
        self.commit(bootstrap).await?;
        let registration = Registration {
            broker_id: BrokerId(1),
            incarnation_id: Uuid::from_u128(5),
            endpoints: vec![BrokerEndpoint {
                name: "PLAINTEXT".into(),
                host: "127.0.0.1".into(),
                port: 9092,
                security_protocol: 0,
            }],
            rack: None,
            log_dirs: vec![Uuid::from_u128(6)],
            stopped_cleanly: false,
        };
        let next_offset = self.log.log.log_end_offset();
        let registered = self.decisions.register_broker(registration, next_offset);
        self.commit(registered).await
    }

    async fn commit<R>(&mut self, decision: Decision<R>) -> Result<(), NodeError> {
        for batch in decision.batches() {
            let image = self.decisions.image().clone();
            let written = self.log.append(batch, &image).await?;
            let epoch = self.log.leader_epoch;
            self.decisions.commit(batch, written.base_offset, epoch).expect("they fit");
            self.log.snapshots.log_grew(written.bytes, written.timestamp_ms);
        }
        Ok(())
    }

    pub(crate) async fn create(&mut self, name: &str) -> Result<(), NodeError> {
        let topic = CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let random = u128::from(self.rt.random_u64()) << 64 | u128::from(self.rt.random_u64());
        let decision = self.decisions.create_topics(&request, random, &Unlimited);
        assert_eq!(decision.response.topics[0].error_code, 0);
        self.commit(decision).await
    }

    pub(crate) async fn delete(&mut self, name: &str) -> Result<(), NodeError> {
        let topic_names = vec![name.to_owned().into()];
        let request = DeleteTopicsRequest { topic_names, ..Default::default() };
        let decision = self.decisions.delete_topics(&request, 3, &Unlimited);
        assert_eq!(decision.response.responses[0].error_code, 0);
        self.commit(decision).await
    }

    pub(crate) fn topics(&self) -> BTreeSet<String> {
        names(self.decisions.image())
    }
}

fn names(image: &Image) -> BTreeSet<String> {
    image.topics().map(|topic| topic.name.to_string()).collect()
}

/// Opens, compares, and makes `changes` changes, each followed by what housekeeping does.
async fn live(rt: Runtime, changes: u64, model: Shared) {
    let worked = work(&rt, changes, &model).await;
    let mut model = lock(&model);
    model.refused = worked.err().map(|error| error.to_string());
    model.finished = true;
}

async fn work(rt: &Runtime, changes: u64, model: &Shared) -> Result<(), NodeError> {
    let mut node = Node::open(rt).await?;
    {
        let mut model = lock(model);
        let found = node.topics();
        let mut differs: Vec<_> = found.symmetric_difference(&model.topics).cloned().collect();
        differs.retain(|name| model.in_work.as_ref() != Some(name));
        if !differs.is_empty() {
            model.violations.push(format!("not as acknowledged: {differs:?}"));
        }
        model.topics = found;
        model.in_work = None;
    }
    node.register().await?;
    for _ in 0..changes {
        let (name, exists) = {
            let mut model = lock(model);
            model.changes += 1;
            let name = format!("topic-{}", rt.random_u64() % 12);
            model.in_work = Some(name.clone());
            (name.clone(), model.topics.contains(&name))
        };
        match exists {
            true => node.delete(&name).await?,
            false => node.create(&name).await?,
        }
        {
            let mut model = lock(model);
            model.in_work = None;
            match exists {
                true => drop(model.topics.remove(&name)),
                false => drop(model.topics.insert(name)),
            }
        }
        let image = node.decisions.image().clone();
        node.log.snapshots.look_after(&image).await;
        lock(model).log_start_offset = node.log.log.log_start_offset();
    }
    Ok(())
}

/// A simulated node that lives once, and again with each restart.
fn start(seed: u64, changes: u64) -> (Simulation, NodeId, Shared) {
    let mut sim = Simulation::new(seed, SimOptions::default());
    let node = sim.add_node("node");
    let model = Shared::default();
    let shared = model.clone();
    sim.start(node, 1, move |rt: Runtime, _: Mesh<()>| live(rt, changes, shared.clone()));
    (sim, node, model)
}

fn finish_life(sim: &mut Simulation, model: &Shared) {
    let done = model.clone();
    sim.run_until(|| lock(&done).finished, LIFE);
}

fn live_again(sim: &mut Simulation, node: NodeId, model: &Shared) {
    sim.crash(node);
    lock(model).finished = false;
    sim.restart(node);
    finish_life(sim, model);
}

fn snapshots(sim: &mut Simulation, node: NodeId) -> Vec<SnapshotId> {
    let names = sim.disk(node).list(LOG).unwrap();
    names.iter().filter_map(|name| parse_snapshot_name(name)).collect()
}

fn segments(sim: &mut Simulation, node: NodeId) -> usize {
    let names = sim.disk(node).list(LOG).unwrap();
    names.iter().filter(|name| name.ends_with(".log")).count()
}

fn assert_kept(model: &Shared, what: &str) {
    let model = lock(model);
    assert!(model.finished, "{what}: the life did not end");
    assert_eq!(model.refused, None, "{what}");
    assert!(model.violations.is_empty(), "{what}: {:#?}", model.violations);
}

#[test]
fn nothing_acknowledged_is_lost_in_a_crash() {
    let mut cut = 0;
    for seed in 0..SEEDS {
        let (mut sim, node, model) = start(seed, 120);
        for _ in 0..6 {
            let operations = 1 + sim.random_u64() % 700;
            sim.crash_after_ops(node, operations);
            finish_life(&mut sim, &model);
            sim.crash(node);
            assert!(
                lock(&model).violations.is_empty(),
                "seed {seed}: {:?}",
                lock(&model).violations
            );
            lock(&model).finished = false;
            sim.restart(node);
        }
        finish_life(&mut sim, &model);
        live_again(&mut sim, node, &model);
        assert_kept(&model, &format!("seed {seed}"));
        let kept = snapshots(&mut sim, node).len();
        assert!((1..20).contains(&kept), "seed {seed}: {kept} snapshots are kept");
        assert!(segments(&mut sim, node) < 20, "seed {seed}: the log grows");
        let names = sim.disk(node).list(LOG).unwrap();
        let count = |ending| names.iter().filter(|name| name.ends_with(ending)).count();
        assert_eq!(count(".part"), 0, "seed {seed}");
        // The log's writer may have been at one when the life ended.
        assert!(count(".snapshot.tmp") <= 1, "seed {seed}");
        cut += u64::from(lock(&model).log_start_offset > 0);
    }
    assert_eq!(cut, SEEDS, "the log's beginning goes");
}

#[test]
fn a_damaged_snapshot_is_made_up_for_or_refused() {
    let mut judged = 0;
    for seed in 0..10 {
        let (mut sim, node, model) = start(seed, 100);
        finish_life(&mut sim, &model);
        assert_kept(&model, "the first life");
        let mut known = snapshots(&mut sim, node);
        if known.len() < 2 {
            // This life ended before its second snapshot: nothing could make up for the first.
            continue;
        }
        judged += 1;
        let damage = |sim: &mut Simulation, id: SnapshotId| {
            let path = format!("{LOG}/{}", id.file_name());
            let at = 100 + sim.random_u64() % 100;
            sim.disk(node).corrupt(path, at, 0x40).unwrap();
        };
        damage(&mut sim, known.pop().unwrap());
        live_again(&mut sim, node, &model);
        assert_kept(&model, "the newest is damaged");
        sim.crash(node);
        for id in snapshots(&mut sim, node) {
            damage(&mut sim, id);
        }
        let files = |sim: &mut Simulation| {
            let mut names = sim.disk(node).list(LOG).unwrap();
            // The log's writer may have been at a snapshot when the life ended; a start removes it.
            names.retain(|name| !name.ends_with(".deleted") && !name.ends_with(".tmp"));
            // Nor is a segment that was begun and has nothing yet kept.
            let has_records = |sim: &mut Simulation, name: &str| {
                let base = name.split('.').next().expect("a name");
                let log = sim.disk(node).read(format!("{LOG}/{base}.log"));
                log.map_or(true, |log| log.iter().any(|byte| *byte != 0))
            };
            names.retain(|name| has_records(sim, name));
            names
        };
        let before = files(&mut sim);
        lock(&model).finished = false;
        sim.restart(node);
        finish_life(&mut sim, &model);
        let refused = lock(&model).refused.clone().expect("the log's beginning is gone");
        assert!(refused.contains("from a backup") && refused.contains(".checkpoint"), "{refused}");
        // An index that the crash left out may be there again.
        let after = files(&mut sim);
        let gone: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
        assert!(gone.is_empty(), "{gone:?} are removed");
    }
    assert!(judged >= 7, "{judged} of ten lives had two snapshots");
}

#[test]
fn a_whole_log_makes_up_for_all_snapshots() {
    let (mut sim, node, model) = start(7, 7);
    finish_life(&mut sim, &model);
    let known = snapshots(&mut sim, node);
    assert!(!known.is_empty() && lock(&model).log_start_offset == 0);
    for id in known {
        let path = format!("{LOG}/{}", id.file_name());
        sim.disk(node).write(path, b"not a snapshot").unwrap();
    }
    live_again(&mut sim, node, &model);
    assert_kept(&model, "no snapshot can be read");
}

/// What a backup of the newest snapshot is good for.
#[test]
fn a_snapshot_alone_is_enough() {
    let (mut sim, node, model) = start(3, 60);
    finish_life(&mut sim, &model);
    let newest = snapshots(&mut sim, node).pop().unwrap();
    let file = sim.disk(node).read(format!("{LOG}/{}", newest.file_name())).unwrap();
    let expected = names(&Image::from_snapshot(&file, newest.end_offset, newest.epoch).unwrap());

    let (mut sim, node, model) = start(4, 30);
    lock(&model).topics = expected;
    let meta = b"version=1\nnode.id=1\ncluster.id=restored\n";
    sim.disk(node).write("/data/meta.properties", meta).unwrap();
    sim.disk(node).write(format!("{LOG}/{}", newest.file_name()), &file).unwrap();
    finish_life(&mut sim, &model);
    assert_kept(&model, "from the snapshot");
    live_again(&mut sim, node, &model);
    assert_kept(&model, "and again");

    // A log that ends before the snapshot has lost records: nothing is guessed.
    let (mut sim, node, model) = start(5, 1);
    finish_life(&mut sim, &model);
    sim.disk(node).write(format!("{LOG}/{}", newest.file_name()), &file).unwrap();
    live_again(&mut sim, node, &model);
    let refused = lock(&model).refused.clone().expect("the log is too short");
    assert!(refused.contains("before its newest snapshot"), "{refused}");
}

#[test]
fn time_and_age_count_too() {
    let mut sim = Simulation::new(1, SimOptions::default());
    let node = sim.add_node("node");
    let model = Shared::default();
    let shared = model.clone();
    sim.start(node, 1, move |rt: Runtime, _: Mesh<()>| {
        let shared = shared.clone();
        async move {
            let mut node = Node::open(&rt).await.unwrap();
            node.register().await.unwrap();
            let count = async |node: &Node| {
                let image = node.decisions.image().clone();
                node.log.snapshots.look_after(&image).await;
                let entries = rt.read_dir(&PathBuf::from(LOG)).await.unwrap();
                entries.iter().filter(|entry| parse_snapshot_name(&entry.name).is_some()).count()
            };
            assert_eq!(count(&node).await, 0, "too little, too soon");
            rt.sleep(Duration::from_secs(30)).await;
            assert_eq!(count(&node).await, 1, "the time has come");
            rt.sleep(Duration::from_secs(3600)).await;
            assert_eq!(count(&node).await, 1, "nothing has changed");
            node.create("news").await.unwrap();
            assert_eq!(count(&node).await, 2);
            rt.sleep(Duration::from_millis(604_800_000)).await;
            assert_eq!(count(&node).await, 1, "metadata.max.retention.ms");
            lock(&shared).finished = true;
        }
    });
    sim.run_until(|| lock(&model).finished, Duration::from_secs(700_000));
    assert!(lock(&model).finished);
}
