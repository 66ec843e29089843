//! Shortages that pass: of descriptors, of memory for a moment, of threads.
//!
//! What is refused for one of them has not happened, and says nothing of the disk: it goes through
//! when others have closed, freed or ended something. So file operations are made again until they
//! do ([`Runtime`]'s, in `file_ops.rs`), and nobody above takes a directory offline for it.
//!
//! A flush is the exception. One that was begun and failed is never made again, whatever it failed
//! for: the kernel may have dropped what it could not write. One that was never begun is.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::{FileSystem, Instant, Runtime};

/// How long an operation waits before it is made again.
const PAUSE: Duration = Duration::from_millis(50);
/// A shortage that lasts is told again after so long.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// No thread could be started to make a call; the call was not made.
#[derive(Debug)]
struct NoThread(io::Error);

impl fmt::Display for NoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no thread can be started: {}", self.0)
    }
}

impl std::error::Error for NoThread {}

/// The error of a call that was not made because no thread could be started.
pub(crate) fn no_thread(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, NoThread(error))
}

/// Whether an operation that failed like this was refused for want of something that comes back.
pub(crate) fn passes(error: &io::Error) -> bool {
    // Memory, in a container with a limit of its own, is refused one allocation and had by the
    // next. `EAGAIN` is the word for threads; of the calls made here, only locking has another use
    // for it.
    let refused = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
    was_not_begun(error) || error.raw_os_error().is_some_and(|code| refused.contains(&code))
}

/// Whether the operation was not even begun: no thread to make the call, or none in the kernel,
/// which then gives up an operation of io_uring with `ECANCELED`.
fn was_not_begun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
        || error.get_ref().is_some_and(|inner| inner.is::<NoThread>())
}

/// The error of a flush: one that was begun is never taken for one that may be made again.
pub(crate) fn of_flush(error: io::Error) -> io::Error {
    match passes(&error) && !was_not_begun(&error) {
        true => io::Error::new(error.kind(), format!("the flush failed: {error}")),
        false => error,
    }
}

/// The error of a flush that the ring was asked for, of a file on this file system, if that is
/// known. Of `ECANCELED` only those are taken for the kernel's that have no other source: a daemon
/// behind a file system may answer a flush with it, and has begun it then.
pub(crate) fn of_ring_flush(error: io::Error, file_system: Option<FileSystem>) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ECANCELED) if !file_system.is_some_and(|known| known.honours_dsync) => {
            io::Error::other("the flush failed: it was cancelled")
        }
        _ => of_flush(error),
    }
}

/// What one shard has said of shortages.
#[derive(Default)]
pub(crate) struct Shortages {
    told_at: Cell<Option<Instant>>,
}

impl Runtime {
    /// Makes an operation, and again as long as the system is short of what it needs.
    pub(crate) async fn outlast<T>(
        &self,
        mut operation: impl AsyncFnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match operation().await {
                Err(error) if passes(&error) => self.wait_out(&error).await,
                done => return done,
            }
        }
    }

    /// Waits a little for a shortage to pass, and tells of it now and then.
    pub(crate) async fn wait_out(&self, error: &io::Error) {
        let told_at = &self.shortages().told_at;
        let now = self.now();
        if told_at.get().is_none_or(|told| now >= told + TOLD_EVERY) {
            told_at.set(Some(now));
            tracing::error!(%error, "the system is short of what a file operation needs, which \
                waits; look at LimitNOFILE, TasksMax and MemoryMax of the unit, or ulimit -a");
        }
        self.sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_does_not() {
        let of = io::Error::from_raw_os_error;
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ECANCELED] {
            assert!(passes(&of(code)), "{code}");
            let begun = code != libc::ECANCELED;
            assert_eq!(passes(&of_flush(of(code))), !begun, "a flush, {code}");
        }
        for code in [libc::EIO, libc::ENOSPC, libc::ENOENT, libc::EROFS] {
            assert!(!passes(&of(code)) && !passes(&of_flush(of(code))), "{code}");
            assert_eq!(of_flush(of(code)).raw_os_error(), Some(code));
        }
        let fuse = FileSystem { name: "FUSE".into(), honours_dsync: false };
        let ext4 = FileSystem { name: "ext4".into(), honours_dsync: true };
        for (file_system, is_made_again) in [(Some(ext4), true), (Some(fuse), false), (None, false)]
        {
            let error = of_ring_flush(of(libc::ECANCELED), file_system.clone());
            assert_eq!(passes(&error), is_made_again, "{file_system:?}");
            assert!(!passes(&of_ring_flush(of(libc::ENOMEM), file_system)), "it was begun");
        }
        let not_made = no_thread(of(libc::EAGAIN));
        assert!(passes(&not_made) && passes(&of_flush(not_made)));
    }
}
