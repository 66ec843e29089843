//! The transaction coordinator: the transactional ids of one partition of `__transaction_state`.
//!
//! 1. InitProducerId gives the id to a producer, which fences the one before, and aborts what that
//!    left open.
//! 2. Partitions are added before anything is written to them, or with the first batch.
//! 3. EndTxn decides. From the moment the decision is committed it stands, and the producer is
//!    answered; then [`Markers`] are written into the transaction's partitions, as often as it
//!    takes, also by the next start. When all are written, the transaction is complete.
//!
//! Requests are methods that return an [`Outcome`]; how the records of a decision come back is told
//! at [`Coordinator`]. Decisions go by everything that was decided. What others act on goes by what
//! is committed: whether a partition may be written to, what is told of transactions, and which
//! markers are asked for.

mod add_partitions;
mod describe;
mod end;
#[cfg(test)]
mod histories;
mod init;
mod metadata;
mod record;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod timeouts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;

use imbl::HashMap;
use ringlog_types::{ErrorCode, Offset, ProducerId};

use self::metadata::Transaction;
use self::record::TransactionRecord;
use crate::coordinator::Coordinator;
use crate::error::CoordinatorError;
use crate::outcome::{Now, Record};
use crate::timers::Timers;
use crate::versioned::Versioned;

pub use self::add_partitions::AddPartitions;
pub use self::describe::{IdPattern, ListFilter, PatternError};
pub use self::end::EndTransaction;
pub use self::init::InitProducer;
pub use self::metadata::Place;
pub use self::settings::TransactionSettings;
pub use self::state::TransactionState;

/// Ids that one partition of the topic keeps. Any client can bring as many as it likes, and each is
/// kept for a week. Kafka has no such limit; one with so many has other troubles.
const IDS_MAX: usize = 100_000;
/// Bytes that the names of a transaction's partitions take in its record.
const PLACES_BYTES_MAX: usize = 512 << 10;

/// What a decision of this coordinator brings about.
pub type Effects = crate::outcome::Effects<Infallible, Infallible>;
/// A decision of this coordinator.
pub type Outcome<R> = crate::outcome::Outcome<R, Infallible, Infallible>;

/// A producer, as it has to name itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdAndEpoch {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: i16,
}

/// What becomes of a request that may have to be given a new producer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// This is who the producer is from now on.
    Producer(ProducerIdAndEpoch),
    /// It is to be asked again, with a producer id that nobody has.
    NeedsProducerId,
}

/// Markers that are to be written; then [`TransactionCoordinator::markers_written`] is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markers {
    /// Of which transactional id.
    pub transactional_id: Rc<str>,
    /// Whose transaction ends, and the epoch of the markers.
    pub producer: ProducerIdAndEpoch,
    /// Whether it is committed, not aborted.
    pub is_commit: bool,
    /// Where.
    pub places: Vec<Place>,
    /// With version 2 the markers' epoch is one that no batch has.
    pub transaction_version: i16,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum TimerKey {
    /// Transactions that take too long are looked for.
    TimedOut,
    /// Ids that nobody uses are looked for.
    Expired,
}

type Transactions = HashMap<Rc<str>, Rc<Transaction>>;

/// The transactional ids of one partition of `__transaction_state`.
#[derive(Debug)]
pub struct TransactionCoordinator {
    settings: TransactionSettings,
    transactions: Versioned<Transactions>,
    /// The decision that was made last, until it is replayed: it knows a little more than its
    /// record does.
    decided: Option<(Rc<str>, Transaction)>,
    /// Ids whose transaction is ongoing.
    ongoing: BTreeSet<Rc<str>>,
    /// Ids whose transaction is decided by a record that ends before an offset and is not known to
    /// be committed.
    prepared: BTreeMap<Rc<str>, Offset>,
    high_watermark: Offset,
    is_loaded: bool,
    markers: Vec<Markers>,
    /// Ids whose transaction is to be aborted.
    timed_out: VecDeque<Rc<str>>,
    timers: Timers<TimerKey>,
}

impl Coordinator for TransactionCoordinator {
    type Answer = Infallible;
    type Then = Infallible;
    type Command = Markers;

    fn load(
        &mut self,
        end_offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        _now: Now,
    ) -> Result<(), CoordinatorError> {
        let record = TransactionRecord::decode(end_offset - 1, key, value)?;
        self.take_in(end_offset, record);
        Ok(())
    }

    fn loaded(&mut self, now: Now) -> Effects {
        self.is_loaded = true;
        self.begin_timers(now);
        self.ask_for_markers();
        Effects::default()
    }

