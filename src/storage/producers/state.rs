//! What a log remembers of its idempotent producers: epoch, sequence, and the last batches.
//!
//! Pure. A producer's batch is accepted when its epoch is not older than the last one seen and
//! its first sequence follows the last one (KIP-98; Kafka's `ProducerAppendInfo` and
//! `ProducerStateEntry`). A batch that was already appended, of which the last five are known, is
//! answered with its old offsets instead of being appended again. State is a function of the log:
//! replaying the batches from a snapshot's offset on gives the same state.

use std::collections::BTreeMap;

use ringlog_types::{Offset, ProducerId, TimestampMs};

use crate::error::AppendError;
use crate::producers::entries::ProducerEntries;

/// Batches remembered for each producer: a client has at most five requests in flight.
const BATCHES_REMEMBERED: usize = 5;

/// Producers remembered by a log. Any client can bring as many as it has batches, and each takes
/// some 200 bytes. Kafka has no such limit but the time (`producer.id.expiration.ms`): beyond it
/// those who wrote longest ago are forgotten, as if their time were over. A batch that is sent
/// again is sent within minutes, so no duplicate passes unless as many others write in those.
pub(crate) const PRODUCERS_MAX: usize = 1 << 18;
/// As many are forgotten at once, because finding them means looking at all.
const FORGOTTEN_AT_ONCE: usize = PRODUCERS_MAX / 8;

/// The largest sequence; the next one is 0 again.
const SEQUENCE_MAX: i32 = i32::MAX;

/// What of a batch concerns producer state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerBatch {
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) transactional: bool,
}

impl ProducerBatch {
    fn last_sequence(&self) -> i32 {
        let delta = (self.last_offset - self.base_offset) as i32;
        add_sequence(self.base_sequence, delta)
    }
}

/// `sequence` moved on by `delta`, wrapping from [`SEQUENCE_MAX`] to 0. A batch without sequences
/// (-1) stays without.
fn add_sequence(sequence: i32, delta: i32) -> i32 {
    if sequence < 0 {
        return sequence;
    }
    match sequence.checked_add(delta) {
        Some(sum) => sum,
        None => delta - (SEQUENCE_MAX - sequence) - 1,
    }
}

/// `sequence` moved back by `delta`, the inverse of [`add_sequence`].
fn subtract_sequence(sequence: i32, delta: i32) -> i32 {
    if sequence < 0 || sequence >= delta {
        return sequence - if sequence < 0 { 0 } else { delta };
    }
    SEQUENCE_MAX - (delta - sequence) + 1
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchMetadata {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: TimestampMs,
}

impl BatchMetadata {
    fn first_sequence(&self) -> i32 {
        subtract_sequence(self.last_sequence, self.offset_delta)
    }

    /// The offset of the batch's first record.
    pub(crate) fn first_offset(&self) -> Offset {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: i16,
    pub(crate) coordinator_epoch: i32,
    /// The largest timestamp of its newest batch, which is its client's to choose.
    pub(crate) last_timestamp: TimestampMs,
    /// When it wrote last by the clock of this node, or the latest time that may have been. Old
    /// records are sent again like new ones, so this tells which producers are idle.
    last_seen_ms: TimestampMs,
    pub(crate) current_txn_first_offset: Option<Offset>,
    /// Oldest first, at most [`BATCHES_REMEMBERED`].
    batches: Vec<BatchMetadata>,
}

impl ProducerEntry {
    pub(crate) fn new(epoch: i16) -> ProducerEntry {
        ProducerEntry {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            last_seen_ms: -1,
            current_txn_first_offset: None,
            batches: Vec::new(),
        }
    }

    /// The batches that are remembered, oldest first.
    pub(crate) fn batches(&self) -> &[BatchMetadata] {
        &self.batches
    }

    /// What is known when `next` is of the same producer, but later: a snapshot's entries, each
    /// of which has one batch. Of batches that do not come before those of `next`, or are of
    /// another epoch, nothing is kept.
    pub(crate) fn followed_by(mut self, mut next: ProducerEntry) -> ProducerEntry {
        let first = next.batches.first().map_or(Offset::MIN, BatchMetadata::first_offset);
        if self.epoch == next.epoch && self.last_offset() < first {
            for batch in std::mem::take(&mut next.batches) {
                self.remember(batch);
            }
            next.batches = self.batches;
        }
        next
    }

    /// The newest batch.
    pub(crate) fn last_batch(&self) -> Option<BatchMetadata> {
        self.batches.last().copied()
    }

    /// By which it is told who wrote longest ago; timestamps are the clients'.
    pub(crate) fn last_offset(&self) -> Offset {
        self.last_batch().map_or(-1, |last| last.last_offset)
    }

    pub(crate) fn remember(&mut self, batch: BatchMetadata) {
        if self.batches.len() == BATCHES_REMEMBERED {
            self.batches.remove(0);
        }
        self.batches.push(batch);
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }

    fn duplicate_of(&self, batch: &ProducerBatch) -> Option<BatchMetadata> {
        if self.epoch != batch.producer_epoch {
            return None;
        }
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        self.batches
            .iter()
            .find(|known| known.first_sequence() == first && known.last_sequence == last)
            .copied()
    }
}

/// What to do with a client's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    New,
    /// It is in the log already.
    Duplicate(BatchMetadata),
}

/// The producers of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProducerState {
    producers: ProducerEntries,
    /// First offset of each open transaction, and whose it is.
    open_transactions: BTreeMap<Offset, ProducerId>,
}

