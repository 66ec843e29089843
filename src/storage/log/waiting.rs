//! Waiting until what was appended is on disk.
//!
//! A wait is for a [`LogEnd`], an offset together with how often the log had been cut when it was
//! the end of these records. A bare number would be answered by whatever is written there after a
//! truncation.

use std::future::poll_fn;
use std::task::Poll;

use ringlog_config::Flush;
use ringlog_runtime::Instant;
use ringlog_types::Offset;

use crate::error::StorageError;
use crate::log::Log;
use crate::log::offsets::LogEnd;

impl Log {
    /// Waits until everything below `end` survives the loss of power.
    ///
    /// # Errors
    /// `Truncated` if some of it was cut off since, also if others have its offsets by now.
    pub async fn wait_durable(&self, end: LogEnd) -> Result<(), StorageError> {
        self.want_durable(end, self.offsets.durable());
        self.wait_until(end, Log::durable_offset, || false).await
    }

    /// Waits until everything below `end` is on disk in its segment.
    pub(crate) async fn wait_settled(&self, end: LogEnd) -> Result<(), StorageError> {
        self.want_durable(end, self.offsets.settled());
        self.wait_until(end, |log| log.offsets.settled(), || false).await
    }

    /// Waits until everything below `end` may be acknowledged.
    ///
    /// # Errors
    /// `Truncated` if some of it was cut off since, also if others have its offsets by now.
    pub async fn wait_committed(&self, end: LogEnd) -> Result<(), StorageError> {
        self.wait_until(end, Log::committed_offset, || false).await
    }

    /// The same. Where the directory is held up, it is waited for until `deadline` only.
    ///
    /// # Errors
    /// [`StorageError::HeldUp`]: what was appended is in the log, and may be on disk later.
    pub async fn wait_committed_by(
        &self,
        end: LogEnd,
        deadline: Instant,
    ) -> Result<(), StorageError> {
        let is_over = || self.is_held_up() && self.shard.runtime().now() >= deadline;
        self.wait_until(end, Log::committed_offset, is_over).await
    }

    /// Has those who wait for something on the disk look again whether they may.
    pub fn look_again(&self) {
        self.durable_waiters.wake_all();
    }

    /// With `flush=async`, asks for the flush that somebody is about to wait for.
    fn want_durable(&self, end: LogEnd, reached: Offset) {
        if reached < end.offset() && self.offsets.has(end) && self.flush() == Flush::Async {
            self.want_flush(end.offset());
        }
    }

    async fn wait_until(
        &self,
        end: LogEnd,
        reached: impl Fn(&Log) -> Offset,
        is_over: impl Fn() -> bool,
    ) -> Result<(), StorageError> {
        let end_offset = end.offset();
        let mut registration = self.durable_waiters.registration();
        poll_fn(|context| {
            self.follow_directory();
            if !self.offsets.has(end) {
                return Poll::Ready(Err(StorageError::Truncated { offset: end_offset }));
            }
            let failure = self.failure();
            // What a failed log has only in memory is lost, also with `flush=async`.
            let is_kept = failure.is_none() || self.offsets.durable() >= end_offset;
            if reached(self) >= end_offset && is_kept {
                return Poll::Ready(Ok(()));
            }
            if let Some(failure) = failure {
                return Poll::Ready(Err(failure));
            }
            if is_over() {
                return Poll::Ready(Err(StorageError::HeldUp));
            }
            registration.register(end_offset, context);
            Poll::Pending
        })
        .await
    }
}
