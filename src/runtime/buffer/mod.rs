//! Buffers that operations own while they run, and memory that a writer and readers share.
//!
//! An [`IoBuf`] has one owner at any time: the task, or the operation it was given to. Frozen, it
//! is an immutable [`Bytes`] that any thread may hold; its memory goes back to the pool of the
//! shard it came from when the last holder lets go.

#![allow(unsafe_code)]

mod append;
mod memory;
mod pool;

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::memory::{Memory, mapped};
use self::pool::Shelves;

pub use self::append::AppendBuffer;
pub use self::pool::BufferPool;

/// A buffer for I/O: aligned to 4096 bytes, of fixed capacity, from a [`BufferPool`].
///
/// It dereferences to the bytes in it. Memory beyond them may hold bytes of an earlier use, and
/// cannot be read: [`IoBuf::set_len`] goes no further than what this use has filled.
pub struct IoBuf {
    /// `None` only while it is being dropped.
    memory: Option<Memory>,
    capacity: usize,
    len: usize,
    /// How far this use has written, at least `len`.
    filled: usize,
    home: Arc<Shelves>,
}

impl IoBuf {
    pub(crate) fn new(memory: Memory, capacity: usize, home: Arc<Shelves>) -> IoBuf {
        assert!(capacity <= memory.capacity());
        IoBuf { memory: Some(memory), capacity, len: 0, filled: 0, home }
    }

    fn base(&self) -> *mut u8 {
        self.memory.as_ref().expect("present until the drop").as_ptr()
    }

    /// How many bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the bytes in it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let spare = self.spare_mut();
        assert!(bytes.len() <= spare.len(), "{} bytes into {}", bytes.len(), spare.len());
        spare[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Sets how many bytes are in it.
    ///
    /// # Panics
    /// If `len` is beyond what was written to this buffer since it came from the pool.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.filled, "{len} bytes of {} filled", self.filled);
        self.len = len;
    }

    /// Makes it immutable and shareable, without copying.
    pub fn freeze(self) -> Bytes {
        match self.len {
            0 => Bytes::new(),
            _ => Bytes::from_owner(self),
        }
    }

    /// Lets `fill` write to the whole buffer from its start, and sets the length to what it
    /// returns.
    pub(crate) fn fill_with(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.clear();
        let n = fill(self.spare_mut())?;
        self.advance(n);
        Ok(n)
    }

    /// The memory behind the bytes in it.
    pub(crate) fn spare_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block holds `capacity` initialised bytes, `len` is at most that, and the
        // buffer is its only owner.
        unsafe {
            std::slice::from_raw_parts_mut(self.base().add(self.len), self.capacity - self.len)
        }
    }

    /// Counts `n` bytes behind the present ones as written.
    pub(crate) fn advance(&mut self, n: usize) {
        assert!(n <= self.capacity - self.len);
        self.len += n;
        self.filled = self.filled.max(self.len);
    }
}

impl Deref for IoBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes of the block are initialised, and while the buffer is
        // borrowed nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.base(), self.len) }
    }
}

impl DerefMut for IoBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the buffer is the block's only owner.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.len) }
    }
}

impl AsRef<[u8]> for IoBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for IoBuf {
    fn drop(&mut self) {
        self.home.put(self.memory.take().expect("dropped once"));
    }
}

impl fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBuf({} of {} bytes)", self.len, self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::BufferPool;

    #[test]
    fn fills_up_and_freezes() {
        let pool = BufferPool::new();
        let mut buf = pool.get(5000);
        assert_eq!((buf.capacity(), buf.len()), (8192, 0));
        buf.extend_from_slice(b"abc");
        buf.extend_from_slice(b"def");
        buf[0] = b'A';
        buf.set_len(5);
        buf.set_len(6);
        let bytes = buf.freeze();
        assert_eq!(&bytes[..], b"Abcdef");
        let part = bytes.slice(2..4);
        drop(bytes);
        assert_eq!(pool.retained_bytes(), 0);
        std::thread::spawn(move || assert_eq!(&part[..], b"cd")).join().unwrap();
        assert_eq!(pool.retained_bytes(), 8192);
    }

    #[test]
    fn an_empty_one_comes_back_at_once() {
        let pool = BufferPool::new();
        assert!(pool.get(1).freeze().is_empty());
        assert_eq!(pool.retained_bytes(), 4096);
    }

    #[test]
    #[should_panic(expected = "filled")]
    fn bytes_of_an_earlier_use_stay_hidden() {
        let pool = BufferPool::new();
        let mut buf = pool.get(100);
        buf.extend_from_slice(b"secret");
        drop(buf);
        pool.get(100).set_len(6);
    }

    #[test]
    #[should_panic(expected = "into")]
    fn the_capacity_is_fixed() {
        BufferPool::new().get(1).extend_from_slice(&[0; 4097]);
    }
}
