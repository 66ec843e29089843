//! What became of a batch, shared by all its records.

use std::sync::{Arc, OnceLock};

use ringlog_types::{Offset, TopicPartition};
use tokio::sync::Notify;

use crate::error::ClientError;

/// The outcome of one batch. Set once.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    result: OnceLock<Result<Option<Offset>, ClientError>>,
    done: Notify,
}

/// The duty to tell a batch's outcome. Whoever drops it untold, because the producer ends, says
/// [`ClientError::Closed`]: nobody waits for ever.
#[derive(Debug, Default)]
pub(crate) struct Promise(Arc<Outcome>);

impl Promise {
    /// The batch is acknowledged at `base_offset` (`None` if the broker does not say), or failed.
    pub(crate) fn keep(self, result: Result<Option<Offset>, ClientError>) {
        self.0.result.set(result).expect("a promise is kept once");
        self.0.done.notify_waiters();
    }

    pub(crate) fn outcome(&self) -> Arc<Outcome> {
        self.0.clone()
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.0.result.set(Err(ClientError::Closed)).is_ok() {
            self.0.done.notify_waiters();
        }
    }
}

impl Outcome {
    async fn wait(&self) -> &Result<Option<Offset>, ClientError> {
        loop {
            // Registered before the look, or a result that comes between would be missed.
            let done = self.done.notified();
            match self.result.get() {
                Some(result) => return result,
                None => done.await,
            }
        }
    }
}

/// A record that was taken by the producer, and will be acknowledged or not.
#[derive(Debug)]
pub struct Delivery {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) partition: TopicPartition,
    /// The record's place in its batch.
    pub(crate) place: u32,
}

/// A record that a broker has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Where it is.
    pub partition: TopicPartition,
    /// Its offset; `None` with acks=0, and where a repetition was recognised but not placed.
    pub offset: Option<Offset>,
}

impl Delivery {
    /// The partition it goes to.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Whether [`Delivery::wait`] would return at once.
    pub fn is_done(&self) -> bool {
        self.outcome.result.get().is_some()
    }

    /// Waits until [`Delivery::is_done`].
    pub async fn done(&self) {
        self.outcome.wait().await;
    }

    /// Waits for the acknowledgement.
    ///
    /// # Errors
    /// The broker refused the record, or it could not be delivered in time.
    pub async fn wait(self) -> Result<Delivered, ClientError> {
        let base_offset = self.outcome.wait().await.clone()?;
        let offset = base_offset.map(|base| base + Offset::from(self.place));
        Ok(Delivered { partition: self.partition, offset })
    }
}
