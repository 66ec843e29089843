//! Telling one task, from any thread, that something may have changed.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use atomic_waker::AtomicWaker;

/// Wakes the one task that waits for it, and may be given by any thread. One that finds nobody
/// waiting is kept for the next wait; at most one is. Takes no lock.
#[derive(Debug, Default)]
pub struct Signal {
    given: AtomicBool,
    waiter: AtomicWaker,
}

impl Signal {
    /// Wakes the task that waits, or lets the next wait end at once.
    pub fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.waiter.wake();
    }

    /// Waits until it is given. Of two tasks that wait at once, only the later one is woken.
    pub fn given(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|cx| {
            // Looked at again after registering: it may have been given in between.
            if !self.given.swap(false, Ordering::Acquire) {
                self.waiter.register(cx.waker());
                if !self.given.swap(false, Ordering::Acquire) {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};
    use std::thread::{self, Thread};

    use super::super::tests_support::poll_now;
    use super::*;

    #[test]
    fn one_that_nobody_waited_for_is_kept_once() {
        let signal = Signal::default();
        assert_eq!(poll_now(signal.given()), None);
        signal.give();
        signal.give();
        assert_eq!(poll_now(signal.given()), Some(()));
        assert_eq!(poll_now(signal.given()), None);
    }

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[test]
    fn none_is_lost_between_threads() {
        let there = Arc::new((Signal::default(), Signal::default()));
        let back = there.clone();
        let wait = |signal: &Signal| {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut given = pin!(signal.given());
            while given.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                thread::park();
            }
        };
        let other = thread::spawn(move || {
            for _ in 0..10_000 {
                wait(&back.0);
                back.1.give();
            }
        });
        for _ in 0..10_000 {
            there.0.give();
            wait(&there.1);
        }
        other.join().unwrap();
    }
}
