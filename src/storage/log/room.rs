//! Waiting for room in memory, before a batch is appended.
//!
//! Who wants to append waits before it does, in the order of the appends of a log, and never
//! between what is on disk and its answer. How much may be in memory is the directory's
//! (`shard/budget.rs`) and the log's own; a sick disk is nothing to the others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ringlog_runtime::Instant;

use crate::error::StorageError;
use crate::log::Log;

/// How often one who waits for room looks whether it may wait on.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Those who wait to append to one log, first come first.
#[derive(Default)]
pub(crate) struct RoomQueue(RefCell<VecDeque<Rc<Place>>>);

#[derive(Default)]
struct Place {
    waker: Cell<Option<Waker>>,
}

impl RoomQueue {
    fn is_first(&self, place: &Rc<Place>) -> bool {
        self.0.borrow().front().is_some_and(|first| Rc::ptr_eq(first, place))
    }

    fn leave(&self, place: &Rc<Place>) {
        let mut queue = self.0.borrow_mut();
        let at = queue.iter().position(|other| Rc::ptr_eq(other, place));
        queue.remove(at.expect("it leaves once"));
        let first = queue.front().and_then(|first| first.waker.take());
        drop(queue);
        first.into_iter().for_each(Waker::wake);
    }
}

/// A place in the queue of a log, until it is dropped: to be kept until the batch is appended.
pub struct RoomTurn {
    log: Rc<Log>,
    place: Rc<Place>,
    bytes: usize,
}

impl Drop for RoomTurn {
    fn drop(&mut self) {
        self.log.budget.end_waiting(self.bytes);
        self.log.room.leave(&self.place);
    }
}

impl Log {
    /// Whether a batch may be appended now. A failed log has room: the append says what is wrong.
    fn has_room_in_memory(&self) -> bool {
        let of_log = self.dirty_bytes() <= self.shard.options().log_dirty_bytes_max;
        (of_log && self.budget.has_room()) || self.failure().is_some() || self.dir.is_full()
    }

    /// Whether the disk takes nothing although there is something to write: of its directory, or
    /// of this log while others there go on.
    pub fn is_held_up(&self) -> bool {
        self.budget.is_held_up() || self.writer.stands.get()
    }

    /// Looks whether anything of this log was written. Returns whether it seems to hang: those who
    /// wait for it are to be told ([`Log::look_again`]). To be called twice a second.
    pub fn look(&self) -> bool {
        let mut looks = self.writer.looks.get();
        let stands = looks.look(self.dirty_bytes() > 0, false, self.writer.writes.get());
        self.writer.looks.set(looks);
        self.writer.stands.set(stands);
        stands
    }

    /// Bytes that wait to be appended to logs of its directory.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.budget.waiting_bytes()
    }

    /// Takes a place among those who wait to append here (back-pressure), for a batch of so many
    /// bytes. `None` if there is room, and nobody waits: the batch is to be appended at once.
    pub fn queue_for_room(&self, bytes: usize) -> Option<RoomTurn> {
        if self.room.0.borrow().is_empty() && self.has_room_in_memory() {
            return None;
        }
        let log = self.this.upgrade().expect("it is borrowed");
        let place = Rc::new(Place::default());
        self.room.0.borrow_mut().push_back(place.clone());
        self.budget.begin_waiting(bytes);
        Some(RoomTurn { log, place, bytes })
    }

    /// Waits until there is room, however long that takes.
    pub async fn wait_writable(&self) {
        if let Some(turn) = self.queue_for_room(0) {
            turn.wait().await;
        }
    }
}

impl RoomTurn {
    /// Waits until it is this one's turn and there is room. If the disk takes nothing, no longer
    /// than until `deadline`.
    ///
    /// # Errors
    /// [`StorageError::HeldUp`]: nothing was taken. Also before the deadline, if the directory is
    /// held up and too much waits for it.
    pub async fn room_by(&self, deadline: Instant) -> Result<(), StorageError> {
        let (runtime, budget) = (self.log.shard.runtime(), &self.log.budget);
        loop {
            // After the deadline as well: what moves is waited for, however slow it is.
            let left = match deadline - runtime.now() {
                left if left.is_zero() => LOOK_INTERVAL,
                left => left.min(LOOK_INTERVAL),
            };
            if runtime.timeout(left, self.wait()).await.is_ok() {
                return Ok(());
            }
            let is_late = runtime.now() >= deadline;
            if (is_late && self.log.is_held_up()) || budget.is_too_much_waiting() {
                return Err(StorageError::HeldUp);
            }
        }
    }

    async fn wait(&self) {
        let mut registration = self.log.budget.registration();
        poll_fn(|context| {
            if !self.log.room.is_first(&self.place) {
                self.place.waker.set(Some(context.waker().clone()));
                return Poll::Pending;
            }
            if self.log.has_room_in_memory() {
                return Poll::Ready(());
            }
            registration.register(context);
            Poll::Pending
        })
        .await;
    }
}
