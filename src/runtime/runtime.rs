//! What tasks do their input and output with.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use crate::blocking::{BlockingThread, WorkOwner};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::net::{ListenerKind, StreamKind};
use crate::shortage::Shortages;
use crate::sim::{PlantedBug, Prng};
use crate::{
    Backend, BufferPool, HandedOver, Instant, JoinHandle, Listener, ShardId, Sleep, Steps, Stream,
    Timeout, TurnWatch,
};

/// One shard's executor, driver and buffers. Clones are the same shard; none leaves its thread.
///
/// # Failing
/// File and socket operations fail with the system's errors; the operation and its buffers are
/// finished with either way.
#[derive(Clone)]
pub struct Runtime(Rc<Inner>);

struct Inner {
    shard: ShardId,
    driver: Driver,
    executor: Executor,
    buffers: BufferPool,
    computer: BlockingThread,
    prng: RefCell<Prng>,
    shortages: Shortages,
}

impl Runtime {
    pub(crate) fn new(shard: ShardId, driver: Driver, executor: Executor) -> Runtime {
        let buffers = match &driver {
            Driver::Uring(uring) => uring.buffers().clone(),
            Driver::Fallback(fallback) => fallback.buffers().clone(),
            Driver::Sim(_) => BufferPool::new(),
        };
        let prng = RefCell::new(Prng::new(seed()));
        let computer = BlockingThread::in_background(format!("shard-{}-compute", shard.0));
        Runtime(Rc::new(Inner {
            shard,
            driver,
            executor,
            buffers,
            computer,
            prng,
            shortages: Shortages::default(),
        }))
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.0.driver
    }

    pub(crate) fn shortages(&self) -> &Shortages {
        &self.0.shortages
    }

