//! The file operations of a simulated shard.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;

use rustix::io::Errno;

use super::disk::{Disk, OpenFile, OpenHow};
use super::driver::SimDriver;
use super::faults::{DirTrouble, DiskOp};
use super::reply::{Reply, reply};
use super::world::Work;
use crate::file::Unwritten;
use crate::{DirEntry, DiskSpace, Durability, FileStat, FileSystem, IoBuf, OpenOptions, shortage};

impl SimDriver {
    pub(crate) async fn open(&self, path: &Path, o: &OpenOptions) -> io::Result<Arc<OpenFile>> {
        let how = OpenHow {
            read: o.read,
            write: o.write,
            create: o.create,
            create_new: o.create_new,
            truncate: o.truncate,
            direct: o.direct,
        };
        let opened = path.to_path_buf();
        let open = move |disk: &mut Disk, now_ms| disk.open(&opened, how, now_ms).map(Arc::new);
        self.metadata(path, DiskOp::Metadata, open).await
    }

    pub(crate) async fn read_at(
        &self,
        file: &Arc<OpenFile>,
        buf: IoBuf,
        pos: u64,
    ) -> (io::Result<usize>, IoBuf) {
        let (reply, answer) = reply();
        let work = Work::Read { file: Arc::clone(file), pos, buf, reply };
        self.submit(file.path(), DiskOp::Read, false, work);
        answer.await
    }

    pub(crate) async fn write_at(
        &self,
        file: &Arc<OpenFile>,
        left: &Unwritten,
        durability: Durability,
    ) -> io::Result<()> {
        let durable = matches!(durability, Durability::Durable);
        let (parts, pos) =
            (left.bufs.iter().filter(|b| !b.is_empty()).cloned().collect(), left.pos);
        let (reply, answer) = reply();
        let work = Work::Write { file: Arc::clone(file), pos, parts, durable, reply };
        self.submit(file.path(), DiskOp::Write, durable, work);
        answer.await
    }

    pub(crate) async fn sync_data(&self, file: &Arc<OpenFile>) -> io::Result<()> {
        let (reply, answer) = reply();
        let work = Work::Sync { file: Arc::clone(file), reply };
        self.submit(file.path(), DiskOp::Sync, true, work);
        answer.await.map_err(shortage::of_flush)
    }

    pub(crate) async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (reply, answer) = reply();
        self.submit(dir, DiskOp::Sync, true, Work::SyncDir { path: dir.to_path_buf(), reply });
        answer.await.map_err(shortage::of_flush)
    }

    pub(crate) async fn allocate(
        &self,
        file: &Arc<OpenFile>,
        pos: u64,
        len: u64,
    ) -> io::Result<()> {
        let opened = Arc::clone(file);
        let allocate = move |disk: &mut Disk, _| disk.allocate(&opened, pos, len);
        self.metadata(file.path(), DiskOp::Allocate, allocate).await
    }

    pub(crate) async fn set_len(&self, file: &Arc<OpenFile>, len: u64) -> io::Result<()> {
        let opened = Arc::clone(file);
        let cut = move |disk: &mut Disk, now_ms| disk.set_len(&opened, len, now_ms);
        self.metadata(file.path(), DiskOp::Metadata, cut).await
    }

    pub(crate) async fn file_len(&self, file: &Arc<OpenFile>) -> io::Result<u64> {
        let opened = Arc::clone(file);
        let length = move |disk: &mut Disk, _| disk.len(&opened);
        self.metadata(file.path(), DiskOp::Metadata, length).await
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_path_buf();
        self.at_path(from, move |disk, from, _| disk.rename(from, &to)).await
    }

    pub(crate) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |disk, path, _| disk.remove_file(path)).await
    }

    pub(crate) async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |disk, path, _| disk.remove_dir_all(path)).await
    }

    pub(crate) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at_path(path, |disk, path, now_ms| disk.create_dir_all(path, now_ms)).await
    }

    pub(crate) async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = self.at_path(path, |disk, path, _| disk.read_dir(path)).await?;
        let entry = |(name, stat): (String, super::disk::Stat)| DirEntry {
            name,
            is_dir: stat.is_dir,
            len: stat.len,
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    pub(crate) async fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let stat = self.at_path(path, |disk, path, _| disk.stat(path)).await?;
        Ok(FileStat { len: stat.len, is_dir: stat.is_dir, modified_ms: stat.modified_ms })
    }

    pub(crate) async fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        let (total, available) = self
            .at_path(path, |disk, path, _| {
                disk.stat(path)?;
                Ok(disk.space())
            })
            .await?;
        let is_full = self.trouble_at(path) == Some(DirTrouble::Full);
        Ok(DiskSpace { total, available: if is_full { 0 } else { available } })
    }

    pub(crate) fn file_system(&self) -> FileSystem {
        FileSystem { name: "simulated".into(), honours_dsync: !self.disk_ignores_dsync() }
    }

    pub(crate) async fn lock_file(&self, path: &Path) -> io::Result<Arc<()>> {
        self.at_path(path, |disk, path, now_ms| disk.lock(path, now_ms)).await
    }

    async fn at_path<T: 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&mut Disk, &Path, i64) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let at: PathBuf = path.to_path_buf();
        let call = move |disk: &mut Disk, now_ms| call(disk, &at, now_ms);
        self.metadata(path, DiskOp::Metadata, call).await
    }

    /// An operation that takes effect, all of it, at the moment it completes.
    async fn metadata<T: 'static>(
        &self,
        at: &Path,
        op: DiskOp,
        call: impl FnOnce(&mut Disk, i64) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let (reply, answer): (Reply<io::Result<T>>, _) = reply();
        let apply = move |disk: &mut Disk, fault: Option<Errno>, now_ms: i64| -> Option<Waker> {
            reply.give(match fault {
                Some(why) => Err(why.into()),
                None => call(disk, now_ms),
            })
        };
        self.submit(at, op, false, Work::Other(Box::new(apply)));
        answer.await
    }
}
