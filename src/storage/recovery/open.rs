//! Making a log, and opening one that is on disk, whoever wrote it and however it ended.
//!
//! After a clean stop the files are believed, their sizes and the last batches checked. After any
//! other end, segments that reach beyond the recovery point are walked (see `recovery`) and their
//! indexes made anew. Whatever is damaged, the log does not end before what is known to have been
//! durable, so that no offset is given out twice. Producer state comes from the newest snapshot
//! that fits and the batches behind it. Nothing that is not understood is removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ringlog_config::TopicConfig;
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::error::StorageError;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::local_offsets::LocalOffset;
use crate::log::seal::{self, LogFile};
use crate::log::{Log, LogParts};
use crate::log_dir::LogDir;
use crate::names;
use crate::producers::state::ProducerState;
use crate::recovery::opening::{Listing, Opening, write_partition_metadata};
use crate::recovery::producer_replay;
use crate::recovery::walk::RecoveryReport;
use crate::segment::Segment;
use crate::segment::tail::{Tail, block_floor};
use crate::shard::StorageShard;

/// What the checkpoints and the clean-shutdown marker of the directory say about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenHint {
    /// The process that wrote the log stopped cleanly.
    pub clean: bool,
    /// From the recovery-point checkpoint; 0 if it says nothing. It may be older than the truth.
    pub recovery_point: Offset,
    /// From the log-start-offset checkpoint; 0 if it says nothing.
    pub log_start_offset: Offset,
    /// From the cleaner-offset checkpoint: everything below was compacted.
    pub cleaned_end: Option<Offset>,
    /// The log is of no use with a hole at or beyond this offset: opening it fails with
    /// [`StorageError::Damaged`] where another log's damage would be fenced.
    pub refuse_damage_from: Option<Offset>,
}

impl Log {
    /// Makes the log of a new partition, with its directory and first segment.
    ///
    /// # Errors
    /// `Unusable` when there is such a directory and it is not empty: what is in it is somebody's.
    pub async fn create(
        shard: &StorageShard,
        dir: &Arc<LogDir>,
        topic_partition: TopicPartition,
        topic_id: Uuid,
        config: Arc<TopicConfig>,
    ) -> Result<Rc<Log>, StorageError> {
        let runtime = shard.runtime();
        let path: Rc<Path> = dir.path().join(topic_partition.to_string()).into();
        let created = runtime.create_dir_all(&path).await;
        created.map_err(StorageError::io("create", &path))?;
        let there = runtime.read_dir(&path).await.map_err(StorageError::io("list", &path))?;
        if let Some(entry) = there.first() {
            let reason = format!(
                "it is to hold a new partition and is not empty ({} is there); move it away",
                entry.name
            );
            return Err(StorageError::unusable(&path, reason));
        }
        write_partition_metadata(runtime, &path, topic_id).await?;
        let segment = Rc::new(Segment::open(&path, 0, runtime.wall_clock_ms()));
        let log = Log::assemble(LogParts {
            shard: shard.clone(),
            dir: dir.clone(),
            topic_partition,
            topic_id,
            path,
            config,
            segments: vec![segment.clone()],
            log_start_offset: 0,
            log_end_offset: 0,
            recovery_point: 0,
            newest_local_recovery_point: 0,
            newest_local_start: 0,
            producers: ProducerState::default(),
            epochs: LeaderEpochCache::default(),
            snapshots: BTreeSet::new(),
            cleaned_end: None,
        });
        log.create_first_files(&segment).await?;
        runtime.sync_dir(dir.path()).await.map_err(StorageError::io("flush", dir.path()))?;
        Ok(log)
    }

    /// Opens the log of a partition whose directory exists. `topic_id` is what the cluster knows;
    /// a directory of another topic of the same name is refused.
    pub async fn open(
        shard: &StorageShard,
        dir: &Arc<LogDir>,
        topic_partition: TopicPartition,
        topic_id: Option<Uuid>,
        config: Arc<TopicConfig>,
        hint: OpenHint,
    ) -> Result<(Rc<Log>, RecoveryReport), StorageError> {
        let path: Rc<Path> = dir.path().join(topic_partition.to_string()).into();
        let mut report = RecoveryReport::default();
        let mut opening = Opening { shard, path: &path, config: &config, hint };
        let mut listing = opening.list().await?;
        opening.take_local_offsets(&listing).await?;
        let hint = opening.hint;
        let topic_id = opening.topic_id(&listing, topic_id).await?;
        let mut epochs = opening.epochs(&listing).await?;
        let known = opening.known_fences(&listing).await?;
        let segments = opening.segments(&mut listing, &known, &mut epochs, &mut report);
        let segments = Box::pin(segments).await?;
        let open = segments.last().expect("there is always one").clone();
        let log_end_offset = open.end_offset.get();
        let log_start_offset =
            hint.log_start_offset.max(segments[0].base_offset).min(log_end_offset);
        epochs.truncate_from_end(log_end_offset);
        epochs.truncate_from_start(log_start_offset);
        let replay = producer_replay::Replay { shard, directory: &path, segments: &segments };
        opening.fences(known, &segments, &report).await?;
        let loaded = replay.load(listing.snapshots.clone(), log_end_offset, hint.clean).await?;
        for cut in &report.cuts {
            tracing::warn!(partition = %topic_partition, path = %cut.path.display(),
                position = cut.position, bytes = cut.bytes, offset = cut.offset,
                reason = cut.reason, "cut off an unfinished write");
        }
        for fenced in &report.fenced {
            shard.tell(|observer| observer.damage_found());
            tracing::error!(partition = %topic_partition, path = %fenced.path.display(),
                fence = ?fenced.fence, reason = fenced.reason,
                "durable records are damaged; their offsets cannot be read");
        }
        let log = Log::assemble(LogParts {
            shard: shard.clone(),
            dir: dir.clone(),
            topic_partition,
            topic_id,
            path: path.clone(),
            config: config.clone(),
            segments,
            log_start_offset,
            log_end_offset,
            recovery_point: if hint.clean { log_end_offset } else { hint.recovery_point },
            newest_local_recovery_point: listing.newest_local(LocalOffset::RecoveryPoint),
            newest_local_start: listing.newest_local(LocalOffset::LogStart),
            producers: loaded.state,
            epochs,
            snapshots: loaded.snapshots,
            cleaned_end: hint.cleaned_end,
        });
        // What was scanned counts: else many short lives of a node add up to one long recovery.
        log.count_unchecked(report.scanned_bytes);
        log.take_back(&hint).await?;
        log.resume_writing(&open, &listing).await?;
        if loaded.damaged {
            log.replace_snapshot().await?;
        }
        // A little is read of every log, to see that it ends where its index says.
        if !hint.clean && log_end_offset > hint.recovery_point {
            let scanned_bytes = report.scanned_bytes;
            tracing::info!(partition = %log.topic_partition, scanned_bytes, log_end_offset,
                "recovered");
        }
        Ok((log, report))
    }

