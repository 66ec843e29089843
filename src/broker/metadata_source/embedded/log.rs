//! The log of the metadata, `__cluster_metadata-0`: opened and read before anything else.
//!
//! The log is a partition like any other, in Kafka's format, and always flushed before a change
//! counts. Snapshots (`snapshots.rs`) stand for its beginning, which goes when they allow it. A
//! start reads the newest snapshot and the log behind it; a damaged snapshot is made up for by an
//! older one or by the log, if it reaches back far enough, and nothing is removed to that end.
//! Damage to what the log had on disk is never stepped over: a topic, or a block of producer ids,
//! would be forgotten, and records lost with it. The node says what is damaged and does not start.
//!
//! Nothing is appended before the disk has space for it. On a full one a change is refused and not
//! kept waiting, and a start serves what is there: its epoch begins with the first change that
//! there is space for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::{BrokerConfig, CleanupPolicy, Flush, TopicConfig};
use ringlog_metadata::{Delta, Image, METADATA_VERSION, MetadataError, MetadataRecord};
use ringlog_record::{BatchBuilder, BatchSummary, leader_change_batch};
use ringlog_runtime::Runtime;
use ringlog_storage::{
    AppendOrigin, Appended, FoundLog, Log, LogDirs, OpenHint, ReadError, StorageError, StorageShard,
};
use ringlog_types::{BrokerId, LeaderEpoch, Offset, TimestampMs, TopicPartition, Uuid};

use crate::error::NodeError;
use crate::metadata_source::embedded::snapshots::{self, FoundSnapshots, Snapshots};
use crate::metadata_source::embedded::spare_file::{SPARE_BYTES, SpareFile};

pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";
/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;
/// The batch that begins an epoch is smaller than this.
const LEADER_CHANGE_BYTES: usize = 1 << 10;

/// The open log, in the epoch that began when it was opened.
pub(crate) struct MetadataLog {
    pub(crate) log: Rc<Log>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) snapshots: Snapshots,
    spare: SpareFile,
    node_id: BrokerId,
    /// Whether the record that begins `leader_epoch` is written.
    epoch_begun: Cell<bool>,
    lacks_space: Cell<bool>,
    rt: Runtime,
}

/// A batch that is on disk.
pub(crate) struct Written {
    pub(crate) base_offset: Offset,
    pub(crate) bytes: usize,
    pub(crate) timestamp_ms: TimestampMs,
}

/// Opens the log (taking it out of `found`), reads the image, and begins a new leader epoch.
pub(crate) async fn open(
    storage: &StorageShard,
    directories: &LogDirs,
    config: &BrokerConfig,
    found: &mut Vec<FoundLog>,
) -> Result<(MetadataLog, Image), NodeError> {
    let name = TopicPartition::new(METADATA_TOPIC, 0);
    let rt = storage.runtime();
    let topic_config = Arc::new(topic_config(config));
    let at = found.iter().position(|found| found.topic_partition == name);
    let mut snapshots = FoundSnapshots::default();
    let log = match at.map(|at| found.remove(at)) {
        Some(found) => {
            let dir = directories.get(found.dir_index).expect("found in a directory in use");
            snapshots = snapshots::find(rt, &dir.path().join(name.to_string())).await?;
            let hint = hint(found.hint, &snapshots)?;
            let id = Some(Uuid::METADATA_TOPIC);
            let opened = Log::open(storage, dir, name.clone(), id, topic_config, hint);
            let (log, _) = opened.await.map_err(|error| match error {
                error @ StorageError::Damaged { .. } => damaged(&error, &snapshots),
                error => error.into(),
            })?;
            log
        }
        None => {
            let dir = directories.iter().next().expect("there is at least one directory");
            Log::create(storage, dir, name, Uuid::METADATA_TOPIC, topic_config).await?
        }
    };
    check_reach(&log, &snapshots)?;
    let mut image = std::mem::take(&mut snapshots.image);
    let bytes = replay(&log, &mut image).await.map_err(|error| match error {
        ReplayError::Damage(what) => damaged(&what, &snapshots),
        ReplayError::Other(error) => error,
    })?;
    refuse_unknown(&image)?;
    let leader_epoch = image.last_epoch().max(log.latest_epoch().unwrap_or(0)) + 1;
    let snapshots = Snapshots::new(rt, &log, config, snapshots).await;
    let directory = log.dir().path().join(log.topic_partition().to_string());
    let metadata_log = MetadataLog {
        log,
        leader_epoch,
        snapshots,
        spare: SpareFile::find(rt, &directory).await,
        node_id: config.node_id,
        epoch_begun: Cell::new(false),
        lacks_space: Cell::new(false),
        rt: rt.clone(),
    };
    metadata_log.snapshots.log_grew(bytes, -1);
    match metadata_log.begin_epoch(0).await {
        Ok(()) => image.passed(metadata_log.log.log_end_offset() - 1, leader_epoch),
        Err(NodeError::Storage(error)) if error.is_disk_full() => {
            tracing::error!(%error, "the metadata cannot be changed before there is space");
        }
        Err(error) => return Err(error),
    }
    metadata_log.keep_spare().await;
    Ok((metadata_log, image))
}

