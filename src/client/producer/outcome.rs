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

impl Outcome {
    /// The batch is acknowledged at `base_offset` (`None` if the broker does not say), or failed.
    pub(crate) fn set(&self, result: Result<Option<Offset>, ClientError>) {
        self.result.set(result).expect("a batch is completed once");
        self.done.notify_waiters();
    }

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
