//! One transactional id: its producer, and where the producer's newest transaction stands
//! (Kafka's `TransactionMetadata`).
//!
//! ```text
//! Empty ──partitions──► Ongoing ──end, timeout, another producer──► PrepareCommit, PrepareAbort
//!   ▲                      ▲                                              │ all markers written
//!   │ InitProducerId       └────────── partitions ──────────┐             ▼
//!   └───────────────────────────────────────────── CompleteCommit, CompleteAbort
//! ```
//!
//! A value of this type is one version of the state, as a record has it. The functions here make
//! the next version; who may ask for it is decided elsewhere.

use std::rc::Rc;

use imbl::OrdSet;
use ringlog_types::{ProducerId, TimestampMs};

use super::state::TransactionState;

/// No producer id.
pub(super) const NO_ID: ProducerId = -1;
/// No producer epoch.
pub(super) const NO_EPOCH: i16 = -1;
/// The last epoch that a producer is given. The one behind it is left for fencing it.
pub(super) const EPOCH_LAST: i16 = i16::MAX - 1;

/// A topic's name and a partition of it.
pub type Place = (Rc<str>, i32);

/// What is known of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) producer_id: ProducerId,
    /// The id before the epochs of that one were used up.
    pub(super) previous_producer_id: ProducerId,
    /// The id that the producer has when the transaction is complete, if it is another.
    pub(super) next_producer_id: ProducerId,
    pub(super) epoch: i16,
    /// The epoch before, if whoever has that is the same producer: it may not have heard of the
    /// newer one.
    pub(super) last_epoch: i16,
    pub(super) timeout_ms: i32,
    pub(super) state: TransactionState,
    /// The partitions of the transaction.
    pub(super) partitions: OrdSet<Place>,
    pub(super) start_ms: TimestampMs,
    pub(super) updated_ms: TimestampMs,
    /// The version of the protocol that the newest transaction goes by: 2 has an epoch for each
    /// transaction.
    pub(super) client_version: i16,
}

impl Transaction {
    /// Of an id that nobody has used, or that has expired.
    pub(super) fn new(producer_id: ProducerId, timeout_ms: i32) -> Transaction {
        Transaction {
            producer_id,
            previous_producer_id: NO_ID,
            next_producer_id: NO_ID,
            epoch: NO_EPOCH,
            last_epoch: NO_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: OrdSet::new(),
            start_ms: -1,
            updated_ms: -1,
            client_version: 0,
        }
    }

    pub(super) fn is_epoch_exhausted(&self) -> bool {
        self.epoch >= EPOCH_LAST
    }

    /// The next epoch is the producer's.
    pub(super) fn with_producer(
        &self,
        epoch: i16,
        last_epoch: i16,
        timeout_ms: i32,
        now_ms: TimestampMs,
    ) -> Transaction {
        Transaction {
            previous_producer_id: self.producer_id,
            next_producer_id: NO_ID,
            epoch,
            last_epoch,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: OrdSet::new(),
            start_ms: -1,
            updated_ms: now_ms,
            ..self.clone()
        }
    }

    /// Partitions are part of the transaction, which begins with the first.
    pub(super) fn with_partitions(
        &self,
        added: impl IntoIterator<Item = Place>,
        client_version: i16,
        now_ms: TimestampMs,
    ) -> Transaction {
        let is_begun = self.state == TransactionState::Ongoing;
        let mut partitions = self.partitions.clone();
        partitions.extend(added);
        Transaction {
            previous_producer_id: self.producer_id,
            state: TransactionState::Ongoing,
            partitions,
            start_ms: if is_begun { self.start_ms } else { now_ms },
            updated_ms: now_ms,
            client_version,
            ..self.clone()
        }
    }

    /// Markers are to be written, and then the transaction is over.
    pub(super) fn completed(&self, now_ms: TimestampMs) -> Transaction {
        assert!(self.state.is_prepared(), "a transaction is decided before it is complete");
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let (producer_id, epoch) = match self.next_producer_id {
            NO_ID => (self.producer_id, self.epoch),
            next => (next, 0),
        };
        Transaction {
            producer_id,
            previous_producer_id: self.producer_id,
            next_producer_id: NO_ID,
            epoch,
            state,
            partitions: OrdSet::new(),
            updated_ms: now_ms,
            ..self.clone()
        }
    }

    /// When the transaction is to be aborted, if its producer does not end it.
    pub(super) fn is_timed_out(&self, now_ms: TimestampMs) -> bool {
        self.state == TransactionState::Ongoing
            && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now_ms
    }

    /// Whether nobody has used the id for so long that it is forgotten.
    pub(super) fn is_expired(&self, expiration_ms: i64, now_ms: TimestampMs) -> bool {
        self.state.is_at_rest() && self.updated_ms <= now_ms.saturating_sub(expiration_ms)
    }
}
