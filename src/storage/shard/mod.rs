//! What the logs of one shard share: the runtime, and the budgets of memory and open files.
//!
//! Owned by one shard and not `Send`. Memory for tails is given to whoever appends and taken back
//! from the chunks that were filled first and are on disk; what is not on disk is never taken, and
//! is bounded by `dirty_bytes_max`, beyond which producers wait.

pub(crate) mod budget;
mod complaints;
pub(crate) mod read_ahead;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ringlog_runtime::Runtime;
use ringlog_runtime::sync::{Permit, Semaphore};
use ringlog_types::Offset;

use crate::log::Log;
use crate::log_dir::LogDir;
use crate::observer::StorageObserver;
use crate::segment::{Examination, Segment, Stage};
use crate::shard::budget::Budget;
use crate::shard::complaints::Complaints;
use crate::shard::read_ahead::ReadAhead;

/// Chunks looked at for each time that memory is taken. What is not on disk stays, and with many
/// logs that may be most of them: looking at all would make every append pay for all logs.
const EVICTIONS_MAX: usize = 8;
/// How many segments that were sealed lately are remembered.
const SEALED_MAX: usize = 1024;

/// Bytes of batches that those who look for a time hold at once. One batch may be larger.
const LOOKED_UP_BYTES_MAX: usize = 4 << 20;

/// The budgets of a shard's logs.
#[derive(Debug, Clone, Copy)]
pub struct StorageOptions {
    /// Memory for the ends of all logs of the shard.
    pub tail_cache_bytes: usize,
    /// Memory for what is read ahead of consumers that follow an unsealed segment.
    pub read_ahead_bytes: usize,
    /// Memory of all buffers of the shard, those of requests and of answers on their way to
    /// clients too, beyond which a read takes hardly more.
    pub buffer_bytes_max: usize,
    /// Of those, so many are kept for readers that are known to take what they ask for.
    pub buffer_bytes_reserved: usize,
    /// Bytes appended but not written, over all logs of a directory on the shard, at which
    /// producers wait.
    pub dirty_bytes_max: usize,
    /// The same for a single log.
    pub log_dirty_bytes_max: usize,
    /// Sealed segments whose file and index are kept open.
    pub open_segments_max: usize,
    /// Bytes written to a log after which its recovery point moves on
    /// (`ringlog.recovery.checkpoint.bytes`).
    pub recovery_checkpoint_bytes: u64,
    /// How long an idle producer is remembered (`producer.id.expiration.ms`); see
    /// [`StorageShard::set_producer_id_expiration_ms`].
    pub producer_id_expiration_ms: i64,
}

impl Default for StorageOptions {
    fn default() -> StorageOptions {
        StorageOptions {
            tail_cache_bytes: 32 << 20,
            read_ahead_bytes: 8 << 20,
            buffer_bytes_max: 128 << 20,
            buffer_bytes_reserved: 16 << 20,
            dirty_bytes_max: 32 << 20,
            log_dirty_bytes_max: 8 << 20,
            open_segments_max: 256,
            // 64 MiB take a recovery some 60 ms.
            recovery_checkpoint_bytes: 64 << 20,
            producer_id_expiration_ms: 86_400_000,
        }
    }
}

/// A shard's storage: made once, handed to every log of the shard. Cheap to clone.
#[derive(Clone)]
pub struct StorageShard(Rc<Shared>);

struct Shared {
    runtime: Runtime,
    options: StorageOptions,
    read_ahead: ReadAhead,
    tail_bytes: Cell<usize>,
    /// One entry for each chunk in memory, oldest first.
    chunk_owners: RefCell<VecDeque<Weak<Log>>>,
    /// Of reads that were planned and have not got their buffers yet.
    planned_bytes: Cell<usize>,
    dirty_bytes: Cell<usize>,
    /// One for each directory that has logs here.
    budgets: RefCell<Vec<Rc<Budget>>>,
    /// Sealed segments with an open file or a loaded index, least recently used first.
    open_segments: RefCell<VecDeque<Weak<Segment>>>,
    producer_id_expiration_ms: Cell<i64>,
    /// For batches that are looked into by time.
    looked_up: Semaphore,
    complaints: RefCell<Complaints>,
    /// Segments that were sealed lately, by the place of their directory, for the scrub.
    sealed: RefCell<VecDeque<(usize, Weak<Log>, Offset)>>,
    observer: RefCell<Option<Rc<dyn StorageObserver>>>,
}

/// Memory that a read is about to take; counted until this is dropped.
pub(crate) struct PlannedMemory {
    shard: StorageShard,
    bytes: usize,
}

