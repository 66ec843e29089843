//! All log directories of a node: whose they are, what is in them, their checkpoints and marker.
//!
//! A directory belongs to one cluster and one node (`meta.properties`); a fresh one is made ours
//! by using it, another's is refused. One process uses it at a time (`.lock`). While it is in use
//! there is no clean-shutdown marker; it appears with the last act of a clean stop and goes with
//! the first of a start. A directory that cannot be used when the node starts is reported and
//! left out; the others serve, unless it may be the one that says what cluster this is. Files that
//! are not known are left alone.
//!
//! Checkpoints know partitions by name alone, and so do directories. What a deleted topic leaves
//! of either must be gone before another topic gets the name ([`LogDirs::keep_checkpoints`],
//! [`LogDirs::set_aside`]), or its offsets and records would become the new one's.

pub(crate) mod checkpoint;
mod files;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringlog_runtime::{FileLock, Runtime};
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::error::StorageError;
use crate::local_offsets::SupersededFiles;
use crate::log::Log;
use crate::log_dir::LogDir;
use crate::recovery::open::OpenHint;

/// Clients' appends stop when less than this is free, unless told otherwise, so that what was
/// accepted can still be written, and metadata too.
const RESERVE_BYTES: u64 = 256 << 20;
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
#[derive(Debug, Clone)]
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
    /// See [`Log::cleaned_end`].
    pub cleaned_end: Option<Offset>,
    /// Files of the log that are superfluous once the recovery point is in its checkpoint.
    pub(crate) recovery_point_files: SupersededFiles,
    /// The same for the log start.
    pub(crate) log_start_files: SupersededFiles,
}

/// One of the files in which a directory keeps an offset of each of its logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointFile {
    /// `recovery-point-offset-checkpoint`.
    RecoveryPoints,
    /// `log-start-offset-checkpoint`.
    LogStartOffsets,
    /// `replication-offset-checkpoint`.
    HighWatermarks,
    /// `cleaner-offset-checkpoint`.
    CleanedEnds,
}

impl CheckpointFile {
    /// All of them.
    pub const ALL: [CheckpointFile; 4] = [
        CheckpointFile::RecoveryPoints,
        CheckpointFile::LogStartOffsets,
        CheckpointFile::HighWatermarks,
        CheckpointFile::CleanedEnds,
    ];
}

