//! Ending a shard's sleep from outside: an eventfd that its ring reads, or a message to the ring
//! from another ring.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::IoUring;
use rustix::event::{EventfdFlags, eventfd};

pub(super) struct Wake {
    unparker: UringUnparker,
    /// Where the kernel puts what it reads from the eventfd. Boxed, so that it stays where it is.
    counter: Box<u64>,
}

/// Ends the sleep of a shard on io_uring, from any thread.
#[derive(Clone)]
pub(crate) struct UringUnparker(Arc<Descriptors>);

struct Descriptors {
    event: OwnedFd,
    /// A descriptor of the ring that stays valid when the shard has ended.
    ring: OwnedFd,
}

impl Wake {
    pub(super) fn new(ring: &IoUring) -> io::Result<Wake> {
        // SAFETY: the ring's descriptor is open while `ring` is borrowed.
        let ring = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        let ring = ring.try_clone_to_owned()?;
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        let unparker = UringUnparker(Arc::new(Descriptors { event, ring }));
        Ok(Wake { unparker, counter: Box::new(0) })
    }

    pub(super) fn unparker(&self) -> UringUnparker {
        self.unparker.clone()
    }

    /// What the ring reads from, and to where.
    pub(super) fn target(&mut self) -> (RawFd, *mut u8) {
        let counter: *mut u64 = &mut *self.counter;
        (self.unparker.0.event.as_raw_fd(), counter.cast())
    }
}

impl UringUnparker {
    pub(crate) fn unpark(&self) {
        // It only fails when the counter is at its limit, and then the wake is on its way.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    pub(super) fn ring_fd(&self) -> RawFd {
        self.0.ring.as_raw_fd()
    }

    pub(super) fn is(&self, other: &UringUnparker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
