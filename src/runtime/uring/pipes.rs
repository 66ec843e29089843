//! Pipes through which parts of files go to sockets. There are as many as the shard's share of
//! descriptors allows: peers that do not read hold the pipes that are being emptied to them.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use crate::shortage;

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
    _counted: Counted,
}

/// A pipe that exists.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pipe {
    fn new(count: &Rc<Cell<usize>>) -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let capacity = fcntl_getpipe_size(&write)?;
        count.set(count.get() + 1);
        Ok(Pipe { read, write, capacity, _counted: Counted(Rc::clone(count)) })
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

pub(super) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    /// How many there are, in use or not.
    count: Rc<Cell<usize>>,
    count_max: usize,
}

impl Pipes {
    pub(super) fn new(count_max: usize) -> Pipes {
        Pipes { idle: RefCell::default(), count: Rc::default(), count_max }
    }

    /// An empty pipe, as large as can be had now: one that was refused its size during a rush
    /// must not stay small afterwards. `None` if there are as many as may be, or the system has no
    /// descriptors or memory for one.
    pub(super) fn get(&self) -> io::Result<Option<Pipe>> {
        let idle = self.idle.borrow_mut().pop();
        let mut pipe = match idle {
            Some(pipe) => pipe,
            None if self.count.get() >= self.count_max => return Ok(None),
            None => match Pipe::new(&self.count) {
                Err(error) if shortage::passes(&error) => return Ok(None),
                made => made?,
            },
        };
        pipe.grow();
        Ok(Some(pipe))
    }

    /// Takes back an empty pipe.
    pub(super) fn put(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
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

    fn pipe(pipes: &Pipes, bytes: usize) -> Pipe {
        let mut pipe = Pipe::new(&pipes.count).unwrap();
        pipe.capacity = fcntl_setpipe_size(&pipe.write, bytes).unwrap();
        assert_eq!(pipe.capacity, bytes);
        pipe
    }

    /// Small pipes that a rush of readers had left behind were used ever after.
    #[test]
    fn a_pipe_refused_its_size_gets_it_later() {
        let pipes = Pipes::new(1000);
        pipes.put(pipe(&pipes, 4096));
        let grown = pipes.get().unwrap().unwrap();
        assert_eq!(grown.capacity, PIPE_BYTES);
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&grown.read).unwrap(), PIPE_BYTES);
        assert!(pipes.idle.borrow().is_empty(), "it is the one that was put back");
    }

    #[test]
    fn large_pipes_are_kept_and_taken_before_small_ones() {
        let pipes = Pipes::new(1000);
        for _ in 0..IDLE_MAX {
            pipes.put(pipe(&pipes, 4096));
        }
        pipes.put(pipe(&pipes, PIPE_BYTES));
        pipes.put(pipe(&pipes, 8192));
        let sizes: Vec<_> = pipes.idle.borrow().iter().map(|pipe| pipe.capacity).collect();
        let mut want = vec![4096; IDLE_MAX];
        want[IDLE_MAX - 1] = PIPE_BYTES;
        assert_eq!(sizes, want);
        assert_eq!(pipes.get().unwrap().unwrap().capacity, PIPE_BYTES);
        assert_eq!(pipes.idle.borrow().len(), IDLE_MAX - 1);
    }

    #[test]
    fn there_are_no_more_than_may_be() {
        let pipes = Pipes::new(2);
        let first = pipes.get().unwrap().unwrap();
        let second = pipes.get().unwrap().unwrap();
        assert!(pipes.get().unwrap().is_none());
        pipes.put(first);
        assert!(pipes.get().unwrap().is_some(), "one that is idle; it is closed here");
        assert!(pipes.get().unwrap().is_some());
        drop(second);
    }
}
