//! The pool: blocks that were used and wait for their next use.
//!
//! Sizes are powers of two from 4 KiB to 16 MiB; larger blocks are made and freed each time. The
//! thread that made the pool has a stack for each size: what was used last is taken first, while
//! it is in the caches. Blocks come back from whatever thread drops their last user (a frame
//! received on one shard is often finished with on another): such a thread puts them into a
//! queue without locks, which is looked into when a stack is empty. What the pool keeps is
//! bounded (other threads may go a quarter beyond it, until the pool's thread looks); beyond that,
//! blocks are freed: of the sizes that are not in use just now, if there are any.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

use super::IoBuf;
use super::memory::{ALIGNMENT, HALF_BYTES, Memory};
use crate::owned::Owned;

/// How many sizes are kept: the largest is 4 KiB shifted by one less than this.
const CLASSES: usize = 13;

/// What one shard's pool keeps for later unless told otherwise.
const RETAINED_BYTES_MAX: usize = 12 << 20;

/// How many blocks other threads may have brought back that the pool's thread has not seen yet.
const RETURNED_MAX: usize = 1024;

/// Buffers for one shard. Clones share the same blocks.
#[derive(Clone)]
pub struct BufferPool(Arc<Shelves>);

pub(crate) struct Shelves {
    stacks: Owned<Stacks>,
    /// From other threads.
    returned: ArrayQueue<Memory>,
    /// Of all that is kept.
    retained_bytes: AtomicUsize,
    retained_bytes_max: usize,
    huge_pages: bool,
    /// Of all blocks that somebody holds.
    used_bytes: AtomicUsize,
}

type Stacks = [Vec<Memory>; CLASSES];

impl BufferPool {
    /// A pool of this thread that keeps up to 12 MiB of unused blocks.
    pub fn new() -> BufferPool {
        BufferPool::with_retained_bytes(RETAINED_BYTES_MAX)
    }

    /// The same for much reading from disks: blocks of the size that such reads have are halves of
    /// huge pages, where the kernel has some.
    pub fn in_huge_pages() -> BufferPool {
        BufferPool(Arc::new(Shelves { huge_pages: true, ..Shelves::new(RETAINED_BYTES_MAX) }))
    }

    /// A pool of this thread that keeps up to `retained_bytes_max` of unused blocks.
    pub fn with_retained_bytes(retained_bytes_max: usize) -> BufferPool {
        BufferPool(Arc::new(Shelves::new(retained_bytes_max)))
    }

    /// An empty buffer that holds at least `min_capacity` bytes: that, rounded up to 4096.
    pub fn get(&self, min_capacity: usize) -> IoBuf {
        let capacity = round_up(min_capacity);
        IoBuf::new(self.take(capacity), capacity, Arc::clone(&self.0))
    }

    /// The memory that a buffer from [`BufferPool::get`] takes.
    pub fn block_bytes(min_capacity: usize) -> usize {
        let capacity = round_up(min_capacity);
        class_of(capacity).map_or(capacity, |class| ALIGNMENT << class)
    }

    /// Bytes of unused blocks kept for later.
    pub fn retained_bytes(&self) -> usize {
        self.0.retained_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the blocks that were taken and have not come back: everything received, appended
    /// or read that somebody still holds, on whatever thread.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, capacity: usize) -> Memory {
        let memory = self.take_or_make(capacity);
        self.0.used_bytes.fetch_add(memory.capacity(), Ordering::Relaxed);
        memory
    }

