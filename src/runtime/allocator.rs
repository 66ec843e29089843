//! The allocator of the binary: a heap for each thread, and mappings for what is large.
//!
//! Small blocks are mimalloc's: what one thread allocated and another frees goes back through an
//! atomic list, so no shard waits for a lock that another thread holds
//! (`docs/decisions/0007-no-locks-on-a-shard.md`). It keeps what is freed for later, which for a
//! batch that unfolded to 100 MiB would be for good. Large blocks are therefore mapped and unmapped
//! one by one, and grow in place or by moving their pages, without a copy.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};

use mimalloc::MiMalloc;
use rustix::mm::{MremapFlags, mremap, munmap};

use crate::buffer::mapped;

/// From this size on a block is mapped.
const MAPPED_BYTES_MIN: usize = 1 << 20;

/// What a mapping is aligned to on every machine.
const MAPPED_ALIGN_MAX: usize = 4096;

/// To be the `#[global_allocator]`.
pub struct Allocator;

/// Where a block of this layout is: the layout alone decides, so that freeing knows it too.
fn is_mapped(size: usize, align: usize) -> bool {
    size >= MAPPED_BYTES_MIN && align <= MAPPED_ALIGN_MAX
}

/// A zeroed mapping, or null.
fn map(size: usize) -> *mut u8 {
    mapped(size).map_or(null_mut(), NonNull::as_ptr)
}

// SAFETY: every block comes from mimalloc, which keeps this contract, or is a mapping of its own of
// at least its size, aligned to a page; which of them, its layout says at every call. Nothing here
// allocates or panics.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout.size(), layout.align()) {
            true => map(layout.size()),
            // SAFETY: the caller's promise, passed on.
            false => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout.size(), layout.align()) {
            true => map(layout.size()),
            // SAFETY: the caller's promise, passed on.
            false => unsafe { MiMalloc.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match is_mapped(layout.size(), layout.align()) {
            // SAFETY: this layout was mapped, with this size, and its only owner gives it up. It
            // cannot fail for a mapping that exists; if it did, that would be a leak.
            true => drop(unsafe { munmap(block.cast(), layout.size()) }),
            // SAFETY: the caller's promise, passed on: this layout came from mimalloc.
            false => unsafe { MiMalloc.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (was, will_be) =
            (is_mapped(layout.size(), layout.align()), is_mapped(size, layout.align()));
        if was && will_be {
            // SAFETY: the block is a mapping of its own of this size, and its only owner takes
            // the address it has afterwards. New pages are zeros.
            let moved = unsafe { mremap(block.cast(), layout.size(), size, MremapFlags::MAYMOVE) };
            return moved.map_or(null_mut(), |address| address.cast());
        }
        if !was && !will_be {
            // SAFETY: the caller's promise, passed on: this layout came from mimalloc.
            return unsafe { MiMalloc.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that the size is positive and, rounded up to the alignment,
        // no more than `isize::MAX`.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is positive.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both blocks hold that many bytes, and the new one is nobody else's.
            unsafe { new.copy_from_nonoverlapping(block, size.min(layout.size())) };
            // SAFETY: the caller gives up the old block, which has this layout.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = MAPPED_BYTES_MIN;

    fn filled(block: *mut u8, len: usize) -> Vec<u8> {
        // SAFETY: the tests below pass blocks that they have filled that far.
        unsafe { std::slice::from_raw_parts(block, len) }.to_vec()
    }

    #[test]
    fn a_block_keeps_its_bytes_however_it_grows_and_shrinks() {
        let sizes = [1, 1000, LARGE - 1, LARGE, LARGE + 1, 40 * LARGE, 3 * LARGE, LARGE - 1, 10];
        let mut layout = Layout::from_size_align(100, 16).unwrap();
        // SAFETY: the layout has a positive size; what comes back is checked.
        let mut block = unsafe { Allocator.alloc(layout) };
        assert!(!block.is_null());
        let mut kept = 0;
        for (round, size) in sizes.into_iter().enumerate() {
            let before = filled(block, kept.min(size));
            // SAFETY: the block has this layout and is this test's.
            block = unsafe { Allocator.realloc(block, layout, size) };
            assert!(!block.is_null() && block.addr().is_multiple_of(16), "{size} bytes");
            layout = Layout::from_size_align(size, 16).unwrap();
            assert!(filled(block, before.len()) == before, "{size} bytes");
            // SAFETY: the block holds `size` bytes.
            unsafe { block.write_bytes(round as u8 + 1, size) };
            kept = size;
        }
        // SAFETY: as above.
        unsafe { Allocator.dealloc(block, layout) };
    }

    #[test]
    fn zeroed_means_zeroed_and_aligned_means_aligned() {
        for (size, align) in [(100, 8), (LARGE, 8), (LARGE, 4096), (LARGE, 64 << 10), (64, 8192)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            for _ in 0..3 {
                // SAFETY: the layout has a positive size; what comes back is checked.
                let block = unsafe { Allocator.alloc_zeroed(layout) };
                assert!(!block.is_null() && block.addr().is_multiple_of(align));
                assert!(filled(block, size).iter().all(|byte| *byte == 0));
                // SAFETY: the block holds `size` bytes and has this layout.
                unsafe {
                    block.write_bytes(0xff, size);
                    Allocator.dealloc(block, layout);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_had_is_null() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 1).unwrap();
        // SAFETY: the layout has a positive size.
        assert!(unsafe { Allocator.alloc(layout) }.is_null());
        let small = Layout::from_size_align(LARGE, 1).unwrap();
        // SAFETY: the block has the layout it is given back with; a failed growth leaves it.
        unsafe {
            let block = Allocator.alloc(small);
            assert!(Allocator.realloc(block, small, layout.size()).is_null());
            block.write_bytes(1, LARGE);
            Allocator.dealloc(block, small);
        }
    }
}
