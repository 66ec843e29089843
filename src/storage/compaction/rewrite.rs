//! What is left of batches when a log is compacted: bytes in, bytes out.
//!
//! Pure. A batch is judged by what is known of its keys ([`KeyMap`]) and of its transaction
//! ([`Transactions`]), by these rules (Kafka's `Cleaner`):
//!
//! 1. A record stays if its key has none that is newer, as far as the map goes. One without a key
//!    goes: it could never be superseded.
//! 2. A tombstone, which has no value, gives its batch a delete horizon of `delete.retention.ms`
//!    from now, and goes with the first walk after that.
//! 3. Data of an aborted transaction goes.
//! 4. A marker of a transaction of which nothing is left gets a delete horizon as well.
//! 5. The last batch of a producer that may still write stays, if need be without records, because
//!    its sequence is checked against it after a restart. So does the last batch of each segment
//!    that is made, which says how far that segment reaches.

use std::collections::HashMap;

use ringlog_record::{
    BatchError, BatchView, ControlRecordType, DECOMPRESSED_BYTES_MAX, FilterRules, Filtered,
    RecordIter, decompressed_records, emptied_batch, filter_batch,
};
use ringlog_types::{Offset, ProducerId, TimestampMs};

use crate::compaction::key_map::KeyMap;
use crate::compaction::transactions::{MarkerFate, Transactions};
use crate::index::transaction_index::AbortedTransaction;
use crate::segment::batch_header::{BatchHeader, HEADER_BYTES};

/// The last thing that a producer wrote which may write again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastOfProducer {
    /// The batch of data that ends at this offset.
    Data(Offset),
    /// Nothing but markers of this epoch.
    Marker(i16),
}

/// What a walk knows, and what it has done so far. It is handed to the thread that computes, and
/// comes back.
pub(crate) struct Rewrite {
    pub(crate) keys: KeyMap,
    /// Nothing below holds data of aborted transactions any more, whatever an index says.
    pub(crate) dirty_start: Offset,
    /// The map knows every key below.
    pub(crate) keys_end: Offset,
    pub(crate) transactions: Transactions,
    pub(crate) last_of_producers: HashMap<ProducerId, LastOfProducer>,
    pub(crate) now_ms: TimestampMs,
    pub(crate) delete_retention_ms: i64,
    /// Transactions whose markers stay in the segment that is being made.
    pub(crate) aborted: Vec<AbortedTransaction>,
    pub(crate) counts: Counts,
    /// The last batch that was met, without its records, if it went.
    last_dropped: Option<[u8; HEADER_BYTES]>,
    scratch: Vec<u8>,
}

/// What a walk has met and done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) records_read: u64,
    pub(crate) records_left: u64,
}

impl Rewrite {
    /// Of a walk that knows nothing yet but keys and transactions.
    pub(crate) fn new(keys: KeyMap, transactions: Transactions) -> Rewrite {
        Rewrite {
            keys,
            dirty_start: 0,
            keys_end: 0,
            transactions,
            last_of_producers: HashMap::new(),
            now_ms: 0,
            delete_retention_ms: 0,
            aborted: Vec::new(),
            counts: Counts::default(),
            last_dropped: None,
            scratch: Vec::new(),
        }
    }

    /// The last batch that was met, as it stays without its records; none if it stayed anyway.
    pub(crate) fn take_last_dropped(&mut self) -> Option<[u8; HEADER_BYTES]> {
        let last = self.last_dropped.take();
        self.counts.bytes_written += last.map_or(0, |header| header.len() as u64);
        last
    }

    /// Appends to `out` what is left of the batches in `bytes`, which are whole.
    ///
    /// # Errors
    /// A batch is not what its header says. What `out` has is then of no use.
    pub(crate) fn batches(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        while !bytes.is_empty() {
            let batch = BatchView::check(bytes)?;
            bytes = &bytes[batch.size()..];
            self.batch(&batch, out)?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &BatchView<'_>, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let header = BatchHeader::parse(batch.bytes(), batch.size() as u64);
        let header = header.map_err(|_| BatchError::Length(batch.length()))?;
        let before = out.len();
        let (horizon, now_ms) = (batch.base_timestamp(), self.now_ms);
        let horizon_has_passed = batch.attributes().has_delete_horizon() && horizon <= now_ms;
        let mut rules = FilterRules {
            keep_empty: self.is_last_of_producer(&header),
            horizon_ms: now_ms.saturating_add(self.delete_retention_ms),
            needs_horizon: false,
        };
        let left = if header.is_control() {
            let fate = self.fate_of_marker(batch, &header)?;
            rules.needs_horizon = fate.may_go;
            self.aborted.extend(fate.aborted);
            let goes = fate.may_go && horizon_has_passed;
            filter_batch(batch, &rules, |_| !goes, &mut self.scratch, out)?
        } else if self.is_aborted(&header) {
            filter_batch(batch, &rules, |_| false, &mut self.scratch, out)?
        } else {
            let (keys, keys_end) = (&self.keys, self.keys_end);
            filter_batch(
                batch,
                &rules,
                |record| {
                    let Some(key) = record.key else { return record.offset >= keys_end };
                    if record.offset >= keys_end {
                        return true;
                    }
                    let is_newest = keys.get(key).is_none_or(|newest| record.offset >= newest);
                    is_newest && (record.value.is_some() || !horizon_has_passed)
                },
                &mut self.scratch,
                out,
            )?
        };
        self.count(batch, left, &out[before..]);
        self.last_dropped = (left == Filtered::Dropped).then(|| emptied_batch(batch));
        Ok(())
    }

    fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        header.attributes.is_transactional()
            && self.transactions.is_aborted(header.producer_id, header.last_offset())
            && header.base_offset >= self.dirty_start
    }

