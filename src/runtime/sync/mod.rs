//! Waiting for one another, among the tasks of one shard.
//!
//! Nothing here but [`Signal`] may leave its shard. All of it can be given up at any time: a future
//! that is dropped takes nothing with it. Waiters are served in the order in which they came.

mod event;
mod notify;
pub mod oneshot;
mod semaphore;
mod shared_run;
mod signal;

pub use self::event::Event;
pub use self::notify::{Notified, Notify};
pub use self::semaphore::{Acquire, Permit, Semaphore};
pub use self::shared_run::SharedRun;
pub use self::signal::Signal;

#[cfg(test)]
mod tests_support {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Polls once.
    pub(super) fn poll_now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}