    fn replay(&mut self, end_offset: Offset, records: &[Record], _now: Now) {
        let mut decided = self.decided.take();
        for Record { key, value } in records {
            let record = TransactionRecord::decode(end_offset - 1, Some(key), value.as_deref());
            let mut record = record.expect("a record of one's own can be read");
            if let TransactionRecord::Transaction(id, Some(transaction)) = &mut record
                && let Some((_, known)) = decided.take_if(|(of, _)| of == id)
            {
                *transaction = known;
            }
            self.take_in(end_offset, record);
        }
    }

    fn committed(&mut self, high_watermark: Offset) {
        self.high_watermark = self.high_watermark.max(high_watermark);
        self.transactions.commit(high_watermark);
        if self.is_loaded {
            self.ask_for_markers();
        }
    }

    fn commands(&mut self) -> Vec<Markers> {
        std::mem::take(&mut self.markers)
    }

    fn next_deadline_ms(&self) -> Option<u64> {
        if self.timed_out.is_empty() { self.timers.next() } else { Some(0) }
    }

    fn tick(&mut self, now: Now) -> Option<Effects> {
        self.do_what_is_due(now)
    }

    fn continued(
        &mut self,
        then: &Infallible,
        _result: Result<(), ErrorCode>,
        _now: Now,
    ) -> Effects {
        match *then {}
    }

    fn failed(answer: &Infallible, _error: ErrorCode) -> Infallible {
        match *answer {}
    }
}

impl TransactionCoordinator {
    /// Of a partition in which nothing is written yet; what is in the log is loaded into it.
    pub fn new(settings: TransactionSettings) -> TransactionCoordinator {
        TransactionCoordinator {
            settings,
            transactions: Versioned::default(),
            decided: None,
            ongoing: BTreeSet::new(),
            prepared: BTreeMap::new(),
            high_watermark: 0,
            is_loaded: false,
            markers: Vec::new(),
            timed_out: VecDeque::new(),
            timers: Timers::default(),
        }
    }

    /// All markers of a transaction are written, and committed in their partitions: it is over.
    /// Nothing happens if it is another by now.
    pub fn markers_written(
        &mut self,
        id: &str,
        producer: ProducerIdAndEpoch,
        now: Now,
    ) -> Outcome<()> {
        let is_it = |transaction: &&Rc<Transaction>| {
            transaction.state.is_prepared()
                && transaction.producer_id == producer.producer_id
                && transaction.epoch == producer.epoch
        };
        match self.transactions.newest().get(id).filter(is_it) {
            Some(transaction) => {
                let completed = transaction.completed(now.wall_ms);
                self.decide(id, completed, ())
            }
            None => Outcome::unchanged(()),
        }
    }

    /// The newest state of an id, by which decisions go.
    fn newest(&self, id: &str) -> Option<&Transaction> {
        self.transactions.newest().get(id).map(|transaction| &**transaction)
    }

    /// The committed state of an id, by which others may go.
    fn settled(&self, id: &str) -> Option<&Transaction> {
        self.transactions.committed().get(id).map(|transaction| &**transaction)
    }

    /// The decision that an id is in this state from now on.
    fn decide<R>(&mut self, id: &str, transaction: Transaction, response: R) -> Outcome<R> {
        let record = record::record(id, &transaction, self.settings.transaction_version);
        self.decided = Some((id.into(), transaction));
        Outcome { response, effects: Effects { records: vec![record], ..Effects::default() } }
    }

    fn take_in(&mut self, end_offset: Offset, record: TransactionRecord) {
        let TransactionRecord::Transaction(id, transaction) = record else { return };
        let state = transaction.as_ref().map(|transaction| transaction.state);
        match state {
            Some(TransactionState::Ongoing) => self.ongoing.insert(id.clone()),
            _ => self.ongoing.remove(&id),
        };
        match state {
            Some(state) if state.is_prepared() => self.prepared.insert(id.clone(), end_offset),
            _ => self.prepared.remove(&id),
        };
        self.transactions.apply(end_offset, |transactions| match transaction {
            Some(transaction) => {
                transactions.insert(id, Rc::new(transaction));
            }
            None => {
                transactions.remove(&id);
            }
        });
    }

    /// Asks for the markers of transactions whose decision is committed.
    fn ask_for_markers(&mut self) {
        let high_watermark = self.high_watermark;
        let ready = self.prepared.extract_if(.., |_, end_offset| *end_offset <= high_watermark);
        let ready: Vec<Rc<str>> = ready.map(|(id, _)| id).collect();
        for id in ready {
            let transaction = self.newest(&id).expect("what is prepared is there");
            assert!(transaction.state.is_prepared());
            let markers = Markers {
                producer: ProducerIdAndEpoch {
                    producer_id: transaction.producer_id,
                    epoch: transaction.epoch,
                },
                is_commit: transaction.state == TransactionState::PrepareCommit,
                places: transaction.partitions.iter().cloned().collect(),
                transaction_version: transaction.client_version,
                transactional_id: id,
            };
            self.markers.push(markers);
        }
    }
}
