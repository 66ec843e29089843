//! The file operations of a [`Runtime`]: one `match` each.
//!
//! While the system is short of descriptors, threads or memory they wait (`shortage.rs`).
//!
//! Paths are always our own, never from a peer.

use std::io;
use std::path::Path;

use crate::driver::Driver;
use crate::file::Unwritten;
use crate::{
    DirEntry, DiskSpace, Durability, File, FileLock, FileStat, FileSystem, IoBuf, OpenOptions,
    Runtime, WriteBufs,
};
use crate::{folios, shortage};

impl Runtime {
    /// Opens a file.
    ///
    /// # Errors
    /// As `open(2)`.
    pub async fn open(&self, path: &Path, o: &OpenOptions) -> io::Result<File> {
        let mut o = *o;
        self.outlast(async || {
            let opened = match self.driver() {
                Driver::Uring(d) => d.open(path, &o).await,
                Driver::Fallback(d) => d.open(path, &o).await,
                Driver::Sim(d) => d.open(path, &o).await.map(File::from_sim),
            };
            if opened.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::ENOMEM)) {
                // It may have got as far as to make the file.
                o.create |= std::mem::take(&mut o.create_new);
            }
            opened
        })
        .await
    }

    /// Reads from `pos` on until the buffer is full or the file ends; replaces what was in the
    /// buffer and returns how many bytes that is.
    pub async fn read_at(&self, f: &File, mut buf: IoBuf, pos: u64) -> (io::Result<usize>, IoBuf) {
        loop {
            let (read, returned) = match self.driver() {
                Driver::Uring(d) => d.read_at(f, buf, pos).await,
                Driver::Fallback(d) => d.read_at(f, buf, pos).await,
                Driver::Sim(d) => d.read_at(f.sim(), buf, pos).await,
            };
            match read {
                Err(error) if shortage::passes(&error) => self.wait_out(&error).await,
                read => return (read, returned),
            }
            buf = returned;
        }
    }

    /// Whether the byte at `pos` can be read without waiting for the disk: always, where that
    /// cannot be told.
    pub async fn is_cached(&self, f: &File, pos: u64) -> bool {
        match self.driver() {
            Driver::Uring(d) => d.is_cached(f, pos).await,
            Driver::Fallback(_) => true,
            // Its disk has no cache; both answers occur.
            Driver::Sim(_) => (pos >> 12).is_multiple_of(2),
        }
    }

    /// Asks the system to have these bytes in memory soon. A hint: nothing comes of a failure.
    pub async fn will_need(&self, f: &File, pos: u64, len: u64) {
        match self.driver() {
            Driver::Uring(d) => d.will_need(f, pos, len).await,
            Driver::Fallback(d) => d.will_need(f, pos, len).await,
            // Its disk has no cache to warm.
            Driver::Sim(_) => {}
        }
    }

    /// Tells the system that nobody will come for these bytes: it forgets pages of the cache that
    /// lie wholly between them and are in no socket. A hint: nothing comes of a failure.
    pub async fn wont_need(&self, f: &File, pos: u64, len: u64) {
        match self.driver() {
            Driver::Uring(d) => d.wont_need(f, pos, len).await,
            // It keeps what the system has.
            Driver::Fallback(_) => {}
            Driver::Sim(_) => {}
        }
    }

    /// Whether parts of this file that are in no cache go to a socket by page at less cost than
    /// through a buffer: where the page cache has large folios, and reads ahead on another thread
    /// than the shard's.
    pub fn reads_well_by_page(&self, f: &File) -> bool {
        match self.driver() {
            Driver::Uring(_) => folios::are_large(f.fd()),
            Driver::Fallback(_) => false,
            Driver::Sim(d) => d.reads_well_by_page(),
        }
    }

    /// Writes all the parts, one after another, from `pos` on.
    ///
    /// # Errors
    /// Some of it may have been written.
    pub async fn write_at(
        &self,
        f: &File,
        bufs: WriteBufs,
        pos: u64,
        d: Durability,
    ) -> io::Result<()> {
        let mut left = Unwritten { bufs, pos };
        self.outlast(async || match self.driver() {
            Driver::Uring(driver) => driver.write_at(f, &mut left, d).await,
            Driver::Fallback(driver) => driver.write_at(f, &left, d).await,
            Driver::Sim(driver) => driver.write_at(f.sim(), &left, d).await,
        })
        .await
    }

    /// Makes durable what was written to the file, and its length (`fdatasync`).
    ///
    /// # Errors
    /// What was written may be lost, whatever a later call says.
    pub async fn sync_data(&self, f: &File) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.sync_data(f).await,
            Driver::Fallback(d) => d.sync_data(f).await,
            Driver::Sim(d) => d.sync_data(f.sim()).await,
        })
        .await
    }

    /// Allocates space for `len` bytes from `pos` on; the file is at least as long afterwards.
    ///
    /// # Errors
    /// The disk is full.
    pub async fn allocate(&self, f: &File, pos: u64, len: u64) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.allocate(f, pos, len).await,
            Driver::Fallback(d) => d.allocate(f, pos, len).await,
            Driver::Sim(d) => d.allocate(f.sim(), pos, len).await,
        })
        .await
    }

    /// Cuts the file, or lengthens it with a hole.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    pub async fn set_len(&self, f: &File, len: u64) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.set_len(f, len).await,
            Driver::Fallback(d) => d.set_len(f, len).await,
            Driver::Sim(d) => d.set_len(f.sim(), len).await,
        })
        .await
    }

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub async fn file_len(&self, f: &File) -> io::Result<u64> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.file_len(f).await,
            Driver::Fallback(d) => d.file_len(f).await,
            Driver::Sim(d) => d.file_len(f.sim()).await,
        })
        .await
    }

    /// Gives a file or directory another name, in place of a file that has it.
    ///
    /// # Errors
    /// As `rename(2)`.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.rename(from, to).await,
            Driver::Fallback(d) => d.rename(from, to).await,
            Driver::Sim(d) => d.rename(from, to).await,
        })
        .await
    }

    /// Removes a file.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.remove_file(path).await,
            Driver::Fallback(d) => d.remove_file(path).await,
            Driver::Sim(d) => d.remove_file(path).await,
        })
        .await
    }

    /// Removes a directory and all in it.
    ///
    /// # Errors
    /// Some of it may be gone.
    pub async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.remove_dir_all(path).await,
            Driver::Fallback(d) => d.remove_dir_all(path).await,
            Driver::Sim(d) => d.remove_dir_all(path).await,
        })
        .await
    }

    /// Creates a directory, and those above it that are missing. It may be there already.
    ///
    /// # Errors
    /// As `mkdir(2)`.
    pub async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.create_dir_all(path).await,
            Driver::Fallback(d) => d.create_dir_all(path).await,
            Driver::Sim(d) => d.create_dir_all(path).await,
        })
        .await
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What was done there may be lost, whatever a later call says.
    pub async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.sync_dir(dir).await,
            Driver::Fallback(d) => d.sync_dir(dir).await,
            Driver::Sim(d) => d.sync_dir(dir).await,
        })
        .await
    }

    /// The entries of a directory, by name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// As `opendir(3)`.
    pub async fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.read_dir(dir).await,
            Driver::Fallback(d) => d.read_dir(dir).await,
            Driver::Sim(d) => d.read_dir(dir).await,
        })
        .await
    }

    /// What is at a path.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub async fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.stat(path).await,
            Driver::Fallback(d) => d.stat(path).await,
            Driver::Sim(d) => d.stat(path).await,
        })
        .await
    }

    /// The space of the file system a path is on.
    ///
    /// # Errors
    /// As `statvfs(3)`.
    pub async fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.disk_space(path).await,
            Driver::Fallback(d) => d.disk_space(path).await,
            Driver::Sim(d) => d.disk_space(path).await,
        })
        .await
    }

    /// The kind of file system that a path is on.
    ///
    /// # Errors
    /// As `statfs(2)`.
    pub async fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.outlast(async || match self.driver() {
            Driver::Uring(d) => d.file_system(path).await,
            Driver::Fallback(d) => d.file_system(path).await,
            Driver::Sim(d) => Ok(d.file_system()),
        })
        .await
    }

    /// Creates a file if there is none, and locks it against other processes.
    ///
    /// # Errors
    /// `WouldBlock` if another holds the lock.
    pub async fn lock_file(&self, path: &Path) -> io::Result<FileLock> {
        self.outlast(async || {
            let locked = match self.driver() {
                Driver::Uring(d) => d.lock_file(path).await,
                Driver::Fallback(d) => d.lock_file(path).await,
                Driver::Sim(d) => d.lock_file(path).await.map(FileLock::new),
            };
            locked.map_err(|error| match error.raw_os_error() {
                // Another holds it, for which the system has the word it has for shortages.
                Some(libc::EAGAIN) => io::ErrorKind::WouldBlock.into(),
                _ => error,
            })
        })
        .await
    }
}
