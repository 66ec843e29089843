//! All log directories of a node: whose they are, what is in them, their checkpoints and marker.
//!
//! A directory belongs to one cluster and one node (`meta.properties`); a fresh one is made ours
//! by using it, another's is refused. One process uses it at a time (`.lock`). While it is in use
//! there is no clean-shutdown marker; it appears with the last act of a clean stop and goes with
//! the first of a start. A directory that cannot be used when the node starts is reported and
//! left out; the others serve. Files that are not known are left alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringlog_runtime::{FileLock, Runtime};
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::dir_files;
use crate::error::StorageError;
use crate::log::Log;
use crate::log_dir::LogDir;
use crate::open::OpenHint;

/// Appends stop when less than this is free, so that what was accepted can still be written,
/// and metadata too.
const RESERVE_BYTES: u64 = 128 << 20;
/// They resume when this much more than the reserve is free.
const RESUME_BYTES: u64 = 64 << 20;

/// A partition's directory that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLog {
    /// Which log directory it is in.
    pub dir_index: usize,
    /// The partition, by the directory's name.
    pub topic_partition: TopicPartition,
    /// The topic's id, by its `partition.metadata`.
    pub topic_id: Option<Uuid>,
    /// What to open it with.
    pub hint: OpenHint,
}

/// What the checkpoint files say about one log; collected from the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheckpoint {
    /// Which log directory it is in.
    pub dir_index: usize,
    /// The partition.
    pub topic_partition: TopicPartition,
    /// See [`Log::recovery_point`].
    pub recovery_point: Offset,
    /// See [`Log::log_start_offset`].
    pub log_start_offset: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
}

impl Log {
    /// What the checkpoint files are to say about this log.
    pub fn checkpoint(&self) -> LogCheckpoint {
        LogCheckpoint {
            dir_index: self.dir.index(),
            topic_partition: self.topic_partition.clone(),
            recovery_point: self.recovery_point(),
            log_start_offset: self.log_start_offset(),
            high_watermark: self.committed_offset(),
        }
    }
}

/// Who the node is, by the directories it was started on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster. Kafka takes any text.
    pub cluster_id: String,
    /// The node.
    pub node_id: i32,
}

/// What taking log directories into use gives.
pub struct OpenedDirs {
    /// The directories.
    pub dirs: LogDirs,
    /// The partitions in them.
    pub logs: Vec<FoundLog>,
    /// Keeps other processes out, as long as it lives. It stays on the shard that opened them.
    pub locks: DirLocks,
}

/// The locks on all directories in use.
pub struct DirLocks {
    _locks: Vec<FileLock>,
}

/// Every log directory of a node. Cheap to clone and shared by all shards.
#[derive(Clone)]
pub struct LogDirs(Arc<Shared>);

struct Shared {
    identity: Identity,
    dirs: Vec<Arc<LogDir>>,
    unusable: Vec<StorageError>,
}

impl LogDirs {
    /// Takes the directories into use, and lists the partitions in them.
    ///
    /// `cluster_id` is what the configuration says, if anything; a fresh set of directories
    /// without it gets a new one.
    ///
    /// # Errors
    /// When a directory is another cluster's or node's, is in use, or when none can be used.
    pub async fn open(
        runtime: &Runtime,
        paths: &[PathBuf],
        node_id: i32,
        cluster_id: Option<Uuid>,
    ) -> Result<OpenedDirs, StorageError> {
        let mut locks = Vec::new();
        let mut unusable = Vec::new();
        let mut usable = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            match dir_files::prepare(runtime, path).await {
                Ok((lock, meta)) => {
                    locks.push(lock);
                    usable.push((index, path, meta));
                }
                Err(error @ StorageError::Unusable { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(directory = %path.display(), %error, "left out");
                    unusable.push(error);
                }
            }
        }
        if usable.is_empty() {
            let none = || StorageError::unusable(Path::new("log.dirs"), "no directory is given");
            return Err(unusable.into_iter().next().unwrap_or_else(none));
        }
        let metas = usable.iter().filter_map(|(_, path, meta)| Some((*path, meta.as_ref()?)));
        let identity = dir_files::agree(metas, node_id, cluster_id, runtime)?;
        let mut dirs = Vec::new();
        let mut found = Vec::new();
        for (index, path, meta) in &usable {
            match dir_files::take_over(runtime, path, *index, meta.as_ref(), &identity).await {
                Ok((dir, mut logs)) => {
                    dirs.push(Arc::new(dir));
                    found.append(&mut logs);
                }
                Err(error @ StorageError::Unusable { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(directory = %path.display(), %error, "left out");
                    unusable.push(error);
                }
            }
        }
        if dirs.is_empty() {
            return Err(unusable.swap_remove(0));
        }
        let dirs = LogDirs(Arc::new(Shared { identity, dirs, unusable }));
        dirs.check_space(runtime).await;
        Ok(OpenedDirs { dirs, logs: found, locks: DirLocks { _locks: locks } })
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The directories in use.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LogDir>> {
        self.0.dirs.iter()
    }

    /// The directory with the given place in `log.dirs`, if it is in use.
    pub fn get(&self, index: usize) -> Option<&Arc<LogDir>> {
        self.0.dirs.iter().find(|dir| dir.index() == index)
    }

    /// Why some directories could not be taken into use.
    pub fn unusable(&self) -> &[StorageError] {
        &self.0.unusable
    }

    /// The directory for a new partition: of those that can be written, the one with the fewest
    /// (Kafka's rule). `counts` are the partitions in each, by its place in `log.dirs`.
    pub fn pick_dir(&self, counts: &[usize]) -> Option<&Arc<LogDir>> {
        let count = |dir: &LogDir| counts.get(dir.index()).copied().unwrap_or(0);
        let mut dirs: Vec<_> = self.0.dirs.iter().filter(|dir| !dir.is_offline()).collect();
        dirs.sort_by_key(|dir| (dir.is_full(), count(dir), dir.index()));
        dirs.first().copied()
    }

    /// Looks at the free space. Appends to a directory stop before its reserve is gone, and resume
    /// by themselves. To be called every second or so.
    pub async fn check_space(&self, runtime: &Runtime) {
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let Ok(space) = runtime.disk_space(dir.path()).await else { continue };
            dir.set_space(space.total, space.available);
            // A small file system keeps a part of itself in reserve, not more than it has.
            let reserve = RESERVE_BYTES.min(space.total / 20);
            if space.available < reserve {
                dir.set_full(true);
            } else if space.available >= reserve + RESUME_BYTES.min(space.total / 50) {
                dir.set_full(false);
            }
        }
    }

    /// Writes the checkpoint files of every directory. `logs` are all logs of all shards: one
    /// that is missing is forgotten.
    pub async fn write_checkpoints(
        &self,
        runtime: &Runtime,
        logs: &[LogCheckpoint],
    ) -> Result<(), StorageError> {
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let result = dir_files::write_checkpoints(runtime, dir, logs).await;
            if let Err(error) = result {
                if !error.is_disk_full() {
                    dir.take_offline(&error);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Marks the directories that are still online as cleanly stopped. To be called when every
    /// log is closed and the checkpoints are written, as the last thing.
    pub async fn mark_clean_shutdown(&self, runtime: &Runtime) -> Result<(), StorageError> {
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let path = dir.path().join(dir_files::CLEAN_SHUTDOWN);
            let written =
                runtime.write_file_atomic(&path, dir_files::CLEAN_SHUTDOWN_TEXT.as_bytes()).await;
            written.map_err(StorageError::io("write", &path))?;
        }
        Ok(())
    }
}
