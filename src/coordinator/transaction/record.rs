//! The records of `__transaction_state`, in Kafka's own format (`TransactionLog`).
//!
//! A key is the number of its type (0), 16 bits, and the message; a value is the number of its
//! version and the message. Without a value the id is forgotten.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use imbl::OrdSet;
use ringlog_types::Offset;
use ringlog_wire::messages::transaction_log_key::TransactionLogKey;
use ringlog_wire::messages::transaction_log_value::{PartitionsSchema, TransactionLogValue};
use ringlog_wire::{Message, Reader, Writer};

use super::metadata::{NO_EPOCH, Place, Transaction};
use super::state::TransactionState;
use crate::error::CoordinatorError;
use crate::outcome::Record;

/// The only type of key there is.
const KEY: i16 = 0;
/// The version that Kafka before 4.0 reads, and the one that knows transactions version 2.
const VALUE_OLD: i16 = 0;
const VALUE_FLEXIBLE: i16 = 1;

/// A record, read from the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TransactionRecord {
    /// The newest state of an id; `None` forgets it.
    Transaction(Rc<str>, Option<Transaction>),
    /// A type that is newer than this code. Kafka steps over it, with a warning.
    Unknown(i16),
}

impl TransactionRecord {
    /// Reads the record at `offset`.
    pub(super) fn decode(
        offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<TransactionRecord, CoordinatorError> {
        let no_key = CoordinatorError::NoKey { offset };
        let mut reader = Reader::new(key.ok_or(no_key.clone())?);
        let kind = reader.i16().map_err(|_| no_key)?;
        if kind != KEY {
            return Ok(TransactionRecord::Unknown(kind));
        }
        let malformed = |reason: &dyn std::fmt::Display| CoordinatorError::Malformed {
            kind,
            offset,
            reason: reason.to_string(),
        };
        let key = TransactionLogKey::decode(&mut reader, 0).map_err(|error| malformed(&error))?;
        let transaction = match value {
            None => None,
            Some(value) => {
                let mut reader = Reader::new(value);
                let version = reader.i16().map_err(|error| malformed(&error))?;
                let value = TransactionLogValue::decode(&mut reader, version);
                let value = value.map_err(|error| malformed(&error))?;
                Some(from_value(&value).ok_or_else(|| malformed(&"its state has no name"))?)
            }
        };
        Ok(TransactionRecord::Transaction((&*key.transactional_id).into(), transaction))
    }
}

fn from_value(value: &TransactionLogValue<'_>) -> Option<Transaction> {
    let state = TransactionState::from_number(value.transaction_status)?;
    let mut partitions = OrdSet::new();
    for topic in value.transaction_partitions.iter().flatten() {
        let name: Rc<str> = (&*topic.topic).into();
        partitions.extend(topic.partition_ids.iter().map(|index| (name.clone(), *index)));
    }
    Some(Transaction {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        epoch: value.producer_epoch,
        // It is in no record: an answer that got lost is not made up for after a restart.
        last_epoch: NO_EPOCH,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions,
        start_ms: value.transaction_start_timestamp_ms,
        updated_ms: value.transaction_last_update_timestamp_ms,
        client_version: value.client_transaction_version,
    })
}

/// The record of an id's newest state. With `transaction_version` 0 of the cluster it is one that
/// Kafka before 4.0 reads.
///
/// # Panics
/// If a string is longer than its schema allows: they came in requests with the same limits.
pub(super) fn record(id: &str, transaction: &Transaction, transaction_version: i16) -> Record {
    let version = if transaction_version == 0 { VALUE_OLD } else { VALUE_FLEXIBLE };
    let is_flexible = version == VALUE_FLEXIBLE;
    let value = TransactionLogValue {
        producer_id: transaction.producer_id,
        previous_producer_id: if is_flexible { transaction.previous_producer_id } else { -1 },
        next_producer_id: if is_flexible { transaction.next_producer_id } else { -1 },
        producer_epoch: transaction.epoch,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.state.number(),
        // As Kafka has it: none where there cannot be any.
        transaction_partitions: (transaction.state != TransactionState::Empty)
            .then(|| by_topic(&transaction.partitions)),
        transaction_last_update_timestamp_ms: transaction.updated_ms,
        transaction_start_timestamp_ms: transaction.start_ms,
        client_transaction_version: if is_flexible { transaction.client_version } else { 0 },
        ..Default::default()
    };
    Record { key: key(id), value: Some(encode(version, &value, version)) }
}

/// The record that forgets an id.
pub(super) fn tombstone(id: &str) -> Record {
    Record { key: key(id), value: None }
}

fn key(id: &str) -> Bytes {
    encode(KEY, &TransactionLogKey { transactional_id: Cow::Borrowed(id) }, 0)
}

fn by_topic(partitions: &OrdSet<Place>) -> Vec<PartitionsSchema<'_>> {
    let mut topics: Vec<PartitionsSchema<'_>> = Vec::new();
    // In order of the topics: the partitions of one follow each other.
    for (topic, index) in partitions {
        if topics.last().is_none_or(|last| last.topic != **topic) {
            topics.push(PartitionsSchema { topic: Cow::Borrowed(topic), ..Default::default() });
        }
        topics.last_mut().expect("it was just pushed").partition_ids.push(*index);
    }
    topics
}

