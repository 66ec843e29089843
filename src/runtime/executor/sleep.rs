//! Waiting for a point in time.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::timers::TimerKey;
use crate::{Instant, Runtime};

/// The time given to [`Runtime::timeout`] is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is up")]
pub struct Elapsed;

/// Completes at its deadline.
pub struct Sleep {
    rt: Runtime,
    deadline: Instant,
    timer: Option<TimerKey>,
}

impl Sleep {
    pub(crate) fn new(rt: Runtime, deadline: Instant) -> Sleep {
        Sleep { rt, deadline, timer: None }
    }

    /// When it completes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.rt.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut timers = self.rt.executor().timers.borrow_mut();
        let known = self.timer.is_some_and(|key| timers.update(key, cx.waker()));
        if !known {
            let key = timers.set(self.deadline, cx.waker().clone());
            drop(timers);
            self.timer = Some(key);
        }
        Poll::Pending
    }
}

pin_project! {
    /// What [`Runtime::timeout`] returns.
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F> Timeout<F> {
    pub(crate) fn new(future: F, sleep: Sleep) -> Timeout<F> {
        Timeout { future, sleep }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.sleep.poll(cx).map(|()| Err(Elapsed))
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            self.rt.executor().timers.borrow_mut().give_up(key);
        }
    }
}