    /// Drops all tasks and gives up all operations; returns when none is in flight.
    pub(crate) fn close(&self) {
        // Wakes of other shards may be queued: they sleep until these are handed in.
        if let Driver::Uring(uring) = &self.0.driver {
            uring.poll();
        }
        self.0.executor.close();
        match &self.0.driver {
            Driver::Uring(uring) => uring.close(),
            Driver::Fallback(fallback) => fallback.close(),
            Driver::Sim(_) => {}
        }
    }

    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.0.shard
    }

    /// What stands behind it.
    pub fn backend(&self) -> Backend {
        self.0.driver.backend()
    }

    /// The time on this shard's monotonic clock.
    pub fn now(&self) -> Instant {
        self.0.driver.now()
    }

    /// Milliseconds since the Unix epoch.
    pub fn wall_clock_ms(&self) -> i64 {
        self.0.driver.wall_clock_ms()
    }

    /// A random number: good for ids and jitter, not for secrets.
    pub fn random_u64(&self) -> u64 {
        match &self.0.driver {
            Driver::Sim(sim) => sim.random_u64(),
            Driver::Uring(_) | Driver::Fallback(_) => self.0.prng.borrow_mut().next_u64(),
        }
    }

    /// Whether the code that asks is to make this mistake: never, but in a simulation that wants
    /// to see whether it is found.
    pub fn planted(&self, bug: PlantedBug) -> bool {
        match &self.0.driver {
            Driver::Uring(_) | Driver::Fallback(_) => false,
            Driver::Sim(sim) => sim.planted(bug),
        }
    }

    /// Waits for so long.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.sleep_until(self.now() + time)
    }

    /// Waits until then.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self.clone(), deadline)
    }

    /// Waits for a future, but no longer than `limit` from now.
    ///
    /// # Errors
    /// The time is up.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout::new(future, self.sleep(limit))
    }

    /// Starts a task on this shard. It goes on by itself if the handle is dropped.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.0.executor.spawn(future)
    }

    /// Has `watch` told how long the turns of the shard's loop take.
    ///
    /// # Panics
    /// The shard has a watch already.
    pub fn watch_turns(&self, watch: Rc<dyn TurnWatch>) {
        self.0.executor.turns().set_watch(watch);
    }

    /// Says what the running task works on, until its next wait: for the watch, should it keep the
    /// shard for long. 0 is nothing in particular.
    pub fn set_task_tag(&self, tag: u16) {
        self.0.executor.turns().tag().set(tag);
    }

    /// What the running task called itself last.
    pub fn task_tag(&self) -> u16 {
        self.0.executor.turns().tag().get()
    }

    /// Lets the other tasks go first: those that can run, and those that something has come for by
    /// the end of this turn of the loop.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            match &self.0.driver {
                Driver::Uring(_) | Driver::Fallback(_) => {
                    self.0.executor.wake_next_turn(cx.waker());
                }
                // It has no turns, and looks at what comes after each task.
                Driver::Sim(_) => cx.waker().wake_by_ref(),
            }
            Poll::Pending
        })
        .await;
    }

    /// For work that takes many small steps on this shard, `turn_steps` of them in each turn.
    pub fn steps(&self, turn_steps: u32) -> Steps {
        Steps::new(self.clone(), turn_steps)
    }

    /// Has something computed that would hold up the shard, on a thread that gives way to all
    /// others. It does one such thing after the other: owners take turns, a computation each, so
    /// that the many of one do not hold up the one of another. A caller has few of them waiting at
    /// once, and one that gives up waiting takes its computation back. The simulation computes it
    /// here, in no time.
    pub async fn compute<T: Send + 'static>(
        &self,
        owner: WorkOwner,
        computation: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match &self.0.driver {
            Driver::Uring(_) | Driver::Fallback(_) => {
                let call = move || Ok(computation());
                let computed = self.0.computer.call_for(owner, call).await;
                computed.expect("the thread is there as long as the shard")
            }
            Driver::Sim(_) => {
                self.yield_now().await;
                computation()
            }
        }
    }

    /// This shard's buffers.
    pub fn buffers(&self) -> &BufferPool {
        &self.0.buffers
    }

    /// Listens for connections. Several shards may listen on one address (`SO_REUSEPORT`): the
    /// system spreads connections over them.
    ///
    /// # Errors
    /// The address is taken or is not this machine's.
    pub async fn listen(&self, addr: SocketAddr) -> io::Result<Listener> {
        Ok(Listener::new(match &self.0.driver {
            Driver::Uring(d) => ListenerKind::Uring(d.listen(addr)?),
            Driver::Fallback(d) => ListenerKind::Fallback(d.listen(addr)?),
            Driver::Sim(d) => ListenerKind::Sim(d.listen(addr)?),
        }))
    }

    /// The next connection, and where it comes from. Small sends leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory; try again after a pause.
    pub async fn accept(&self, listener: &Listener) -> io::Result<(Stream, SocketAddr)> {
        listener.accept().await
    }

    /// Connects. Small sends leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// Nobody answers there, or refuses.
    pub async fn connect(&self, addr: SocketAddr) -> io::Result<Stream> {
        Ok(Stream::new(match &self.0.driver {
            Driver::Uring(d) => StreamKind::Uring(d.connect(addr).await?),
            Driver::Fallback(d) => StreamKind::Fallback(d.connect(addr).await?),
            Driver::Sim(d) => StreamKind::Sim(d.connect(addr).await?),
        }))
    }

    /// A stream of a connection that another shard has handed over.
    ///
    /// # Errors
    /// The system cannot watch one more socket; the connection is closed.
    pub fn take_over(&self, connection: HandedOver) -> io::Result<Stream> {
        let HandedOver { descriptor, peer_addr } = connection;
        Ok(Stream::new(match &self.0.driver {
            Driver::Uring(d) => StreamKind::Uring(d.take_over(descriptor, peer_addr)),
            Driver::Fallback(d) => StreamKind::Fallback(d.take_over(descriptor, peer_addr)?),
            Driver::Sim(_) => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    /// Reads a whole file of at most `max_len` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` if it is longer.
    pub async fn read_file(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        crate::whole_file::read(self, path, max_len).await
    }

    /// Puts a file in place of whatever is at `path`, all of it or nothing, durably.
    ///
    /// # Errors
    /// The old file, if there was one, is still there.
    pub async fn write_file_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_file(path, Bytes::copy_from_slice(bytes)).await
    }

    /// The same with bytes that need not be copied.
    pub async fn replace_file(&self, path: &Path, bytes: Bytes) -> io::Result<()> {
        crate::whole_file::write_atomic(self, path, bytes).await
    }
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Keyed by the system's randomness once per process, and differently for each state.
    RandomState::new().hash_one(std::process::id())
}
