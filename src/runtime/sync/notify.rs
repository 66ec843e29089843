//! Telling one task, or all, that something may have changed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes tasks that wait for it. A notification that finds nobody waiting is kept for the next
/// who does; at most one is.
#[derive(Default)]
pub struct Notify {
    kept: Cell<bool>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    waker: RefCell<Waker>,
    woken: Cell<Woken>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    No,
    /// By a notification for one, which must not be lost.
    AsOne,
    AsAll,
}

impl Notify {
    /// Nobody waits and nothing is kept.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes the task that has waited longest, or lets the next one that waits go on at once.
    pub fn notify_one(&self) {
        match self.waiting.borrow_mut().pop_front() {
            Some(waiter) => waiter.wake(Woken::AsOne),
            None => self.kept.set(true),
        }
    }

    /// Wakes every task that waits now, and keeps nothing for later ones.
    pub fn notify_waiters(&self) {
        for waiter in self.waiting.take() {
            waiter.wake(Woken::AsAll);
        }
    }

    /// Waits for a notification. The wait begins when the future is first polled.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, waiter: None }
    }
}

impl Waiter {
    fn wake(&self, how: Woken) {
        self.woken.set(how);
        self.waker.borrow().wake_by_ref();
    }
}

/// Waits for a [`Notify`].
pub struct Notified<'a> {
    notify: &'a Notify,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waiter) = &self.waiter else {
            if self.notify.kept.take() {
                return Poll::Ready(());
            }
            let waker = RefCell::new(cx.waker().clone());
            let waiter = Rc::new(Waiter { waker, woken: Cell::new(Woken::No) });
            self.notify.waiting.borrow_mut().push_back(Rc::clone(&waiter));
            self.waiter = Some(waiter);
            return Poll::Pending;
        };
        if waiter.woken.get() == Woken::No {
            waiter.waker.borrow_mut().clone_from(cx.waker());
            return Poll::Pending;
        }
        self.waiter = None;
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        match waiter.woken.get() {
            Woken::No => self.notify.waiting.borrow_mut().retain(|w| !Rc::ptr_eq(w, &waiter)),
            // Meant for one, and this one is gone.
            Woken::AsOne => self.notify.notify_one(),
            Woken::AsAll => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Notify;
    use crate::sync::tests_support::poll_now;

    #[test]
    fn one_is_kept_and_no_more() {
        let notify = Notify::new();
        notify.notify_one();
        notify.notify_one();
        assert!(poll_now(notify.notified()).is_some());
        assert!(poll_now(notify.notified()).is_none());
    }

    #[test]
    fn the_longest_waiting_goes_first_and_passes_on_what_it_cannot_use() {
        let notify = Notify::new();
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(notify.notified())).collect();
        waits.iter_mut().for_each(|w| assert!(poll_now(w.as_mut()).is_none()));
        notify.notify_one();
        drop(waits.remove(0));
        assert!(poll_now(waits[0].as_mut()).is_some());
        assert!(poll_now(waits[1].as_mut()).is_none());
        drop(waits);
        notify.notify_one();
        assert!(poll_now(notify.notified()).is_some());
    }

    #[test]
    fn all_means_those_who_wait_now() {
        let notify = Notify::new();
        let mut wait = Box::pin(notify.notified());
        assert!(poll_now(wait.as_mut()).is_none());
        notify.notify_waiters();
        assert!(poll_now(wait.as_mut()).is_some());
        assert!(poll_now(notify.notified()).is_none());
    }
}
