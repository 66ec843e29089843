//! Snapshots of the metadata log (KIP-630): when one is written, how, and what may go when it is.
//!
//! A snapshot `<end offset>-<epoch>.checkpoint` holds what the log says below its end offset. It
//! is written under another name, flushed, renamed, and the directory flushed; only then may the
//! log before it, or an older snapshot, be removed. What is removed, and when, is Kafka's rule
//! (`KafkaMetadataLog.maybeClean`): an older snapshot goes, and the log below the one that follows
//! it, when log and snapshots together are larger than `metadata.max.retention.bytes`, or when it
//! is older than `metadata.max.retention.ms`. The newest always stays.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_metadata::{Image, MetadataError, SnapshotId};
use ringlog_metadata::{parse_snapshot_name, snapshot_timestamp_ms};
use ringlog_runtime::{Durability, Instant, OpenOptions, Runtime, WriteBufs};
use ringlog_storage::Log;
use ringlog_types::{Offset, TimestampMs};

use crate::error::NodeError;

/// A snapshot larger than this is not one.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
/// As much of a snapshot is enough for its header and the quorum's voters.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// A snapshot is written in pieces of this size.
const WRITE_BYTES: usize = 1 << 20;
/// How long to wait after a snapshot could not be written.
const RETRY: Duration = Duration::from_secs(60);
/// Suffixes of what an interrupted write, or Kafka's delayed removal, leaves behind.
const PART: &str = ".part";
const LEFTOVERS: [&str; 2] = [".checkpoint.part", ".checkpoint.deleted"];

/// A snapshot on disk.
#[derive(Debug, Clone, Copy)]
struct Kept {
    bytes: u64,
    /// When the last batch that it contains was written.
    timestamp_ms: TimestampMs,
}

/// The snapshots that the directory of the metadata log has.
#[derive(Default)]
pub(crate) struct FoundSnapshots {
    /// The image of the newest snapshot that can be read; empty if there is none.
    pub(crate) image: Image,
    /// The end of the newest one by name, be it damaged or not; 0 if there is none.
    pub(crate) newest_end_offset: Offset,
    /// Why newer ones cannot be read, each with its name.
    pub(crate) damaged: Vec<String>,
    /// Whether there are segments of the log.
    pub(crate) has_log: bool,
    usable: BTreeMap<SnapshotId, Kept>,
    leftovers: Vec<PathBuf>,
}

/// Reads the newest snapshot that is whole. Changes nothing.
pub(crate) async fn find(rt: &Runtime, directory: &Path) -> Result<FoundSnapshots, NodeError> {
    let unreadable = |error| NodeError::Io(format!("cannot list {}", directory.display()), error);
    let entries = rt.read_dir(directory).await.map_err(unreadable)?;
    let mut found = FoundSnapshots::default();
    let mut snapshots = BTreeMap::new();
    for entry in entries {
        if let Some(id) = parse_snapshot_name(&entry.name) {
            snapshots.insert(id, entry.len);
        } else if LEFTOVERS.iter().any(|suffix| entry.name.ends_with(suffix)) {
            found.leftovers.push(directory.join(&entry.name));
        }
        found.has_log |= entry.name.ends_with(".log");
    }
    found.newest_end_offset = snapshots.keys().next_back().map_or(0, |newest| newest.end_offset);
    for (id, bytes) in snapshots.into_iter().rev() {
        let path = directory.join(id.file_name());
        if found.usable.is_empty() {
            match read(rt, &path, id).await {
                Ok(image) => found.image = image,
                Err(Unreadable::Newer(error)) => {
                    return Err(NodeError::Metadata(format!("{}: {error}", path.display())));
                }
                Err(Unreadable::Damaged(reason)) => {
                    tracing::error!(snapshot = %path.display(), reason, "cannot be read");
                    found.damaged.push(format!("{} ({reason})", path.display()));
                    continue;
                }
            }
        }
        if let Some(timestamp_ms) = timestamp_of(rt, &path).await {
            found.usable.insert(id, Kept { bytes, timestamp_ms });
        }
    }
    Ok(found)
}

/// Why a snapshot is of no use.
enum Unreadable {
    /// An older one, or the log, may be good.
    Damaged(String),
    /// Records of a Kafka that is newer than this node.
    Newer(MetadataError),
}

async fn read(rt: &Runtime, path: &Path, id: SnapshotId) -> Result<Image, Unreadable> {
    let bytes = rt.read_file(path, SNAPSHOT_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| Unreadable::Damaged(error.to_string()))?;
    Image::from_snapshot(&bytes, id.end_offset, id.epoch).map_err(|error| match error {
        MetadataError::Unknown { .. } => Unreadable::Newer(error),
        error => Unreadable::Damaged(error.to_string()),
    })
}