impl Log {
    /// What the checkpoint files are to say about this log.
    pub fn checkpoint(&self) -> LogCheckpoint {
        LogCheckpoint {
            dir_index: self.dir.index(),
            topic_partition: self.topic_partition.clone(),
            recovery_point: self.recovery_point(),
            log_start_offset: self.log_start_offset(),
            high_watermark: self.high_watermark(),
            cleaned_end: self.cleaned_end(),
            recovery_point_files: self.local_recovery_point.superseded(),
            log_start_files: self.local_start.superseded(),
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

/// A log directory that could not be taken into use.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct UnusableDir {
    /// The directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: StorageError,
}

impl UnusableDir {
    fn left_out(path: &Path, error: StorageError) -> UnusableDir {
        tracing::error!(directory = %path.display(), %error, "left out");
        UnusableDir { path: path.to_owned(), error }
    }

    /// What is said where no directory can be used.
    fn the_last(self) -> StorageError {
        StorageError::NoDirectory(Arc::new(self.error))
    }
}

/// Every log directory of a node. Cheap to clone and shared by all shards.
#[derive(Clone)]
pub struct LogDirs(Arc<Shared>);

struct Shared {
    identity: Identity,
    dirs: Vec<Arc<LogDir>>,
    unusable: Vec<UnusableDir>,
    /// See [`LogDirs::set_reserve_bytes`]; `u64::MAX` where nothing is set.
    reserve_bytes: AtomicU64,
}

impl LogDirs {
    /// Takes the directories into use, and lists the partitions in them.
    ///
    /// `cluster_id` is what the configuration says, if anything; a fresh set of directories
    /// without it gets a new one.
    ///
    /// # Errors
    /// When a directory is another cluster's or node's, or holds partitions and does not say
    /// whose; when one is in use; when none can be used, or only new ones.
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
            match files::prepare(runtime, path, node_id).await {
                Ok((lock, meta)) => {
                    locks.push(lock);
                    usable.push((index, path, meta));
                }
                Err(error @ StorageError::Unusable { .. }) => return Err(error),
                Err(error) => unusable.push(UnusableDir::left_out(path, error)),
            }
        }
        if usable.is_empty() {
            let none = || StorageError::unusable(Path::new("log.dirs"), "no directory is given");
            return Err(unusable.into_iter().next().map_or_else(none, UnusableDir::the_last));
        }
        if let Some(error) = unusable.first()
            && usable.iter().all(|(.., meta)| meta.is_none())
        {
            let reason = format!(
                "{error}; the other directories are new, and a new cluster is not begun while \
                 this one cannot be read: repair it, or take it out of log.dirs"
            );
            return Err(StorageError::unusable(Path::new("log.dirs"), reason));
        }
        let metas = usable.iter().filter_map(|(_, path, meta)| Some((*path, meta.as_ref()?)));
        let identity = files::agree(metas, node_id, cluster_id, runtime)?;
        let mut dirs = Vec::new();
        let mut found = Vec::new();
        for (index, path, meta) in &usable {
            match files::take_over(runtime, path, *index, meta.as_ref(), &identity).await {
                Ok((dir, mut logs)) => {
                    dirs.push(Arc::new(dir));
                    found.append(&mut logs);
                }
                Err(error @ StorageError::Unusable { .. }) => return Err(error),
                Err(error) => unusable.push(UnusableDir::left_out(path, error)),
            }
        }
        if dirs.is_empty() {
            return Err(unusable.swap_remove(0).the_last());
        }
        let reserve_bytes = AtomicU64::new(u64::MAX);
        let dirs = LogDirs(Arc::new(Shared { identity, dirs, unusable, reserve_bytes }));
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
    pub fn unusable(&self) -> &[UnusableDir] {
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

    /// How much is to stay free on every directory's disk. `None` is the default: 256 MiB, but no
    /// more than a twentieth of the file system. It counts from the next look at the space on.
    pub fn set_reserve_bytes(&self, reserve_bytes: Option<u64>) {
        self.0.reserve_bytes.store(reserve_bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sets how fast the scrub reads in each directory; 0 for no scrub.
    pub fn set_scrub_rate(&self, bytes_per_second: u64) {
        for dir in &self.0.dirs {
            dir.scrub_rate().set_bytes_per_second(bytes_per_second);
        }
    }

    /// Looks at the free space. Clients' appends to a directory stop before its reserve is gone,
    /// and resume by themselves. To be called every second or so.
    pub async fn check_space(&self, runtime: &Runtime) {
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let Ok(space) = runtime.disk_space(dir.path()).await else { continue };
            dir.set_space(space.total, space.available);
            let reserve = match self.0.reserve_bytes.load(Ordering::Relaxed) {
                // A small file system keeps a part of itself in reserve, not more than it has.
                u64::MAX => RESERVE_BYTES.min(space.total / 20),
                bytes => bytes,
            };
            let resume = reserve.saturating_add(RESUME_BYTES.min(space.total / 50));
            if space.available < reserve {
                dir.set_below_reserve(true);
            } else if space.available >= resume {
                dir.set_below_reserve(false);
                dir.set_exhausted(false);
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
        self.write_some_checkpoints(runtime, logs, &HashSet::new(), &CheckpointFile::ALL).await
    }

    /// Writes some of the checkpoint files of every directory. What a file says of `unopened`,
    /// the partitions that have a log which could not be opened, stays.
    ///
    /// # Errors
    /// The first of them, when all directories have had their turn.
    pub async fn write_some_checkpoints(
        &self,
        runtime: &Runtime,
        logs: &[LogCheckpoint],
        unopened: &HashSet<TopicPartition>,
        files: &[CheckpointFile],
    ) -> Result<(), StorageError> {
        let failed = self.write_each(runtime, logs, unopened, files).await;
        failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// The same, with what is wrong with each directory that was not written, by its place in
    /// `log.dirs`. Those that are offline have no turn.
    pub async fn write_each(
        &self,
        runtime: &Runtime,
        logs: &[LogCheckpoint],
        unopened: &HashSet<TopicPartition>,
        files: &[CheckpointFile],
    ) -> Vec<(usize, StorageError)> {
        let mut failed = Vec::new();
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            // What is wrong with one directory is no reason to leave out the others, and one that
            // is full does not keep them from theirs.
            let written = files::write_checkpoints(runtime, dir, logs, unopened, files).await;
            if let Err(error) = written {
                if !error.is_disk_full() {
                    dir.take_offline(&error);
                }
                failed.push((dir.index(), error));
            }
        }
        failed
    }

    /// Takes all other entries out of the checkpoint files, for good when it returns: `keep` is
    /// asked with a directory's place in `log.dirs` and a partition. Must not run at the same
    /// time as the writing of checkpoints.
    pub async fn keep_checkpoints(
        &self,
        runtime: &Runtime,
        keep: impl Fn(usize, &TopicPartition) -> bool,
    ) -> Result<(), StorageError> {
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let kept = files::keep_entries(runtime, dir, |partition| keep(dir.index(), partition));
            if let Err(error) = kept.await {
                if matches!(error, StorageError::Io { .. }) && !error.is_disk_full() {
                    dir.take_offline(&error);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Renames directories that were found under a partition's name and are not that partition's
    /// as Kafka does (`LogManager.isStray`): `<topic>-<partition>.<id>-stray`. Their content is
    /// kept, and nothing ever opens or removes it. Where that fails the directory keeps its name,
    /// and [`Log::create`] refuses it.
    pub async fn set_aside(&self, runtime: &Runtime, strays: &[(usize, TopicPartition)]) {
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let mine = strays.iter().filter(|(dir_index, _)| *dir_index == dir.index());
            let partitions = mine.map(|(_, partition)| partition);
            if let Err(error) = files::set_aside(runtime, dir, partitions).await {
                tracing::error!(%error, "a directory could not be set aside");
                if !error.is_disk_full() {
                    dir.take_offline(&error);
                }
            }
        }
    }

    /// The directories in which there is one of this partition's name.
    pub async fn find(&self, runtime: &Runtime, partition: &TopicPartition) -> Vec<usize> {
        let mut found = Vec::new();
        for dir in self.0.dirs.iter().filter(|dir| !dir.is_offline()) {
            let path = dir.path().join(partition.to_string());
            if runtime.stat(&path).await.is_ok_and(|stat| stat.is_dir) {
                found.push(dir.index());
            }
        }
        found
    }

    /// Notes in fresh directories, by an empty checkpoint, that they are in use; see
    /// [`LogDir::was_used`]. To be called when there is something that a start must find again.
    pub async fn mark_used(&self, runtime: &Runtime) {
        for dir in self.0.dirs.iter().filter(|dir| !dir.was_used()) {
            let (none, file) = (HashSet::new(), [CheckpointFile::HighWatermarks]);
            let written = files::write_checkpoints(runtime, dir, &[], &none, &file);
            if let Err(error) = written.await {
                tracing::error!(%error, "a new directory cannot be written");
                if !error.is_disk_full() {
                    dir.take_offline(&error);
                }
            }
        }
    }

    /// Marks directories that are still online as cleanly stopped: those of which `is_clean` says,
    /// given the place in `log.dirs`, that all their logs are closed. To be called when the
    /// checkpoints are written, as the last thing.
    pub async fn mark_clean_shutdown(
        &self,
        runtime: &Runtime,
        is_clean: impl Fn(usize) -> bool,
    ) -> Result<(), StorageError> {
        let dirs = self.0.dirs.iter().filter(|dir| !dir.is_offline() && is_clean(dir.index()));
        for dir in dirs {
            let path = dir.path().join(files::CLEAN_SHUTDOWN);
            let written =
                runtime.write_file_atomic(&path, files::CLEAN_SHUTDOWN_TEXT.as_bytes()).await;
            written.map_err(StorageError::io("write", &path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BatchSpec, Bench, append, on_shard, summary};
    use crate::{AppendError, AppendOrigin};
    use ringlog_config::TopicConfig;

    #[test]
    fn clients_stop_before_the_reserve_is_gone_and_resume() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let bench = Bench::new(runtime.clone(), &path, TopicConfig::default());
                let opened = bench.open().await;
                let (log, dirs) = (&opened.log, &opened.dirs.dirs);
                append(log, BatchSpec::default()).expect("there is room");
                dirs.set_reserve_bytes(Some(u64::MAX - 1));
                dirs.check_space(&runtime).await;
                assert!(dirs.get(0).expect("in use").is_full());
                let refused = append(log, BatchSpec::default());
                assert!(matches!(refused, Err(AppendError::NoSpace)), "{refused:?}");
                let batch = BatchSpec::default().build();
                let origin = AppendOrigin::Coordinator;
                let appended = log.append(&batch, &summary(&batch), origin, 0, 0);
                let end = appended.expect("the reserve is for this").last_offset + 1;
                log.wait_durable(log.end_at(end)).await.expect("written");
                let refused = append(log, BatchSpec::default());
                assert!(refused.is_err(), "a write that went well frees nothing");
                dirs.set_reserve_bytes(Some(0));
                dirs.check_space(&runtime).await;
                append(log, BatchSpec::default()).expect("there is room again");
                bench.close(opened).await;
            }
        });
    }

    /// The directories behind one that could not take its checkpoints did not get theirs either.
    #[test]
    fn each_directory_gets_its_checkpoints() {
        let roots = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let paths = roots.each_ref().map(|root| root.path().to_owned());
        on_shard(move |runtime| {
            let paths = paths.clone();
            async move {
                let opened = LogDirs::open(&runtime, &paths, 1, None).await.expect("usable");
                std::fs::remove_dir_all(&paths[0]).expect("removed");
                let written = opened.dirs.write_checkpoints(&runtime, &[]).await;
                assert!(matches!(written, Err(StorageError::Io { .. })), "{written:?}");
                assert!(paths[1].join("recovery-point-offset-checkpoint").exists());
                let offline = [0, 1].map(|at| opened.dirs.get(at).expect("in use").is_offline());
                assert_eq!(offline, [true, false]);
            }
        });
    }

    #[test]
    fn checkpoint_files_are_written_one_by_one() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let bench = Bench::new(runtime.clone(), &path, TopicConfig::default());
                let opened = bench.open().await;
                let logs = [opened.log.checkpoint()];
                let files = ["recovery-point", "log-start", "replication", "cleaner"]
                    .map(|name| path.join(format!("{name}-offset-checkpoint")));
                for (at, file) in CheckpointFile::ALL.into_iter().enumerate() {
                    files.iter().for_each(|file| drop(std::fs::remove_file(file)));
                    let (dirs, file) = (&opened.dirs.dirs, [file]);
                    let written =
                        dirs.write_some_checkpoints(&runtime, &logs, &HashSet::new(), &file).await;
                    written.expect("written");
                    for (other, file) in files.iter().enumerate() {
                        assert_eq!(file.exists(), other == at, "{}", file.display());
                    }
                }
                bench.close(opened).await;
            }
        });
    }

    #[test]
    fn checkpoints_forget_what_is_not_kept_and_are_written_only_then() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let bench = Bench::new(runtime.clone(), &path, TopicConfig::default());
                let opened = bench.open().await;
                let (dirs, log) = (&opened.dirs.dirs, opened.log.checkpoint());
                let named = |topic: &str| LogCheckpoint {
                    topic_partition: TopicPartition::new(topic, 0),
                    log_start_offset: 7,
                    ..log.clone()
                };
                let logs = [named("a"), named("b"), named("c")];
                dirs.write_checkpoints(&runtime, &logs).await.expect("written");
                let file = path.join(files::LOG_START_OFFSETS);
                let text = || std::fs::read_to_string(&file).expect("there");
                let inode = || {
                    use std::os::unix::fs::MetadataExt;
                    std::fs::metadata(&file).expect("there").ino()
                };
                let before = inode();
                let keep = |_, partition: &TopicPartition| &*partition.topic != "d";
                dirs.keep_checkpoints(&runtime, keep).await.expect("read");
                assert_eq!(inode(), before, "there was nothing to forget");
                let keep = |_, partition: &TopicPartition| &*partition.topic != "b";
                dirs.keep_checkpoints(&runtime, keep).await.expect("written");
                assert_eq!(text(), "0\n2\na 0 7\nc 0 7\n");
                assert_ne!(inode(), before);
                let keep = |dir_index, _: &TopicPartition| dir_index != 0;
                dirs.keep_checkpoints(&runtime, keep).await.expect("written");
                for file in [files::RECOVERY_POINTS, files::HIGH_WATERMARKS] {
                    let text = std::fs::read_to_string(path.join(file)).expect("there");
                    assert_eq!(text, "0\n0\n", "{file}");
                }
                bench.close(opened).await;
            }
        });
    }
}
