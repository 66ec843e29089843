//! Logs are opened and created side by side, a bounded number in each log directory, while
//! everything else goes on.
//!
//! 1. A change of the metadata puts a topic's partitions into [`Topics`](super::topics::Topics),
//!    each with a [`LocalReplica`] that is opening. Requests are told NOT_LEADER_OR_FOLLOWER
//!    meanwhile, which clients try again (`ReplicaManager.getPartitionOrError`).
//! 2. [`open_all`] opens them; whoever asked for the topic is answered after that. The next change
//!    does not wait for it.
//! 3. A partition that is deleted meanwhile is given up if its turn has not come, and waited for
//!    if it has. The same at a clean stop.
//!
//! A replica's outcome is set once. What changed while its log was opened, its settings and its
//! leader epoch, it gets with it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_runtime::sync::{Event, Semaphore};
use ringlog_storage::{Log, LogDir, OpenHint, StorageError};
use ringlog_types::{TopicIdPartition, TopicPartition};

use crate::replicas::Replicas;
use crate::replicas::offline::OfflinePartition;
use crate::replicas::partition::Partition;
use crate::replicas::topics::TopicEntry;

/// How many logs a shard opens at once in one directory: their flushes share the commits of the
/// file system's journal, and each may have a buffer of 1 MiB to recover with.
const OPENED_AT_ONCE: usize = 8;

/// A partition of this shard, from the moment that it is known.
pub(crate) struct LocalReplica {
    outcome: OnceCell<Outcome>,
    /// Set with the outcome.
    ended: Event,
    /// The place of the log directory that has something of it, or may have.
    on_disk_in: Cell<Option<usize>>,
    /// Its log is being opened or created at this moment.
    running: Cell<bool>,
}

enum Outcome {
    Online(Rc<Partition>),
    /// Its log could not be opened or created.
    Failed,
    /// The topic was deleted before its turn came.
    GivenUp,
}

impl LocalReplica {
    /// One whose log is yet to be opened; `found_in` is where it was found, if it was.
    pub(crate) fn opening(found_in: Option<usize>) -> Rc<LocalReplica> {
        Rc::new(LocalReplica {
            outcome: OnceCell::new(),
            ended: Event::new(),
            on_disk_in: Cell::new(found_in),
            running: Cell::new(false),
        })
    }

    /// The partition, once its log is open.
    pub(crate) fn partition(&self) -> Option<&Rc<Partition>> {
        match self.outcome.get() {
            Some(Outcome::Online(partition)) => Some(partition),
            _ => None,
        }
    }

    /// Whether its log may still be opened.
    pub(crate) fn is_opening(&self) -> bool {
        self.outcome.get().is_none()
    }

    /// Whether its log is being opened at this moment.
    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// The place of the log directory with a log of it that is not open.
    pub(crate) fn unopened_in(&self) -> Option<usize> {
        self.on_disk_in.get().filter(|_| self.partition().is_none())
    }

    /// Has its log not be opened, or waits until it is. Returns whether there may be something of
    /// it on disk.
    pub(crate) async fn give_up(&self) -> bool {
        if self.is_opening() && !self.running.get() {
            self.end(Outcome::GivenUp);
        }
        self.ended.wait().await;
        self.on_disk_in.get().is_some()
    }

    fn end(&self, outcome: Outcome) {
        assert!(self.outcome.set(outcome).is_ok(), "a replica has one outcome");
        self.running.set(false);
        self.ended.set();
    }
}

/// A log to be opened or created.
pub(crate) struct Opening {
    pub(crate) name: TopicPartition,
    pub(crate) named: TopicIdPartition,
    pub(crate) place: Place,
    pub(crate) replica: Rc<LocalReplica>,
}

/// Where a log is.
pub(crate) enum Place {
    /// It was there when the node started.
    Found(Arc<LogDir>, OpenHint),
    /// It is to be created there, or in another directory if this one is offline by then.
    New(Arc<LogDir>),
    /// It cannot be opened or created, for this reason.
    Nowhere(String),
}

impl Place {
    fn dir(&self) -> Option<&Arc<LogDir>> {
        match self {
            Place::Found(dir, _) | Place::New(dir) => Some(dir),
            Place::Nowhere(_) => None,
        }
    }
}

type Queue = Rc<RefCell<VecDeque<Opening>>>;

/// What a shard has in common for all changes whose logs it opens.
#[derive(Default)]
pub(crate) struct Openings {
    /// By the place of the directory; who opens a log there holds one of its permits.
    turns: RefCell<BTreeMap<usize, Semaphore>>,
    stopping: Cell<bool>,
}

impl Openings {
    /// Has no more logs opened: the node stops.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
    }

    fn turns(&self, dir_index: usize) -> Semaphore {
        let mut turns = self.turns.borrow_mut();
        turns.entry(dir_index).or_insert_with(|| Semaphore::new(OPENED_AT_ONCE)).clone()
    }
}

