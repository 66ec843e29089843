//! How much of a segment's indexes its two index files hold, and whose turn it is to write them.
//!
//! The keeper adds entries to the files, a seal and a truncation write them whole, and so does an
//! examination, at any time. One of them writes at a time, what the index has when its turn comes.
//! An index may be made anew while the old one is being written: what that writing has brought to
//! the file then counts for nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use crate::wait::Waiters;

/// Which of the two indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    Offsets,
    Times,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct IndexFiles {
    /// Entries that are in the files.
    offsets_written: Cell<usize>,
    times_written: Cell<usize>,
    /// How often the index in memory was made anew.
    made: Cell<u64>,
    is_taken: Cell<bool>,
    given_back: Waiters,
}

/// The turn of one who writes, until it is dropped.
pub(crate) struct IndexTurn<'a> {
    files: &'a IndexFiles,
    made: u64,
}

impl Drop for IndexTurn<'_> {
    fn drop(&mut self) {
        self.files.is_taken.set(false);
        self.files.given_back.wake_all();
    }
}

impl IndexFiles {
    fn written_of(&self, which: Index) -> &Cell<usize> {
        match which {
            Index::Offsets => &self.offsets_written,
            Index::Times => &self.times_written,
        }
    }

    /// Waits until nobody else writes.
    pub(crate) async fn turn(&self) -> IndexTurn<'_> {
        let mut registration = self.given_back.registration();
        poll_fn(|context| match self.is_taken.replace(true) {
            true => {
                registration.register(context);
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
        IndexTurn { files: self, made: self.made.get() }
    }

    /// None of the index in memory is in the files: it was made anew.
    pub(crate) fn made_anew(&self) {
        self.made.set(self.made.get() + 1);
        self.offsets_written.set(0);
        self.times_written.set(0);
    }
}

impl IndexTurn<'_> {
    /// How many entries are in the file.
    pub(crate) fn written(&self, which: Index) -> usize {
        self.files.written_of(which).get()
    }

    /// So many are now.
    pub(crate) fn note_written(&self, which: Index, entries: usize) {
        if self.files.made.get() == self.made {
            self.files.written_of(which).set(entries);
        }
    }
}