impl ProducerState {
    /// Judges a batch. `check_sequence` is off for batches of coordinators, which carry none.
    pub(crate) fn check(
        &self,
        batch: &ProducerBatch,
        check_sequence: bool,
    ) -> Result<Verdict, AppendError> {
        let Some(entry) = self.producers.get(batch.producer_id) else {
            // Nothing known, perhaps because retention took all its records: any sequence starts.
            return Ok(Verdict::New);
        };
        if let Some(known) = entry.duplicate_of(batch)
            && check_sequence
        {
            return Ok(Verdict::Duplicate(known));
        }
        if batch.producer_epoch < entry.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                current: entry.epoch,
            });
        }
        if check_sequence {
            self.check_sequence(entry, batch)?;
        }
        if entry.current_txn_first_offset.is_some() && !batch.transactional {
            return Err(AppendError::InvalidTxnState { producer_id: batch.producer_id });
        }
        Ok(Verdict::New)
    }

    fn check_sequence(
        &self,
        entry: &ProducerEntry,
        batch: &ProducerBatch,
    ) -> Result<(), AppendError> {
        let current = if batch.producer_epoch == entry.epoch {
            entry.last_batch().map_or(-1, |last| last.last_sequence)
        } else {
            -1
        };
        if entry.epoch == -1 || batch.base_sequence == add_sequence_after(current) {
            return Ok(());
        }
        Err(AppendError::OutOfOrderSequence {
            producer_id: batch.producer_id,
            epoch: batch.producer_epoch,
            sequence: batch.base_sequence,
            current,
        })
    }

    /// Takes note of a data batch that was appended, or is replayed, at `now_ms`.
    pub(crate) fn apply(&mut self, batch: &ProducerBatch, now_ms: TimestampMs) {
        let entry = self.entry(batch.producer_id, batch.producer_epoch);
        entry.enter_epoch(batch.producer_epoch);
        entry.remember(BatchMetadata {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset,
            offset_delta: (batch.last_offset - batch.base_offset) as i32,
            timestamp: batch.max_timestamp,
        });
        entry.last_timestamp = batch.max_timestamp;
        entry.last_seen_ms = now_ms;
        if batch.transactional && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(batch.base_offset);
            self.open_transactions.insert(batch.base_offset, batch.producer_id);
        }
    }

    /// Takes note of a marker that ended a producer's transaction, and was appended, or is
    /// replayed,
    /// at `now_ms`.
    pub(crate) fn apply_marker(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: i16,
        coordinator_epoch: i32,
        timestamp: TimestampMs,
        now_ms: TimestampMs,
    ) {
        let entry = self.entry(producer_id, producer_epoch);
        entry.enter_epoch(producer_epoch);
        entry.coordinator_epoch = coordinator_epoch;
        entry.last_timestamp = timestamp;
        entry.last_seen_ms = now_ms;
        if let Some(first) = entry.current_txn_first_offset.take() {
            self.open_transactions.remove(&first);
        }
    }

    /// A producer's entry, made if there is none.
    fn entry(&mut self, producer_id: ProducerId, epoch: i16) -> &mut ProducerEntry {
        if self.producers.len() >= PRODUCERS_MAX && self.producers.get(producer_id).is_none() {
            self.forget_the_idlest();
        }
        self.producers.get_or_insert_with(producer_id, || ProducerEntry::new(epoch))
    }

    /// Forgets the producers that wrote longest ago, but not those in a transaction.
    fn forget_the_idlest(&mut self) {
        let may_go = |entry: &ProducerEntry| entry.current_txn_first_offset.is_none();
        let idle = self.producers.iter().filter(|(_, entry)| may_go(entry));
        let mut offsets: Vec<Offset> = idle.map(|(_, entry)| entry.last_offset()).collect();
        let Some(at) = FORGOTTEN_AT_ONCE.min(offsets.len()).checked_sub(1) else { return };
        let (_, &mut newest_to_go, _) = offsets.select_nth_unstable(at);
        self.producers.retain(|entry| !may_go(entry) || entry.last_offset() > newest_to_go);
        tracing::warn!(left = self.producers.len(), "too many producers; the idlest are forgotten");
    }

    /// The first offset of the oldest open transaction.
    pub(crate) fn first_undecided_offset(&self) -> Option<Offset> {
        self.open_transactions.keys().next().copied()
    }

    /// Forgets the producers that wrote nothing for `expiration_ms`, but not those in a
    /// transaction.
    pub(crate) fn remove_expired(&mut self, now_ms: TimestampMs, expiration_ms: i64) {
        self.producers.retain(|entry| {
            entry.current_txn_first_offset.is_some()
                || now_ms.saturating_sub(entry.last_seen_ms) < expiration_ms
        });
    }

    /// Dates the entries of a snapshot, which tells the timestamps of records only: each producer
    /// may have written until the snapshot was, at `written_ms`. No clock that was ahead keeps one
    /// beyond `now_ms`.
    pub(crate) fn date(&mut self, written_ms: TimestampMs, now_ms: TimestampMs) {
        self.producers.for_each_mut(|entry| {
            entry.last_seen_ms = entry.last_timestamp.max(written_ms).min(now_ms);
        });
    }

    /// Adds an entry of a snapshot, of which there are at most [`PRODUCERS_MAX`].
    pub(crate) fn load(&mut self, producer_id: ProducerId, entry: ProducerEntry) {
        if let Some(first) = entry.current_txn_first_offset {
            self.open_transactions.insert(first, producer_id);
        }
        self.producers.insert(producer_id, entry);
    }

    /// The producers as they are now.
    pub(crate) fn entries(&self) -> &ProducerEntries {
        &self.producers
    }

    /// How many producers are known.
    pub(crate) fn len(&self) -> usize {
        self.producers.len()
    }
}

