//! What clients were told, kept outside of the simulated world.
//!
//! A record is known by who made it and its number. The ledger knows every record that was ever
//! sent, where the broker said it is (in an acknowledgement, or by giving it to a reader), and
//! which ones were acknowledged. The first thing that does not fit is kept and ends the history.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use ringlog_types::Uuid;

/// Who made a record (the upper half), and its number among theirs.
pub(super) type RecordId = u64;

/// What a record begins with: its id, and how many bytes follow.
const HEAD_BYTES: usize = 12;

/// The bytes of a record; all of them follow from its id and size.
pub(super) fn value(id: RecordId, fill_bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD_BYTES + fill_bytes);
    value.extend_from_slice(&id.to_be_bytes());
    value.extend_from_slice(&(fill_bytes as u32).to_be_bytes());
    value.extend((0..fill_bytes).map(|at| fill(id, at)));
    value
}

fn fill(id: RecordId, at: usize) -> u8 {
    (id ^ id >> 29).wrapping_mul(0x9e37).wrapping_add(at as u64 * 31) as u8
}

/// Whose bytes these are.
fn id_of(value: &[u8]) -> Result<RecordId, String> {
    let (head, rest) = value.split_at_checked(HEAD_BYTES).ok_or("a record without a head")?;
    let id = u64::from_be_bytes(head[..8].try_into().expect("eight"));
    let is_whole = rest.len() as u32 == u32::from_be_bytes(head[8..].try_into().expect("four"))
        && rest.iter().enumerate().all(|(at, byte)| *byte == fill(id, at));
    if is_whole { Ok(id) } else { Err(format!("the bytes of record {} changed", Name(id))) }
}

struct Name(RecordId);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0 >> 32, self.0 as u32)
    }
}

/// All that the clients of one history have in common.
#[derive(Default)]
pub(super) struct Ledger {
    violation: RefCell<Option<String>>,
    /// No more records are made; what was sent is brought to its end.
    pub draining: Cell<bool>,
    pub producers_at_work: Cell<usize>,
    /// The clients have seen everything through.
    pub finished: Cell<bool>,
    /// The reader that compares everything has done so.
    pub compared: Cell<bool>,
    pub acknowledged: Cell<u64>,
    pub reads: Cell<u64>,
    /// Answers that came after their connection had broken once or more.
    pub retries: Cell<u64>,
    pub topics_deleted: Cell<u64>,
    producers_made: Cell<u64>,
    producer_ids: RefCell<BTreeSet<i64>>,
    topic_ids: RefCell<BTreeSet<Uuid>>,
}

impl Ledger {
    pub(super) fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    pub(super) fn violate(&self, why: String) {
        self.violation.borrow_mut().get_or_insert(why);
    }

    pub(super) fn is_over(&self) -> bool {
        self.violation.borrow().is_some()
    }

    /// A number for a new producer: the upper half of the ids of its records.
    pub(super) fn next_producer(&self) -> u64 {
        self.producers_made.set(self.producers_made.get() + 1);
        self.producers_made.get()
    }

    /// The broker gave out a producer id: never one that it gave before.
    pub(super) fn given_producer_id(&self, id: i64) {
        if !self.producer_ids.borrow_mut().insert(id) {
            self.violate(format!("the producer id {id} is given out twice"));
        }
    }

    /// A topic was made: its id is of no earlier one.
    pub(super) fn made_topic(&self, id: Uuid) {
        if !self.topic_ids.borrow_mut().insert(id) {
            self.violate(format!("the topic id {id} is of an earlier topic"));
        }
    }
}

/// One topic, from its making to its end.
pub(super) struct Topic {
    pub name: &'static str,
    pub id: Uuid,
    partitions: RefCell<Vec<Partition>>,
}

#[derive(Default)]
struct Partition {
    /// Every record sent, and whether it was acknowledged.
    sent: BTreeMap<RecordId, bool>,
    at: BTreeMap<i64, RecordId>,
    places: BTreeMap<RecordId, i64>,
    /// Behind the last record that was acknowledged at an offset.
    acknowledged_end: i64,
}