impl Drop for PlannedMemory {
    fn drop(&mut self) {
        let planned = &self.shard.0.planned_bytes;
        planned.set(planned.get() - self.bytes);
    }
}

impl StorageShard {
    /// The storage of the shard that `runtime` runs.
    pub fn new(runtime: Runtime, options: StorageOptions) -> StorageShard {
        StorageShard(Rc::new(Shared {
            runtime,
            read_ahead: ReadAhead::new(options.read_ahead_bytes),
            producer_id_expiration_ms: Cell::new(options.producer_id_expiration_ms),
            looked_up: Semaphore::new(LOOKED_UP_BYTES_MAX),
            complaints: RefCell::default(),
            sealed: RefCell::default(),
            options,
            tail_bytes: Cell::new(0),
            chunk_owners: RefCell::default(),
            planned_bytes: Cell::new(0),
            dirty_bytes: Cell::new(0),
            budgets: RefCell::default(),
            open_segments: RefCell::default(),
            observer: RefCell::default(),
        }))
    }

    /// Waits until a batch of so many bytes may be held to look into it. Those who look into many
    /// take turns, a batch each.
    pub(crate) async fn memory_to_look_up(&self, bytes: usize) -> Permit {
        self.0.looked_up.acquire(bytes.min(LOOKED_UP_BYTES_MAX)).await
    }

    /// Has what the shard's logs do told to `observer`, from now on.
    pub fn set_observer(&self, observer: Rc<dyn StorageObserver>) {
        observer.dirty_bytes(self.dirty_bytes());
        observer.tail_bytes(self.tail_bytes());
        self.0.observer.replace(Some(observer));
    }

