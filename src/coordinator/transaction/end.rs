//! EndTxn (`TransactionCoordinator.endTransaction`, `endTransactionWithTV1`).
//!
//! From version 2 of transactions on (KIP-890) every transaction has an epoch of its own: the
//! producer gets the next one when it ends one. A request whose answer got lost is known by the
//! epoch before, and a marker that comes late by an epoch that is over.
//!
//! | state, version 2 | abort, epoch before | abort, epoch | commit, epoch before | commit, epoch |
//! |---|---|---|---|---|
//! | Empty | fenced | next epoch | fenced | invalid |
//! | CompleteAbort | done | next epoch | invalid | invalid |
//! | CompleteCommit | invalid | next epoch | done | invalid |

use ringlog_types::{ErrorCode, ProducerId};

use super::metadata::{EPOCH_LAST, NO_ID, Transaction};
use super::state::TransactionState;
use super::{Granted, Outcome, ProducerIdAndEpoch, TransactionCoordinator};
use crate::outcome::Now;

/// From this version on a transaction has an epoch of its own.
const VERSION_EPOCHS: i16 = 2;

/// How a producer wants its transaction to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndTransaction<'a> {
    /// Its transactional id.
    pub transactional_id: &'a str,
    /// Who the producer is.
    pub producer: ProducerIdAndEpoch,
    /// Whether to commit, not abort.
    pub is_commit: bool,
    /// The version of the protocol that the producer goes by.
    pub transaction_version: i16,
}

/// What a request to end a transaction comes to.
enum Verdict {
    /// It is decided now.
    Decide,
    /// A transaction without anything in it is aborted, for the sake of the epoch.
    AbortNothing,
    /// It was decided and done before; the answer got lost.
    Done,
}

impl TransactionCoordinator {
    /// EndTxn. `spare` is an id that nobody has, if one was asked for. The answer says who the
    /// producer is in its next transaction.
    pub fn end_transaction(
        &mut self,
        asked: &EndTransaction<'_>,
        spare: Option<ProducerId>,
        now: Now,
    ) -> Outcome<Result<Granted, ErrorCode>> {
        let id = asked.transactional_id;
        if id.is_empty() {
            return Outcome::unchanged(Err(ErrorCode::InvalidRequest));
        }
        let Some(known) = self.newest(id).cloned() else {
            return Outcome::unchanged(Err(ErrorCode::InvalidProducerIdMapping));
        };
        let has_epochs = asked.transaction_version >= VERSION_EPOCHS;
        let verdict = match has_epochs {
            true => judge(&known, asked),
            false => judge_old(&known, asked),
        };
        let is_begun = match verdict {
            Err(error) => return Outcome::unchanged(Err(error)),
            Ok(Verdict::Done) => return Outcome::unchanged(Ok(granted(&known))),
            Ok(Verdict::Decide) => true,
            Ok(Verdict::AbortNothing) => false,
        };
        let next_producer_id = match (has_epochs && known.is_epoch_exhausted(), spare) {
            (true, None) => return Outcome::unchanged(Ok(Granted::NeedsProducerId)),
            (true, Some(spare)) => spare,
            (false, _) => NO_ID,
        };
        let decided = Transaction {
            previous_producer_id: known.producer_id,
            next_producer_id,
            epoch: if has_epochs { known.epoch.saturating_add(1) } else { known.epoch },
            last_epoch: if has_epochs { known.epoch } else { known.last_epoch },
            state: match asked.is_commit {
                true => TransactionState::PrepareCommit,
                false => TransactionState::PrepareAbort,
            },
            start_ms: if is_begun { known.start_ms } else { now.wall_ms },
            updated_ms: now.wall_ms,
            client_version: asked.transaction_version,
            ..known
        };
        let response = Ok(granted(&decided.completed(now.wall_ms)));
        self.decide(id, decided, response)
    }
}

fn granted(transaction: &Transaction) -> Granted {
    let Transaction { producer_id, epoch, .. } = *transaction;
    Granted::Producer(ProducerIdAndEpoch { producer_id, epoch })
}

/// With an epoch for each transaction.
fn judge(known: &Transaction, asked: &EndTransaction<'_>) -> Result<Verdict, ErrorCode> {
    use TransactionState::{
        CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };
    let ProducerIdAndEpoch { producer_id, epoch } = asked.producer;
    let has_new_id =
        known.previous_producer_id == producer_id && epoch == EPOCH_LAST && known.epoch == 0;
    let has_next_epoch = epoch.checked_add(1) == Some(known.epoch);
    if known.producer_id != producer_id && !has_new_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let is_retry = has_next_epoch || has_new_id;
    let is_current = epoch == known.epoch && known.producer_id == producer_id;
    let is_of_it = match known.state {
        Ongoing | Empty | Dead | PrepareEpochFence => is_current,
        PrepareCommit | PrepareAbort => has_next_epoch,
        CompleteCommit | CompleteAbort => is_retry || is_current,
    };
    if !is_of_it {
        return Err(ErrorCode::ProducerFenced);
    }
    match (known.state, asked.is_commit) {
        (Ongoing, _) => Ok(Verdict::Decide),
        (PrepareCommit, true) | (PrepareAbort, false) => Err(ErrorCode::ConcurrentTransactions),
        (CompleteCommit, true) | (CompleteAbort, false) if is_retry => Ok(Verdict::Done),
        (Empty | CompleteCommit | CompleteAbort, false) if !is_retry => Ok(Verdict::AbortNothing),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// With an epoch for each producer.
fn judge_old(known: &Transaction, asked: &EndTransaction<'_>) -> Result<Verdict, ErrorCode> {
    use TransactionState::{CompleteAbort, CompleteCommit, Ongoing, PrepareAbort, PrepareCommit};
    let ProducerIdAndEpoch { producer_id, epoch } = asked.producer;
    if known.producer_id != producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if known.epoch != epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match (known.state, asked.is_commit) {
        (Ongoing, _) => Ok(Verdict::Decide),
        (CompleteCommit, true) | (CompleteAbort, false) => Ok(Verdict::Done),
        (PrepareCommit, true) | (PrepareAbort, false) => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}
