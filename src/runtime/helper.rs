//! One thread per shard for the rare calls that have no asynchronous form and may block: reading
//! a directory, removing a tree, asking for space, taking a lock, closing.
//!
//! It starts with the first call and sleeps between calls. It ends when the shard and every file
//! the shard opened are gone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};

use crate::sync::cross;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub(crate) struct Helper(Arc<Shared>);

struct Shared {
    name: String,
    jobs: OnceLock<mpsc::Sender<Job>>,
}

impl Helper {
    pub(crate) fn new(name: String) -> Helper {
        Helper(Arc::new(Shared { name, jobs: OnceLock::new() }))
    }

    /// Makes a call on the helper's thread.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = cross::oneshot();
        self.submit(Box::new(move || answer.send(call())));
        answered.await.unwrap_or_else(|| Err(io::Error::other("the helper thread is gone")))
    }

    fn submit(&self, job: Job) {
        let jobs = self.0.jobs.get_or_init(|| start(self.0.name.clone()));
        if let Err(mpsc::SendError(job)) = jobs.send(job) {
            // No thread could be started: better late than never.
            job();
        }
    }

    /// What closes descriptors on the helper's thread.
    pub(crate) fn closer(&self) -> Closer {
        Closer(self.clone())
    }
}

fn start(name: String) -> mpsc::Sender<Job> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let run = move || jobs.into_iter().for_each(|job| job());
    if let Err(error) = std::thread::Builder::new().name(name).spawn(run) {
        tracing::warn!(%error, "cannot start a helper thread; its calls will block the shard");
    }
    sender
}

/// Closes descriptors where it does not hold up a shard.
#[derive(Clone)]
pub(crate) struct Closer(Helper);

impl Closer {
    pub(crate) fn close(&self, fd: OwnedFd) {
        self.0.submit(Box::new(move || drop(fd)));
    }
}

#[cfg(test)]
mod tests {
    use super::Helper;
    use std::sync::mpsc;

    #[test]
    fn calls_run_elsewhere_and_in_order() {
        let helper = Helper::new("t-helper".into());
        assert!(helper.0.jobs.get().is_none(), "no call, no thread");
        let (send, receive) = mpsc::channel();
        for i in 0..3 {
            let send = send.clone();
            helper.submit(Box::new(move || {
                let name = std::thread::current().name().map(str::to_owned);
                send.send((i, name)).unwrap();
            }));
        }
        drop(send);
        let got: Vec<_> = receive.into_iter().collect();
        let want = |i| (i, Some("t-helper".to_owned()));
        assert_eq!(got, [want(0), want(1), want(2)]);
    }
}
