//! The files of a log directory beside its partitions: lock, identity, marker, checkpoints; and
//! the names of the partitions' directories in it.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ringlog_runtime::{FileLock, FileSystem, Runtime};
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::directories::checkpoint::{self, MetaProperties};
use crate::directories::{CheckpointFile, FoundLog, Identity, LogCheckpoint};
use crate::error::StorageError;
use crate::log_dir::{DirPast, LogDir};
use crate::names::{self, Directory};
use crate::recovery::open::OpenHint;

const META_PROPERTIES: &str = "meta.properties";
const LOCK: &str = ".lock";
/// There only between a clean stop and the next start.
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(crate) const LOG_START_OFFSETS: &str = "log-start-offset-checkpoint";
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(crate) const CLEANED_ENDS: &str = "cleaner-offset-checkpoint";
const CHECKPOINTS: [&str; 4] = [RECOVERY_POINTS, LOG_START_OFFSETS, HIGH_WATERMARKS, CLEANED_ENDS];
/// What Kafka 4 writes into the marker; -1 for no broker epoch.
pub(crate) const CLEAN_SHUTDOWN_TEXT: &str = r#"{"version":0,"brokerEpoch":-1}"#;
/// A checkpoint larger than this is not one.
const CHECKPOINT_BYTES_MAX: u64 = 256 << 20;

/// Makes the directory if need be, locks it, and reads whose it is. One that holds partitions and
/// does not say whose they are is refused.
pub(crate) async fn prepare(
    runtime: &Runtime,
    path: &Path,
    node_id: i32,
) -> Result<(FileLock, Option<MetaProperties>), StorageError> {
    create_durably(runtime, path).await?;
    let lock_path = path.join(LOCK);
    let lock = match runtime.lock_file(&lock_path).await {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let reason = "another process uses it; stop that one, or give this one another \
                directory";
            return Err(StorageError::unusable(path, reason));
        }
        Err(error) => return Err(StorageError::io("lock", &lock_path)(error)),
    };
    let meta_path = path.join(META_PROPERTIES);
    let bytes = match runtime.read_file(&meta_path, CHECKPOINT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            refuse_ownerless(runtime, path, node_id).await?;
            return Ok((lock, None));
        }
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

/// A directory gets its `meta.properties` before its first partition: where there are partitions
/// and no such file, it was lost. Under a new cluster's id they would be nobody's.
async fn refuse_ownerless(
    runtime: &Runtime,
    path: &Path,
    node_id: i32,
) -> Result<(), StorageError> {
    let entries = runtime.read_dir(path).await.map_err(StorageError::io("list", path))?;
    let is_partition = |name: &str| Directory::from_name(name).is_some();
    let mut partitions = entries.iter().filter(|entry| entry.is_dir && is_partition(&entry.name));
    let Some(first) = partitions.next() else { return Ok(()) };
    let also = match partitions.count() {
        0 => String::new(),
        more => format!(" and {more} more like it"),
    };
    let reason = format!(
        "it holds {}{also}, but no {META_PROPERTIES} that says whose they are; put that file back \
         (lines: version=1, node.id={node_id}, cluster.id=<the cluster's, as in its other \
         directories or a backup>), or give an empty directory; nothing was changed",
        first.name
    );
    Err(StorageError::unusable(path, reason))
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
        match flush_names(runtime, parent).await {
            // What may not be read was not made by us.
            Err(StorageError::Io { source, .. })
                if source.kind() == ErrorKind::PermissionDenied => {}
            flushed => flushed?,
        }
    }
    // Nothing is made in it before it is known to keep that.
    flush_names(runtime, path).await
}

