//! InitProducerId with a transactional id (`TransactionCoordinator.handleInitProducerId`).

use ringlog_types::{ErrorCode, ProducerId};

use super::metadata::{EPOCH_LAST, NO_EPOCH, Transaction};
use super::state::TransactionState;
use super::{Granted, IDS_MAX, Outcome, ProducerIdAndEpoch, TransactionCoordinator};
use crate::outcome::Now;

/// Who asks for a producer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitProducer<'a> {
    /// Its transactional id.
    pub transactional_id: &'a str,
    /// How long its transactions may take.
    pub timeout_ms: i32,
    /// Who it believes to be, if it goes on after an error (KIP-360).
    pub expected: Option<ProducerIdAndEpoch>,
}

impl TransactionCoordinator {
    /// InitProducerId. `spare` is an id that nobody has, if one was asked for.
    ///
    /// A transaction that is open is aborted first: whoever asks is told to try again.
    pub fn init_producer_id(
        &mut self,
        asked: &InitProducer<'_>,
        spare: Option<ProducerId>,
        now: Now,
    ) -> Outcome<Result<Granted, ErrorCode>> {
        let id = asked.transactional_id;
        if id.is_empty() {
            return Outcome::unchanged(Err(ErrorCode::InvalidRequest));
        }
        if !(1..=self.settings.transaction_max_timeout_ms).contains(&asked.timeout_ms) {
            return Outcome::unchanged(Err(ErrorCode::InvalidTransactionTimeout));
        }
        let known = match (self.newest(id), spare) {
            (Some(known), _) => known.clone(),
            (None, Some(spare)) => Transaction::new(spare, asked.timeout_ms),
            (None, None) => return Outcome::unchanged(Ok(Granted::NeedsProducerId)),
        };
        let is_new = known.epoch == NO_EPOCH;
        if is_new && self.transactions.newest().len() >= IDS_MAX {
            return Outcome::unchanged(Err(ErrorCode::PolicyViolation));
        }
        if asked.expected.is_some_and(|expected| !may_go_on(&known, expected)) {
            return Outcome::unchanged(Err(ErrorCode::ProducerFenced));
        }
        match known.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                Outcome::unchanged(Err(ErrorCode::ConcurrentTransactions))
            }
            TransactionState::Ongoing => self.fence(id, &known, now),
            TransactionState::Empty
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort => self.grant(asked, &known, spare, now),
            TransactionState::Dead | TransactionState::PrepareEpochFence => {
                // No coordinator writes them.
                Outcome::unchanged(Err(ErrorCode::UnknownServerError))
            }
        }
    }

    /// Aborts an open transaction at an epoch that its producer does not have, and that nobody is
    /// told: the producer that comes next gets the one behind.
    pub(super) fn fence<R>(
        &mut self,
        id: &str,
        known: &Transaction,
        now: Now,
    ) -> Outcome<Result<R, ErrorCode>> {
        let aborted = Transaction {
            previous_producer_id: known.producer_id,
            epoch: known.epoch.saturating_add(1),
            last_epoch: NO_EPOCH,
            state: TransactionState::PrepareAbort,
            updated_ms: now.wall_ms,
            client_version: self.settings.transaction_version,
            ..known.clone()
        };
        self.decide(id, aborted, Err(ErrorCode::ConcurrentTransactions))
    }

    /// Gives out the next epoch; a new producer id if that has none left.
    fn grant(
        &mut self,
        asked: &InitProducer<'_>,
        known: &Transaction,
        spare: Option<ProducerId>,
        now: Now,
    ) -> Outcome<Result<Granted, ErrorCode>> {
        let is_current = asked.expected.is_none_or(|expected| expected.epoch == known.epoch);
        let granted = if known.is_epoch_exhausted() && is_current {
            let Some(spare) = spare else {
                return Outcome::unchanged(Ok(Granted::NeedsProducerId));
            };
            let last_epoch = asked.expected.map_or(NO_EPOCH, |_| known.epoch);
            let next = known.with_producer(0, last_epoch, asked.timeout_ms, now.wall_ms);
            Transaction { producer_id: spare, ..next }
        } else {
            let Some((epoch, last_epoch)) = next_epoch(known, asked.expected) else {
                return Outcome::unchanged(Err(ErrorCode::ProducerFenced));
            };
            known.with_producer(epoch, last_epoch, asked.timeout_ms, now.wall_ms)
        };
        let Transaction { producer_id, epoch, .. } = granted;
        let response = Ok(Granted::Producer(ProducerIdAndEpoch { producer_id, epoch }));
        self.decide(asked.transactional_id, granted, response)
    }
}

/// Whether a producer that goes on after an error may be the one that is known: its id is, or was
/// and had no epoch left, which is a request of which the answer got lost.
fn may_go_on(known: &Transaction, expected: ProducerIdAndEpoch) -> bool {
    known.epoch == NO_EPOCH
        || expected.producer_id == known.producer_id
        || (expected.producer_id == known.previous_producer_id && expected.epoch >= EPOCH_LAST)
}

/// The epoch that a producer gets, and the one before, if the same producer had that. `None` if
/// another has taken over since.
fn next_epoch(known: &Transaction, expected: Option<ProducerIdAndEpoch>) -> Option<(i16, i16)> {
    let next = known.epoch.saturating_add(1);
    match expected {
        None => Some((next, NO_EPOCH)),
        Some(_) if known.epoch == NO_EPOCH => Some((next, NO_EPOCH)),
        Some(expected) if expected.epoch == known.epoch => Some((next, known.epoch)),
        // The answer got lost: it is given again.
        Some(expected) if expected.epoch == known.last_epoch => {
            Some((known.epoch, known.last_epoch))
        }
        Some(_) => None,
    }
}