impl Topic {
    pub(super) fn new(name: &'static str, id: Uuid, partitions: usize) -> Topic {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Topic { name, id, partitions: RefCell::new(partitions) }
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions.borrow().len()
    }

    fn with<T>(
        &self,
        partition: usize,
        call: impl FnOnce(&mut Partition) -> Result<T, String>,
    ) -> Result<T, String> {
        let result = call(&mut self.partitions.borrow_mut()[partition]);
        result.map_err(|why| format!("{}-{partition}: {why}", self.name))
    }

    pub(super) fn sent(&self, partition: usize, id: RecordId) {
        self.partitions.borrow_mut()[partition].sent.insert(id, false);
    }

    /// Up to where records were acknowledged, at the least.
    pub(super) fn acknowledged_end(&self, partition: usize) -> i64 {
        self.partitions.borrow()[partition].acknowledged_end
    }

    /// Records were acknowledged, and where the first of them is.
    pub(super) fn acknowledged(
        &self,
        partition: usize,
        first: RecordId,
        records: u64,
        base_offset: i64,
    ) -> Result<(), String> {
        self.with(partition, |partition| {
            for nth in 0..records {
                partition.sent.insert(first + nth, true);
                partition.place(first + nth, base_offset + nth as i64)?;
            }
            let end = base_offset + records as i64;
            partition.acknowledged_end = partition.acknowledged_end.max(end);
            Ok(())
        })
    }

    /// A reader was given a record.
    pub(super) fn read(&self, partition: usize, offset: i64, value: &[u8]) -> Result<(), String> {
        self.with(partition, |partition| {
            let id = id_of(value)?;
            if !partition.sent.contains_key(&id) {
                return Err(format!("record {} at {offset} was never sent here", Name(id)));
            }
            partition.place(id, offset)
        })
    }

    /// Everything up to `end` was just read: nothing acknowledged may be missing.
    pub(super) fn is_whole(&self, partition: usize, end: i64) -> Result<(), String> {
        self.with(partition, |partition| {
            if (partition.at.len() as i64, partition.acknowledged_end.max(end)) != (end, end) {
                let known = partition.at.last_key_value().map(|(offset, _)| offset + 1);
                return Err(format!(
                    "lost: it ends at {end}; {} records were seen, up to {known:?}, and \
                     acknowledged up to {}",
                    partition.at.len(),
                    partition.acknowledged_end
                ));
            }
            let is_lost = |(id, acknowledged): &(&RecordId, &bool)| {
                **acknowledged && !partition.places.contains_key(id)
            };
            match partition.sent.iter().find(is_lost) {
                Some((id, _)) => Err(format!("lost: record {} was acknowledged", Name(*id))),
                None => Ok(()),
            }
        })
    }
}

impl Partition {
    /// A record is at an offset: always, and at no other, and behind its producer's earlier ones.
    fn place(&mut self, id: RecordId, offset: i64) -> Result<(), String> {
        if let Some(other) = self.at.insert(offset, id)
            && other != id
        {
            let (other, id) = (Name(other), Name(id));
            return Err(format!("offset {offset} was record {other}, and now is {id}"));
        }
        if let Some(other) = self.places.insert(id, offset) {
            return match other == offset {
                true => Ok(()),
                false => Err(format!("record {} is at {other} and at {offset}", Name(id))),
            };
        }
        let before = self.places.range(..id).next_back();
        let after = self.places.range(id + 1..).next();
        let is_same = |other: &RecordId| other >> 32 == id >> 32;
        let overtakes = before.is_some_and(|(other, at)| is_same(other) && *at > offset)
            || after.is_some_and(|(other, at)| is_same(other) && *at < offset);
        if overtakes {
            return Err(format!("record {} at {offset} is out of order", Name(id)));
        }
        Ok(())
    }
}
