//! Readiness: one epoll instance, and an eventfd by which other threads end its wait.
//!
//! Sockets are registered once, edge-triggered, for both directions. Whoever waits for one has
//! tried its call first and was told to wait, so an edge that found nobody waiting is no loss:
//! the next call tries again by itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// The key under which the eventfd itself is registered.
const WAKE: u64 = u64::MAX;

/// What became possible for a registered socket. Errors and hang-ups count as both: the call
/// itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) key: u64,
    pub(super) read: bool,
    pub(super) write: bool,
}

pub(super) struct Poller {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    events: Vec<Event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        // Edge-triggered, so that nobody has to read it: every write is a new edge.
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN | EventFlags::ET)?;
        Ok(Poller { epoll, wake, events: Vec::with_capacity(256) })
    }

    /// What other threads write to end a wait.
    pub(super) fn wake_fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.wake)
    }

    pub(super) fn register(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        assert_ne!(key, WAKE);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(key), flags)?)
    }

    pub(super) fn unregister(&self, fd: impl AsFd) {
        // Closing the socket would do it too; failing here means it is closed already.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for readiness or a wake, at most `timeout` (`None`: for ever), and appends to `out`.
    /// True if there was a wake.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<Ready>,
    ) -> io::Result<bool> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().min(1 << 32) as i64,
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
        let mut woken = false;
        for event in &self.events {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == WAKE {
                woken = true;
                continue;
            }
            let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            let read = broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
            let write = broken || flags.contains(EventFlags::OUT);
            out.push(Ready { key, read, write });
        }
        Ok(woken)
    }
}

/// Ends the wait of the poller this eventfd belongs to, or its next one.
pub(super) fn wake(fd: &OwnedFd) {
    // The counter overflows after 2^64 wakes and only then refuses; an edge is made even so.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::{Poller, Ready, wake};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    fn wait(poller: &mut Poller, ms: u64) -> Vec<Ready> {
        let mut out = Vec::new();
        poller.wait(Some(Duration::from_millis(ms)), &mut out).unwrap();
        out
    }

    #[test]
    fn tells_each_edge_once() {
        let mut poller = Poller::new().unwrap();
        let (mut a, mut b) = UnixStream::pair().unwrap();
        poller.register(&a, 7).unwrap();
        assert_eq!(wait(&mut poller, 1_000), [Ready { key: 7, read: false, write: true }]);
        assert_eq!(wait(&mut poller, 0), []);
        b.write_all(b"x").unwrap();
        assert!(wait(&mut poller, 1_000)[0].read);
        assert_eq!(wait(&mut poller, 0), []);
        a.read_exact(&mut [0]).unwrap();
        drop(b);
        assert!(wait(&mut poller, 1_000)[0].read, "the end of the stream is readable");
        poller.unregister(&a);
    }

    #[test]
    fn a_wake_ends_a_wait_from_another_thread_and_before_it() {
        let mut poller = Poller::new().unwrap();
        let fd = poller.wake_fd();
        wake(&fd);
        wake(&fd);
        // A wait that no wake ends ends after this time.
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(wait(&mut poller, 120_000), []);
        let woken_from = Instant::now() + Duration::from_millis(20);
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            wake(&fd);
        });
        assert_eq!(wait(&mut poller, 120_000), []);
        assert!((woken_from..deadline).contains(&Instant::now()));
        waker.join().unwrap();
    }
}
