//! Files: what is opened, and what is known of them.

use std::any::Any;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::fs::{AtFlags, StatxFlags};
use smallvec::SmallVec;

use crate::blocking::Closer;
use crate::sim::OpenFile;

/// What one write writes, one part after another.
pub type WriteBufs = SmallVec<[Bytes; 2]>;

/// What a write still has to write, and where.
pub(crate) struct Unwritten {
    pub(crate) bufs: WriteBufs,
    pub(crate) pos: u64,
}

/// How to open a file. Nothing is asked for by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Create it if it is not there.
    pub create: bool,
    /// Create it, and fail if it is there.
    pub create_new: bool,
    /// Cut it to nothing.
    pub truncate: bool,
    /// Past the page cache (`O_DIRECT`): positions, lengths and addresses are multiples of 4096.
    /// Where the file system refuses, the file is opened without.
    pub direct: bool,
}

/// When a write has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The bytes are with the system, and may be lost with its power.
    Buffered,
    /// The bytes are on the disk (`RWF_DSYNC`). This says nothing of earlier writes.
    Durable,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name in the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
    /// Its length in bytes.
    pub len: u64,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length in bytes.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// When it was last written to, in milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

/// The space of the file system behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it, in bytes.
    pub total: u64,
    /// What an unprivileged writer can still use, in bytes.
    pub available: u64,
}

/// An open file. Clones are the same open file; it is closed when the last one and the last
/// operation on it are gone.
#[derive(Clone)]
pub struct File(Arc<Shared>);

struct Shared {
    handle: Handle,
    /// A send could not read what it was to send.
    unreadable: AtomicBool,
    /// See [`File::disk`]; known when it was asked for.
    disk: OnceLock<u64>,
}

enum Handle {
    Os(OsFile),
    Sim(Arc<OpenFile>),
}

/// A descriptor that is closed away from the shard: closing an unlinked file frees its blocks,
/// which takes milliseconds for a large one.
struct OsFile {
    fd: Option<OwnedFd>,
    closer: Closer,
}

impl Drop for OsFile {
    fn drop(&mut self) {
        self.closer.close(self.fd.take().expect("closed once"));
    }
}

impl File {
    pub(crate) fn from_fd(fd: OwnedFd, closer: Closer) -> File {
        File::new(Handle::Os(OsFile { fd: Some(fd), closer }))
    }

    pub(crate) fn from_sim(file: Arc<OpenFile>) -> File {
        File::new(Handle::Sim(file))
    }

    fn new(handle: Handle) -> File {
        File(Arc::new(Shared { handle, unreadable: AtomicBool::new(false), disk: OnceLock::new() }))
    }

    /// Whether a send met a part of it that could not be read. The send's error cannot tell: by
    /// then the peer has been promised the bytes. Who reads it otherwise is told what is wrong.
    pub fn is_unreadable(&self) -> bool {
        self.0.unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn note_unreadable(&self) {
        self.0.unreadable.store(true, Ordering::Relaxed);
    }

    /// A number for the file system that a real file is on; 0 where it cannot be told.
    pub(crate) fn disk(&self) -> u64 {
        *self.0.disk.get_or_init(|| {
            // What is known here: a server, or a daemon, is not asked, and cannot hold this up.
            let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
            let known = rustix::fs::statx(self.fd(), c"", flags, StatxFlags::empty());
            known.map_or(0, |known| {
                u64::from(known.stx_dev_major) << 32 | u64::from(known.stx_dev_minor)
            })
        })
    }

    /// The descriptor of a real file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match &self.0.handle {
            Handle::Os(file) => file.fd.as_ref().expect("open until the drop").as_fd(),
            Handle::Sim(_) => panic!("a simulated file was given to a real backend"),
        }
    }

    /// The handle of a simulated file.
    pub(crate) fn sim(&self) -> &Arc<OpenFile> {
        match &self.0.handle {
            Handle::Sim(file) => file,
            Handle::Os(_) => panic!("a real file was given to the simulation"),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.handle {
            Handle::Os(file) => write!(f, "File({:?})", file.fd),
            Handle::Sim(file) => write!(f, "File({file:?})"),
        }
    }
}

/// An advisory lock on a path, held until it is dropped or the process ends.
pub struct FileLock {
    _held: Box<dyn Any>,
}

impl FileLock {
    /// Of whatever unlocks when it is dropped.
    pub(crate) fn new(held: impl Any) -> FileLock {
        FileLock { _held: Box::new(held) }
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileLock")
    }
}
