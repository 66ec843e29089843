//! Pipes through which parts of files go to sockets.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// How much a pipe should hold: the most an unprivileged process may ask for, and enough that the
/// hop to a worker thread costs little.
const PIPE_BYTES: usize = 1 << 20;

/// Empty pipes kept for later.
const IDLE_MAX: usize = 16;

/// A pipe; empty when it is in the pool.
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) capacity: usize,
}

#[derive(Default)]
pub(super) struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    pub(super) fn get(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Refused beyond a user's quota of pipe pages: a small pipe works as well, only slower.
        let capacity = match fcntl_setpipe_size(&write, PIPE_BYTES) {
            Ok(capacity) => capacity,
            Err(_) => fcntl_getpipe_size(&write)?,
        };
        Ok(Pipe { read, write, capacity })
    }

    /// Takes back an empty pipe.
    pub(super) fn put(&self, pipe: Pipe) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(pipe);
        }
    }
}
