//! All log directories of a node: whose they are, what is in them, their checkpoints and marker.
//!
//! A directory belongs to one cluster and one node (`meta.properties`); a fresh one is made ours
//! by using it, another's is refused. One process uses it at a time (`.lock`). While it is in use
//! there is no clean-shutdown marker; it appears with the last act of a clean stop and goes with
//! the first of a start. A directory that cannot be used when the node starts is reported and
//! left out; the others serve. Files that are not known are left alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringlog_runtime::{FileLock, Runtime};
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::checkpoint::{self, MetaProperties};
use crate::error::StorageError;
use crate::log::Log;
use crate::log_dir::LogDir;
use crate::names;
use crate::open::OpenHint;

const META_PROPERTIES: &str = "meta.properties";
const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const LOG_START_OFFSETS: &str = "log-start-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// What Kafka 4 writes into the marker; -1 for no broker epoch.
const CLEAN_SHUTDOWN_TEXT: &str = r#"{"version":0,"brokerEpoch":-1}"#;
/// A checkpoint larger than this is not one.
const CHECKPOINT_BYTES_MAX: u64 = 256 << 20;
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
            match prepare(runtime, path).await {
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
        let identity = agree(metas, node_id, cluster_id, runtime)?;
        let mut dirs = Vec::new();
        let mut found = Vec::new();
        for (index, path, meta) in &usable {
            match take_over(runtime, path, *index, meta.as_ref(), &identity).await {
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
            let result = write_dir_checkpoints(runtime, dir, logs).await;
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
            let path = dir.path().join(CLEAN_SHUTDOWN);
            let written = runtime.write_file_atomic(&path, CLEAN_SHUTDOWN_TEXT.as_bytes()).await;
            written.map_err(StorageError::io("write", &path))?;
        }
        Ok(())
    }
}

/// Makes the directory if need be, locks it, and reads whose it is.
async fn prepare(
    runtime: &Runtime,
    path: &Path,
) -> Result<(FileLock, Option<MetaProperties>), StorageError> {
    create_durably(runtime, path).await?;
    let lock_path = path.join(LOCK);
    let lock = match runtime.lock_file(&lock_path).await {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let reason = "another process uses it; stop that one, or give this one another \
                directory";
            return Err(StorageError::unusable(path, reason));
        }
        Err(error) => return Err(StorageError::io("lock", &lock_path)(error)),
    };
    let meta_path = path.join(META_PROPERTIES);
    let bytes = match runtime.read_file(&meta_path, CHECKPOINT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((lock, None)),
        Err(error) => return Err(StorageError::io("read", &meta_path)(error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    match checkpoint::decode_meta_properties(&text) {
        Ok(meta) => Ok((lock, Some(meta))),
        Err(malformed) => {
            let reason = format!("{malformed}; restore it, or start on an empty directory");
            Err(StorageError::unusable(&meta_path, reason))
        }
    }
}

/// Makes a directory and sees to it that a loss of power does not take it away. Its name is
/// flushed even if it is there: a process that was killed may have left that undone.
async fn create_durably(runtime: &Runtime, path: &Path) -> Result<(), StorageError> {
    let mut named_in = Vec::new();
    for directory in path.ancestors() {
        let parent = match directory.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => break,
        };
        named_in.push(parent);
        if runtime.stat(parent).await.is_ok() {
            break;
        }
    }
    runtime.create_dir_all(path).await.map_err(StorageError::io("create", path))?;
    for parent in named_in {
        match runtime.sync_dir(parent).await {
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
                return Err(StorageError::io("flush", parent)(error));
            }
            // What may not be read was not made by us.
            _ => {}
        }
    }
    Ok(())
}

/// Who the node is, if its directories and the configuration agree.
fn agree<'a>(
    metas: impl Iterator<Item = (&'a PathBuf, &'a MetaProperties)>,
    node_id: i32,
    cluster_id: Option<Uuid>,
    runtime: &Runtime,
) -> Result<Identity, StorageError> {
    let mut cluster = cluster_id.map(|id| (id.to_string(), "the configuration".to_owned()));
    for (path, meta) in metas {
        if meta.node_id != node_id {
            let reason = format!(
                "it belongs to node {}, and this is node {node_id}; start with --node-id {}, or \
                 give another directory",
                meta.node_id, meta.node_id
            );
            return Err(StorageError::unusable(path, reason));
        }
        match &cluster {
            Some((known, from)) if *known != meta.cluster_id => {
                let reason = format!(
                    "it belongs to cluster {}, and {from} to {known}; give the directories of \
                     one cluster only",
                    meta.cluster_id
                );
                return Err(StorageError::unusable(path, reason));
            }
            Some(_) => {}
            None => cluster = Some((meta.cluster_id.clone(), path.display().to_string())),
        }
    }
    let cluster_id = match cluster {
        Some((id, _)) => id,
        None => random_uuid(runtime).to_string(),
    };
    Ok(Identity { cluster_id, node_id })
}

fn random_uuid(runtime: &Runtime) -> Uuid {
    let (high, low) = (runtime.random_u64(), runtime.random_u64());
    Uuid::from_random((u128::from(high) << 64) | u128::from(low))
}

