//! AddPartitionsToTxn and AddOffsetsToTxn, and whether a partition is part of a transaction
//! (`TransactionCoordinator.handleAddPartitionsToTransaction`,
//! `handleVerifyPartitionsInTransaction`).

use ringlog_types::ErrorCode;

use super::metadata::{Place, Transaction};
use super::state::TransactionState;
use super::{Outcome, PLACES_BYTES_MAX, ProducerIdAndEpoch, TransactionCoordinator};
use crate::outcome::Now;

/// What a partition's index and its topic's length take in a record.
const PLACE_BYTES: usize = 8;

/// Partitions of a producer's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddPartitions<'a> {
    /// Its transactional id.
    pub transactional_id: &'a str,
    /// Who the producer is.
    pub producer: ProducerIdAndEpoch,
    /// The partitions.
    pub places: Vec<Place>,
    /// The version of the protocol that the transaction goes by, if this is its beginning.
    pub transaction_version: i16,
}

impl TransactionCoordinator {
    /// AddPartitionsToTxn of one transactional id, of partitions that exist.
    pub fn add_partitions(&mut self, asked: &AddPartitions<'_>, now: Now) -> Outcome<ErrorCode> {
        let id = asked.transactional_id;
        let known = match self.check_producer(id, asked.producer) {
            Ok(known) => known,
            Err(error) => return Outcome::unchanged(error),
        };
        let is_there = self.is_settled(id) && {
            let settled = self.settled(id).expect("just looked at");
            asked.places.iter().all(|place| settled.partitions.contains(place))
        };
        if is_there {
            return Outcome::unchanged(ErrorCode::None);
        }
        let (places, version) = (asked.places.iter().cloned(), asked.transaction_version);
        let next = known.with_partitions(places, version, now.wall_ms);
        let bytes = next.partitions.iter().map(|(topic, _)| topic.len() + PLACE_BYTES);
        if bytes.sum::<usize>() > PLACES_BYTES_MAX {
            // What Kafka says when the record is too large.
            return Outcome::unchanged(ErrorCode::UnknownServerError);
        }
        self.decide(id, next, ErrorCode::None)
    }

    /// Whether partitions are part of a producer's transaction, so that it may write to them: one
    /// error for each.
    ///
    /// # Errors
    /// If the transaction is another's, or decided.
    pub fn verify_partitions(
        &self,
        asked: &AddPartitions<'_>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let id = asked.transactional_id;
        let known = self.check_producer(id, asked.producer)?;
        let settled = self.settled(id).filter(|_| self.is_settled(id));
        let verify = |place: &Place| {
            let is_known = known.partitions.contains(place);
            match settled {
                Some(settled) if settled.partitions.contains(place) => ErrorCode::None,
                // It is on its way to the log: nobody was told yet that it is part of it.
                _ if is_known => ErrorCode::ConcurrentTransactions,
                _ => ErrorCode::TransactionAbortable,
            }
        };
        Ok(asked.places.iter().map(verify).collect())
    }

    /// Whether the ongoing transaction of an id is one in what is committed, too. It is the same
    /// then: between two lies a decision, and nothing comes after that until it is committed.
    fn is_settled(&self, id: &str) -> bool {
        let is_ongoing = |known: Option<&Transaction>| {
            known.is_some_and(|t| t.state == TransactionState::Ongoing)
        };
        is_ongoing(self.newest(id)) && is_ongoing(self.settled(id))
    }

    /// The transaction of an id, if it is this producer's and not decided.
    fn check_producer(
        &self,
        id: &str,
        producer: ProducerIdAndEpoch,
    ) -> Result<&Transaction, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let known = self.newest(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if known.producer_id != producer.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if known.epoch != producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if known.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        Ok(known)
    }
}