/// Who the node is, if its directories and the configuration agree.
pub(crate) fn agree<'a>(
    metas: impl Iterator<Item = (&'a PathBuf, &'a MetaProperties)>,
    node_id: i32,
    cluster_id: Option<Uuid>,
    runtime: &Runtime,
) -> Result<Identity, StorageError> {
    let mut cluster = cluster_id.map(|id| (id.to_string(), "the configuration".to_owned()));
    let mut directories: HashMap<Uuid, &PathBuf> = HashMap::new();
    for (path, meta) in metas {
        let other = meta.directory_id.and_then(|id| directories.insert(id, path));
        if let Some(other) = other {
            let reason = format!(
                "it has the directory.id of {}; if it is a copy of that one, move one of them away",
                other.display()
            );
            return Err(StorageError::unusable(path, reason));
        }
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
pub(crate) async fn take_over(
    runtime: &Runtime,
    path: &Path,
    index: usize,
    meta: Option<&MetaProperties>,
    identity: &Identity,
) -> Result<(LogDir, Vec<FoundLog>), StorageError> {
    let id = claim(runtime, path, meta, identity).await?;
    let clean = take_marker(runtime, path).await?;
    let found = find_logs(runtime, path, index, clean).await?;
    // A process that came so far as to serve leaves at least one of these.
    let mut used = clean || !found.is_empty();
    for name in CHECKPOINTS {
        used |= runtime.stat(&path.join(name)).await.is_ok();
    }
    let file_system = file_system(runtime, path).await;
    Ok((LogDir::new(index, path.to_owned(), id, DirPast { clean, used }, file_system), found))
}

/// The kind of file system, which is not trusted if it cannot be told.
async fn file_system(runtime: &Runtime, path: &Path) -> FileSystem {
    let unknown = |_| FileSystem { name: "of unknown kind".into(), honours_dsync: false };
    let file_system = runtime.file_system(path).await.unwrap_or_else(unknown);
    if !file_system.honours_dsync {
        tracing::warn!(
            directory = %path.display(),
            file_system = %file_system.name,
            "durable writes are not known to be durable here: each is followed by a flush"
        );
    }
    file_system
}

/// Makes the names in a directory durable. A file system that cannot is named: files that are
/// whole would be gone after a loss of power.
async fn flush_names(runtime: &Runtime, directory: &Path) -> Result<(), StorageError> {
    let Err(error) = runtime.sync_dir(directory).await else { return Ok(()) };
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::Unsupported => {
            let file_system = runtime.file_system(directory).await;
            let name = file_system.map_or("unknown".into(), |known| known.name);
            Err(StorageError::unusable(
                directory,
                format!(
                    "its file system ({name}) refuses to flush directories ({error}), so that what \
                     is created there may be gone after a loss of power; give a directory on \
                     ext4 or XFS"
                ),
            ))
        }
        _ => Err(StorageError::io("flush", directory)(error)),
    }
}

/// Makes a fresh directory ours, and gives an old one without an id its id.
async fn claim(
    runtime: &Runtime,
    path: &Path,
    meta: Option<&MetaProperties>,
    identity: &Identity,
) -> Result<Uuid, StorageError> {
    if let Some(id) = meta.and_then(|meta| meta.directory_id) {
        add_checksum(runtime, &path.join(META_PROPERTIES)).await?;
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

/// Gives a `meta.properties` its checksum that Kafka wrote, or an earlier version.
async fn add_checksum(runtime: &Runtime, path: &Path) -> Result<(), StorageError> {
    let bytes = runtime.read_file(path, CHECKPOINT_BYTES_MAX).await;
    let bytes = bytes.map_err(StorageError::io("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(text) = checkpoint::with_meta_checksum(&text) else { return Ok(()) };
    let written = runtime.write_file_atomic(path, text.as_bytes()).await;
    match written.map_err(StorageError::io("write", path)) {
        // There is time for that.
        Err(error) if error.is_disk_full() => Ok(()),
        written => written,
    }
}

/// Whether there was a clean-shutdown marker; there is none afterwards.
async fn take_marker(runtime: &Runtime, path: &Path) -> Result<bool, StorageError> {
    let marker = path.join(CLEAN_SHUTDOWN);
    match runtime.remove_file(&marker).await {
        Ok(()) => {
            runtime.sync_dir(path).await.map_err(StorageError::io("flush", path))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StorageError::io("remove", &marker)(error)),
    }
}

/// The partitions in a directory. What was being deleted is removed; what Kafka or an earlier
/// start moved aside is left alone and named.
async fn find_logs(
    runtime: &Runtime,
    path: &Path,
    dir_index: usize,
    clean: bool,
) -> Result<Vec<FoundLog>, StorageError> {
    let recovery_points = read_offsets(runtime, &path.join(RECOVERY_POINTS)).await?;
    let start_offsets = read_offsets(runtime, &path.join(LOG_START_OFFSETS)).await?;
    // Without it all of a log is compacted once more.
    let cleaned_ends = read_offsets(runtime, &path.join(CLEANED_ENDS)).await.unwrap_or_default();
    let entries = runtime.read_dir(path).await.map_err(StorageError::io("list", path))?;
    let mut found = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
        let directory = path.join(&entry.name);
        let topic_partition = match Directory::from_name(&entry.name) {
            Some(Directory::Partition(topic_partition)) => topic_partition,
            Some(Directory::Deleted) => {
                let removed = runtime.remove_dir_all(&directory).await;
                removed.map_err(StorageError::io("remove", &directory))?;
                continue;
            }
            Some(Directory::Stray) => {
                tracing::warn!(directory = %directory.display(),
                    "no partition's; remove it when nothing in it is needed");
                continue;
            }
            Some(Directory::Future) => {
                tracing::warn!(directory = %directory.display(),
                    "Apache Kafka was moving a partition here; left alone");
                continue;
            }
            None => continue,
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
            cleaned_end: cleaned_ends.get(&topic_partition).copied(),
            refuse_damage_from: None,
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
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    checkpoint::decode_offsets(&String::from_utf8_lossy(&bytes)).map_err(|malformed| {
        let reason = format!("{malformed}; it can be removed, and the logs are then read whole");
        StorageError::unusable(path, reason)
    })
}

/// Renames partitions' directories to the names of strays, for good when it returns.
pub(crate) async fn set_aside(
    runtime: &Runtime,
    dir: &LogDir,
    partitions: impl Iterator<Item = &TopicPartition>,
) -> Result<(), StorageError> {
    let mut renamed = false;
    for partition in partitions {
        let from = dir.path().join(partition.to_string());
        let to = dir.path().join(names::stray_directory(partition, random_uuid(runtime)));
        runtime.rename(&from, &to).await.map_err(StorageError::io("rename", &from))?;
        renamed = true;
        tracing::warn!(partition = %partition, to = %to.display(), "its directory was set aside; \
            remove it when nothing in it is needed");
    }
    if renamed {
        runtime.sync_dir(dir.path()).await.map_err(StorageError::io("flush", dir.path()))?;
    }
    Ok(())
}

/// Takes the entries that are not to be kept out of a directory's checkpoint files. Files that
/// have none of those are not written.
pub(crate) async fn keep_entries(
    runtime: &Runtime,
    dir: &LogDir,
    keep: impl Fn(&TopicPartition) -> bool,
) -> Result<(), StorageError> {
    for name in CHECKPOINTS {
        let path = dir.path().join(name);
        let offsets = read_offsets(runtime, &path).await;
        let mut offsets = match name {
            // What it says is worth no refusal: logs are compacted once more.
            CLEANED_ENDS => offsets.unwrap_or_default(),
            _ => offsets?,
        };
        let before = offsets.len();
        offsets.retain(|partition, _| keep(partition));
        if offsets.len() < before {
            let mut kept: Vec<_> = offsets.into_iter().collect();
            kept.sort_unstable();
            let text = checkpoint::encode_offsets(&kept);
            let written = runtime.write_file_atomic(&path, text.as_bytes()).await;
            written.map_err(StorageError::io("write", &path))?;
        }
    }
    Ok(())
}

pub(crate) async fn write_checkpoints(
    runtime: &Runtime,
    dir: &LogDir,
    logs: &[LogCheckpoint],
    unopened: &HashSet<TopicPartition>,
    files: &[CheckpointFile],
) -> Result<(), StorageError> {
    let mine: Vec<_> = logs.iter().filter(|log| log.dir_index == dir.index()).collect();
    for file in files {
        type OffsetOf = fn(&LogCheckpoint) -> Option<Offset>;
        let (name, offset_of): (_, OffsetOf) = match file {
            CheckpointFile::RecoveryPoints => (RECOVERY_POINTS, |log| Some(log.recovery_point)),
            // Kafka writes a start offset only where it says more than the first segment's name.
            CheckpointFile::LogStartOffsets => {
                (LOG_START_OFFSETS, |log| Some(log.log_start_offset).filter(|start| *start > 0))
            }
            CheckpointFile::HighWatermarks => (HIGH_WATERMARKS, |log| Some(log.high_watermark)),
            CheckpointFile::CleanedEnds => (CLEANED_ENDS, |log| log.cleaned_end),
        };
        let path = dir.path().join(name);
        let mut offsets: Vec<_> = mine
            .iter()
            .filter_map(|log| Some((log.topic_partition.clone(), offset_of(log)?)))
            .collect();
        if !unopened.is_empty() {
            let before = match file {
                CheckpointFile::CleanedEnds => {
                    read_offsets(runtime, &path).await.unwrap_or_default()
                }
                _ => read_offsets(runtime, &path).await?,
            };
            offsets.extend(before.into_iter().filter(|(name, _)| unopened.contains(name)));
        }
        offsets.sort_unstable();
        let text = checkpoint::encode_offsets(&offsets);
        let written = runtime.write_file_atomic(&path, text.as_bytes()).await;
        written.map_err(StorageError::io("write", &path))?;
        for log in &mine {
            let superseded = match file {
                CheckpointFile::RecoveryPoints => &log.recovery_point_files,
                CheckpointFile::LogStartOffsets => &log.log_start_files,
                CheckpointFile::HighWatermarks | CheckpointFile::CleanedEnds => continue,
            };
            let directory = dir.path().join(log.topic_partition.to_string());
            superseded.remove(runtime, &directory).await?;
        }
    }
    Ok(())
}