/// Opens and creates these logs. Returns the partitions that cannot be served, when all others are.
pub(crate) async fn open_all(
    replicas: &Rc<Replicas>,
    openings: Vec<Opening>,
) -> Vec<OfflinePartition> {
    let mut offline = Vec::new();
    let mut queues: BTreeMap<usize, Queue> = BTreeMap::new();
    for opening in openings {
        match opening.place.dir().map(|dir| dir.index()) {
            Some(dir_index) => queues.entry(dir_index).or_default().borrow_mut().push_back(opening),
            None => offline.extend(open_one(replicas, opening).await),
        }
    }
    let mut lanes = Vec::new();
    for (dir_index, queue) in queues {
        let turns = replicas.openings.turns(dir_index);
        for _ in 0..queue.borrow().len().min(OPENED_AT_ONCE) {
            let lane = run_lane(replicas.clone(), queue.clone(), turns.clone());
            lanes.push(replicas.rt.spawn(lane));
        }
    }
    for lane in lanes {
        offline.extend(lane.await);
    }
    offline
}

/// Opens logs of one directory, one after the other. Between two of them whoever else waits for
/// the directory has a turn: a topic of one partition does not wait for one of thousands.
async fn run_lane(replicas: Rc<Replicas>, queue: Queue, turns: Semaphore) -> Vec<OfflinePartition> {
    let mut offline = Vec::new();
    loop {
        let _turn = turns.acquire(1).await;
        let next = queue.borrow_mut().pop_front();
        let Some(opening) = next else { return offline };
        offline.extend(open_one(&replicas, opening).await);
    }
}

/// Opens or creates one log, if it is still wanted. Returns the partition if it cannot be served.
async fn open_one(replicas: &Rc<Replicas>, opening: Opening) -> Option<OfflinePartition> {
    let Opening { name, named, place, replica } = opening;
    let topic = replicas.topics.by_id(&named.topic_id);
    let wanted = topic.filter(|_| replica.is_opening() && !replicas.openings.stopping.get());
    let Some(topic) = wanted else {
        if let Place::New(dir) = place {
            replicas.shared.discount_partition(dir.index());
        }
        return None;
    };
    replica.running.set(true);
    let reason = match open(replicas, &topic, &name, place, &replica).await {
        Ok(log) => {
            serve(replicas, name, named, log, &replica);
            return None;
        }
        Err(reason) => reason,
    };
    tracing::error!(partition = %name, %reason, "partition is offline");
    replica.end(Outcome::Failed);
    Some(OfflinePartition { name, topic_id: named.topic_id, reason: reason.into() })
}

async fn open(
    replicas: &Rc<Replicas>,
    topic: &Rc<TopicEntry>,
    name: &TopicPartition,
    place: Place,
    replica: &LocalReplica,
) -> Result<Rc<Log>, String> {
    let (storage, name, config) = (&replicas.storage, name.clone(), topic.config.clone());
    let said = |error: StorageError| error.to_string();
    match place {
        Place::Found(dir, hint) => {
            let opened = Log::open(storage, &dir, name, Some(topic.id), config, hint).await;
            opened.map(|(log, _)| log).map_err(said)
        }
        Place::New(dir) => {
            let dir = online(replicas, dir)?;
            replica.on_disk_in.set(Some(dir.index()));
            Log::create(storage, &dir, name, topic.id, config).await.map_err(said)
        }
        Place::Nowhere(reason) => Err(reason),
    }
}

/// The directory that was picked, or another one if it has failed since.
fn online(replicas: &Replicas, picked: Arc<LogDir>) -> Result<Arc<LogDir>, String> {
    if !picked.is_offline() {
        return Ok(picked);
    }
    replicas.shared.discount_partition(picked.index());
    replicas.shared.pick_directory().ok_or_else(|| NO_DIRECTORY.into())
}

/// Why nothing is created.
pub(crate) const NO_DIRECTORY: &str = "no log directory is online";

/// Serves a log that is open now, with what the metadata say of it by now.
fn serve(
    replicas: &Rc<Replicas>,
    name: TopicPartition,
    named: TopicIdPartition,
    log: Rc<Log>,
    replica: &LocalReplica,
) {
    let topic = replicas.topics.by_id(&named.topic_id);
    if let Some(topic) = &topic {
        log.update_config(topic.config.clone());
        if let Some(entry) = topic.partition(named.partition) {
            // From here on the log knows where the epoch begins, records or none, so that a reader
            // of an older one learns where that ended (`Partition.makeLeader`).
            log.begin_epoch(entry.leader_epoch);
        }
    }
    let metrics = replicas.metrics.topic(&name.topic);
    let partition = Partition::new(name, log, metrics, replicas);
    replica.end(Outcome::Online(partition));
}
