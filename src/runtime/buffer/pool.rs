//! The pool: blocks that were used and wait for their next use.
//!
//! Sizes are powers of two from 4 KiB to 16 MiB; larger blocks are made and freed each time.
//! Blocks come back from whatever thread drops their last user (a frame received on one shard is
//! often finished with on another), so each size is a stack behind a mutex: it is held for a push
//! or a pop, and nearly always uncontended. What the stacks keep is bounded; beyond that, blocks
//! are freed: of the sizes that are not in use just now, if there are any.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::IoBuf;
use super::memory::{ALIGNMENT, Memory};

/// The largest size that is kept: 4 KiB shifted by this.
const CLASSES: usize = 13;

/// What one shard's pool keeps for later unless told otherwise.
const RETAINED_BYTES_MAX: usize = 16 << 20;

/// Buffers for one shard. Clones share the same blocks.
#[derive(Clone)]
pub struct BufferPool(Arc<Shelves>);

pub(crate) struct Shelves {
    shelves: [Mutex<Vec<Memory>>; CLASSES],
    retained_bytes: AtomicUsize,
    retained_bytes_max: usize,
}

impl BufferPool {
    /// A pool that keeps up to 16 MiB of unused blocks.
    pub fn new() -> BufferPool {
        BufferPool::with_retained_bytes(RETAINED_BYTES_MAX)
    }

    /// A pool that keeps up to `retained_bytes_max` of unused blocks.
    pub fn with_retained_bytes(retained_bytes_max: usize) -> BufferPool {
        BufferPool(Arc::new(Shelves {
            shelves: Default::default(),
            retained_bytes: AtomicUsize::new(0),
            retained_bytes_max,
        }))
    }

    /// An empty buffer that holds at least `min_capacity` bytes: that, rounded up to 4096.
    pub fn get(&self, min_capacity: usize) -> IoBuf {
        let capacity = round_up(min_capacity);
        IoBuf::new(self.take(capacity), capacity, Arc::clone(&self.0))
    }

    /// Bytes of unused blocks kept for later.
    pub fn retained_bytes(&self) -> usize {
        self.0.retained_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, capacity: usize) -> Memory {
        let Some(class) = class_of(capacity) else { return Memory::new(round_up(capacity)) };
        match self.0.shelf(class).pop() {
            Some(memory) => {
                self.0.retained_bytes.fetch_sub(memory.capacity(), Ordering::Relaxed);
                memory
            }
            None => Memory::new(ALIGNMENT << class),
        }
    }

    pub(crate) fn shelves(&self) -> Arc<Shelves> {
        Arc::clone(&self.0)
    }
}

impl Default for BufferPool {
    fn default() -> BufferPool {
        BufferPool::new()
    }
}

impl Shelves {
    /// Takes a block back, from any thread.
    pub(crate) fn put(&self, memory: Memory) {
        let bytes = memory.capacity();
        let Some(class) = class_of(bytes) else { return };
        let before = self.retained_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.retained_bytes_max && !self.make_room(class) {
            self.retained_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        self.shelf(class).push(memory);
    }

    /// Frees blocks of other sizes than the one that is in use now, largest first, until what is
    /// kept is within its bound. False if there are not enough of them.
    fn make_room(&self, class: usize) -> bool {
        for other in (0..CLASSES).rev().filter(|other| *other != class) {
            while self.retained_bytes.load(Ordering::Relaxed) > self.retained_bytes_max {
                let Some(memory) = self.shelf(other).pop() else { break };
                self.retained_bytes.fetch_sub(memory.capacity(), Ordering::Relaxed);
            }
        }
        self.retained_bytes.load(Ordering::Relaxed) <= self.retained_bytes_max
    }

    fn shelf(&self, class: usize) -> MutexGuard<'_, Vec<Memory>> {
        // A push or a pop that panicked (out of memory) leaves the stack whole.
        self.shelves[class].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn round_up(capacity: usize) -> usize {
    capacity.max(1).checked_next_multiple_of(ALIGNMENT).expect("a buffer fits the address space")
}

/// The shelf for blocks that hold `capacity` bytes; none for the largest.
fn class_of(capacity: usize) -> Option<usize> {
    let blocks = capacity.div_ceil(ALIGNMENT).max(1);
    let class = blocks.next_power_of_two().trailing_zeros() as usize;
    (class < CLASSES).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::{BufferPool, class_of};

    #[test]
    fn sizes_have_their_shelves() {
        for (bytes, class) in [
            (0, Some(0)),
            (1, Some(0)),
            (4096, Some(0)),
            (4097, Some(1)),
            (1 << 20, Some(8)),
            ((1 << 20) + 1, Some(9)),
            (16 << 20, Some(12)),
            ((16 << 20) + 1, None),
        ] {
            assert_eq!(class_of(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn blocks_come_back_and_the_rest_is_freed() {
        let pool = BufferPool::with_retained_bytes(12 << 10);
        let one = pool.get(100);
        let address = one.as_ptr();
        assert_eq!((one.capacity(), address.addr() % 4096), (4096, 0));
        drop(one);
        assert_eq!(pool.get(4096).as_ptr(), address);
        let many: Vec<_> = (0..5).map(|_| pool.get(1)).collect();
        drop(many);
        assert_eq!(pool.retained_bytes(), 12 << 10);
        let large = pool.get((16 << 20) + 1);
        assert_eq!(large.capacity(), (16 << 20) + 4096);
        drop(large);
        assert_eq!(pool.retained_bytes(), 12 << 10);
    }

    #[test]
    fn a_size_that_is_no_longer_used_makes_room() {
        let pool = BufferPool::with_retained_bytes(16 << 10);
        drop((pool.get(8 << 10), pool.get(8 << 10)));
        assert_eq!(pool.retained_bytes(), 16 << 10);
        let one = pool.get(4096);
        let address = one.as_ptr();
        drop(one);
        assert_eq!(pool.retained_bytes(), 12 << 10, "one of the larger went");
        assert_eq!(pool.get(4096).as_ptr(), address);
    }
}
