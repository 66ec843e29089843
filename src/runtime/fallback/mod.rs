//! The backend for where io_uring is refused (containers, old kernels): readiness from epoll for
//! sockets, and a few threads per shard for file calls.
//!
//! It keeps what the io_uring backend promises. A file call owns its buffers until it returns; a
//! receive takes a buffer only once there are bytes; files go to sockets by `sendfile`; without
//! work the shard sleeps in `epoll_wait` and its threads on a condition variable.

mod file_calls;
mod files;
mod poller;
mod pool;
mod sockets;
mod streams;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::poller::Poller;
use self::pool::Pool;
use self::sockets::Sockets;
pub(crate) use self::streams::{FallbackListener, FallbackStream};
use crate::BufferPool;
use crate::blocking::BlockingThread;
use crate::driver::Unparker;

/// Threads for the file calls of one shard: enough to overlap a log's write with a read and a
/// flush, few enough for a machine that has a shard for each core.
const THREADS_MAX: usize = 4;

/// One shard's operations without io_uring.
pub(crate) struct Fallback {
    sockets: Rc<Sockets>,
    pool: RefCell<Pool>,
    wake_fd: Arc<OwnedFd>,
    blocking: BlockingThread,
    buffers: BufferPool,
}

impl Fallback {
    pub(crate) fn new(name: &str) -> io::Result<Fallback> {
        let poller = Poller::new()?;
        let wake_fd = poller.wake_fd();
        Ok(Fallback {
            sockets: Rc::new(Sockets::new(poller)),
            pool: RefCell::new(Pool::new(name.to_owned(), THREADS_MAX)),
            wake_fd,
            blocking: BlockingThread::new(format!("{name}-blocking")),
            buffers: BufferPool::in_huge_pages(),
        })
    }

    pub(crate) fn unparker(&self) -> Unparker {
        Unparker::Fallback(FallbackUnparker(Arc::clone(&self.wake_fd)))
    }

    pub(crate) fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// Wakes who waits for a socket that is ready. True if there was anything. File calls wake
    /// their tasks by themselves.
    pub(crate) fn poll(&self) -> bool {
        // Without sockets nothing can become ready, and looking would be a call for nothing.
        self.sockets.any() && self.wait(Some(Duration::ZERO))
    }

    /// Sleeps until a socket is ready, the time is up, or the shard is unparked.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.wait(timeout);
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        // It fails only for arguments of ours that are wrong.
        self.sockets.poll(timeout).expect("epoll_wait works on an epoll of our own")
    }

    /// Returns when no file call is in flight. Sockets have none: a stream is closed when it is
    /// dropped.
    pub(crate) fn close(&self) {
        self.pool.borrow_mut().finish();
    }

    /// Makes a blocking call on a thread of the pool.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have given up.
        self.pool.borrow_mut().submit(Box::new(move || drop(answer.send(call()))))?;
        answered.await.map_err(|_| io::Error::other("the file call was not made"))
    }
}

/// Ends the sleep of a fallback shard, from any thread.
#[derive(Clone)]
pub(crate) struct FallbackUnparker(Arc<OwnedFd>);

impl FallbackUnparker {
    pub(crate) fn unpark(&self) {
        poller::wake(&self.0);
    }
}
