//! An operation as a future.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::payload::Payload;
use super::ring::Ring;

/// What the ring knows of an operation.
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) payload: Payload,
}

pub(super) enum State {
    Waiting(Option<Waker>),
    Done {
        result: i32,
        flags: u32,
    },
    /// Nobody waits: what came out of it is thrown away when it completes.
    Orphaned,
}

/// What came out of an operation.
pub(super) struct Finished {
    pub(super) result: io::Result<u32>,
    pub(super) flags: u32,
    pub(super) payload: Payload,
}

/// An operation in flight. Dropping it orphans the operation, and tries to end it if it waits for
/// a peer.
pub(super) struct Operation {
    ring: Rc<Ring>,
    key: usize,
    taken: bool,
}

impl Operation {
    pub(super) fn new(ring: Rc<Ring>, key: usize) -> Operation {
        Operation { ring, key, taken: false }
    }
}

impl Future for Operation {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        let mut slots = self.ring.slots.borrow_mut();
        match &mut slots[self.key].state {
            State::Waiting(Some(waker)) => {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            State::Waiting(none) => {
                *none = Some(cx.waker().clone());
                return Poll::Pending;
            }
            State::Done { .. } => {}
            State::Orphaned => unreachable!("orphaned by the drop of this future"),
        }
        let slot = slots.remove(self.key);
        drop(slots);
        self.taken = true;
        let State::Done { result, flags } = slot.state else { unreachable!("seen above") };
        let result = match result {
            0.. => Ok(result as u32),
            _ => Err(io::Error::from_raw_os_error(-result)),
        };
        Poll::Ready(Finished { result, flags, payload: slot.payload })
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut slots = self.ring.slots.borrow_mut();
        let slot = &mut slots[self.key];
        if let State::Done { result, flags } = slot.state {
            let slot = slots.remove(self.key);
            drop(slots);
            slot.payload.abandon(&self.ring, result, flags);
            return;
        }
        slot.state = State::Orphaned;
        let cancel = slot.payload.is_worth_cancelling();
        drop(slots);
        if cancel {
            self.ring.cancel_operation(self.key);
        }
    }
}