/// The sequence that follows `last`; -1 (none) is followed by 0.
fn add_sequence_after(last: i32) -> i32 {
    if last == SEQUENCE_MAX { 0 } else { last + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, count: i32, base_offset: Offset) -> ProducerBatch {
        ProducerBatch {
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            base_offset,
            last_offset: base_offset + i64::from(count) - 1,
            max_timestamp: 1000,
            transactional: false,
        }
    }

    /// Appends, with what is expected of each: `n` new, `d<offset>` duplicate, `o` out of order,
    /// `e` old epoch.
    fn check(steps: &[(i16, i32, i32, &str)]) {
        let mut state = ProducerState::default();
        let mut end = 100;
        for (at, &(epoch, sequence, count, expected)) in steps.iter().enumerate() {
            let batch = batch(epoch, sequence, count, end);
            let verdict = match state.check(&batch, true) {
                Ok(Verdict::New) => {
                    state.apply(&batch, 0);
                    end = batch.last_offset + 1;
                    "n".to_string()
                }
                Ok(Verdict::Duplicate(known)) => format!("d{}", known.first_offset()),
                Err(AppendError::OutOfOrderSequence { .. }) => "o".to_string(),
                Err(AppendError::InvalidProducerEpoch { .. }) => "e".to_string(),
                Err(other) => panic!("step {at}: {other}"),
            };
            assert_eq!(verdict, expected, "step {at}");
        }
    }

    #[test]
    fn sequences_and_epochs() {
        // In order, with gaps refused and the last five recognised.
        check(&[
            (0, 0, 10, "n"),
            (0, 10, 5, "n"),
            (0, 20, 1, "o"),
            (0, 0, 10, "d100"),
            (0, 10, 5, "d110"),
            (0, 0, 5, "o"),
            (0, 15, 1, "n"),
            (0, 16, 1, "n"),
            (0, 17, 1, "n"),
            (0, 18, 1, "n"),
            (0, 0, 10, "o"),
            (0, 10, 5, "d110"),
        ]);
        // A new epoch starts at 0, an old one is fenced.
        check(&[(3, 0, 1, "n"), (4, 1, 1, "o"), (4, 0, 1, "n"), (3, 1, 1, "e"), (4, 1, 1, "n")]);
        // A producer whose state is gone may start anywhere.
        check(&[(0, 500, 5, "n"), (0, 505, 1, "n")]);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        check(&[
            (0, i32::MAX - 4, 5, "n"),
            (0, 0, 3, "n"),
            (0, 0, 3, "d105"),
            (0, i32::MAX - 4, 5, "d100"),
        ]);
        // A batch that wraps inside: two before the end, three after.
        check(&[(0, i32::MAX - 1, 5, "n"), (0, i32::MAX - 1, 5, "d100"), (0, 3, 1, "n")]);
        for (sequence, delta) in [(0, 0), (5, 9), (i32::MAX, 1), (i32::MAX - 1, 4)] {
            assert_eq!(subtract_sequence(add_sequence(sequence, delta), delta), sequence);
        }
    }

    #[test]
    fn the_idlest_are_forgotten_when_there_are_too_many() {
        let mut state = ProducerState::default();
        let mut append = |producer_id: i64, base_offset: i64, transactional| {
            let batch = ProducerBatch { producer_id, transactional, ..batch(0, 0, 1, base_offset) };
            state.apply(&batch, 0);
            state.len()
        };
        // One in a transaction, one that comes back, and many that write once.
        append(-5, 0, true);
        append(-6, 1, false);
        let full = PRODUCERS_MAX as i64;
        for id in 2..full {
            append(id, id, false);
        }
        append(-6, full, false);
        assert_eq!(append(-6, full + 1, false), PRODUCERS_MAX);
        let left = PRODUCERS_MAX - FORGOTTEN_AT_ONCE + 1;
        assert_eq!(append(full, full + 2, false), left);
        for id in [-5, -6, full, full - 1] {
            assert!(state.producers.get(id).is_some(), "{id}");
        }
        for id in [2, FORGOTTEN_AT_ONCE as i64 + 1] {
            assert!(state.producers.get(id).is_none(), "{id}");
        }
        assert_eq!(state.first_undecided_offset(), Some(0));
    }

    #[test]
    fn transactions_open_and_end() {
        let mut state = ProducerState::default();
        let mut first = batch(0, 0, 2, 50);
        first.transactional = true;
        state.apply(&first, 500);
        assert_eq!(state.first_undecided_offset(), Some(50));
        assert!(matches!(
            state.check(&batch(0, 2, 1, 52), true),
            Err(AppendError::InvalidTxnState { .. })
        ));
        state.remove_expired(i64::MAX, 1);
        assert_eq!(state.len(), 1);
        state.apply_marker(7, 0, 3, 1000, 2000);
        assert_eq!(state.first_undecided_offset(), None);
        state.remove_expired(2000, 1);
        assert_eq!(state.len(), 1);
        state.remove_expired(2001, 1);
        assert_eq!(state.len(), 0);
    }

    /// A batch of old records that was sent again two days later was stored twice.
    #[test]
    fn producers_age_by_when_they_wrote() {
        let mut state = ProducerState::default();
        let mut old = batch(0, 0, 1, 0);
        for (max_timestamp, seen_ms) in [(-1, 5000), (0, 5000), (99_000, 5000)] {
            old.max_timestamp = max_timestamp;
            state.apply(&old, seen_ms);
            state.remove_expired(5999, 1000);
            assert!(matches!(state.check(&old, true), Ok(Verdict::Duplicate(_))));
            state.remove_expired(6000, 1000);
            assert!(matches!(state.check(&old, true), Ok(Verdict::New)));
        }
        // One of a snapshot wrote when its records say, or later, but not after the snapshot, and
        // surely not after now.
        for (max_timestamp, written_ms, seen_ms) in
            [(100, 5000, 5000), (5001, 5000, 5001), (9001, 5000, 9000), (100, 9001, 9000)]
        {
            old.max_timestamp = max_timestamp;
            state.apply(&old, 0);
            state.date(written_ms, 9000);
            state.remove_expired(seen_ms + 999, 1000);
            assert_eq!(state.len(), 1);
            state.remove_expired(seen_ms + 1000, 1000);
            assert_eq!(state.len(), 0);
        }
    }
}
