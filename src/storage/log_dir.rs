//! One log directory: its identity, and whether it can be written.
//!
//! Shared by all shards, so it is `Sync`: partitions of every shard may lie in every directory. A
//! directory goes offline at the first failed write or flush and stays so until the process is
//! restarted. A full one only refuses appends until there is room again: those of clients when
//! less than the reserve is free, all of them when the disk has refused to take more.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ringlog_runtime::FileSystem;
use ringlog_types::Uuid;

use crate::background_rate::BackgroundRate;
use crate::error::StorageError;

/// What a start finds of the process that used a log directory before.
pub(crate) struct DirPast {
    /// It stopped cleanly.
    pub(crate) clean: bool,
    /// It came so far as to serve from it.
    pub(crate) used: bool,
}

/// A log directory. Made by [`crate::LogDirs::open`].
#[derive(Debug)]
pub struct LogDir {
    index: usize,
    path: PathBuf,
    id: Uuid,
    clean: bool,
    used: bool,
    file_system: FileSystem,
    failure: OnceLock<Arc<str>>,
    offline: AtomicBool,
    /// Less than the reserve is free.
    below_reserve: AtomicBool,
    /// The disk has refused to take more.
    exhausted: AtomicBool,
    available_bytes: AtomicU64,
    total_bytes: AtomicU64,
    /// Whether its files are read by page where they can be; known when the first one was.
    reads_by_page: OnceLock<bool>,
    scrub_rate: BackgroundRate,
}

impl LogDir {
    pub(crate) fn new(
        index: usize,
        path: PathBuf,
        id: Uuid,
        past: DirPast,
        file_system: FileSystem,
    ) -> LogDir {
        let DirPast { clean, used } = past;
        LogDir {
            index,
            path,
            id,
            clean,
            used,
            file_system,
            failure: OnceLock::new(),
            offline: AtomicBool::new(false),
            below_reserve: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            available_bytes: AtomicU64::new(u64::MAX),
            total_bytes: AtomicU64::new(0),
            reads_by_page: OnceLock::new(),
            scrub_rate: BackgroundRate::default(),
        }
    }

    /// How fast the scrub reads, on all shards together.
    pub fn scrub_rate(&self) -> &BackgroundRate {
        &self.scrub_rate
    }

    pub(crate) fn reads_by_page(&self) -> &OnceLock<bool> {
        &self.reads_by_page
    }

    /// Its place in the setting `log.dirs`, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether a durable write there needs no flush of its own.
    pub(crate) fn honours_dsync(&self) -> bool {
        self.file_system.honours_dsync
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id (KIP-858).
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Whether the process that used it before stopped cleanly.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Whether a node has served from it before. A fresh one, or one that was only formatted, has
    /// nothing that could be missing.
    pub fn was_used(&self) -> bool {
        self.used
    }

    /// Whether a failure took it offline.
    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Relaxed)
    }

    /// The failure that took it offline.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failure.get().cloned()
    }

    /// Takes it offline for good. Only the first failure is kept.
    pub(crate) fn take_offline(&self, error: &StorageError) {
        if self.failure.set(error.to_string().into()).is_ok() {
            tracing::error!(directory = %self.path.display(), %error, "log directory is offline");
        }
        self.offline.store(true, Ordering::Relaxed);
    }

    /// Whether there is no room for clients' appends.
    pub fn is_full(&self) -> bool {
        self.below_reserve.load(Ordering::Relaxed) || self.is_exhausted()
    }

    /// Whether the reserve is used up as well: nothing can be appended.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_exhausted(&self, exhausted: bool) {
        self.set(&self.exhausted, exhausted, "log directory is full; appends are refused");
    }

    pub(crate) fn set_below_reserve(&self, below: bool) {
        let what = "less than ringlog.disk.reserve.bytes is free; clients' appends are refused";
        self.set(&self.below_reserve, below, what);
    }

    fn set(&self, flag: &AtomicBool, value: bool, what: &'static str) {
        if flag.swap(value, Ordering::Relaxed) == value {
            return;
        }
        let (directory, available) = (self.path.display(), self.available_bytes());
        if value {
            tracing::error!(%directory, available, "{what}");
        } else if !self.is_full() {
            tracing::info!(%directory, available, "log directory has room again");
        }
    }

    /// Free bytes when they were last looked at.
    pub fn available_bytes(&self) -> u64 {
        self.available_bytes.load(Ordering::Relaxed)
    }

    /// The size of its file system.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_space(&self, total: u64, available: u64) {
        self.total_bytes.store(total, Ordering::Relaxed);
        self.available_bytes.store(available, Ordering::Relaxed);
    }
}
