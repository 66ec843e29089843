//! The file operations of a fallback shard: each is one call on a thread of the pool.

use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, OFlags};

use super::Fallback;
use super::file_calls::{self, retry};
use crate::file::{FileLock, Unwritten};
use crate::{
    DirEntry, DiskSpace, Durability, File, FileStat, FileSystem, IoBuf, OpenOptions, file_systems,
};

impl Fallback {
    async fn at_path<T: Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path: PathBuf = path.to_path_buf();
        self.call(move || call(&path)).await?
    }

    pub(crate) async fn open(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        let flags = open_flags(options);
        let closer = self.blocking.closer();
        let open = move |path: &Path| Ok(File::from_fd(file_calls::open(path, flags)?, closer));
        self.at_path(path, open).await
    }

    pub(crate) async fn read_at(
        &self,
        file: &File,
        mut buf: IoBuf,
        pos: u64,
    ) -> (io::Result<usize>, IoBuf) {
        let (file, capacity) = (file.clone(), buf.capacity());
        let read = move || {
            let result = buf.fill_with(|out| file_calls::read_at(file.fd(), out, pos));
            (result, buf)
        };
        match self.call(read).await {
            Ok(done) => done,
            // No thread could be started and the buffer went with the call.
            Err(e) => (Err(e), self.buffers.get(capacity)),
        }
    }

    pub(crate) async fn will_need(&self, file: &File, pos: u64, len: u64) {
        let file = file.clone();
        let advise = move || {
            let length = NonZeroU64::new(len);
            rustix::fs::fadvise(file.fd(), pos, length, rustix::fs::Advice::WillNeed)
        };
        drop(self.call(advise).await);
    }

    pub(crate) async fn write_at(
        &self,
        file: &File,
        left: &Unwritten,
        durability: Durability,
    ) -> io::Result<()> {
        let (file, bufs, pos) = (file.clone(), left.bufs.clone(), left.pos);
        let durable = durability == Durability::Durable;
        self.call(move || file_calls::write_at(file.fd(), &bufs, pos, durable)).await?
    }

    pub(crate) async fn sync_data(&self, file: &File) -> io::Result<()> {
        let file = file.clone();
        let flush =
            move || retry(|| rustix::fs::fdatasync(file.fd())).map_err(file_calls::of_flush);
        self.call(flush).await?
    }

    pub(crate) async fn allocate(&self, file: &File, pos: u64, len: u64) -> io::Result<()> {
        let file = file.clone();
        self.call(move || file_calls::allocate(file.fd(), pos, len)).await?
    }

    pub(crate) async fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        let file = file.clone();
        self.call(move || Ok(retry(|| rustix::fs::ftruncate(file.fd(), len))?)).await?
    }

    pub(crate) async fn file_len(&self, file: &File) -> io::Result<u64> {
        let file = file.clone();
        self.call(move || Ok(rustix::fs::fstat(file.fd())?.st_size as u64)).await?
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_path_buf();
        self.at_path(from, move |from| std::fs::rename(from, to)).await
    }

    pub(crate) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |path| std::fs::remove_file(path)).await
    }

    pub(crate) async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |path| std::fs::remove_dir_all(path)).await
    }

    pub(crate) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |path| std::fs::create_dir_all(path)).await
    }

    pub(crate) async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.at_path(dir, file_calls::sync_dir).await
    }

    pub(crate) async fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.at_path(dir, file_calls::read_dir).await
    }

    pub(crate) async fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.at_path(path, |path| {
            let meta = std::fs::metadata(path)?;
            let modified = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified_ms = modified.as_millis() as i64;
            Ok(FileStat { len: meta.len(), is_dir: meta.is_dir(), modified_ms })
        })
        .await
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
        let flags = OFlags::RDWR | OFlags::CREATE;
        let held = self
            .at_path(path, move |path| {
                let file = file_calls::open(path, flags)?;
                rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                Ok(file)
            })
            .await?;
        Ok(FileLock::new(held))
    }
}

fn open_flags(o: &OpenOptions) -> OFlags {
    let mut flags = match (o.read, o.write) {
        (_, false) => OFlags::RDONLY,
        (false, true) => OFlags::WRONLY,
        (true, true) => OFlags::RDWR,
    };
    flags.set(OFlags::CREATE, o.create || o.create_new);
    flags.set(OFlags::EXCL, o.create_new);
    flags.set(OFlags::TRUNC, o.truncate);
    flags.set(OFlags::DIRECT, o.direct);
    flags
}
