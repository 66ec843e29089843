//! A value that only the thread that made it may reach, in a place that other threads share.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static TOKEN: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// A number no other thread of this process ever has.
fn thread_token() -> u64 {
    TOKEN.with(|token| *token)
}

/// The value, and whose it is. Any thread may drop it.
pub(crate) struct Owned<T> {
    owner: u64,
    value: RefCell<T>,
}

// SAFETY: other threads than the owner's get no reference to `value`, nor touch its borrow flag:
// `with`, the only way to it, checks first where it is. The last holder may be any thread, which
// then drops the value: that is what `T: Send` is for.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// A value of this thread.
    pub(crate) fn new(value: T) -> Owned<T> {
        Owned { owner: thread_token(), value: RefCell::new(value) }
    }

    /// Calls with the value; `None`, and no call, on any other thread than the owner's.
    ///
    /// # Panics
    /// If `call` comes back here.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.is_here().then(|| call(&mut self.value.borrow_mut()))
    }

    /// Whether this is the owner's thread.
    pub(crate) fn is_here(&self) -> bool {
        self.owner == thread_token()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Owned;

    #[test]
    fn only_its_thread_reaches_it() {
        let owned = Arc::new(Owned::new(vec![1]));
        assert_eq!(owned.with(|v| v.push(2)), Some(()));
        let other = Arc::clone(&owned);
        let elsewhere = std::thread::spawn(move || (other.is_here(), other.with(|v| v.pop())));
        assert_eq!(elsewhere.join().unwrap(), (false, None));
        assert_eq!(owned.with(|v| v.clone()), Some(vec![1, 2]));
        // The last holder is another thread.
        std::thread::spawn(move || drop(owned)).join().unwrap();
    }
}
