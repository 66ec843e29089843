//! What a log knows of its compaction: how far it is compacted, and whether segments are just being
//! put in the place of others.
//!
//! While they are, the names in the directory say nothing: what renames or removes segments waits,
//! and a reader that opens a file by its name is told to look again. Nothing is replaced while the
//! writer is paused, so whoever has paused it waits for one replacement at most.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use ringlog_types::Offset;

use crate::wait::Waiters;

/// See the head of this file.
pub(crate) struct Cleaning {
    /// Everything below was compacted with itself; kept in `cleaner-offset-checkpoint`.
    cleaned_end: Cell<Option<Offset>>,
    is_replacing: Cell<bool>,
    replaced: Waiters,
    /// A round is under way.
    is_running: Cell<bool>,
    /// Index files that are just being written anew, by their names.
    repairs: Cell<u32>,
}

impl Cleaning {
    pub(crate) fn new(cleaned_end: Option<Offset>) -> Cleaning {
        Cleaning {
            cleaned_end: Cell::new(cleaned_end),
            is_replacing: Cell::new(false),
            replaced: Waiters::default(),
            is_running: Cell::new(false),
            repairs: Cell::new(0),
        }
    }

    pub(crate) fn cleaned_end(&self) -> Option<Offset> {
        self.cleaned_end.get()
    }

    /// Notes that everything below was compacted.
    pub(crate) fn cleaned_to(&self, end: Offset) {
        self.cleaned_end.set(Some(end));
    }

    /// What lies from `end` on is gone.
    pub(crate) fn cut_to(&self, end: Offset) {
        self.cleaned_end.set(self.cleaned_end.get().map(|cleaned| cleaned.min(end)));
    }

    /// Whether segments are just being replaced.
    pub(crate) fn is_replacing(&self) -> bool {
        self.is_replacing.get()
    }

    /// Begins to replace segments, until the guard is dropped.
    pub(crate) fn begin_to_replace(&self) -> Replacing<'_> {
        assert!(!self.is_replacing.replace(true), "a log has one compaction");
        Replacing(self)
    }

    /// Waits until no segments are being replaced.
    pub(crate) async fn wait_replaced(&self) {
        let mut registration = self.replaced.registration();
        poll_fn(|context| match self.is_replacing.get() {
            true => {
                registration.register(context);
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
    }

    /// Whether index files are just being written anew.
    pub(crate) fn is_repairing(&self) -> bool {
        self.repairs.get() > 0
    }

    /// Begins to write index files anew, until the guard is dropped. Not while segments are being
    /// replaced.
    pub(crate) fn begin_repair(&self) -> Repair<'_> {
        assert!(!self.is_replacing.get(), "names mean something only when none are being changed");
        self.repairs.set(self.repairs.get() + 1);
        Repair(self)
    }

    /// Begins a round; `None` if one is under way.
    pub(crate) fn begin_round(&self) -> Option<Round<'_>> {
        (!self.is_running.replace(true)).then_some(Round(self))
    }
}

/// A replacement that is under way.
pub(crate) struct Replacing<'a>(&'a Cleaning);

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        self.0.is_replacing.set(false);
        self.0.replaced.wake_all();
    }
}

/// Index files that are being written anew.
pub(crate) struct Repair<'a>(&'a Cleaning);

impl Drop for Repair<'_> {
    fn drop(&mut self) {
        self.0.repairs.set(self.0.repairs.get() - 1);
    }
}

/// A round that is under way.
pub(crate) struct Round<'a>(&'a Cleaning);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
    }
}