    fn count(&mut self, batch: &BatchView<'_>, left: Filtered, written: &[u8]) {
        let records = |batch: &BatchView<'_>| batch.record_count().max(0) as u64;
        self.counts.bytes_read += batch.size() as u64;
        self.counts.bytes_written += written.len() as u64;
        self.counts.records_read += records(batch);
        if left != Filtered::Dropped
            && let Ok(written) = BatchView::parse(written)
        {
            self.counts.records_left += records(&written);
        }
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        match self.last_of_producers.get(&header.producer_id) {
            Some(LastOfProducer::Data(offset)) => header.last_offset() == *offset,
            Some(LastOfProducer::Marker(epoch)) => {
                header.is_control() && header.producer_epoch == *epoch
            }
            None => false,
        }
    }

    fn fate_of_marker(
        &mut self,
        batch: &BatchView<'_>,
        header: &BatchHeader,
    ) -> Result<MarkerFate, BatchError> {
        let (producer_id, offset) = (header.producer_id, header.last_offset());
        Ok(match kind_of_marker(batch)? {
            // It stayed without its record, so nothing of its transaction is left.
            None => MarkerFate { may_go: true, aborted: None },
            Some(ControlRecordType::Abort) => self.transactions.abort(producer_id, offset),
            Some(ControlRecordType::Commit) => self.transactions.commit(producer_id, offset),
            Some(_) => MarkerFate { may_go: false, aborted: None },
        })
    }
}

/// What the control record of a batch is; `None` if there is none. One that is not known counts as
/// one that has nothing to do with transactions.
fn kind_of_marker(batch: &BatchView<'_>) -> Result<Option<ControlRecordType>, BatchError> {
    let Some(marker) = RecordIter::new(batch, batch.records_bytes()).next_bare() else {
        return Ok(None);
    };
    let kind = marker?.key.and_then(ControlRecordType::from_key);
    Ok(Some(kind.unwrap_or(ControlRecordType::LeaderChange)))
}

/// The first walk: it fills the table of keys.
pub(crate) struct Survey {
    pub(crate) keys: KeyMap,
    pub(crate) transactions: Transactions,
    /// Records below do not count.
    pub(crate) start: Offset,
    /// Every key below is in the table.
    pub(crate) end: Offset,
    pub(crate) is_full: bool,
}

impl Survey {
    /// Takes the keys of some whole batches, until the table is full.
    ///
    /// # Errors
    /// A batch is not what its header says.
    pub(crate) fn batches(&mut self, mut bytes: &[u8]) -> Result<(), BatchError> {
        while !bytes.is_empty() && !self.is_full {
            let batch = BatchView::check(bytes)?;
            bytes = &bytes[batch.size()..];
            self.batch(&batch)?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &BatchView<'_>) -> Result<(), BatchError> {
        let header = BatchHeader::parse(batch.bytes(), batch.size() as u64);
        let header = header.map_err(|_| BatchError::Length(batch.length()))?;
        let (producer_id, last_offset) = (header.producer_id, header.last_offset());
        if header.is_control() {
            match kind_of_marker(batch)? {
                Some(ControlRecordType::Abort) => {
                    self.transactions.abort(producer_id, last_offset);
                }
                Some(ControlRecordType::Commit) => {
                    self.transactions.commit(producer_id, last_offset);
                }
                _ => {}
            }
        } else if !header.attributes.is_transactional()
            || !self.transactions.is_aborted(producer_id, last_offset)
        {
            let records = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
            let mut records = RecordIter::new(batch, &records);
            while let Some(record) = records.next_bare() {
                let record = record?;
                let Some(key) = record.key else { continue };
                if record.offset >= self.start && !self.keys.put(key, record.offset) {
                    self.is_full = true;
                    return Ok(());
                }
            }
        }
        self.end = self.end.max(header.next_offset());
        Ok(())
    }
}
