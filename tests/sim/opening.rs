//! The start of the program: the directories, the logs in them, topics that are deleted and made
//! again, all compared with the model.
//!
//! The model stands for the metadata too: which topics there are is never lost. What a directory
//! has of another topic of the same name is moved out of the way, as the node does.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_runtime::Runtime;
use ringlog_runtime::sim::Prng;
use ringlog_storage::{
    Fence, Fenced, FoundLog, Log, LogDirs, OpenedDirs, StorageError, StorageShard,
};
use ringlog_types::{TopicPartition, Uuid};

use crate::checkers;
use crate::history::Plan;
use crate::model::{Shared, Topic};
use crate::workload::Bench;

/// Where the data directories of the simulated node are.
pub(crate) const DATA: &str = "/var/ringlog";

/// The data directory with this place in `log.dirs`.
fn data_directory(index: usize) -> PathBuf {
    Path::new(DATA).join(format!("disk{index}"))
}

/// Which data directory a partition is in.
fn place_of(plan: &Plan, index: usize) -> usize {
    index % plan.directories
}

/// Where a partition's files are.
pub(crate) fn directory(plan: &Plan, index: usize) -> PathBuf {
    data_directory(place_of(plan, index)).join(partition(index).to_string())
}

fn topic_id(index: usize, generation: u32) -> Uuid {
    let topic = u128::from(generation) << 16 | index as u128;
    Uuid::from_u128(0x6b1f_27c0_1a2b_4c3d_8e4f_0000_0000_0000 + topic)
}

pub(crate) fn partition(index: usize) -> TopicPartition {
    TopicPartition::new("t", index as i32)
}

/// What opening works with.
struct Start<'a> {
    rt: &'a Runtime,
    shared: &'a Shared,
    plan: &'a Rc<Plan>,
    shard: StorageShard,
    dirs: OpenedDirs,
    prng: Rc<RefCell<Prng>>,
}

/// Opens everything and compares it; `None` if that ends the start.
pub(crate) async fn open(
    rt: &Runtime,
    shared: &Shared,
    plan: &Rc<Plan>,
) -> Option<(Vec<Bench>, OpenedDirs)> {
    let prng = Rc::new(RefCell::new(Prng::new(rt.random_u64())));
    let shard = StorageShard::new(rt.clone(), plan.storage_options());
    let paths: Vec<PathBuf> = (0..plan.directories).map(data_directory).collect();
    let dirs = match LogDirs::open(rt, &paths, 1, None).await {
        Ok(dirs) => dirs,
        Err(error) => return unusable(shared, "opening the directories", &error),
    };
    if !dirs.dirs.unusable().is_empty() {
        let error = &dirs.dirs.unusable()[0];
        return unusable(shared, "using a directory", &error.error);
    }
    shared.recovering.set(true);
    let start = Start { rt, shared, plan, shard, dirs, prng };
    let mut benches = start.open_logs().await?;
    for bench in &benches {
        checkers::check_all(bench).await;
    }
    if plan.recreate && !shared.rotted.get() && start.prng.borrow_mut().below(2) == 0 {
        start.recreate(&mut benches).await?;
    }
    Some((benches, start.dirs))
}

fn unusable<T>(shared: &Shared, what: &str, error: &StorageError) -> Option<T> {
    if !shared.errors_expected.get() && !shared.rotted.get() {
        shared.check(Err::<(), _>(format!("{what} failed on a sound disk: {error}")));
    }
    None
}