    /// Has the disk say no more than there is, before anything is appended: a log start beyond the
    /// end would hide, after the next crash, what is appended now, and a recovery point beyond it
    /// would take an unfinished write for damage. Both are what a truncation leaves that a crash
    /// ended.
    async fn take_back(&self, hint: &OpenHint) -> Result<(), StorageError> {
        let (runtime, directory) = (self.shard.runtime(), self.path.borrow().clone());
        let (start, end) = (self.offsets.log_start(), self.offsets.log_end());
        if hint.recovery_point > end {
            self.local_recovery_point.write(runtime, &directory, end).await?;
        }
        if hint.log_start_offset > end {
            assert!(start == end, "everything is deleted");
            self.local_start.write(runtime, &directory, start).await?;
        }
        Ok(())
    }

    /// Names of directories and files that a killed process made may not be on disk yet.
    async fn sync_names(&self) -> Result<(), StorageError> {
        if self.dir.was_clean() {
            return Ok(());
        }
        let runtime = self.shard.runtime();
        let directory = self.path.borrow().clone();
        runtime.sync_dir(&directory).await.map_err(StorageError::io("flush", &directory))?;
        let parent = self.dir.path();
        runtime.sync_dir(parent).await.map_err(StorageError::io("flush", parent))
    }

    /// Opens the newest segment's file for writing, cut to what is whole.
    async fn resume_writing(
        &self,
        segment: &Rc<Segment>,
        listing: &Listing,
    ) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        if !listing.segments.iter().any(|(base, _)| *base == segment.base_offset) {
            self.create_files(segment).await?;
            return self.sync_names().await;
        }
        let file = seal::open_log_file(self, segment, LogFile::Existing).await?;
        let size = segment.size.get();
        let block = block_floor(size);
        if block < size {
            let path = segment.path(names::LOG);
            let buffer = runtime.buffers().get(4096);
            let (read, buffer) = runtime.read_at(&file, buffer, block).await;
            let read = read.map_err(StorageError::io("read", &path))?;
            let length = (size - block) as usize;
            if read < length {
                return Err(StorageError::unusable(&path, "it became shorter while it was opened"));
            }
            let bytes = Bytes::copy_from_slice(&buffer[..length]);
            segment.tail.replace(Tail::with_residue(block, bytes));
        }
        {
            let mut write = segment.write.borrow_mut();
            write.file = Some(file);
            write.written = size;
            write.written_end = size;
            write.allocated = block;
            write.written_offset = segment.end_offset.get();
        }
        self.sync_names().await?;
        let clean = segment.index.borrow().is_some()
            && listing.segments.last() == Some(&(segment.base_offset, size))
            && self.offsets.recovery_point() == self.offsets.log_end();
        if !clean {
            seal::trim_recovered(runtime, segment).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ringlog_config::TopicConfig;

    use super::*;
    use crate::testing::{Bench, on_shard};

    #[test]
    fn a_new_log_takes_an_empty_directory_and_no_other() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let bench = Bench::new(runtime, &path, TopicConfig::default());
                let opened = bench.open().await;
                let dir = opened.dirs.dirs.get(0).expect("in use").clone();
                let create = |topic: &str| {
                    let partition = TopicPartition::new(topic, 0);
                    let id = Uuid::METADATA_TOPIC;
                    let config = Arc::new(TopicConfig::default());
                    let (shard, dir) = (bench.shard.clone(), dir.clone());
                    async move { Log::create(&shard, &dir, partition, id, config).await }
                };
                std::fs::create_dir(path.join("empty-0")).expect("made");
                create("empty").await.expect("there is nothing in it");
                for name in ["00000000000000000000.log", "partition.metadata", "anything"] {
                    let directory = path.join("full-0");
                    std::fs::create_dir(&directory).expect("made");
                    std::fs::write(directory.join(name), "somebody's").expect("written");
                    let error = create("full").await.map(drop).expect_err("it is not empty");
                    assert!(error.to_string().contains(name), "{error}");
                    let left: Vec<_> = std::fs::read_dir(&directory).expect("there").collect();
                    assert_eq!(left.len(), 1);
                    let text = std::fs::read_to_string(directory.join(name)).expect("there");
                    assert_eq!(text, "somebody's");
                    std::fs::remove_dir_all(&directory).expect("removed");
                }
                bench.close(opened).await;
            }
        });
    }
}
