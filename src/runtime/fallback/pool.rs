//! The threads that make blocking file calls for one shard.
//!
//! File calls cannot be polled for readiness, so a few threads make them and the shard goes on.
//! Threads start with the first call and sleep on a condition variable between calls: a shard
//! that touches no file has none, an idle one uses no CPU. What waits is bounded by the
//! operations the shard has in flight. Dropping the pool finishes every call that was handed in,
//! because a write that was submitted owns its buffers until it has completed.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::shortage;

/// One blocking call; it delivers its own result.
pub(super) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A job that panics aborts the process through its shard; the queue itself stays whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    threads_max: usize,
    name: String,
    #[cfg(test)]
    no_more_threads: bool,
}

impl Pool {
    pub(super) fn new(name: String, threads_max: usize) -> Pool {
        assert!(threads_max > 0);
        Pool {
            shared: Arc::default(),
            threads: Vec::new(),
            threads_max,
            name,
            #[cfg(test)]
            no_more_threads: false,
        }
    }

    /// Hands a call to a thread. Fails if no thread can be started at all: the call is not made
    /// then, neither now nor later.
    pub(super) fn submit(&mut self, job: Job) -> io::Result<()> {
        if self.shared.lock().closed {
            return Err(io::Error::other("the shard has ended"));
        }
        if self.threads.is_empty() {
            self.start_thread().map_err(shortage::no_thread)?;
        }
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        let short = queue.jobs.len() > queue.idle && self.threads.len() < self.threads_max;
        drop(queue);
        self.shared.ready.notify_one();
        if short {
            // The threads that are there do it, one after another.
            drop(self.start_thread());
        }
        Ok(())
    }

    fn start_thread(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if self.no_more_threads {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let shared = Arc::clone(&self.shared);
        let name = format!("{}-io{}", self.name, self.threads.len());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&shared))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Pool {
    /// Finishes every call that was handed in and ends the threads.
    pub(super) fn finish(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(shared: &Shared) {
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job();
            queue = shared.lock();
        } else if queue.closed {
            return;
        } else {
            queue.idle += 1;
            queue = shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    #[test]
    fn calls_run_at_once_up_to_the_bound() {
        let mut pool = Pool::new("t".into(), 3);
        let barrier = Arc::new(Barrier::new(3));
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..30 {
            let (barrier, done) = (Arc::clone(&barrier), Arc::clone(&done));
            pool.submit(Box::new(move || {
                // Only three threads at once get past it.
                barrier.wait();
                done.fetch_add(1, Ordering::SeqCst);
            }))
            .unwrap();
        }
        assert!(pool.threads.len() <= 3);
        drop(pool);
        assert_eq!(done.load(Ordering::SeqCst), 30, "dropping finishes what was handed in");
    }

    /// A call that was refused stayed in the queue, and was made after its repetition.
    #[test]
    fn a_call_that_finds_no_thread_is_never_made() {
        let mut pool = Pool::new("t".into(), 2);
        let made = Arc::new(AtomicUsize::new(0));
        let submit = |pool: &mut Pool, worth| {
            let made = Arc::clone(&made);
            let call = move || {
                made.fetch_add(worth, Ordering::SeqCst);
            };
            pool.submit(Box::new(call))
        };
        pool.no_more_threads = true;
        let refused = submit(&mut pool, 1).unwrap_err();
        assert!(crate::shortage::passes(&refused), "{refused}");
        pool.no_more_threads = false;
        submit(&mut pool, 10).unwrap();
        // One thread is enough to go on with.
        pool.no_more_threads = true;
        submit(&mut pool, 100).unwrap();
        drop(pool);
        assert_eq!(made.load(Ordering::SeqCst), 110);
    }

    #[test]
    fn an_unused_pool_has_no_threads() {
        assert!(Pool::new("t".into(), 2).threads.is_empty());
    }
}
