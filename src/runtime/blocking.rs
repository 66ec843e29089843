//! One thread per shard for the rare calls that have no asynchronous form and may block: reading
//! a directory, removing a tree, asking for space, taking a lock, closing. And another for long
//! computations.
//!
//! It starts with the first call and sleeps between calls. It ends when the shard and every file
//! the shard opened are gone.
//!
//! Jobs of one owner are done in the order in which they came; owners take turns, a job each, so
//! that nobody's many jobs hold up another's one. How many jobs there are is the callers' to bound.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam_queue::SegQueue;
use tokio::sync::oneshot;

use crate::turn_queue::TurnQueue;

/// In whose name a long computation is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkOwner(pub u64);

impl WorkOwner {
    /// What is done in nobody's name keeps its order.
    pub const NOBODY: WorkOwner = WorkOwner(0);
}

/// `nice` of a thread whose work can wait.
const BACKGROUND: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub(crate) struct BlockingThread(Arc<Shared>);

#[derive(Default)]
struct Shared {
    name: String,
    /// How far it steps back behind other threads (`nice`).
    niceness: i32,
    /// Set when the thread is started.
    worker: OnceLock<Worker>,
    /// It was told that the thread cannot be started.
    told: AtomicBool,
}

/// The thread, and what it is to do. Neither a push nor an unpark takes a lock: a shard must not
/// wait for a thread that was put to sleep while it held one.
struct Worker {
    queue: Arc<Queue>,
    thread: Thread,
}

#[derive(Default)]
struct Queue {
    jobs: SegQueue<(WorkOwner, Job)>,
    /// No job will follow those in the queue.
    closed: AtomicBool,
}

impl BlockingThread {
    pub(crate) fn new(name: String) -> BlockingThread {
        BlockingThread(Arc::new(Shared { name, niceness: 0, ..Shared::default() }))
    }

    /// One for long computations, which gives way to every other thread.
    pub(crate) fn in_background(name: String) -> BlockingThread {
        BlockingThread(Arc::new(Shared { name, niceness: BACKGROUND, ..Shared::default() }))
    }

    /// Makes a call on the blocking thread.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.call_for(WorkOwner::NOBODY, call).await
    }

    /// Makes a call in the owner's name, when it is its turn. If nobody waits for it any more by
    /// then, it is not made.
    pub(crate) async fn call_for<T: Send + 'static>(
        &self,
        owner: WorkOwner,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            // A call in nobody's name may change something: it is made in any case.
            if owner == WorkOwner::NOBODY || !answer.is_closed() {
                drop(answer.send(call()));
            }
        };
        self.submit_for(owner, Box::new(job));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the blocking thread is gone")))
    }

    fn submit(&self, job: Job) {
        self.submit_for(WorkOwner::NOBODY, job);
    }

    fn submit_for(&self, owner: WorkOwner, job: Job) {
        match self.worker() {
            Some(worker) => {
                worker.queue.jobs.push((owner, job));
                worker.thread.unpark();
            }
            // Better late than never; the next call looks for a thread again.
            None => job(),
        }
    }

    fn worker(&self) -> Option<&Worker> {
        if let Some(worker) = self.0.worker.get() {
            return Some(worker);
        }
        match Worker::start(&self.0) {
            // Another thread's call may have started one meanwhile; this one ends then.
            Ok(worker) => Some(self.0.worker.get_or_init(|| worker)),
            Err(error) => {
                if !self.0.told.swap(true, Ordering::Relaxed) {
                    tracing::error!(name = self.0.name, %error, "a blocking thread cannot be \
                        started; its calls block the shard until it can");
                }
                None
            }
        }
    }

    /// What closes descriptors on the blocking thread.
    pub(crate) fn closer(&self) -> Closer {
        Closer(self.clone())
    }
}

impl Worker {
    fn start(shared: &Shared) -> io::Result<Worker> {
        let queue = Arc::<Queue>::default();
        let (work, niceness) = (Arc::clone(&queue), shared.niceness);
        let run = move || {
            // On Linux this is the calling thread's alone.
            if niceness != 0
                && let Err(error) = rustix::process::setpriority_process(None, niceness)
            {
                tracing::warn!(%error, "a thread for long computations competes with the shards");
            }
            work.run();
        };
        let thread = std::thread::Builder::new().name(shared.name.clone()).spawn(run)?;
        Ok(Worker { queue, thread: thread.thread().clone() })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.closed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Queue {
    /// Does the jobs until no more will come.
    fn run(&self) {
        let mut waiting = TurnQueue::default();
        loop {
            // Looked at first: what was pushed before it closed is seen below.
            let closed = self.closed.load(Ordering::Acquire);
            loop {
                // Looked for before each job: a newcomer's turn may be the next.
                while let Some((owner, job)) = self.jobs.pop() {
                    waiting.push(owner, job);
                }
                match waiting.pop() {
                    Some(job) => job(),
                    None => break,
                }
            }
            if closed {
                return;
            }
            // Returns at once if there was an unpark since the last one.
            std::thread::park();
        }
    }
}

/// Closes descriptors where it does not hold up a shard.
#[derive(Clone)]
pub(crate) struct Closer(BlockingThread);

impl Closer {
    pub(crate) fn close(&self, fd: OwnedFd) {
        self.0.submit(Box::new(move || drop(fd)));
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockingThread, WorkOwner};
    use std::sync::mpsc;

    /// Heavy batches of one connection held up those of all others, as many as there were.
    #[test]
    fn many_calls_of_one_owner_do_not_hold_up_those_of_another() {
        let blocking = BlockingThread::in_background("t-compute".into());
        let (begin, begun) = mpsc::channel::<()>();
        let (send, done) = mpsc::channel();
        blocking.submit_for(WorkOwner(1), Box::new(move || begun.recv().unwrap()));
        for (owner, number) in [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (2, 6)] {
            let send = send.clone();
            blocking.submit_for(WorkOwner(owner), Box::new(move || send.send(number).unwrap()));
        }
        drop(send);
        begin.send(()).unwrap();
        // Owner 1 has had a turn.
        let order: Vec<i32> = done.into_iter().collect();
        assert!(order == [1, 4, 5, 2, 6, 3] || order == [4, 5, 1, 6, 2, 3], "{order:?}");
    }

    #[test]
    fn calls_run_elsewhere_and_in_order() {
        let blocking = BlockingThread::new("t-blocking".into());
        assert!(blocking.0.worker.get().is_none(), "no call, no thread");
        let (send, receive) = mpsc::channel();
        for i in 0..3 {
            let send = send.clone();
            blocking.submit(Box::new(move || {
                let name = std::thread::current().name().map(str::to_owned);
                send.send((i, name)).unwrap();
            }));
        }
        drop(send);
        let got: Vec<_> = receive.into_iter().collect();
        let want = |i| (i, Some("t-blocking".to_owned()));
        assert_eq!(got, [want(0), want(1), want(2)]);
    }

    #[test]
    fn what_was_asked_is_done_before_it_ends() {
        let blocking = BlockingThread::new("t-blocking".into());
        let (send, receive) = mpsc::channel();
        for i in 0..1000 {
            let (send, blocking) = (send.clone(), blocking.clone());
            // A job may be the last to hold the handle, and its thread then the one to end it.
            blocking.clone().submit(Box::new(move || {
                send.send(i).unwrap();
                drop(blocking);
            }));
        }
        drop((send, blocking));
        assert!(receive.into_iter().eq(0..1000));
    }
}
