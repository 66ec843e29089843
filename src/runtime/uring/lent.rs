//! The buffers a shard lends to its receives: the kernel picks one when there are bytes, so that a
//! connection that waits holds none.
//!
//! They live in one block, described to the kernel by a ring of entries. A buffer is either in
//! that ring (the kernel's) or in one [`LentBuf`] (a task's), which puts it back when dropped.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::ring::Ring;
use crate::buffer::Memory;

/// How many there are; a power of two.
const BUFFERS: u16 = 256;

/// How large each is.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// The number under which the kernel knows them.
pub(super) const GROUP: u16 = 0;

pub(super) struct LentBuffers {
    entries: Memory,
    bytes: Memory,
    tail: Cell<u16>,
}

impl LentBuffers {
    /// Gives a ring its buffers. They must live at least as long as the ring.
    pub(super) fn register(ring: &IoUring) -> io::Result<LentBuffers> {
        let entries = Memory::new(usize::from(BUFFERS) * size_of::<BufRingEntry>());
        let bytes = Memory::new(usize::from(BUFFERS) * BUFFER_BYTES);
        let address = entries.as_ptr().addr() as u64;
        // SAFETY: the entries are aligned, large enough and zeroed, and both blocks live as long
        // as receives may run: `Ring` is closed before it drops them, and a probe's ring lends
        // nothing.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0)? };
        let lent = LentBuffers { entries, bytes, tail: Cell::new(0) };
        (0..BUFFERS).for_each(|id| lent.put(id));
        Ok(lent)
    }

    fn address(&self, id: u16) -> *mut u8 {
        assert!(id < BUFFERS);
        // SAFETY: in bounds, by the assertion.
        unsafe { self.bytes.as_ptr().add(usize::from(id) * BUFFER_BYTES) }
    }

    /// Gives a buffer to the kernel.
    pub(super) fn put(&self, id: u16) {
        let tail = self.tail.get();
        let base: *mut BufRingEntry = self.entries.as_ptr().cast();
        let address = self.address(id).addr() as u64;
        // SAFETY: the entry is in bounds and initialised. There are as many entries as buffers and
        // each is put once, so the entry at the tail is not one the kernel may be reading; the
        // tail itself overlays a field that nobody else touches, and is published after the entry.
        unsafe {
            let entry = &mut *base.add(usize::from(tail & (BUFFERS - 1)));
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
            let published = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(published).store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }
}

/// A buffer with received bytes, on loan from the shard.
pub(crate) struct LentBuf {
    ring: Rc<Ring>,
    id: u16,
    len: usize,
}

impl LentBuf {
    /// The buffer the kernel chose for a receive of `len` bytes.
    pub(super) fn new(ring: Rc<Ring>, id: u16, len: usize) -> LentBuf {
        assert!(len <= BUFFER_BYTES);
        LentBuf { ring, id, len }
    }
}

impl Deref for LentBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer was taken out of the kernel's ring by the completion this was made
        // from, and is put back only when this is dropped; until then nobody writes to it.
        unsafe { std::slice::from_raw_parts(self.ring.lent.address(self.id), self.len) }
    }
}

impl Drop for LentBuf {
    fn drop(&mut self) {
        self.ring.lent.put(self.id);
    }
}