async fn timestamp_of(rt: &Runtime, path: &Path) -> Option<TimestampMs> {
    let options = OpenOptions { read: true, ..OpenOptions::default() };
    let file = rt.open(path, &options).await.ok()?;
    let (read, buffer) = rt.read_at(&file, rt.buffers().get(HEADER_BYTES_MAX), 0).await;
    snapshot_timestamp_ms(&buffer[..read.ok()?])
}

/// When to write and what to keep.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Bytes of records between two snapshots.
    record_bytes: u64,
    /// Time between two snapshots, if something has changed.
    interval: Option<Duration>,
    retention_bytes: Option<u64>,
    retention_ms: Option<i64>,
}

impl Limits {
    fn of(config: &BrokerConfig) -> Limits {
        let interval_ms = config.metadata_log_max_snapshot_interval_ms.max(0) as u64;
        Limits {
            record_bytes: config.metadata_log_max_record_bytes_between_snapshots.max(1) as u64,
            interval: (interval_ms > 0).then(|| Duration::from_millis(interval_ms)),
            retention_bytes: u64::try_from(config.metadata_max_retention_bytes).ok(),
            retention_ms: Some(config.metadata_max_retention_ms).filter(|ms| *ms >= 0),
        }
    }
}

/// The snapshots of the open metadata log. Lives on the controller's shard.
pub(crate) struct Snapshots {
    rt: Runtime,
    log: Rc<Log>,
    directory: PathBuf,
    limits: Limits,
    /// Those that can be relied on, oldest first.
    kept: RefCell<BTreeMap<SnapshotId, Kept>>,
    /// Bytes of the log behind the newest snapshot.
    bytes: Cell<u64>,
    /// When the last batch of the log was written.
    last_timestamp_ms: Cell<TimestampMs>,
    /// When the newest snapshot was written, or the node started.
    written_at: Cell<Instant>,
    /// Not again before this, after a failure.
    retry_at: Cell<Instant>,
}

impl Snapshots {
    /// Takes over what was found, when the log was opened with it, and clears away what is half
    /// written.
    pub(crate) async fn new(
        rt: &Runtime,
        log: &Rc<Log>,
        config: &BrokerConfig,
        found: FoundSnapshots,
    ) -> Snapshots {
        for path in found.leftovers {
            if let Err(error) = rt.remove_file(&path).await {
                tracing::warn!(path = %path.display(), %error, "cannot be removed");
            }
        }
        Snapshots {
            rt: rt.clone(),
            log: log.clone(),
            directory: log.dir().path().join(log.topic_partition().to_string()),
            limits: Limits::of(config),
            kept: RefCell::new(found.usable),
            bytes: Cell::new(0),
            last_timestamp_ms: Cell::new(-1),
            written_at: Cell::new(rt.now()),
            retry_at: Cell::new(rt.now()),
        }
    }

