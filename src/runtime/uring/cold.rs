//! The rare calls io_uring has no operation for, on the blocking thread.

use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Uring;
use crate::{DirEntry, DiskSpace, FileLock, FileSystem, file_systems};

impl Uring {
    async fn at_path<T: Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = path.to_path_buf();
        self.blocking.call(move || call(&path)).await
    }

    pub(crate) async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |path| std::fs::remove_dir_all(path)).await
    }

    pub(crate) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |path| std::fs::create_dir_all(path)).await
    }

    pub(crate) async fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.at_path(dir, read_dir).await
    }

    pub(crate) async fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.at_path(path, |path| {
            let stat = rustix::fs::statvfs(path)?;
            let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
            Ok(DiskSpace { total: bytes(stat.f_blocks), available: bytes(stat.f_bavail) })
        })
        .await
    }

    pub(crate) async fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.at_path(path, |path| Ok(file_systems::of(rustix::fs::statfs(path)?.f_type))).await
    }

    pub(crate) async fn lock_file(&self, path: &Path) -> io::Result<FileLock> {
        let held = self.at_path(path, |path| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        });
        Ok(FileLock::new(held.await?))
    }
}

fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // It may have gone away since it was listed.
        let Ok(meta) = entry.metadata() else { continue };
        let Ok(name) = entry.file_name().into_string() else { continue };
        entries.push(DirEntry { name, is_dir: meta.is_dir(), len: meta.len() });
    }
    Ok(entries)
}
