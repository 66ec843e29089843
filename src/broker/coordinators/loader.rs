//! The records of a coordinator's partition, from its start to its end, into the coordinator.
//!
//! Everything that is in the log counts, also what is not committed yet: it may become so. Records
//! of a transaction count when its marker says so. State that cannot be loaded whole is refused: an
//! offset that a group does not find would send its members to the beginning or the end.

use std::cell::RefCell;
use std::collections::HashMap;

use ringlog_coordinator::{Coordinator, Now};
use ringlog_record::{BatchIter, BatchView, ControlRecordType, RecordIter, decompressed_records};
use ringlog_storage::Log;
use ringlog_types::{Offset, ProducerId};

/// How much of the log is read at once (`offsets.load.buffer.size` of Kafka).
const READ_BYTES: usize = 5 << 20;
/// What a batch may unfold to.
const UNPACKED_BYTES_MAX: usize = 128 << 20;
/// Records of transactions that are not decided yet, of all producers together.
const UNDECIDED_MAX: usize = 1_000_000;

/// A record whose transaction is not decided yet.
struct Undecided {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// What is known of a log while it is loaded.
#[derive(Default)]
struct Loading {
    undecided: HashMap<ProducerId, Vec<Undecided>>,
    undecided_count: usize,
}

/// Loads everything below the log's end. The error says what is wrong, and where.
pub(super) async fn load<C: Coordinator>(
    log: &Log,
    machine: &RefCell<C>,
    now: impl Fn() -> Now,
) -> Result<(), String> {
    let mut loading = Loading::default();
    let mut offset = log.log_start_offset();
    let end = log.log_end_offset();
    while offset < end {
        let bytes = log.read_whole_batches(offset, READ_BYTES, end).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        let mut next = offset;
        for batch in BatchIter::new(&bytes) {
            let batch = batch.map_err(|error| format!("the batch at {next}: {error}"))?;
            loading.take_in(&batch, machine, now()).map_err(|reason| {
                format!("the batch at offset {}: {reason}", batch.base_offset())
            })?;
            next = batch.last_offset() + 1;
        }
        if next <= offset {
            return Err(format!("no batch can be read at offset {offset}"));
        }
        offset = next;
        // What is committed needs no version of its own for each batch.
        machine.borrow_mut().committed(next.min(log.committed_offset()));
    }
    Ok(())
}

impl Loading {
    fn take_in<C: Coordinator>(
        &mut self,
        batch: &BatchView<'_>,
        machine: &RefCell<C>,
        now: Now,
    ) -> Result<(), String> {
        let readable = |error: ringlog_record::BatchError| error.to_string();
        batch.verify_crc().map_err(readable)?;
        let records = decompressed_records(batch, UNPACKED_BYTES_MAX).map_err(readable)?;
        let end_offset = batch.last_offset() + 1;
        for record in RecordIter::new(batch, &records) {
            let record = record.map_err(readable)?;
            if batch.attributes().is_control() {
                self.decide(batch.producer_id(), record.key, end_offset, machine, now)?;
            } else if batch.attributes().is_transactional() {
                self.put_off(batch.producer_id(), record.key, record.value)?;
            } else {
                let mut machine = machine.borrow_mut();
                let taken = machine.load(end_offset, record.key, record.value, now);
                taken.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn put_off(
        &mut self,
        producer_id: ProducerId,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), String> {
        if self.undecided_count >= UNDECIDED_MAX {
            return Err(format!("more than {UNDECIDED_MAX} records of open transactions"));
        }
        self.undecided_count += 1;
        let record = Undecided { key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec) };
        self.undecided.entry(producer_id).or_default().push(record);
        Ok(())
    }

    /// A marker ends a producer's transaction.
    fn decide<C: Coordinator>(
        &mut self,
        producer_id: ProducerId,
        key: Option<&[u8]>,
        end_offset: Offset,
        machine: &RefCell<C>,
        now: Now,
    ) -> Result<(), String> {
        let kind = key.and_then(ControlRecordType::from_key);
        if !matches!(kind, Some(ControlRecordType::Commit | ControlRecordType::Abort)) {
            return Ok(());
        }
        let records = self.undecided.remove(&producer_id).unwrap_or_default();
        self.undecided_count -= records.len();
        if kind == Some(ControlRecordType::Abort) {
            return Ok(());
        }
        for Undecided { key, value } in &records {
            let mut machine = machine.borrow_mut();
            let taken = machine.load(end_offset, key.as_deref(), value.as_deref(), now);
            taken.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
