//! The ring and the operations in flight on it.
//!
//! Every operation has a slot that owns all the memory and descriptors the kernel was told of (its
//! [`Payload`]), from before it is submitted until its completion was taken. Its future only
//! points at the slot: when it is dropped the slot is orphaned, not freed. That is what makes the
//! few `unsafe` submissions here sound, and nothing outside this file submits.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use slab::Slab;

use super::fill_turns::FillTurns;
use super::lent::LentBuffers;
use super::operation::{Operation, Slot, State};
use super::payload::Payload;
use super::pipes::Pipes;
use super::setup;
use super::wake::{UringUnparker, Wake};
use crate::sync::Semaphore;
use crate::{BufferPool, File};

/// What a completion is for: the upper half of its user data.
const KIND_OPERATION: u64 = 0;
const KIND_WAKE: u64 = 1 << 32;
const KIND_MESSAGE: u64 = 2 << 32;
const KIND_IGNORED: u64 = 3 << 32;
const KIND_MASK: u64 = !0 << 32;

const ENTER_GETEVENTS: u32 = 1;

pub(crate) struct Ring {
    /// Dropping it does not end the ring: other threads hold descriptors of it, to wake it. What
    /// keeps the kernel off the memory below is [`close`](Ring::close).
    ring: RefCell<IoUring>,
    pub(super) slots: RefCell<ManuallyDrop<Slab<Slot>>>,
    /// Entries that found the submission queue full.
    backlog: RefCell<VecDeque<Entry>>,
    completed: RefCell<Vec<Completion>>,
    wake: ManuallyDrop<RefCell<Wake>>,
    /// Whether the kernel reads into `wake`.
    listening: Cell<bool>,
    /// Shards that were sent a message, by the number in its user data.
    peers: RefCell<Vec<UringUnparker>>,
    closing: Cell<bool>,
    pub(super) lent: LentBuffers,
    pub(super) pipes: Pipes,
    fill_turns: FillTurns,
    pub(super) buffers: BufferPool,
}

