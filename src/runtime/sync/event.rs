//! Something that happens once, and that any number of tasks wait for.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// An event: not set at first, then set for good.
#[derive(Default)]
pub struct Event {
    set: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Event {
    /// An event that is not set.
    pub fn new() -> Event {
        Event::default()
    }

    /// Sets it; everyone who waits goes on.
    pub fn set(&self) {
        self.set.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until it is set.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.is_set() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::Event;
    use crate::sync::tests_support::poll_now;
    use std::pin::pin;

    #[test]
    fn it_stays_set() {
        let event = Event::new();
        let mut wait = pin!(event.wait());
        assert!(poll_now(wait.as_mut()).is_none());
        event.set();
        assert!(poll_now(wait).is_some() && event.is_set());
        assert!(poll_now(pin!(event.wait())).is_some());
    }
}
