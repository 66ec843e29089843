//! The io_uring backend: one ring per shard, used by that shard's thread alone.

mod cold;
mod files;
mod fill_turns;
mod lent;
mod operation;
mod payload;
mod pipes;
mod ring;
mod send;
mod setup;
mod sockets;
mod wake;

use std::io;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use self::lent::LentBuf;
use self::ring::Ring;
pub(crate) use self::setup::missing_operations;
pub(crate) use self::sockets::{UringListener, UringStream};
pub(crate) use self::wake::UringUnparker;
use crate::BufferPool;
use crate::blocking::BlockingThread;
use crate::driver::Unparker;

/// A ring that was set up can be entered; a shard could not go on without.
const ENTERED: &str = "the ring can be entered";

/// One shard's operations on io_uring.
pub(crate) struct Uring {
    ring: Rc<Ring>,
    /// For what io_uring has no operation for.
    blocking: BlockingThread,
}

impl Uring {
    pub(crate) fn new(name: &str, pipes_max: usize) -> io::Result<Uring> {
        let blocking = BlockingThread::new(format!("{name}-blocking"));
        Ok(Uring { ring: Ring::new(BufferPool::in_huge_pages(), pipes_max)?, blocking })
    }

    pub(crate) fn unparker(&self) -> Unparker {
        Unparker::Uring(self.ring.unparker())
    }

    pub(crate) fn unpark_other(&self, other: &UringUnparker) {
        self.ring.unpark_other(other);
    }

    /// Hands in what is queued and takes what has completed. True if there was anything.
    pub(crate) fn poll(&self) -> bool {
        self.ring.poll().expect(ENTERED)
    }

    /// Sleeps until something completes, the time is up, or the shard is unparked.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.ring.park(timeout).expect(ENTERED);
    }

    /// Gives up all operations; returns when none is in flight.
    pub(crate) fn close(&self) {
        self.ring.close().expect(ENTERED);
    }

    pub(crate) fn buffers(&self) -> &BufferPool {
        &self.ring.buffers
    }
}