fn encode<'a>(number: i16, message: &impl Message<'a>, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(number);
    message.encode(&mut writer, version).expect("what a request had fits into a record");
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Transaction {
        Transaction {
            producer_id: 7,
            previous_producer_id: 6,
            next_producer_id: 8,
            epoch: 3,
            last_epoch: NO_EPOCH,
            timeout_ms: 60_000,
            state: TransactionState::PrepareCommit,
            partitions: [("a", 1), ("a", 0), ("b", 5)]
                .map(|(t, p)| (t.into(), p))
                .into_iter()
                .collect(),
            start_ms: 1_000,
            updated_ms: 2_000,
            client_version: 2,
        }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let written = transaction();
        let new = record("id", &written, 2);
        let found = TransactionRecord::decode(0, Some(&new.key), new.value.as_deref());
        assert_eq!(found, Ok(TransactionRecord::Transaction("id".into(), Some(written.clone()))));
        // The old form knows less.
        let old = record("id", &written, 0);
        let found = TransactionRecord::decode(0, Some(&old.key), old.value.as_deref());
        let expected = Transaction {
            previous_producer_id: -1,
            next_producer_id: -1,
            client_version: 0,
            ..written
        };
        assert_eq!(found, Ok(TransactionRecord::Transaction("id".into(), Some(expected))));
        let gone = tombstone("id");
        let found = TransactionRecord::decode(0, Some(&gone.key), None);
        assert_eq!(found, Ok(TransactionRecord::Transaction("id".into(), None)));
    }

    /// The bytes that Kafka writes (`TransactionLog.keyToBytes`, `valueToBytes`), by hand.
    #[test]
    fn the_bytes_are_kafkas() {
        let empty = Transaction {
            state: TransactionState::Empty,
            partitions: OrdSet::new(),
            start_ms: -1,
            ..transaction()
        };
        let old = record("id", &empty, 0);
        assert_eq!(old.key[..], [0, 0, 0, 2, b'i', b'd']);
        let expected = [
            &[0, 0][..],
            &7i64.to_be_bytes(),
            &3i16.to_be_bytes(),
            &60_000i32.to_be_bytes(),
            &[0],
            &(-1i32).to_be_bytes(),
            &2_000i64.to_be_bytes(),
            &(-1i64).to_be_bytes(),
        ];
        assert_eq!(old.value.unwrap()[..], expected.concat());
    }

    #[test]
    fn damage_is_named_and_newer_types_are_stepped_over() {
        let decode = |key: &[u8], value| TransactionRecord::decode(4, Some(key), value);
        assert_eq!(decode(&[0, 9, 1], None), Ok(TransactionRecord::Unknown(9)));
        let no_key = TransactionRecord::decode(4, None, None);
        assert_eq!(no_key, Err(CoordinatorError::NoKey { offset: 4 }));
        let mut record = record("id", &transaction(), 0);
        let mut value = record.value.take().unwrap().to_vec();
        value[2 + 8 + 2 + 4] = 77;
        for value in [&value[..], &[0, 9], &[0]] {
            let found = decode(&record.key, Some(value));
            assert!(matches!(found, Err(CoordinatorError::Malformed { offset: 4, .. })));
        }
    }
}