impl Start<'_> {
    fn bench(&self, index: usize, log: Rc<Log>) -> Bench {
        Bench {
            rt: self.rt.clone(),
            log,
            index,
            shared: self.shared.clone(),
            plan: Rc::clone(self.plan),
            prng: Rc::clone(&self.prng),
            truncation: Rc::default(),
        }
    }

    /// The logs that are there, and then new ones for topics that have none.
    async fn open_logs(&self) -> Option<Vec<Bench>> {
        let mut benches = Vec::new();
        let mut missing = Vec::new();
        for index in 0..self.plan.partitions {
            match self.find(index).await? {
                Some(found) => {
                    benches.push(self.bench(index, self.open_found(index, &found).await?))
                }
                None => missing.push(index),
            }
        }
        if !missing.is_empty() {
            // Checkpoints know logs by name: those of another of that name must be gone.
            self.forget_others(&benches).await?;
        }
        for index in missing {
            benches.push(self.create(index).await?);
        }
        benches.sort_by_key(|bench| bench.index);
        Some(benches)
    }

    /// What the directories have of a partition; `None` ends the start.
    async fn find(&self, index: usize) -> Option<Option<FoundLog>> {
        let partition = partition(index);
        let found = self.dirs.logs.iter().find(|found| found.topic_partition == partition);
        let (topic, generation) = {
            let logs = self.shared.logs.borrow();
            (logs[index].topic, logs[index].generation)
        };
        let id = topic_id(index, generation);
        let is_its = |found: &&FoundLog| found.topic_id.is_none_or(|found| found == id);
        match found {
            Some(found) if topic != Topic::Deleted && is_its(&found) => Some(Some(found.clone())),
            None if topic == Topic::Created && !self.shared.rotted.get() => {
                self.shared.check(Err::<(), _>(format!("lost: {partition} is gone")));
                None
            }
            Some(found) => {
                // Where that fails, making the log is refused.
                let stray = [(found.dir_index, partition)];
                self.dirs.dirs.set_aside(self.rt, &stray).await;
                Some(None)
            }
            None => Some(None),
        }
    }

    async fn forget_others(&self, benches: &[Bench]) -> Option<()> {
        let keep = |_, known: &TopicPartition| {
            benches.iter().any(|bench| partition(bench.index) == *known)
        };
        match self.dirs.dirs.keep_checkpoints(self.rt, keep).await {
            Ok(()) => Some(()),
            Err(error) => unusable(self.shared, "a checkpoint", &error),
        }
    }

    async fn create(&self, index: usize) -> Option<Bench> {
        let generation = {
            let mut logs = self.shared.logs.borrow_mut();
            let model = &mut logs[index];
            if model.topic == Topic::Deleted {
                model.recreated();
            }
            model.generation
        };
        let config = Arc::new(self.plan.topic_config(self.shared.incarnation.get()));
        let dir = self.dirs.dirs.get(place_of(self.plan, index)).expect("all are in use");
        let id = topic_id(index, generation);
        match Log::create(&self.shard, dir, partition(index), id, config).await {
            Ok(log) => {
                self.shared.logs.borrow_mut()[index].topic = Topic::Created;
                Some(self.bench(index, log))
            }
            Err(error) => unusable(self.shared, "making a log", &error),
        }
    }

    /// Deletes a topic and makes another of the same name.
    async fn recreate(&self, benches: &mut Vec<Bench>) -> Option<()> {
        let at = self.prng.borrow_mut().index(benches.len());
        let bench = benches.remove(at);
        self.shared.logs.borrow_mut()[bench.index].topic = Topic::Deleted;
        if let Err(error) = bench.log.delete().await {
            return unusable(self.shared, "deleting a log", &error);
        }
        self.forget_others(benches).await?;
        benches.insert(at, self.create(bench.index).await?);
        Some(())
    }

    async fn open_found(&self, index: usize, found: &FoundLog) -> Option<Rc<Log>> {
        let (shared, name, hint) = (self.shared, partition(index), found.hint);
        let dir = self.dirs.dirs.get(found.dir_index).expect("found in it");
        let config = Arc::new(self.plan.topic_config(shared.incarnation.get()));
        let id = Some(topic_id(index, shared.logs.borrow()[index].generation));
        let opened = Log::open(&self.shard, dir, name.clone(), id, config, hint).await;
        let (log, report) = match opened {
            Ok(opened) => opened,
            Err(error) => return unusable(shared, "opening a log", &error),
        };
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let mut logs = shared.logs.borrow_mut();
        let model = &mut logs[index];
        model.topic = Topic::Created;
        if shared.rotted.get() {
            // Damage may have cost anything, but the log must not make up what never was.
            let known = model.end();
            shared.check(if end <= known { Ok(()) } else { Err(format!("{end} of {known}")) });
            return Some(log);
        }
        let start_number = shared.incarnation.get();
        let result = model.recovered(start, end);
        shared.check(
            result.map_err(|why| {
                format!("{name}, start {start_number}: {why}; {hint:?}; {report:?}")
            }),
        );
        let mut is_damage = |fenced: &Fenced| {
            let Fence { first_offset, end_offset, .. } = fenced.fence;
            model.was_fenced(first_offset, end_offset)
        };
        if !report.fenced.iter().all(&mut is_damage) {
            let why = format!("lost: acknowledged records are taken for damaged: {report:?}");
            shared.check(Err::<(), _>(why));
        }
        Some(log)
    }
}