    fn take_or_make(&self, capacity: usize) -> Memory {
        let Some(class) = class_of(capacity) else { return Memory::new(round_up(capacity)) };
        // On another thread than its own the pool has nothing to give.
        let kept = self.0.stacks.with(|stacks| self.0.take(stacks, class)).flatten();
        kept.unwrap_or_else(|| Memory::new(ALIGNMENT << class))
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
    fn new(retained_bytes_max: usize) -> Shelves {
        Shelves {
            stacks: Owned::new(Stacks::default()),
            returned: ArrayQueue::new(RETURNED_MAX),
            retained_bytes: AtomicUsize::new(0),
            retained_bytes_max,
            huge_pages: false,
            used_bytes: AtomicUsize::new(0),
        }
    }

    /// Takes a block back, from any thread.
    pub(crate) fn put(&self, memory: Memory) {
        let bytes = memory.capacity();
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let Some(class) = class_of(bytes) else { return };
        let retained = self.retained_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut memory = Some(memory);
        let here = self.stacks.with(|stacks| {
            if self.is_within_bound() || self.make_room(stacks, class) {
                stacks[class].extend(memory.take());
            }
        });
        // Another thread cannot make room: the pool's does, when it next takes something.
        if here.is_none() && retained <= self.retained_bytes_max + self.in_passing_max() {
            memory = memory.and_then(|memory| self.returned.push(memory).err());
        }
        if memory.is_some() {
            self.retained_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn take(&self, stacks: &mut Stacks, class: usize) -> Option<Memory> {
        let within = self.is_within_bound();
        if stacks[class].is_empty() {
            self.sort_returned(stacks);
        }
        let memory = stacks[class].pop();
        if let Some(memory) = &memory {
            self.retained_bytes.fetch_sub(memory.capacity(), Ordering::Relaxed);
        }
        if !within {
            self.make_room(stacks, class);
        }
        memory.or_else(|| self.half_of_a_huge_page(stacks, class))
    }

    /// A new block, of which the other half is kept if there is room.
    fn half_of_a_huge_page(&self, stacks: &mut Stacks, class: usize) -> Option<Memory> {
        if !self.huge_pages || ALIGNMENT << class != HALF_BYTES {
            return None;
        }
        let [one, two] = Memory::halves_of_a_huge_page()?;
        self.retained_bytes.fetch_add(HALF_BYTES, Ordering::Relaxed);
        if self.is_within_bound() || self.make_room(stacks, class) {
            stacks[class].push(two);
        } else {
            self.retained_bytes.fetch_sub(HALF_BYTES, Ordering::Relaxed);
        }
        Some(one)
    }

    fn is_within_bound(&self) -> bool {
        self.retained_bytes.load(Ordering::Relaxed) <= self.retained_bytes_max
    }

    /// How far beyond the bound other threads may go until the pool's thread looks.
    fn in_passing_max(&self) -> usize {
        self.retained_bytes_max / 4
    }

    /// Puts what other threads brought back where it is looked for.
    fn sort_returned(&self, stacks: &mut Stacks) {
        for _ in 0..RETURNED_MAX {
            let Some(memory) = self.returned.pop() else { return };
            let class = class_of(memory.capacity()).expect("others are not kept");
            stacks[class].push(memory);
        }
    }

    /// Frees blocks of other sizes than `class`, which is in use just now, the largest first,
    /// until what is kept is within its bound. False if there are not enough of them.
    fn make_room(&self, stacks: &mut Stacks, class: usize) -> bool {
        self.sort_returned(stacks);
        for other in (0..CLASSES).rev().filter(|other| *other != class) {
            while !self.is_within_bound() {
                let Some(memory) = stacks[other].pop() else { break };
                self.retained_bytes.fetch_sub(memory.capacity(), Ordering::Relaxed);
            }
        }
        self.is_within_bound()
    }
}

fn round_up(capacity: usize) -> usize {
    capacity.max(1).checked_next_multiple_of(ALIGNMENT).expect("a buffer fits the address space")
}

/// The stack for blocks that hold `capacity` bytes; none for the largest.
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
            let pool = BufferPool::new();
            let buffer = pool.get(bytes);
            assert_eq!(pool.used_bytes(), BufferPool::block_bytes(bytes), "{bytes}");
            drop(buffer);
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
        assert_eq!(pool.used_bytes(), 0);
        let large = pool.get((16 << 20) + 1);
        assert_eq!(large.capacity(), (16 << 20) + 4096);
        assert!((16 << 20..17 << 20).contains(&pool.used_bytes()));
        drop(large);
        assert_eq!((pool.retained_bytes(), pool.used_bytes()), (12 << 10, 0));
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

    #[test]
    fn blocks_come_back_from_other_threads() {
        let pool = BufferPool::with_retained_bytes(12 << 10);
        let [one, two] = [pool.get(4096), pool.get(8192)];
        let [first, second] = [one.as_ptr(), two.as_ptr()];
        std::thread::spawn(move || drop((one, two))).join().unwrap();
        assert_eq!(pool.retained_bytes(), 12 << 10);
        let [one, two] = [pool.get(4096), pool.get(8192)];
        assert_eq!([one.as_ptr(), two.as_ptr()], [first, second]);
        assert_eq!(pool.retained_bytes(), 0);
        let more: Vec<_> = (0..5).map(|_| pool.get(4096)).collect();
        std::thread::spawn(move || drop((one, two, more))).join().unwrap();
        assert_eq!(pool.retained_bytes(), 12 << 10, "the bound holds for them too");
    }

    #[test]
    fn what_others_bring_back_makes_room() {
        let pool = BufferPool::with_retained_bytes(32 << 10);
        drop((pool.get(16 << 10), pool.get(8 << 10)));
        let many: Vec<_> = (0..4).map(|_| pool.get(4096)).collect();
        std::thread::spawn(move || drop(many)).join().unwrap();
        assert_eq!(pool.retained_bytes(), 40 << 10, "a quarter more until this thread looks");
        let one = pool.get(4096);
        assert_eq!(pool.retained_bytes(), 20 << 10, "the largest went");
        drop(one);
        assert_eq!(pool.retained_bytes(), 24 << 10);
    }

    #[test]
    fn huge_pages_are_used_by_halves() {
        let pool = BufferPool::in_huge_pages();
        let one = pool.get(1 << 20);
        let halves = if cfg!(miri) { 0 } else { 1 << 20 };
        assert_eq!((pool.used_bytes(), pool.retained_bytes()), (1 << 20, halves));
        let two = pool.get((1 << 20) - 4096);
        if !cfg!(miri) {
            assert_eq!(one.as_ptr().addr() % (2 << 20), 0);
            assert_eq!(two.as_ptr().addr(), one.as_ptr().addr() + (1 << 20));
        }
        assert_eq!(pool.retained_bytes(), 0);
        drop(one);
        let mut again = pool.get(1 << 20);
        again.extend_from_slice(&[7; 1 << 20]);
        drop((two, again));
        assert_eq!((pool.used_bytes(), pool.retained_bytes()), (0, 2 << 20));
    }

    #[test]
    fn all_threads_at_once() {
        let pool = BufferPool::with_retained_bytes(64 << 10);
        let (send, receive) = std::sync::mpsc::sync_channel::<super::IoBuf>(16);
        let other = std::thread::spawn(move || receive.into_iter().for_each(drop));
        for round in 0..if cfg!(miri) { 50 } else { 20_000 } {
            let mut buffer = pool.get(4096 << (round % 3));
            buffer.extend_from_slice(&[round as u8; 100]);
            let kept = pool.get(4096);
            send.send(buffer).unwrap();
            drop(kept);
            assert!(pool.retained_bytes() <= (80 << 10) + (16 << 10), "one more in passing");
        }
        drop(send);
        other.join().unwrap();
        assert!(pool.retained_bytes() <= 80 << 10);
    }
}
