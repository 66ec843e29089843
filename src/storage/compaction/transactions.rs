//! Which transactions a walk over a log is in, so that compaction knows what was aborted and which
//! markers still matter (Kafka's `CleanedTransactionMetadata`).
//!
//! Pure. Batches are shown in the order of the log. Data of an aborted transaction goes at once.
//! A marker stays while data of its transaction was met on this walk, be it data that goes now: a
//! crash may leave the segment that it was in as it was. A later walk that meets none gives the
//! marker a delete horizon, and one after that lets it go.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use ringlog_types::{Offset, ProducerId};

use crate::index::transaction_index::AbortedTransaction;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Transactions {
    /// Those that were aborted and begin further on, by their first offset.
    ahead: BTreeMap<Offset, VecDeque<AbortedTransaction>>,
    /// Those that were aborted and are under way, and whether data of theirs was met.
    aborted: HashMap<ProducerId, (AbortedTransaction, bool)>,
    /// Whose transactions under way are committed further on, as far as data was met.
    committed: HashSet<ProducerId>,
    /// Parts of the log are not walked over: what they hold is not known.
    keeps_markers: bool,
    /// The markers say something else than the index, which no checksum covers.
    is_contradicted: bool,
}

/// What a marker is, and what is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MarkerFate {
    /// Nothing of its transaction is left: it may go once its delete horizon has passed.
    pub(crate) may_go: bool,
    /// The transaction that it aborts and that has to stay in the index.
    pub(crate) aborted: Option<AbortedTransaction>,
}

impl Transactions {
    /// Of a walk over a log with these aborted transactions.
    pub(crate) fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> Transactions {
        let mut transactions = Transactions::default();
        for transaction in aborted {
            let entry = transactions.ahead.entry(transaction.first_offset);
            entry.or_default().push_back(transaction);
        }
        transactions
    }

    /// From now on no marker may go.
    pub(crate) fn keep_markers(&mut self) {
        self.keeps_markers = true;
    }

    /// Whether what was met shows that the index is wrong.
    pub(crate) fn is_contradicted(&self) -> bool {
        self.is_contradicted
    }

    /// Those aborted ones of which data was met, and not the marker yet.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = AbortedTransaction> {
        let met = self.aborted.values().filter(|(_, met)| *met);
        met.map(|(transaction, _)| *transaction)
    }

    /// Shows a transactional batch of data. Returns whether it was aborted.
    pub(crate) fn is_aborted(&mut self, producer_id: ProducerId, last_offset: Offset) -> bool {
        self.begin_up_to(last_offset);
        if self.aborted.get(&producer_id).is_some_and(|(known, _)| known.last_offset < last_offset)
        {
            // Its marker was not where the index says.
            self.aborted.remove(&producer_id);
            self.is_contradicted |= !self.keeps_markers;
        }
        match self.aborted.get_mut(&producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(producer_id);
                false
            }
        }
    }

    /// Shows a marker that aborts a transaction.
    pub(crate) fn abort(&mut self, producer_id: ProducerId, offset: Offset) -> MarkerFate {
        self.begin_up_to(offset);
        let ended = self.aborted.remove(&producer_id);
        self.is_contradicted |= ended.is_some_and(|(known, _)| known.last_offset != offset);
        let kept = ended.filter(|(_, met)| *met || self.keeps_markers);
        let may_go = kept.is_none() && !self.keeps_markers;
        MarkerFate { may_go, aborted: kept.map(|(aborted, _)| aborted) }
    }

    /// Shows a marker that commits a transaction.
    pub(crate) fn commit(&mut self, producer_id: ProducerId, offset: Offset) -> MarkerFate {
        self.begin_up_to(offset);
        let met = self.committed.remove(&producer_id);
        if self.aborted.get(&producer_id).is_some_and(|(known, _)| known.last_offset >= offset) {
            self.is_contradicted = true;
        }
        MarkerFate { may_go: !met && !self.keeps_markers, aborted: None }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(first) = self.ahead.first_entry().filter(|first| *first.key() <= offset) {
            for transaction in first.remove() {
                let known = self.aborted.get(&transaction.producer_id);
                if known.is_none_or(|(known, _)| known.last_offset < transaction.first_offset) {
                    self.aborted.insert(transaction.producer_id, (transaction, false));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(
        producer_id: ProducerId,
        first_offset: Offset,
        last_offset: Offset,
    ) -> AbortedTransaction {
        AbortedTransaction {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset: last_offset,
        }
    }

    #[test]
    fn aborted_data_is_told_from_the_rest() {
        let (first, second) = (aborted(1, 10, 20), aborted(1, 40, 50));
        let mut walk = Transactions::new([second, first]);
        assert!(!walk.is_aborted(2, 9));
        assert!(walk.is_aborted(1, 11));
        assert!(!walk.is_aborted(2, 15));
        let kept = MarkerFate { may_go: false, aborted: Some(first) };
        assert_eq!(walk.abort(1, 20), kept);
        assert_eq!(walk.commit(2, 21), MarkerFate { may_go: false, aborted: None });
        // A transaction of the same producer that was committed.
        assert!(!walk.is_aborted(1, 30));
        assert!(!walk.commit(1, 31).may_go);
        assert!(walk.is_aborted(1, 45));
        assert_eq!(walk.abort(1, 50).aborted, Some(second));
    }

    #[test]
    fn markers_go_when_nothing_of_theirs_is_met() {
        let mut walk = Transactions::new([aborted(1, 10, 20)]);
        let gone = MarkerFate { may_go: true, aborted: None };
        assert_eq!(walk.abort(1, 20), gone);
        assert_eq!(walk.abort(1, 25), gone, "its entry is gone already");
        assert_eq!(walk.commit(2, 30), gone);
        assert!(!walk.is_contradicted());
        let mut walk = Transactions::new([aborted(1, 10, 20)]);
        walk.keep_markers();
        assert!(walk.abort(1, 20).aborted.is_some());
        assert!(!walk.commit(2, 30).may_go && !walk.abort(3, 40).may_go);
    }

    /// A wrong entry of the index must not make compaction drop what was committed.
    #[test]
    fn an_index_that_the_markers_contradict_is_noticed() {
        let mut walk = Transactions::new([aborted(1, 10, 50)]);
        assert!(walk.is_aborted(1, 15));
        walk.commit(1, 20);
        assert!(walk.is_contradicted(), "it was committed");

        let mut walk = Transactions::new([aborted(1, 10, 20)]);
        assert!(walk.is_aborted(1, 15));
        assert!(!walk.is_aborted(1, 25));
        assert!(walk.is_contradicted(), "there was no marker");

        let mut walk = Transactions::new([aborted(1, 10, 20)]);
        walk.abort(1, 19);
        assert!(walk.is_contradicted(), "the marker is elsewhere");

        let mut walk = Transactions::new([aborted(1, 10, 90), aborted(2, 10, 90)]);
        assert!(walk.is_aborted(1, 15));
        assert_eq!(walk.under_way().map(|known| known.producer_id).collect::<Vec<_>>(), [1]);
    }
}
