//! Readiness as futures: a nonblocking call is tried, and tried again when epoll says so.
//!
//! One reader and one writer may wait for a socket at a time; that is the runtime's promise to
//! its callers, and what keeps a registration at two wakers.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustix::io::Errno;
use slab::Slab;

use super::poller::{Poller, Ready};

#[derive(Default)]
struct Interest {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// Which call waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Read,
    Write,
}

/// The sockets of one shard and the poller that watches them.
pub(super) struct Sockets {
    pub(super) poller: RefCell<Poller>,
    interests: RefCell<Slab<Interest>>,
    ready: RefCell<Vec<Ready>>,
}

impl Sockets {
    pub(super) fn new(poller: Poller) -> Sockets {
        Sockets {
            poller: RefCell::new(poller),
            interests: RefCell::default(),
            ready: RefCell::default(),
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.interests.borrow().is_empty()
    }

    /// Waits for readiness and wakes whoever waits for it. True if anything became
    /// ready or the wait was ended from elsewhere.
    pub(super) fn poll(&self, timeout: Option<std::time::Duration>) -> io::Result<bool> {
        let mut ready = self.ready.borrow_mut();
        let woken = self.poller.borrow_mut().wait(timeout, &mut ready)?;
        let any = woken || !ready.is_empty();
        for event in ready.drain(..) {
            let mut interests = self.interests.borrow_mut();
            // An event may outlive its socket within one batch.
            let Some(interest) = interests.get_mut(event.key as usize) else { continue };
            let read = if event.read { interest.read.take() } else { None };
            let write = if event.write { interest.write.take() } else { None };
            drop(interests);
            read.into_iter().chain(write).for_each(Waker::wake);
        }
        Ok(any)
    }
}

/// A nonblocking socket registered with its shard's poller; closed on drop.
pub(crate) struct Socket {
    fd: OwnedFd,
    key: usize,
    sockets: Rc<Sockets>,
}

impl Socket {
    pub(super) fn new(sockets: &Rc<Sockets>, fd: OwnedFd) -> io::Result<Socket> {
        let key = sockets.interests.borrow_mut().insert(Interest::default());
        let socket = Socket { fd, key, sockets: Rc::clone(sockets) };
        sockets.poller.borrow().register(&socket.fd, key as u64)?;
        Ok(socket)
    }

    /// Tries the call until it no longer says that it would block.
    pub(super) async fn when_ready<T>(
        &self,
        side: Side,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        std::future::poll_fn(|cx| {
            loop {
                return match call(self.fd.as_fd()) {
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => {
                        let mut interests = self.sockets.interests.borrow_mut();
                        let interest = &mut interests[self.key];
                        let slot = match side {
                            Side::Read => &mut interest.read,
                            Side::Write => &mut interest.write,
                        };
                        *slot = Some(cx.waker().clone());
                        Poll::Pending
                    }
                    Err(e) => Poll::Ready(Err(e.into())),
                    Ok(value) => Poll::Ready(Ok(value)),
                };
            }
        })
        .await
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.sockets.poller.borrow().unregister(&self.fd);
        self.sockets.interests.borrow_mut().remove(self.key);
    }
}