#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Ring {
    pub(super) fn new(buffers: BufferPool, pipes_max: usize) -> io::Result<Rc<Ring>> {
        let ring = setup::build(setup::ENTRIES)?;
        let lent = LentBuffers::register(&ring)?;
        let wake = Wake::new(&ring)?;
        let ring = Rc::new(Ring {
            ring: RefCell::new(ring),
            slots: RefCell::default(),
            backlog: RefCell::default(),
            completed: RefCell::default(),
            wake: ManuallyDrop::new(RefCell::new(wake)),
            listening: Cell::new(false),
            peers: RefCell::default(),
            closing: Cell::new(false),
            lent,
            pipes: Pipes::new(pipes_max),
            fill_turns: FillTurns::default(),
            buffers,
        });
        ring.listen_for_wakes();
        Ok(ring)
    }

    /// The turns to fill pipes from the disk of this file.
    pub(super) fn fill_turns_of(&self, file: &File) -> Semaphore {
        let grown = |disks| setup::limit_pipe_workers(&self.ring.borrow(), disks);
        self.fill_turns.of(file.disk(), grown)
    }

    pub(super) fn unparker(&self) -> UringUnparker {
        self.wake.borrow().unparker()
    }

    /// Starts an operation. `entry` describes it, pointing only at memory and descriptors that
    /// the payload owns on the heap.
    pub(super) fn start(
        self: &Rc<Self>,
        mut payload: Payload,
        entry: impl FnOnce(&mut Payload) -> Entry,
    ) -> Operation {
        let entry = entry(&mut payload);
        let slot = Slot { state: State::Waiting(None), payload };
        let key = self.slots.borrow_mut().insert(slot);
        self.push(entry.user_data(KIND_OPERATION | key as u64));
        Operation::new(Rc::clone(self), key)
    }

    pub(super) fn cancel_operation(&self, key: usize) {
        self.cancel(KIND_OPERATION | key as u64);
    }

    fn cancel(&self, user_data: u64) {
        if !self.closing.get() {
            self.push(opcode::AsyncCancel::new(user_data).build().user_data(KIND_IGNORED));
        }
    }

    /// Ends the sleep of another shard by a message to its ring, sent with the next submission.
    pub(super) fn unpark_other(&self, other: &UringUnparker) {
        let mut peers = self.peers.borrow_mut();
        let index = peers.iter().position(|peer| peer.is(other)).unwrap_or_else(|| {
            peers.push(other.clone());
            peers.len() - 1
        });
        drop(peers);
        let entry = opcode::MsgRingData::new(Fd(other.ring_fd()), 0, KIND_IGNORED, None).build();
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry.user_data(KIND_MESSAGE | index as u64));
    }

    fn push(&self, entry: Entry) {
        let mut backlog = self.backlog.borrow_mut();
        // What waits goes first.
        if !backlog.is_empty() || !self.try_push(&entry) {
            backlog.push_back(entry);
            self.push_backlog(&mut backlog);
        }
    }

    /// Puts an entry into the submission queue, if there is room.
    fn try_push(&self, entry: &Entry) -> bool {
        // SAFETY: the entry points at memory owned by a slot, by the wake, or by nothing (the
        // callers of `push` are all in this file), and slots are kept until completion.
        unsafe { self.ring.borrow_mut().submission().push(entry).is_ok() }
    }

    /// Moves the backlog into the submission queue, as far as it goes.
    fn push_backlog(&self, backlog: &mut VecDeque<Entry>) {
        while let Some(entry) = backlog.front() {
            if self.try_push(entry) {
                backlog.pop_front();
                continue;
            }
            // Full: hand it in. When even that is refused, completions must be taken first.
            if !self.ring.borrow().submit().is_ok_and(|n| n > 0) {
                return;
            }
        }
    }

    /// Hands in what is queued and takes what has completed. True if there was anything.
    pub(super) fn poll(&self) -> io::Result<bool> {
        self.push_backlog(&mut self.backlog.borrow_mut());
        {
            let mut ring = self.ring.borrow_mut();
            let queue = ring.submission();
            let queued = queue.len() as u32;
            let enter = queued > 0 || queue.taskrun() || queue.cq_overflow();
            drop(queue);
            if enter {
                // SAFETY: no argument is passed; the queued entries were checked when pushed.
                let entered = unsafe {
                    ring.submitter().enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None)
                };
                ignore_transient(entered)?;
            }
        }
        Ok(self.take_completions())
    }

    /// Like `poll`, but sleeps until something completes or the time is up.
    pub(super) fn park(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.push_backlog(&mut self.backlog.borrow_mut());
        {
            let ring = self.ring.borrow();
            let entered = match timeout {
                None => ring.submit_and_wait(1),
                Some(timeout) => {
                    let timespec = Timespec::from(timeout);
                    let args = SubmitArgs::new().timespec(&timespec);
                    ring.submitter().submit_with_args(1, &args)
                }
            };
            ignore_transient(entered)?;
        }
        self.take_completions();
        Ok(())
    }

    fn take_completions(&self) -> bool {
        let mut completed = self.completed.take();
        {
            let mut ring = self.ring.borrow_mut();
            completed.extend(ring.completion().map(|cqe| Completion {
                user_data: cqe.user_data(),
                result: cqe.result(),
                flags: cqe.flags(),
            }));
        }
        let any = !completed.is_empty();
        for completion in completed.drain(..) {
            self.complete(completion);
        }
        *self.completed.borrow_mut() = completed;
        any
    }

    fn complete(&self, completion: Completion) {
        let Completion { user_data, result, flags } = completion;
        let key = (user_data & !KIND_MASK) as usize;
        match user_data & KIND_MASK {
            KIND_OPERATION => self.complete_operation(key, result, flags),
            KIND_WAKE => {
                self.listening.set(false);
                self.listen_for_wakes();
            }
            KIND_MESSAGE if result < 0 => {
                let peer = self.peers.borrow()[key].clone();
                peer.unpark();
            }
            _ => {}
        }
    }

    fn complete_operation(&self, key: usize, result: i32, flags: u32) {
        let mut slots = self.slots.borrow_mut();
        // Whoever waits for the turn is woken, and runs later.
        slots[key].payload.end_turn();
        match std::mem::replace(&mut slots[key].state, State::Done { result, flags }) {
            State::Waiting(waker) => {
                drop(slots);
                waker.into_iter().for_each(Waker::wake);
            }
            State::Orphaned => {
                let slot = slots.remove(key);
                // Dropping it may start other operations here.
                drop(slots);
                slot.payload.abandon(self, result, flags);
            }
            State::Done { .. } => unreachable!("an operation completes once"),
        }
    }

    fn listen_for_wakes(&self) {
        if !self.closing.get() {
            let (fd, counter) = self.wake.borrow_mut().target();
            let entry = opcode::Read::new(Fd(fd), counter, 8).build();
            self.listening.set(true);
            self.push(entry.user_data(KIND_WAKE));
        }
    }

    /// Gives up all operations and waits until none is in flight.
    pub(super) fn close(&self) -> io::Result<()> {
        self.closing.set(true);
        while self.in_flight() {
            let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            self.push(all.user_data(KIND_IGNORED));
            self.park(Some(Duration::from_millis(20)))?;
        }
        Ok(())
    }

    fn in_flight(&self) -> bool {
        let slots = self.slots.borrow();
        let running = |slot: &Slot| !matches!(slot.state, State::Done { .. });
        slots.iter().any(|(_, slot)| running(slot)) || self.listening.get()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.closing.get() {
            // The kernel may still write to memory of ours. There is nobody to tell of an error.
            let _ = self.close();
        }
        // Memory of an operation that has not completed is the kernel's: better lost than reused.
        if !self.in_flight() {
            let slots = std::mem::take(&mut *self.slots.borrow_mut());
            drop(ManuallyDrop::into_inner(slots));
            // SAFETY: the field is not used again, since this runs at most once and is the drop.
            unsafe { ManuallyDrop::drop(&mut self.wake) };
        }
    }
}

/// Interruptions, timeouts and full queues: the loop comes back.
fn ignore_transient(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;
    use crate::BufferPool;

    /// Other shards may still wake one whose ring is closed and whose memory is about to go: the
    /// kernel must not read into it then.
    #[test]
    fn nothing_is_read_for_a_closed_ring() {
        let ring = Ring::new(BufferPool::new(), 16).unwrap();
        let unparker = ring.unparker();
        let (event, _) = ring.wake.borrow_mut().target();
        let wakes = || {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{event}")).unwrap();
            let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:"));
            count.expect("it is an eventfd").trim().to_owned()
        };
        unparker.unpark();
        ring.park(None).unwrap();
        assert_eq!(wakes(), "0", "a ring in use reads it");
        ring.close().unwrap();
        unparker.unpark();
        ring.poll().unwrap();
        assert_eq!(wakes(), "1");
    }
}