/// Makes a directory ours and lists what is in it.
async fn take_over(
    runtime: &Runtime,
    path: &Path,
    index: usize,
    meta: Option<&MetaProperties>,
    identity: &Identity,
) -> Result<(LogDir, Vec<FoundLog>), StorageError> {
    let id = claim(runtime, path, meta, identity).await?;
    let clean = take_marker(runtime, path).await?;
    let found = find_logs(runtime, path, index, clean).await?;
    Ok((LogDir::new(index, path.to_owned(), id, clean), found))
}

/// Makes a fresh directory ours, and gives an old one without an id its id.
async fn claim(
    runtime: &Runtime,
    path: &Path,
    meta: Option<&MetaProperties>,
    identity: &Identity,
) -> Result<Uuid, StorageError> {
    if let Some(id) = meta.and_then(|meta| meta.directory_id) {
        return Ok(id);
    }
    let id = random_uuid(runtime);
    let meta = MetaProperties {
        cluster_id: identity.cluster_id.clone(),
        node_id: identity.node_id,
        directory_id: Some(id),
    };
    let path = path.join(META_PROPERTIES);
    let text = checkpoint::encode_meta_properties(&meta);
    let written = runtime.write_file_atomic(&path, text.as_bytes()).await;
    written.map_err(StorageError::io("write", &path))?;
    Ok(id)
}

/// Whether there was a clean-shutdown marker; there is none afterwards.
async fn take_marker(runtime: &Runtime, path: &Path) -> Result<bool, StorageError> {
    let marker = path.join(CLEAN_SHUTDOWN);
    match runtime.remove_file(&marker).await {
        Ok(()) => {
            runtime.sync_dir(path).await.map_err(StorageError::io("flush", path))?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StorageError::io("remove", &marker)(error)),
    }
}

/// The partitions in a directory. What was being deleted is removed.
async fn find_logs(
    runtime: &Runtime,
    path: &Path,
    dir_index: usize,
    clean: bool,
) -> Result<Vec<FoundLog>, StorageError> {
    let recovery_points = read_offsets(runtime, &path.join(RECOVERY_POINTS)).await?;
    let start_offsets = read_offsets(runtime, &path.join(LOG_START_OFFSETS)).await?;
    let entries = runtime.read_dir(path).await.map_err(StorageError::io("list", path))?;
    let mut found = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
        let directory = path.join(&entry.name);
        if names::is_deleted_directory(&entry.name) {
            let removed = runtime.remove_dir_all(&directory).await;
            removed.map_err(StorageError::io("remove", &directory))?;
            continue;
        }
        let Some(topic_partition) = TopicPartition::from_directory_name(&entry.name) else {
            continue;
        };
        let metadata = directory.join(names::PARTITION_METADATA);
        let topic_id = match runtime.read_file(&metadata, 4096).await {
            Ok(bytes) => {
                checkpoint::decode_partition_metadata(&String::from_utf8_lossy(&bytes)).ok()
            }
            Err(_) => None,
        };
        let offset_in = |offsets: &HashMap<TopicPartition, Offset>| {
            offsets.get(&topic_partition).copied().unwrap_or(0)
        };
        let hint = OpenHint {
            clean,
            recovery_point: offset_in(&recovery_points),
            log_start_offset: offset_in(&start_offsets),
        };
        found.push(FoundLog { dir_index, topic_partition, topic_id, hint });
    }
    found.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
    Ok(found)
}

async fn read_offsets(
    runtime: &Runtime,
    path: &Path,
) -> Result<HashMap<TopicPartition, Offset>, StorageError> {
    let bytes = match runtime.read_file(path, CHECKPOINT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    checkpoint::decode_offsets(&String::from_utf8_lossy(&bytes)).map_err(|malformed| {
        let reason = format!("{malformed}; it can be removed, and the logs are then read whole");
        StorageError::unusable(path, reason)
    })
}

async fn write_dir_checkpoints(
    runtime: &Runtime,
    dir: &LogDir,
    logs: &[LogCheckpoint],
) -> Result<(), StorageError> {
    let mut mine: Vec<_> = logs.iter().filter(|log| log.dir_index == dir.index()).collect();
    mine.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
    for name in [RECOVERY_POINTS, LOG_START_OFFSETS, HIGH_WATERMARKS] {
        let offsets: Vec<_> = mine
            .iter()
            .map(|log| {
                let offset = match name {
                    RECOVERY_POINTS => log.recovery_point,
                    LOG_START_OFFSETS => log.log_start_offset,
                    _ => log.high_watermark,
                };
                (log.topic_partition.clone(), offset)
            })
            // Kafka writes a start offset only where it says more than the first segment's name.
            .filter(|(_, offset)| name != LOG_START_OFFSETS || *offset > 0)
            .collect();
        let path = dir.path().join(name);
        let text = checkpoint::encode_offsets(&offsets);
        let written = runtime.write_file_atomic(&path, text.as_bytes()).await;
        written.map_err(StorageError::io("write", &path))?;
    }
    Ok(())
}