    /// Tells the observer, if there is one.
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn StorageObserver)) {
        if let Some(observer) = self.0.observer.borrow().as_deref() {
            what(observer);
        }
    }

    /// Whether damage at this position of a file is to be told of in the log now.
    pub(crate) fn may_complain(&self, path: &Path, position: u64) -> bool {
        self.0.complaints.borrow_mut().is_due(path, position, self.0.runtime.now())
    }

    /// Notes that a segment was sealed, for the scrub. If too many are, the oldest of them has to
    /// wait as long as any other segment.
    pub(crate) fn note_sealed(&self, dir: &LogDir, log: &Weak<Log>, base_offset: Offset) {
        let mut sealed = self.0.sealed.borrow_mut();
        if sealed.len() == SEALED_MAX {
            sealed.pop_front();
        }
        sealed.push_back((dir.index(), log.clone(), base_offset));
    }

    /// The segment of a directory that was sealed first of those noted.
    pub(crate) fn take_sealed(&self, dir: &LogDir) -> Option<(Rc<Log>, Offset)> {
        let mut sealed = self.0.sealed.borrow_mut();
        loop {
            let at = sealed.iter().position(|(dir_index, ..)| *dir_index == dir.index())?;
            let (_, log, base_offset) = sealed.remove(at)?;
            if let Some(log) = log.upgrade() {
                return Some((log, base_offset));
            }
        }
    }

    /// How long an idle producer is remembered.
    pub fn producer_id_expiration_ms(&self) -> i64 {
        self.0.producer_id_expiration_ms.get()
    }

    /// Changes how long an idle producer is remembered, from the next look on.
    pub fn set_producer_id_expiration_ms(&self, expiration_ms: i64) {
        self.0.producer_id_expiration_ms.set(expiration_ms);
    }

    /// The shard's runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// The shard's budgets.
    pub fn options(&self) -> &StorageOptions {
        &self.0.options
    }

    /// What is read ahead.
    pub(crate) fn read_ahead(&self) -> &ReadAhead {
        &self.0.read_ahead
    }

    /// Memory the tails of the shard's logs take.
    pub fn tail_bytes(&self) -> usize {
        self.0.tail_bytes.get()
    }

    /// Bytes appended but not written.
    pub fn dirty_bytes(&self) -> usize {
        self.0.dirty_bytes.get()
    }

    /// Whether so much memory is in use that reads had better be small.
    pub fn is_short_of_memory(&self) -> bool {
        self.used_bytes() >= self.0.options.buffer_bytes_max
    }

    /// Whether what is left is kept for readers that are known to take what they ask for.
    pub fn is_nearly_short_of_memory(&self) -> bool {
        let reserved = self.0.options.buffer_bytes_reserved;
        self.used_bytes() >= self.0.options.buffer_bytes_max.saturating_sub(reserved)
    }

    fn used_bytes(&self) -> usize {
        self.0.runtime.buffers().used_bytes() + self.0.planned_bytes.get()
    }

    /// Counts memory that a read is about to take.
    pub(crate) fn plan_memory(&self, bytes: usize) -> PlannedMemory {
        self.0.planned_bytes.set(self.0.planned_bytes.get() + bytes);
        PlannedMemory { shard: self.clone(), bytes }
    }

    /// The budget of the logs in a directory.
    pub(crate) fn budget(&self, dir: &Arc<LogDir>) -> Rc<Budget> {
        let mut budgets = self.0.budgets.borrow_mut();
        let known = budgets.iter().find(|budget| budget.is_of(dir));
        known.cloned().unwrap_or_else(|| {
            let budget = Budget::new(dir.clone(), self.0.options.dirty_bytes_max);
            budgets.push(budget.clone());
            budget
        })
    }

    pub(crate) fn add_dirty(&self, budget: &Budget, bytes: usize) {
        budget.add(bytes);
        self.0.dirty_bytes.set(self.0.dirty_bytes.get() + bytes);
        self.tell(|observer| observer.dirty_bytes(self.dirty_bytes()));
    }

    pub(crate) fn remove_dirty(&self, budget: &Budget, bytes: usize) {
        self.0.dirty_bytes.set(self.0.dirty_bytes.get() - bytes);
        budget.remove(bytes);
        self.tell(|observer| observer.dirty_bytes(self.dirty_bytes()));
    }

    /// Looks which directories are held up, and returns their places in `log.dirs`: those who wait
    /// for something on the disk there are to be told ([`Log::look_again`]). To be called twice a
    /// second.
    pub fn held_up_directories(&self) -> Vec<usize> {
        let budgets = self.0.budgets.borrow().clone();
        budgets.iter().filter(|budget| budget.look()).map(|budget| budget.dir_index()).collect()
    }

    /// Accounts for memory that `log` took for `chunks` new chunks, and makes room.
    pub(crate) fn tail_grew(&self, log: &Weak<Log>, chunks: usize, bytes: usize) {
        self.0.tail_bytes.set(self.0.tail_bytes.get() + bytes);
        let mut owners = self.0.chunk_owners.borrow_mut();
        owners.extend(std::iter::repeat_n(log, chunks).cloned());
        drop(owners);
        self.evict();
        self.tell(|observer| observer.tail_bytes(self.tail_bytes()));
    }

    /// Accounts for memory that was given up otherwise than by eviction.
    pub(crate) fn tail_shrank(&self, bytes: usize) {
        self.0.tail_bytes.set(self.0.tail_bytes.get() - bytes);
        self.tell(|observer| observer.tail_bytes(self.tail_bytes()));
    }

    fn evict(&self) {
        let candidates = self.0.chunk_owners.borrow().len().min(EVICTIONS_MAX);
        for _ in 0..candidates {
            if self.0.tail_bytes.get() <= self.0.options.tail_cache_bytes {
                return;
            }
            let Some(owner) = self.0.chunk_owners.borrow_mut().pop_front() else { return };
            let Some(log) = owner.upgrade() else { continue };
            match log.evict_oldest_chunk() {
                0 if log.tail_memory() == 0 => {}
                0 => self.0.chunk_owners.borrow_mut().push_back(owner),
                freed => self.tail_shrank(freed),
            }
        }
    }

    /// Notes that a sealed segment was used, and closes the one that was not for longest when
    /// there are too many.
    pub(crate) fn segment_used(&self, segment: &Rc<Segment>) {
        if segment.stage.get() != Stage::Sealed {
            return;
        }
        let mut open = self.0.open_segments.borrow_mut();
        if open.back().is_some_and(|newest| std::ptr::eq(newest.as_ptr(), Rc::as_ptr(segment))) {
            return;
        }
        open.retain(|known| {
            known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Rc::as_ptr(segment))
        });
        open.push_back(Rc::downgrade(segment));
        while open.len() > self.0.options.open_segments_max {
            if let Some(oldest) = open.pop_front().and_then(|oldest| oldest.upgrade())
                // A truncation may have opened it for appends again.
                && oldest.stage.get() == Stage::Sealed
                // Nobody could open it by its name.
                && !oldest.is_moving()
            {
                oldest.reader.take();
                oldest.direct_reader.take();
                oldest.index.take();
                if oldest.examination.get() == Examination::Done {
                    oldest.examination.set(Examination::None);
                }
            }
        }
    }
}
