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

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let capacity = fcntl_getpipe_size(&write)?;
        Ok(Pipe { read, write, capacity })
    }

    /// Makes it as large as it should be. Refused beyond a user's quota of pipe pages: a small
    /// pipe works as well, only slower.
    fn grow(&mut self) {
        if self.capacity < PIPE_BYTES
            && let Ok(capacity) = fcntl_setpipe_size(&self.write, PIPE_BYTES)
        {
            self.capacity = capacity;
        }
    }
}

#[derive(Default)]
pub(super) struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    /// An empty pipe, as large as can be had now: one that was refused its size during a rush
    /// must not stay small afterwards.
    pub(super) fn get(&self) -> io::Result<Pipe> {
        let idle = self.0.borrow_mut().pop();
        let mut pipe = idle.map_or_else(Pipe::new, Ok)?;
        pipe.grow();
        Ok(pipe)
    }

    /// Takes back an empty pipe.
    pub(super) fn put(&self, pipe: Pipe) {
        let mut idle = self.0.borrow_mut();
        // The small ones wait below the large ones.
        let place = if pipe.capacity < PIPE_BYTES { 0 } else { idle.len() };
        if idle.len() < IDLE_MAX {
            idle.insert(place, pipe);
        } else if place > 0 && idle[0].capacity < pipe.capacity {
            idle.remove(0);
            idle.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{IDLE_MAX, PIPE_BYTES, Pipe, Pipes};
    use rustix::pipe::fcntl_setpipe_size;

    fn pipe(bytes: usize) -> Pipe {
        let mut pipe = Pipe::new().unwrap();
        pipe.capacity = fcntl_setpipe_size(&pipe.write, bytes).unwrap();
        assert_eq!(pipe.capacity, bytes);
        pipe
    }

    /// Small pipes that a rush of readers had left behind were used ever after.
    #[test]
    fn a_pipe_refused_its_size_gets_it_later() {
        let pipes = Pipes::default();
        pipes.put(pipe(4096));
        let grown = pipes.get().unwrap();
        assert_eq!(grown.capacity, PIPE_BYTES);
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&grown.read).unwrap(), PIPE_BYTES);
        assert!(pipes.0.borrow().is_empty(), "it is the one that was put back");
    }

    #[test]
    fn large_pipes_are_kept_and_taken_before_small_ones() {
        let pipes = Pipes::default();
        for _ in 0..IDLE_MAX {
            pipes.put(pipe(4096));
        }
        pipes.put(pipe(PIPE_BYTES));
        pipes.put(pipe(8192));
        let sizes: Vec<_> = pipes.0.borrow().iter().map(|pipe| pipe.capacity).collect();
        let mut want = vec![4096; IDLE_MAX];
        want[IDLE_MAX - 1] = PIPE_BYTES;
        assert_eq!(sizes, want);
        assert_eq!(pipes.get().unwrap().capacity, PIPE_BYTES);
        assert_eq!(pipes.0.borrow().len(), IDLE_MAX - 1);
    }
}
