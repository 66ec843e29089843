//! What administrators are told of a log's producers (KIP-664).

use ringlog_types::{Offset, ProducerId, TimestampMs};

use crate::producers::state::{ProducerEntry, ProducerState};

/// One producer that a log remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedProducer {
    /// Its id.
    pub producer_id: ProducerId,
    /// The last epoch seen.
    pub epoch: i16,
    /// Sequence of its last record; -1 if no batch of it is known.
    pub last_sequence: i32,
    /// The largest timestamp of its last batch; -1 likewise.
    pub last_timestamp: TimestampMs,
    /// Epoch of the coordinator that ended its last transaction; -1 for none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
}

/// At most `count_max` producers, by their ids.
pub(crate) fn describe(state: &ProducerState, count_max: usize) -> Vec<DescribedProducer> {
    let described = |(producer_id, entry): (ProducerId, &ProducerEntry)| DescribedProducer {
        producer_id,
        epoch: entry.epoch,
        last_sequence: entry.last_batch().map_or(-1, |batch| batch.last_sequence),
        last_timestamp: entry.last_timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        transaction_start: entry.current_txn_first_offset,
    };
    let mut all: Vec<DescribedProducer> =
        state.entries().iter().take(count_max).map(described).collect();
    all.sort_unstable_by_key(|producer| producer.producer_id);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producers::state::ProducerBatch;

    #[test]
    fn the_last_batch_of_each_is_told() {
        let mut state = ProducerState::default();
        for (producer_id, base_offset) in [(9, 0), (4, 10), (9, 20)] {
            let batch = ProducerBatch {
                producer_id,
                producer_epoch: 2,
                base_sequence: base_offset as i32,
                base_offset,
                last_offset: base_offset + 4,
                max_timestamp: 1000 + base_offset,
                transactional: base_offset == 20,
            };
            state.apply(&batch, 5000);
        }
        let told = describe(&state, 10);
        let told: Vec<_> = told
            .iter()
            .map(|p| {
                (p.producer_id, p.epoch, p.last_sequence, p.last_timestamp, p.transaction_start)
            })
            .collect();
        assert_eq!(told, [(4, 2, 14, 1010, None), (9, 2, 24, 1020, Some(20))]);
        assert_eq!(describe(&state, 1).len(), 1);
    }
}