/// A log of a version that this node does not know may hold records that it would
/// misread; and nothing may be written to it.
fn refuse_unknown(image: &Image) -> Result<(), NodeError> {
    let unsupported = image.unsupported_features();
    match unsupported.iter().find(|(name, _)| *name == METADATA_VERSION) {
        Some((_, level)) => Err(NodeError::Metadata(format!(
            "it is of metadata.version {level}, which this version cannot read; start the version \
             that wrote it, or give another directory"
        ))),
        None => Ok(()),
    }
}

fn topic_config(config: &BrokerConfig) -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: false },
        flush: Flush::Sync,
        max_message_bytes: i32::MAX,
        segment_bytes: config.metadata_log_segment_bytes,
        segment_ms: config.metadata_log_segment_ms,
        ..TopicConfig::default()
    }
}

/// Whether snapshot and log meet. If they do not, somebody has to look: nothing is guessed, and
/// nothing is removed.
fn check_reach(log: &Log, snapshots: &FoundSnapshots) -> Result<(), NodeError> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let known_end = snapshots.image.last_offset() + 1;
    let directory = log.topic_partition();
    let damaged = match snapshots.damaged.as_slice() {
        [] => String::new(),
        damaged => format!(" Cannot be read: {}.", damaged.join(", ")),
    };
    if start > known_end {
        return Err(NodeError::Metadata(format!(
            "it starts at offset {start}, and no snapshot that can be read says what came before. \
             Put .checkpoint files of {directory} from a backup in place; nothing was \
             removed.{damaged}"
        )));
    }
    if snapshots.newest_end_offset > end {
        return Err(NodeError::Metadata(format!(
            "it ends at offset {end}, before its newest snapshot ({}). Put the missing .log files \
             of {directory} back, or move all of its .log files away to start from the snapshot \
             alone; nothing was removed.{damaged}",
            snapshots.newest_end_offset
        )));
    }
    Ok(())
}

/// How the log is opened, given the snapshots.
fn hint(found: OpenHint, snapshots: &FoundSnapshots) -> Result<OpenHint, NodeError> {
    let known_end = snapshots.image.last_offset() + 1;
    let hint = OpenHint { refuse_damage_from: Some(known_end), ..found };
    match (snapshots.has_log, known_end) {
        (true, _) => Ok(hint),
        (false, 0) if found.recovery_point > 0 => Err(NodeError::Metadata(format!(
            "all of its .log files are missing, which reached to offset {}, and no snapshot can \
             be read. Put the directory {METADATA_TOPIC}-0 back from a backup; nothing was changed",
            found.recovery_point
        ))),
        // A snapshot alone, as a backup may be: the log goes on where it ends, whatever is known
        // of another one.
        (false, known_end) => {
            let log_start_offset = known_end;
            Ok(OpenHint { clean: false, recovery_point: 0, log_start_offset, ..hint })
        }
    }
}

/// Why the node does not start with a damaged log, and what can be done.
fn damaged(what: &dyn std::fmt::Display, snapshots: &FoundSnapshots) -> NodeError {
    let directory = format!("{METADATA_TOPIC}-0");
    let from_snapshot = match snapshots.newest_end_offset {
        0 => String::new(),
        end => format!(
            ", or move all .log files of {directory} away to start from its newest snapshot \
             alone, which forgets every change from offset {end} on"
        ),
    };
    NodeError::Metadata(format!(
        "{what}. Put the file back from a backup{from_snapshot}; nothing was removed"
    ))
}

/// Why a log cannot be read.
enum ReplayError {
    /// What is damaged, where.
    Damage(String),
    Other(NodeError),
}

impl From<NodeError> for ReplayError {
    fn from(error: NodeError) -> ReplayError {
        ReplayError::Other(error)
    }
}

impl From<ReadError> for ReplayError {
    fn from(error: ReadError) -> ReplayError {
        match error {
            ReadError::Corrupt { .. } => ReplayError::Damage(error.to_string()),
            error => ReplayError::Other(NodeError::Metadata(error.to_string())),
        }
    }
}