    /// Notes that the log has grown, and that the image has what it has grown by.
    pub(crate) fn log_grew(&self, bytes: usize, timestamp_ms: TimestampMs) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.last_timestamp_ms.set(timestamp_ms);
    }

    /// Writes a snapshot if it is time to, and removes what nothing needs any more. `image` is
    /// what the log says up to its last batch. To be called every second or so.
    pub(crate) async fn look_after(&self, image: &Image) {
        if self.log.failure().is_some() {
            return;
        }
        self.log.roll_if_old(self.rt.wall_clock_ms());
        if self.is_due(image) {
            match self.write(image).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "the metadata has no new snapshot; its log grows on");
                    self.retry_at.set(self.rt.now() + RETRY);
                }
            }
        }
        if self.rt.now() >= self.retry_at.get()
            && let Err(error) = self.clean(self.rt.wall_clock_ms()).await
        {
            tracing::error!(%error, "the metadata log keeps what is old");
            self.retry_at.set(self.rt.now() + RETRY);
        }
    }

    fn is_due(&self, image: &Image) -> bool {
        let now = self.rt.now();
        if image.in_transaction() || now < self.retry_at.get() {
            return false;
        }
        let newest_end_offset = self.kept.borrow().keys().next_back().map_or(0, |id| id.end_offset);
        let is_news = image.snapshot_id().end_offset > newest_end_offset;
        let by_time = self.limits.interval.is_some_and(|time| now >= self.written_at.get() + time);
        is_news && (by_time || self.bytes.get() >= self.limits.record_bytes)
    }

    async fn write(&self, image: &Image) -> Result<(), NodeError> {
        let id = image.snapshot_id();
        let (contained, timestamp_ms) = (self.bytes.get(), self.last_timestamp_ms.get());
        // So that segments end where snapshots do, and can go with them.
        self.log.roll_if_larger(self.limits.record_bytes, self.rt.wall_clock_ms());
        let path = self.directory.join(id.file_name());
        let part = self.directory.join(id.file_name() + PART);
        let bytes = match self.write_part(&part, image, timestamp_ms).await {
            Ok(bytes) => bytes,
            Err(error) => {
                // With a full disk every byte counts. What stays goes at the next start.
                drop(self.rt.remove_file(&part).await);
                return Err(error);
            }
        };
        let failed = |error| NodeError::Io(format!("cannot rename {}", part.display()), error);
        self.rt.rename(&part, &path).await.map_err(failed)?;
        let failed = |error| NodeError::Io(format!("cannot flush {}", path.display()), error);
        self.rt.sync_dir(&self.directory).await.map_err(failed)?;
        self.kept.borrow_mut().insert(id, Kept { bytes, timestamp_ms });
        self.bytes.set(self.bytes.get() - contained);
        self.written_at.set(self.rt.now());
        tracing::info!(snapshot = %path.display(), bytes, "metadata snapshot");
        Ok(())
    }

    /// Writes the file under its first name, piece by piece, so that requests of the shard go on
    /// in between.
    async fn write_part(
        &self,
        path: &Path,
        image: &Image,
        timestamp_ms: TimestampMs,
    ) -> Result<u64, NodeError> {
        let failed = |error| NodeError::Io(format!("cannot write {}", path.display()), error);
        let options =
            OpenOptions { write: true, create: true, truncate: true, ..OpenOptions::default() };
        let file = self.rt.open(path, &options).await.map_err(failed)?;
        let mut position = 0;
        let mut piece = Vec::new();
        let mut batches = image.snapshot_batches(timestamp_ms);
        loop {
            let batch = batches.next().transpose();
            let batch = batch.map_err(|error| NodeError::Metadata(error.to_string()))?;
            let is_last = batch.is_none();
            piece.extend(batch.unwrap_or_default());
            if piece.len() >= WRITE_BYTES || is_last {
                let bytes = std::mem::take(&mut piece);
                let len = bytes.len() as u64;
                let bufs = WriteBufs::from_iter([bytes.into()]);
                let written = self.rt.write_at(&file, bufs, position, Durability::Buffered).await;
                written.map_err(failed)?;
                position += len;
            }
            if is_last {
                self.rt.sync_data(&file).await.map_err(failed)?;
                return Ok(position);
            }
            self.rt.yield_now().await;
        }
    }

    /// Removes the oldest snapshot, and the log below the next, as long as there is a reason.
    async fn clean(&self, now_ms: TimestampMs) -> Result<(), NodeError> {
        let mut first = None;
        while let Some(next) = self.next_if_first_may_go(now_ms) {
            if next.end_offset > self.log.log_start_offset() {
                self.log.delete_records(next.end_offset).await?;
            }
            let kept = self.kept.borrow_mut().split_off(&next);
            self.kept.replace(kept);
            first = Some(next);
        }
        match first {
            Some(first) => self.remove_below(first).await,
            None => Ok(()),
        }
    }

    /// The second snapshot, if nothing speaks for keeping the first.
    fn next_if_first_may_go(&self, now_ms: TimestampMs) -> Option<SnapshotId> {
        let kept = self.kept.borrow();
        let (_, first) = kept.first_key_value()?;
        let next = *kept.keys().nth(1)?;
        let snapshots: u64 = kept.values().map(|kept| kept.bytes).sum();
        let bytes = self.log.size_bytes() + snapshots;
        let age_ms = now_ms.saturating_sub(first.timestamp_ms);
        let may_go = self.limits.retention_bytes.is_some_and(|limit| bytes > limit)
            || self.limits.retention_ms.is_some_and(|limit| age_ms > limit);
        may_go.then_some(next)
    }

    /// Removes the files of snapshots older than `first`.
    async fn remove_below(&self, first: SnapshotId) -> Result<(), NodeError> {
        let directory = self.directory.display();
        let failed = |error| NodeError::Io(format!("cannot clear {directory}"), error);
        for entry in self.rt.read_dir(&self.directory).await.map_err(failed)? {
            if parse_snapshot_name(&entry.name).is_some_and(|id| id < first) {
                tracing::info!(snapshot = entry.name, "metadata snapshot removed");
                self.rt.remove_file(&self.directory.join(&entry.name)).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}
