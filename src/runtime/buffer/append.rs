//! Memory that one writer fills from front to back while readers hold what is already there.
//!
//! The bytes below the length never change again; those at and above it belong to the writer.
//! That is all that makes it sound, and it is kept here: nothing hands out a byte at or above the
//! length except to the writer's closure, and the length never shrinks.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::memory::Memory;
use super::pool::{BufferPool, Shelves};

/// An aligned buffer that grows at its end while slices of it are read, written and sent.
///
/// Its memory goes back to the pool when the buffer and all slices of it are gone.
pub struct AppendBuffer {
    block: Arc<Block>,
    len: usize,
    capacity: usize,
    /// The bytes up to some earlier length: most slices can be cut from it without allocating.
    shared: RefCell<Bytes>,
}

struct Block {
    memory: Option<Memory>,
    home: Arc<Shelves>,
}

/// The first `len` bytes of a block, which nobody writes any more.
struct Written {
    block: Arc<Block>,
    len: usize,
}

impl AppendBuffer {
    /// An empty buffer that takes `capacity` bytes.
    pub fn new(pool: &BufferPool, capacity: usize) -> AppendBuffer {
        let block = Arc::new(Block { memory: Some(pool.take(capacity)), home: pool.shelves() });
        AppendBuffer { block, len: 0, capacity, shared: RefCell::default() }
    }

    /// How many bytes were appended.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it takes in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many more bytes fit.
    pub fn remaining(&self) -> usize {
        self.capacity - self.len
    }

    /// Appends `n` bytes, which `write` must write all of: they begin as zeros or as what an
    /// earlier user of the memory left there. If it panics, nothing was appended.
    ///
    /// # Panics
    /// If `n` bytes do not fit.
    pub fn append_with<R>(&mut self, n: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(n <= self.remaining(), "{n} bytes into {}", self.remaining());
        // SAFETY: the range lies within the block and is initialised. It is at or above the
        // length: no slice handed out reaches it, and `&mut self` keeps out any other writer.
        let spare = unsafe { std::slice::from_raw_parts_mut(self.block.base().add(self.len), n) };
        let result = write(spare);
        self.len += n;
        result
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.append_with(bytes.len(), |spare| spare.copy_from_slice(bytes));
    }

    /// A part of what was appended, without copying. It stays as it is whatever is appended
    /// later, and keeps the memory alive.
    ///
    /// # Panics
    /// If the range reaches beyond the length.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        if range.is_empty() {
            return Bytes::new();
        }
        let mut shared = self.shared.borrow_mut();
        if shared.len() < range.end {
            let written = Written { block: Arc::clone(&self.block), len: self.len };
            *shared = Bytes::from_owner(written);
        }
        shared.slice(range)
    }
}

impl Block {
    fn base(&self) -> *mut u8 {
        self.memory.as_ref().expect("present until the drop").as_ptr()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.home.put(self.memory.take().expect("dropped once"));
    }
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` was the buffer's length when this was made: those bytes are initialised
        // and are never written again while the block lives, which this keeps alive.
        unsafe { std::slice::from_raw_parts(self.block.base(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::AppendBuffer;
    use crate::BufferPool;

    #[test]
    fn slices_stay_as_they_were() {
        let pool = BufferPool::new();
        let mut buffer = AppendBuffer::new(&pool, 10);
        buffer.extend_from_slice(b"abc");
        let first = buffer.slice(0..3);
        let got = buffer.append_with(4, |spare| {
            spare.copy_from_slice(b"defg");
            7
        });
        assert_eq!((got, buffer.len(), buffer.remaining()), (7, 7, 3));
        assert_eq!((&first[..], &buffer.slice(1..6)[..]), (&b"abc"[..], &b"bcdef"[..]));
        assert!(buffer.slice(7..7).is_empty());
        assert_eq!(first.as_ptr().addr() % 4096, 0);
        drop(buffer);
        assert_eq!(pool.retained_bytes(), 0, "a slice keeps the memory");
        drop(first);
        assert_eq!(pool.retained_bytes(), 4096);
    }

    #[test]
    fn readers_on_other_threads_see_what_was_written_before() {
        const STEPS: usize = if cfg!(miri) { 20 } else { 2_000 };
        let mut buffer = AppendBuffer::new(&BufferPool::new(), STEPS * 8);
        let (send, receive) = std::sync::mpsc::channel::<bytes::Bytes>();
        let reader = std::thread::spawn(move || {
            let mut steps = 0;
            for bytes in receive {
                steps += 1;
                for (i, word) in bytes.chunks(8).enumerate() {
                    assert_eq!(word, (i as u64).to_le_bytes());
                }
            }
            steps
        });
        for i in 0..STEPS {
            buffer.extend_from_slice(&(i as u64).to_le_bytes());
            send.send(buffer.slice(0..buffer.len())).unwrap();
        }
        drop(send);
        assert_eq!(reader.join().unwrap(), STEPS);
    }

    #[test]
    fn a_panicking_writer_appends_nothing() {
        let mut buffer = AppendBuffer::new(&BufferPool::new(), 100);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            buffer.append_with(5, |_| panic!("no"))
        }));
        assert!(panicked.is_err());
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    #[should_panic(expected = "of 3")]
    fn nothing_beyond_the_length_is_readable() {
        let mut buffer = AppendBuffer::new(&BufferPool::new(), 100);
        buffer.extend_from_slice(b"abc");
        let _ = buffer.slice(0..4);
    }
}
