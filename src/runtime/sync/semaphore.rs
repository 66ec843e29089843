//! A budget that tasks share: so many bytes, so many calls at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A number of permits. Who waits for many is not overtaken by those who want few.
#[derive(Clone)]
pub struct Semaphore(Rc<State>);

struct State {
    available: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    wanted: usize,
    granted: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Semaphore {
    /// A budget of so many permits.
    pub fn new(permits: usize) -> Semaphore {
        Semaphore(Rc::new(State { available: Cell::new(permits), waiting: RefCell::default() }))
    }

    /// Waits for `permits`. More than there are in all are never there.
    pub fn acquire(&self, permits: usize) -> Acquire {
        Acquire { semaphore: self.clone(), wanted: permits, waiter: None }
    }

    /// Takes `permits` if nobody has to wait.
    pub fn try_acquire(&self, permits: usize) -> Option<Permit> {
        let available = self.0.available.get();
        if available < permits || !self.0.waiting.borrow().is_empty() {
            return None;
        }
        self.0.available.set(available - permits);
        Some(Permit { semaphore: self.clone(), permits })
    }

    /// The permits that nobody holds.
    pub fn available(&self) -> usize {
        self.0.available.get()
    }

    /// Whether somebody waits for permits.
    pub fn is_waited_for(&self) -> bool {
        !self.0.waiting.borrow().is_empty()
    }

    /// Adds permits to the budget, or gives some back that were forgotten.
    pub fn release(&self, permits: usize) {
        self.0.available.set(self.0.available.get() + permits);
        self.grant();
    }

    fn grant(&self) {
        loop {
            let mut waiting = self.0.waiting.borrow_mut();
            let Some(first) = waiting.front() else { return };
            let available = self.0.available.get();
            if first.wanted > available {
                return;
            }
            self.0.available.set(available - first.wanted);
            let first = waiting.pop_front().expect("looked at above");
            drop(waiting);
            first.granted.set(true);
            first.waker.borrow().wake_by_ref();
        }
    }
}

/// Waits for permits.
pub struct Acquire {
    semaphore: Semaphore,
    wanted: usize,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(waiter) = &self.waiter else {
            if let Some(permit) = self.semaphore.try_acquire(self.wanted) {
                return Poll::Ready(permit);
            }
            let waiter = Rc::new(Waiter {
                wanted: self.wanted,
                granted: Cell::new(false),
                waker: RefCell::new(cx.waker().clone()),
            });
            self.semaphore.0.waiting.borrow_mut().push_back(Rc::clone(&waiter));
            self.waiter = Some(waiter);
            return Poll::Pending;
        };
        if !waiter.granted.get() {
            waiter.waker.borrow_mut().clone_from(cx.waker());
            return Poll::Pending;
        }
        self.waiter = None;
        Poll::Ready(Permit { semaphore: self.semaphore.clone(), permits: self.wanted })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if waiter.granted.get() {
            self.semaphore.release(waiter.wanted);
        } else {
            self.semaphore.0.waiting.borrow_mut().retain(|w| !Rc::ptr_eq(w, &waiter));
            // It may have been first, and held up others who want less.
            self.semaphore.grant();
        }
    }
}

/// Permits, given back when dropped.
pub struct Permit {
    semaphore: Semaphore,
    permits: usize,
}

impl Permit {
    /// How many.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Never gives them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.release(self.permits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Semaphore;
    use crate::sync::tests_support::poll_now;

    #[test]
    fn nobody_is_overtaken() {
        let budget = Semaphore::new(10);
        let held = budget.try_acquire(6).unwrap();
        let mut large = budget.acquire(8);
        let mut small = budget.acquire(1);
        assert!(poll_now(&mut large).is_none());
        assert!(poll_now(&mut small).is_none());
        assert!(budget.try_acquire(1).is_none() && budget.is_waited_for());
        drop(held);
        let large = poll_now(&mut large).unwrap();
        let small = poll_now(&mut small).unwrap();
        assert_eq!((large.permits(), small.permits(), budget.available()), (8, 1, 1));
        assert!(!budget.is_waited_for());
        small.forget();
        drop(large);
        assert_eq!(budget.available(), 9);
    }

    #[test]
    fn who_gives_up_takes_nothing_and_holds_up_nobody() {
        let budget = Semaphore::new(4);
        let held = budget.try_acquire(2).unwrap();
        let mut large = budget.acquire(4);
        let mut small = budget.acquire(2);
        assert!(poll_now(&mut large).is_none() && poll_now(&mut small).is_none());
        drop(large);
        let small = poll_now(&mut small).unwrap();
        let mut granted = budget.acquire(4);
        assert!(poll_now(&mut granted).is_none());
        drop((held, small));
        drop(granted);
        assert_eq!(budget.available(), 4);
    }
}
