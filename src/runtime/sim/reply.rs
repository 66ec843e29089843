//! The answer to one simulated operation: given once by the world, awaited by at most one task.
//!
//! An operation whose future is dropped goes on and its answer is thrown away, as with a real
//! kernel.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// The world's side.
pub(crate) struct Reply<T>(Rc<RefCell<State<T>>>);

/// The task's side.
pub(crate) struct Answer<T>(Rc<RefCell<State<T>>>);

pub(crate) fn reply<T>() -> (Reply<T>, Answer<T>) {
    let state = Rc::new(RefCell::new(State { value: None, waker: None }));
    (Reply(Rc::clone(&state)), Answer(state))
}

impl<T> Reply<T> {
    /// Gives the answer. Returns the waker of the task that waits, to be woken by the caller once
    /// nothing of the world is borrowed.
    pub(crate) fn give(self, value: T) -> Option<Waker> {
        let mut state = self.0.borrow_mut();
        state.value = Some(value);
        state.waker.take()
    }
}

impl<T> Answer<T> {
    /// The answer, if it was given and not awaited.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.borrow_mut().value.take()
    }
}

impl<T> Future for Answer<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.borrow_mut();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
