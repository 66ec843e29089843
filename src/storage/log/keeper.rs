//! What follows the writer of a log: seals segments and writes checkpoints, beside it.
//!
//! One task per log, like the writer, started when there is something to do and gone when there is
//! not. A seal and a checkpoint each take several flushes, and no append waits for any of them:
//! when the last byte of a closed segment is durable and the next one has its `.log`, the writer
//! goes on there and leaves the closed one to the keeper.
//!
//! * Segments are sealed in order. The recovery point never moves beyond one that is not sealed.
//! * Only the keeper writes indexes, epochs, snapshots, and the recovery point of an open log.
//! * A segment is handed over for good: nothing is written to its `.log` any more but its trim.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::error::StorageError;
use crate::log::Log;
use crate::log::writer::SPACE_RETRY;
use crate::segment::{Segment, Stage};

impl Log {
    /// Starts the keeper if it is not running and there is something for it.
    pub(crate) fn kick_keeper(&self) {
        if self.writer.is_paused.get()
            || self.failure().is_some()
            || self.writer.keeper_is_running.get()
        {
            return;
        }
        if self.segment_to_seal().is_none() && !self.checkpoint_is_ready() {
            return;
        }
        let Some(log) = self.this.upgrade() else { return };
        self.writer.keeper_is_running.set(true);
        drop(self.shard.runtime().spawn(run(log)));
    }

    /// The oldest segment that is not sealed, if the writer has left it.
    fn segment_to_seal(&self) -> Option<Rc<Segment>> {
        let segment = self.unsealed_segment();
        let next = self.segment_after(segment.base_offset)?;
        let is_handed_over = segment.is_written() && next.has_file();
        (segment.stage.get() == Stage::Closed && is_handed_over).then_some(segment)
    }

    /// Does the next thing. Returns false when there is nothing.
    async fn keep(&self) -> Result<bool, StorageError> {
        match self.segment_to_seal() {
            Some(segment) => {
                self.seal(&segment).await?;
                Ok(true)
            }
            None => self.checkpoint_step().await,
        }
    }

    /// Waits until no segment but the open one is left to seal, which is so when everything is
    /// written.
    pub(crate) async fn wait_sealed(&self) -> Result<(), StorageError> {
        let mut stopped = self.writer.stopped.registration();
        self.kick_writer();
        self.kick_keeper();
        poll_fn(|context| {
            if let Some(failure) = self.failure() {
                return Poll::Ready(Err(failure));
            }
            if self.unsealed_segment().stage.get() == Stage::Open {
                return Poll::Ready(Ok(()));
            }
            stopped.register(context);
            // Not without something to do: the end of what is kicked comes back here at once.
            if self.segment_to_seal().is_some() {
                self.kick_keeper();
            }
            Poll::Pending
        })
        .await
    }
}

async fn run(log: Rc<Log>) {
    loop {
        log.follow_directory();
        if log.writer.is_paused.get() || log.failure().is_some() {
            break;
        }
        match log.keep().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.is_disk_full() => {
                log.dir.set_exhausted(true);
                tracing::error!(partition = %log.topic_partition, %error, "disk full");
                log.shard.runtime().sleep(SPACE_RETRY).await;
            }
            Err(error) => {
                tracing::error!(partition = %log.topic_partition, %error, "log goes offline");
                log.fail(&error);
                break;
            }
        }
    }
    log.writer.keeper_is_running.set(false);
    log.writer.stopped.wake_all();
}
