//! What the logs of one directory have in memory and not on disk.
//!
//! Every directory has a budget of its own, so that a disk that is full or hangs keeps nobody
//! waiting but its own producers (`log/room.rs`). A directory is *held up* when its disk takes
//! nothing although there is something to write: those who wait then are told so at their
//! deadlines, and only so many bytes may wait at all, because they are held in memory that is
//! everyone's.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::log_dir::LogDir;
use crate::wait::{ChangeRegistration, Waiters};

/// Looks at a directory, one every half second or so, between which nothing of what is to be
/// written was: then it is held up. A disk that is only slow writes a few MiB in that time.
const LOOKS_MAX: u32 = 4;

/// The budget of one directory's logs on one shard.
pub(crate) struct Budget {
    dir: Arc<LogDir>,
    dirty_bytes_max: usize,
    dirty_bytes: Cell<usize>,
    /// Of the batches that wait to be appended.
    waiting_bytes: Cell<usize>,
    writable: Waiters,
    /// Counts what was written and flushed, by which looks see whether anything was.
    writes: Cell<u64>,
    /// Flushes that are under way.
    flushes: Cell<usize>,
    looks: Cell<Looks>,
    held_up: Cell<bool>,
}

/// How often in a row a directory, or a log, was found as it was.
#[derive(Clone, Copy, Default)]
pub(crate) struct Looks {
    writes: u64,
    unchanged: u32,
}

impl Looks {
    /// One more look. Returns whether nothing moves although it should. Of a disk that is known to
    /// be full, one look at which nothing was written says so.
    pub(crate) fn look(&mut self, is_due: bool, is_full: bool, writes: u64) -> bool {
        if !is_due || writes != self.writes {
            *self = Looks { writes, unchanged: 0 };
            return false;
        }
        self.unchanged = (self.unchanged + 1).min(LOOKS_MAX);
        is_full || self.unchanged == LOOKS_MAX
    }
}

impl Budget {
    pub(super) fn new(dir: Arc<LogDir>, dirty_bytes_max: usize) -> Rc<Budget> {
        Rc::new(Budget {
            dir,
            dirty_bytes_max,
            dirty_bytes: Cell::new(0),
            waiting_bytes: Cell::new(0),
            writable: Waiters::default(),
            writes: Cell::new(0),
            flushes: Cell::new(0),
            looks: Cell::default(),
            held_up: Cell::new(false),
        })
    }

    pub(super) fn is_of(&self, dir: &Arc<LogDir>) -> bool {
        Arc::ptr_eq(&self.dir, dir)
    }

    pub(super) fn dir_index(&self) -> usize {
        self.dir.index()
    }

    pub(super) fn add(&self, bytes: usize) {
        self.dirty_bytes.set(self.dirty_bytes.get() + bytes);
    }

    pub(super) fn remove(&self, bytes: usize) {
        let dirty_bytes = self.dirty_bytes.get();
        assert!(bytes <= dirty_bytes, "{bytes} of {dirty_bytes} bytes are written");
        self.dirty_bytes.set(dirty_bytes - bytes);
        self.moved();
        self.writable.wake_all();
    }

    fn moved(&self) {
        self.writes.set(self.writes.get() + 1);
        self.held_up.set(false);
    }

    /// Counts a flush until what is returned is dropped: there may be nothing left to write, and
    /// the disk hangs all the same.
    pub(crate) fn begin_flush(&self) -> Flushing<'_> {
        self.flushes.set(self.flushes.get() + 1);
        Flushing(self)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.dirty_bytes.get() <= self.dirty_bytes_max
    }

    /// Counts a batch that waits to be appended.
    pub(crate) fn begin_waiting(&self, bytes: usize) {
        self.waiting_bytes.set(self.waiting_bytes.get() + bytes);
    }

    /// Counts it off.
    pub(crate) fn end_waiting(&self, bytes: usize) {
        self.waiting_bytes.set(self.waiting_bytes.get() - bytes);
    }

    /// Bytes that wait to be appended to logs of the directory.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.get()
    }

    /// Whether more waits than may while the directory is held up.
    pub(crate) fn is_too_much_waiting(&self) -> bool {
        self.is_held_up() && self.waiting_bytes.get() > self.dirty_bytes_max
    }

    /// Who waits for room is woken when there may be some.
    pub(crate) fn registration(&self) -> ChangeRegistration<'_> {
        self.writable.registration()
    }

    /// Whether its disk takes nothing although there is something to write.
    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up.get()
    }

    /// Looks whether its disk takes anything. To be called twice a second.
    pub(super) fn look(&self) -> bool {
        let mut looks = self.looks.get();
        let is_due = self.dirty_bytes.get() > 0 || self.flushes.get() > 0;
        let held_up = looks.look(is_due, self.dir.is_exhausted(), self.writes.get());
        self.looks.set(looks);
        if held_up && !self.held_up.replace(held_up) {
            let dirty_bytes = self.dirty_bytes.get();
            tracing::error!(directory = %self.dir.path().display(), dirty_bytes, "the disk takes \
                nothing; who waits for it is told so at the timeout of the request");
        }
        self.held_up.set(held_up);
        if held_up {
            self.writable.wake_all();
        }
        held_up
    }
}

/// A flush that is under way.
pub(crate) struct Flushing<'a>(&'a Budget);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.flushes.set(self.0.flushes.get() - 1);
        self.0.moved();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_moves_is_not_held_up() {
        let mut looks = Looks::default();
        let mut writes = 0;
        for _ in 0..10 {
            assert!(!looks.look(false, true, writes), "there is nothing to write");
        }
        for _ in 0..10 {
            writes += 1;
            assert!(!looks.look(true, true, writes), "a full disk that moves is not held up");
        }
        for look in 1..10 {
            assert_eq!(looks.look(true, false, writes), look >= LOOKS_MAX, "look {look}");
        }
        assert!(!looks.look(true, false, writes + 1));
        assert!(looks.look(true, true, writes + 1), "it is full, and nothing moves");
    }
}