/// Applies what the log has beyond the image. Returns how many bytes that was.
async fn replay(log: &Log, image: &mut Image) -> Result<usize, ReplayError> {
    let mut offset: Offset = log.log_start_offset().max(image.last_offset() + 1);
    let mut delta = Delta::default();
    let mut size = 0;
    while offset < log.log_end_offset() {
        let bytes = log.read_whole_batches(offset, READ_BYTES, log.log_end_offset()).await?;
        let replayed = image.replay(&bytes, &mut delta);
        let next = image.last_offset() + 1;
        match replayed {
            Err(error @ MetadataError::Batch { .. }) => {
                return Err(located(log, next, &error).await?);
            }
            Err(error) => return Err(NodeError::Metadata(error.to_string()).into()),
            Ok(()) if next <= offset => {
                return Err(located(log, offset, &"no batch can be read").await?);
            }
            Ok(()) => size += bytes.len(),
        }
        offset = next;
    }
    Ok(size)
}

/// The damage at `offset`, with file and position.
async fn located(
    log: &Log,
    offset: Offset,
    why: &dyn std::fmt::Display,
) -> Result<ReplayError, ReadError> {
    Ok(ReplayError::Damage(match log.place_of(offset).await? {
        Some((path, position)) => {
            format!("{} is damaged at position {position} (offset {offset}): {why}", path.display())
        }
        None => format!("it is damaged at offset {offset}: {why}"),
    }))
}

impl MetadataLog {
    /// Writes one batch of records and waits until it is on disk. `image` is what the records
    /// follow on; it is for the caller to apply them.
    pub(crate) async fn append(
        &self,
        records: &[MetadataRecord<'_>],
        image: &Image,
    ) -> Result<Written, NodeError> {
        let failed = |error: &dyn ToString| NodeError::Metadata(error.to_string());
        let now_ms = self.rt.wall_clock_ms();
        let mut batch = BatchBuilder::new(now_ms);
        for record in records {
            let value = record.encode(image).map_err(|error| failed(&error))?;
            batch.push(now_ms, None, Some(&value), &[]);
        }
        let (bytes, summary) = batch.build().map_err(|error| failed(&error))?;
        self.begin_epoch(bytes.len()).await?;
        let appended = self.append_batch(&bytes, &summary, now_ms).await?;
        let base_offset = appended.base_offset;
        Ok(Written { base_offset, bytes: bytes.len(), timestamp_ms: now_ms })
    }

    async fn append_batch(
        &self,
        bytes: &[u8],
        summary: &BatchSummary,
        now_ms: TimestampMs,
    ) -> Result<Appended, NodeError> {
        let origin = AppendOrigin::Coordinator;
        let appended = self
            .log
            .append(bytes, summary, origin, self.leader_epoch, now_ms)
            .map_err(|error| NodeError::Metadata(error.to_string()))?;
        self.log.wait_durable(appended.end).await?;
        Ok(appended)
    }

    /// Sees to it that there is space for `bytes`, and writes what a quorum's new leader writes
    /// first, unless it is written, so that Kafka's own tools see whose records follow.
    async fn begin_epoch(&self, bytes: usize) -> Result<(), NodeError> {
        if self.epoch_begun.get() {
            return self.make_room(bytes).await;
        }
        self.make_room(LEADER_CHANGE_BYTES + bytes).await?;
        let now_ms = self.rt.wall_clock_ms();
        let (batch, summary) = leader_change_batch(self.node_id.0, now_ms);
        assert!(batch.len() <= LEADER_CHANGE_BYTES, "it has one record");
        self.append_batch(&batch, &summary, now_ms).await?;
        self.epoch_begun.set(true);
        self.snapshots.log_grew(batch.len(), now_ms);
        Ok(())
    }

    /// Sees to it that an append of so much does not wait for space, at the price of the spare
    /// blocks if need be: what frees space, as the deletion of a topic does, is to be possible.
    async fn make_room(&self, bytes: usize) -> Result<(), NodeError> {
        let mut reserved = self.log.reserve(bytes, 0).await;
        if let Err(error) = &reserved
            && error.is_disk_full()
            && self.spare.give_up().await
        {
            reserved = self.log.reserve(bytes, SPARE_BYTES).await;
        }
        self.lacks_space.set(reserved.as_ref().is_err_and(StorageError::is_disk_full));
        Ok(reserved?)
    }

    /// The offset that the next record gets; the one that begins the epoch comes before it.
    pub(crate) fn next_offset(&self) -> Offset {
        self.log.log_end_offset() + Offset::from(!self.epoch_begun.get())
    }

    /// Whether the last append was refused because the disk is full.
    pub(crate) fn lacks_space(&self) -> bool {
        self.lacks_space.get()
    }

    /// Has spare blocks again once there is space for them. To be called every second or so.
    pub(crate) async fn keep_spare(&self) {
        if !self.log.dir().is_full() {
            self.spare.keep().await;
        }
    }
}
