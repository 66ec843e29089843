//! Blocks of memory for I/O: aligned to 4096 bytes, and initialised from the start.
//!
//! All of a block is readable as soon as it exists (it begins as zeros), so that no use of it
//! later can meet uninitialised memory. Large blocks come straight from the kernel, which hands
//! out zeroed pages when they are first touched: the unused end of a large block costs nothing,
//! but for those in huge pages.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The alignment of every block: what `O_DIRECT` asks for on any disk.
pub(crate) const ALIGNMENT: usize = 4096;

/// From this size on a block is mapped instead of allocated.
const MAPPED_BYTES_MIN: usize = 256 << 10;

/// What the kernel maps by one entry where it can.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The blocks that [`Memory::halves_of_a_huge_page`] makes.
pub(crate) const HALF_BYTES: usize = HUGE_PAGE_BYTES / 2;

/// One block; freed when dropped.
pub(crate) struct Memory {
    ptr: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a block is plain memory with one owner; nothing about it belongs to a thread.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference only the pointer and the size can be read.
unsafe impl Sync for Memory {}

impl Memory {
    /// A zeroed block of `capacity` bytes, a positive multiple of [`ALIGNMENT`].
    pub(crate) fn new(capacity: usize) -> Memory {
        assert!(capacity > 0 && capacity.is_multiple_of(ALIGNMENT));
        let ptr = if is_mapped(capacity) { mapped(capacity) } else { None };
        let ptr = ptr.unwrap_or_else(|| {
            let layout = layout(capacity);
            assert!(!is_mapped(capacity), "out of memory: {capacity} bytes");
            // SAFETY: the layout has a positive size.
            let ptr = unsafe { alloc_zeroed(layout) };
            NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
        });
        Memory { ptr, capacity }
    }

    /// Two zeroed blocks of [`HALF_BYTES`] in a huge page, if the kernel has one. To read into a
    /// block around the page cache, the kernel takes hold of each of its pages: of one instead of
    /// 256. `None` where there is no memory.
    pub(crate) fn halves_of_a_huge_page() -> Option<[Memory; 2]> {
        if !is_mapped(HALF_BYTES) {
            return None;
        }
        // Twice as much has an aligned huge page in it; the rest goes back.
        let mapping = mapped(2 * HUGE_PAGE_BYTES)?;
        let before = mapping.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: less than a huge page further, so one that is whole follows in the mapping.
        let huge_page = unsafe { mapping.add(before) };
        // SAFETY: within the mapping, or at its end.
        let behind = unsafe { huge_page.add(HUGE_PAGE_BYTES) };
        for (rest, bytes) in [(mapping, before), (behind, HUGE_PAGE_BYTES - before)] {
            if bytes > 0 {
                // SAFETY: a part of the mapping that nobody else knows.
                let result = unsafe { rustix::mm::munmap(rest.as_ptr().cast(), bytes) };
                debug_assert!(result.is_ok());
            }
        }
        let advice = rustix::mm::Advice::LinuxHugepage;
        // SAFETY: advice about a mapping of ours, which changes no byte of it. A kernel that has no
        // huge pages refuses: the blocks are like others then.
        let _ = unsafe { rustix::mm::madvise(huge_page.as_ptr().cast(), HUGE_PAGE_BYTES, advice) };
        // SAFETY: the second half is within the huge page.
        let halves = [huge_page, unsafe { huge_page.add(HALF_BYTES) }];
        Some(halves.map(|ptr| Memory { ptr, capacity: HALF_BYTES }))
    }

    /// The first byte; valid for reads and writes of `capacity` bytes while the block lives.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if is_mapped(self.capacity) {
            // SAFETY: the block was mapped with this size, and its only owner goes.
            let result = unsafe { rustix::mm::munmap(self.ptr.as_ptr().cast(), self.capacity) };
            debug_assert!(result.is_ok());
        } else {
            // SAFETY: the block was allocated with this layout, and its only owner goes.
            unsafe { dealloc(self.ptr.as_ptr(), layout(self.capacity)) }
        }
    }
}

fn is_mapped(capacity: usize) -> bool {
    capacity >= MAPPED_BYTES_MIN && !cfg!(miri)
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGNMENT).expect("a block fits the address space")
}

/// A new zeroed mapping of `capacity` bytes, of its own; nothing if there is no memory.
pub(crate) fn mapped(capacity: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping wherever the kernel likes touches nobody's memory.
    let ptr =
        unsafe { mmap_anonymous(std::ptr::null_mut(), capacity, protection, MapFlags::PRIVATE) };
    NonNull::new(ptr.ok()?.cast())
}
