//! What a transaction does, request by request.
//!
//! [`World`] is the smallest thing that runs a coordinator: it keeps the log, and commits what is
//! appended at once, unless it is told to hold.

use std::rc::Rc;

use ringlog_types::ErrorCode;

use super::{
    AddPartitions, Effects, EndTransaction, Granted, IdPattern, InitProducer, ListFilter, Markers,
    Outcome, PatternError, Place, ProducerIdAndEpoch, TransactionCoordinator, TransactionSettings,
    TransactionState,
};
use crate::coordinator::Coordinator;
use crate::outcome::{Now, Record};

pub(super) const TIMEOUT_MS: i32 = 60_000;

/// A log and the coordinator on it.
pub(super) struct World {
    pub(super) machine: TransactionCoordinator,
    settings: TransactionSettings,
    pub(super) now: Now,
    /// Batches, each as one record for each of its records.
    pub(super) log: Vec<Vec<Record>>,
    pub(super) committed: usize,
    pub(super) holds: bool,
    next_producer_id: i64,
}

impl World {
    pub(super) fn new(settings: TransactionSettings) -> World {
        let mut world = World {
            machine: TransactionCoordinator::new(settings.clone()),
            settings,
            now: Now { monotonic_ms: 1_000, wall_ms: 1_700_000_000_000 },
            log: Vec::new(),
            committed: 0,
            holds: false,
            next_producer_id: 1_000,
        };
        world.restart(0);
        world
    }

    /// The coordinator starts anew, on the first `kept` batches of the log.
    pub(super) fn restart(&mut self, kept: usize) {
        assert!(self.committed <= kept, "what is committed stays");
        self.log.truncate(kept);
        self.committed = kept;
        self.machine = TransactionCoordinator::new(self.settings.clone());
        for (at, batch) in self.log.iter().enumerate() {
            for Record { key, value } in batch {
                let end_offset = at as i64 + 1;
                let loaded = self.machine.load(end_offset, Some(key), value.as_deref(), self.now);
                loaded.expect("readable");
            }
            self.machine.committed(at as i64 + 1);
        }
        let effects = self.machine.loaded(self.now);
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Effects) {
        if effects.records.is_empty() {
            return;
        }
        self.log.push(effects.records.clone());
        self.machine.replay(self.log.len() as i64, &effects.records, self.now);
        if !self.holds {
            self.commit(self.log.len());
        }
    }

    pub(super) fn commit(&mut self, batches: usize) {
        self.committed = self.committed.max(batches);
        self.machine.committed(self.committed as i64);
    }

    fn done<R>(&mut self, outcome: Outcome<R>) -> R {
        self.carry_out(outcome.effects);
        outcome.response
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms as i64;
        while let Some(effects) = self.machine.tick(self.now) {
            self.carry_out(effects);
        }
    }

    fn spare(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id
    }

    pub(super) fn init(
        &mut self,
        id: &str,
        expected: Option<ProducerIdAndEpoch>,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        let asked = InitProducer { transactional_id: id, timeout_ms: TIMEOUT_MS, expected };
        let mut spare = None;
        loop {
            let outcome = self.machine.init_producer_id(&asked, spare, self.now);
            match self.done(outcome)? {
                Granted::Producer(producer) => return Ok(producer),
                Granted::NeedsProducerId => {
                    assert_eq!(spare, None, "one is enough");
                    spare = Some(self.spare());
                }
            }
        }
    }

    pub(super) fn add(
        &mut self,
        id: &str,
        producer: ProducerIdAndEpoch,
        places: &[Place],
        transaction_version: i16,
    ) -> ErrorCode {
        let asked = asked(id, producer, places, transaction_version);
        let outcome = self.machine.add_partitions(&asked, self.now);
        self.done(outcome)
    }

    pub(super) fn end(
        &mut self,
        id: &str,
        producer: ProducerIdAndEpoch,
        is_commit: bool,
        transaction_version: i16,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        let asked =
            EndTransaction { transactional_id: id, producer, is_commit, transaction_version };
        let mut spare = None;
        loop {
            let outcome = self.machine.end_transaction(&asked, spare, self.now);
            match self.done(outcome)? {
                Granted::Producer(producer) => return Ok(producer),
                Granted::NeedsProducerId => spare = Some(self.spare()),
            }
        }
    }

    /// All markers that are asked for are written.
    fn write_markers(&mut self) -> Vec<Markers> {
        let markers = self.machine.commands();
        for Markers { transactional_id, producer, .. } in &markers {
            let outcome = self.machine.markers_written(transactional_id, *producer, self.now);
            self.done(outcome);
        }
        markers
    }

    fn state(&self, id: &str) -> String {
        self.machine.describe(id).transaction_state.into_owned()
    }
}

pub(super) fn asked<'a>(
    id: &'a str,
    producer: ProducerIdAndEpoch,
    places: &[Place],
    transaction_version: i16,
) -> AddPartitions<'a> {
    AddPartitions { transactional_id: id, producer, places: places.to_vec(), transaction_version }
}

pub(super) fn place(topic: &str, partition: i32) -> Place {
    (Rc::from(topic), partition)
}

fn world() -> World {
    World::new(TransactionSettings::default())
}

fn at(producer: ProducerIdAndEpoch, epoch: i16) -> ProducerIdAndEpoch {
    ProducerIdAndEpoch { epoch, ..producer }
}

#[test]
fn a_transaction_from_its_beginning_to_its_end_in_either_version() {
    for (version, next_epoch) in [(0, 0), (2, 1)] {
        let mut world = world();
        let producer = world.init("id", None).unwrap();
        assert_eq!((producer.epoch, world.state("id").as_str()), (0, "Empty"));
        let places = [place("t", 0), place("t", 1)];
        assert_eq!(world.add("id", producer, &places, version), ErrorCode::None);
        assert_eq!(world.state("id"), "Ongoing");
        let next = world.end("id", producer, true, version).unwrap();
        assert_eq!(next, at(producer, next_epoch));
        assert_eq!(world.state("id"), "PrepareCommit");
        // Until all markers are written nothing else begins.
        assert_eq!(world.add("id", next, &places, version), ErrorCode::ConcurrentTransactions);
        assert_eq!(world.init("id", None), Err(ErrorCode::ConcurrentTransactions));
        let again = world.end("id", producer, true, version);
        assert_eq!(again, Err(ErrorCode::ConcurrentTransactions));
        let markers = world.write_markers();
        assert_eq!(markers.len(), 1);
        assert_eq!((markers[0].producer, markers[0].is_commit), (next, true));
        assert_eq!(markers[0].places, places);
        assert_eq!(world.state("id"), "CompleteCommit");
        // An answer that got lost is given again.
        assert_eq!(world.end("id", producer, true, version), Ok(next));
        let other = world.end("id", producer, false, version);
        assert_eq!(other, Err(ErrorCode::InvalidTxnState));
        assert_eq!(world.add("id", next, &places, version), ErrorCode::None);
    }
}

#[test]
fn who_comes_later_aborts_and_fences_who_came_before() {
    for version in [0, 2] {
        let mut world = world();
        let first = world.init("id", None).unwrap();
        world.add("id", first, &[place("t", 0)], version);
        // The epoch in between is nobody's.
        assert_eq!(world.init("id", None), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(world.state("id"), "PrepareAbort");
        let markers = world.write_markers();
        assert_eq!((markers[0].producer, markers[0].is_commit), (at(first, 1), false));
        let second = world.init("id", None).unwrap();
        assert_eq!(second, at(first, 2));
        for is_commit in [true, false] {
            let ended = world.end("id", first, is_commit, version);
            assert_eq!(ended, Err(ErrorCode::ProducerFenced));
        }
        let added = world.add("id", first, &[place("t", 0)], version);
        assert_eq!(added, ErrorCode::ProducerFenced);
        assert_eq!(world.init("id", Some(first)), Err(ErrorCode::ProducerFenced));
    }
}

#[test]
fn a_producer_goes_on_after_an_error_and_may_ask_twice() {
    let mut world = world();
    let first = world.init("id", None).unwrap();
    let second = world.init("id", Some(first)).unwrap();
    assert_eq!(second, at(first, 1));
    assert_eq!(world.init("id", Some(first)), Ok(second), "the answer got lost");
    let other = ProducerIdAndEpoch { producer_id: 5, epoch: 0 };
    assert_eq!(world.init("id", Some(other)), Err(ErrorCode::ProducerFenced));
    // Somebody else takes over: nothing of before holds.
    let third = world.init("id", None).unwrap();
    assert_eq!(world.init("id", Some(first)), Err(ErrorCode::ProducerFenced));
    assert_eq!(world.init("id", Some(second)), Err(ErrorCode::ProducerFenced));
    assert_eq!(world.init("id", Some(third)), Ok(at(third, 3)));
}

#[test]
fn wrong_requests_get_kafkas_errors() {
    let mut world = world();
    assert_eq!(world.init("", None), Err(ErrorCode::InvalidRequest));
    for timeout_ms in [0, -1, 900_001] {
        let asked = InitProducer { transactional_id: "id", timeout_ms, expected: None };
        let outcome = world.machine.init_producer_id(&asked, Some(1), world.now);
        assert_eq!(world.done(outcome), Err(ErrorCode::InvalidTransactionTimeout));
    }
    let nobody = ProducerIdAndEpoch { producer_id: 7, epoch: 0 };
    let mapping = ErrorCode::InvalidProducerIdMapping;
    for version in [0, 2] {
        assert_eq!(world.add("id", nobody, &[place("t", 0)], version), mapping);
        assert_eq!(world.add("", nobody, &[], version), ErrorCode::InvalidRequest);
        assert_eq!(world.end("id", nobody, true, version), Err(mapping));
        assert_eq!(world.end("", nobody, true, version), Err(ErrorCode::InvalidRequest));
    }
    let producer = world.init("id", None).unwrap();
    assert_eq!(world.add("id", nobody, &[place("t", 0)], 0), mapping);
    for version in [0, 2] {
        assert_eq!(world.end("id", nobody, true, version), Err(mapping));
        let early = world.end("id", at(producer, 5), true, version);
        assert_eq!(early, Err(ErrorCode::ProducerFenced));
        let nothing = world.end("id", producer, true, version);
        assert_eq!(nothing, Err(ErrorCode::InvalidTxnState));
    }
    assert_eq!(world.end("id", producer, false, 0), Err(ErrorCode::InvalidTxnState));
    let names = place(&"t".repeat(1 << 15), 0);
    let many: Vec<Place> = (0..20).map(|partition| (names.0.clone(), partition)).collect();
    assert_eq!(world.add("id", producer, &many, 0), ErrorCode::UnknownServerError);
}

/// With version 2 a transaction that a client began and of which the coordinator knows nothing is
/// aborted too: the epoch goes on.
#[test]
fn nothing_is_aborted_for_the_next_epoch() {
    let mut world = world();
    let producer = world.init("id", None).unwrap();
    let second = world.end("id", producer, false, 2).unwrap();
    assert_eq!(second, at(producer, 1));
    assert_eq!(world.write_markers()[0].places, []);
    assert_eq!(world.state("id"), "CompleteAbort");
    let third = world.end("id", second, false, 2).unwrap();
    world.write_markers();
    assert_eq!(third, at(producer, 2));
    world.add("id", third, &[place("t", 0)], 2);
    let fourth = world.end("id", third, true, 2).unwrap();
    world.write_markers();
    assert_eq!(world.end("id", fourth, true, 2), Err(ErrorCode::InvalidTxnState));
    assert_eq!(world.end("id", fourth, false, 2), Ok(at(producer, 4)));
}

#[test]
fn epochs_that_are_used_up_make_a_new_producer_id() {
    let mut world = world();
    let mut producer = world.init("id", None).unwrap();
    let first_id = producer.producer_id;
    // Version 2 goes over it at the end of a transaction.
    while producer.epoch < i16::MAX - 1 {
        producer = world.init("id", Some(producer)).unwrap();
    }
    assert_eq!(producer.producer_id, first_id);
    world.add("id", producer, &[place("t", 0)], 2);
    let next = world.end("id", producer, true, 2).unwrap();
    assert!(next.producer_id != first_id && next.epoch == 0);
    let markers = world.write_markers();
    assert_eq!(markers[0].producer, at(producer, i16::MAX), "the marker is of the old one");
    assert_eq!(world.end("id", producer, true, 2), Ok(next), "the answer got lost");
    // And InitProducerId, in a new start of the coordinator as well.
    let mut producer = next;
    while producer.epoch < i16::MAX - 1 {
        producer = world.init("id", Some(producer)).unwrap();
    }
    world.restart(world.log.len());
    let next = world.init("id", Some(producer)).unwrap();
    assert!(next.producer_id != producer.producer_id && next.epoch == 0);
    assert_eq!(world.init("id", Some(producer)), Ok(next), "the answer got lost");
    // Fenced at the last epoch that there is.
    let mut producer = next;
    while producer.epoch < i16::MAX - 1 {
        producer = world.init("id", Some(producer)).unwrap();
    }
    world.add("id", producer, &[place("t", 0)], 0);
    assert_eq!(world.init("id", None), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.write_markers()[0].producer, at(producer, i16::MAX));
    let next = world.init("id", None).unwrap();
    assert!(next.producer_id != producer.producer_id && next.epoch == 0);
}

#[test]
fn what_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut world = world();
    let producer = world.init("id", None).unwrap();
    let quick = world.init("quick", None).unwrap();
    world.add("id", producer, &[place("t", 0)], 0);
    world.pass(TIMEOUT_MS as u64);
    world.add("quick", quick, &[place("t", 0)], 0);
    assert_eq!(world.state("id"), "Ongoing");
    world.pass(10_000);
    assert_eq!(
        (world.state("id").as_str(), world.state("quick").as_str()),
        ("PrepareAbort", "Ongoing")
    );
    let markers = world.write_markers();
    assert_eq!((markers.len(), markers[0].producer), (1, at(producer, 1)));
    assert_eq!(world.end("id", producer, true, 0), Err(ErrorCode::ProducerFenced));
}

/// Markers that are written for a decision that a crash takes back would commit what is aborted.
#[test]
fn markers_are_asked_for_when_the_decision_is_committed() {
    let mut world = world();
    let producer = world.init("id", None).unwrap();
    world.add("id", producer, &[place("t", 0)], 0);
    world.holds = true;
    world.end("id", producer, true, 0).unwrap();
    assert_eq!(world.machine.commands(), []);
    assert_eq!(world.state("id"), "Ongoing", "nobody is told before");
    // The record is lost: the transaction goes on, and may be aborted.
    world.restart(world.committed);
    world.end("id", producer, false, 0).unwrap();
    assert_eq!(world.machine.commands(), []);
    world.commit(world.log.len());
    let markers = world.machine.commands();
    assert_eq!((markers.len(), markers[0].is_commit), (1, false));
}

/// A start asks again for markers that may not have been written.
#[test]
fn every_state_is_gone_on_from_after_a_restart() {
    for version in [0, 2] {
        for is_commit in [true, false] {
            let mut world = world();
            let producer = world.init("id", None).unwrap();
            world.restart(world.log.len());
            assert_eq!(world.state("id"), "Empty");
            assert_eq!(world.add("id", producer, &[place("t", 3)], version), ErrorCode::None);
            world.restart(world.log.len());
            assert_eq!(world.state("id"), "Ongoing");
            let next = world.end("id", producer, is_commit, version).unwrap();
            let asked = world.machine.commands();
            world.restart(world.log.len());
            assert_eq!(world.machine.commands(), asked);
            world.restart(world.log.len());
            assert_eq!(world.write_markers(), asked);
            let state = if is_commit { "CompleteCommit" } else { "CompleteAbort" };
            assert_eq!(world.state("id"), state);
            world.restart(world.log.len());
            assert_eq!(world.state("id"), state);
            assert_eq!(world.machine.commands(), []);
            assert_eq!(world.end("id", producer, is_commit, version), Ok(next));
        }
    }
}

/// A partition that is written to before it is known, for good, that it is part of the transaction
/// would be left open for ever by a crash.
#[test]
fn a_partition_is_part_of_a_transaction_when_that_is_committed() {
    let mut world = world();
    let producer = world.init("id", None).unwrap();
    let places = [place("t", 0), place("t", 1)];
    world.add("id", producer, &places[..1], 0);
    world.holds = true;
    world.add("id", producer, &places[1..], 0);
    let verify =
        |world: &World| world.machine.verify_partitions(&asked("id", producer, &places, 0));
    let (known, on_its_way) = (ErrorCode::None, ErrorCode::ConcurrentTransactions);
    assert_eq!(verify(&world), Ok(vec![known, on_its_way]));
    // Nor is it answered twice before: the second answer waits for a record, too.
    let records = world.log.len();
    world.add("id", producer, &places[1..], 0);
    assert_eq!(world.log.len(), records + 1);
    world.commit(world.log.len());
    assert_eq!(verify(&world), Ok(vec![known, known]));
    let records = world.log.len();
    assert_eq!(world.add("id", producer, &places, 0), ErrorCode::None);
    assert_eq!(world.log.len(), records, "all of it is known");
    let other = [place("t", 9)];
    let verified = world.machine.verify_partitions(&asked("id", producer, &other, 0));
    assert_eq!(verified, Ok(vec![ErrorCode::TransactionAbortable]));
    let stale = asked("id", at(producer, 7), &places, 0);
    assert_eq!(world.machine.verify_partitions(&stale), Err(ErrorCode::ProducerFenced));
    world.end("id", producer, true, 0).unwrap();
    assert_eq!(verify(&world), Err(ErrorCode::ConcurrentTransactions));
}

#[test]
fn ids_that_nobody_uses_are_forgotten_and_open_ones_are_not() {
    let mut world = world();
    let expiration_ms = TransactionSettings::default().transactional_id_expiration_ms as u64;
    for at in 0..2_500 {
        world.init(&format!("id-{at}"), None).unwrap();
    }
    let open = world.init("open", None).unwrap();
    world.add("open", open, &[place("t", 0)], 0);
    let decided = world.init("decided", None).unwrap();
    world.add("decided", decided, &[place("t", 0)], 0);
    world.end("decided", decided, true, 0).unwrap();
    let before = world.log.len();
    world.pass(expiration_ms);
    // All that are due are forgotten in batches of a thousand, one after the other.
    for _ in 0..4 {
        world.pass(1_000);
    }
    let left = world.machine.list(&ListFilter::default(), world.now);
    let left: Vec<_> = left.iter().map(|listed| &*listed.transactional_id).collect();
    assert_eq!(left, ["decided", "open"]);
    let tombstones = world.log[before..].iter().filter(|batch| batch[0].value.is_none());
    assert_eq!(tombstones.map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    let back = world.init("id-7", None).unwrap();
    assert_eq!(back.epoch, 0);
}

#[test]
fn transactions_are_listed_and_described_as_they_are_asked_for() {
    let mut world = world();
    let a = world.init("a-1", None).unwrap();
    let b = world.init("b-1", None).unwrap();
    world.init("b-2", None).unwrap();
    world.add("a-1", a, &[place("u", 1), place("t", 2), place("t", 0)], 0);
    world.pass(5_000);
    world.add("b-1", b, &[place("t", 0)], 0);
    let list = |filter: ListFilter| {
        let listed = world.machine.list(&filter, world.now);
        listed.into_iter().map(|of| of.transactional_id.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(ListFilter::default()), ["a-1", "b-1", "b-2"]);
    let states = Some(vec![TransactionState::Ongoing]);
    assert_eq!(list(ListFilter { states, ..Default::default() }), ["a-1", "b-1"]);
    assert_eq!(list(ListFilter { states: Some(vec![]), ..Default::default() }), [""; 0]);
    let producer_ids = vec![b.producer_id];
    assert_eq!(list(ListFilter { producer_ids, ..Default::default() }), ["b-1"]);
    let open_longer_than_ms = Some(4_999);
    assert_eq!(list(ListFilter { open_longer_than_ms, ..Default::default() }), ["a-1"]);
    let matching = |pattern| {
        let pattern = IdPattern::new(pattern)?;
        Ok::<_, PatternError>(list(ListFilter { pattern: Some(pattern), ..Default::default() }))
    };
    assert_eq!(matching("b.*").unwrap(), ["b-1", "b-2"]);
    assert_eq!(matching("b").unwrap(), [""; 0], "the whole id is to match");
    for bad in ["(", "a)|(b", "((((((((((a{99}){99}){99}){99}){99}){99}){99}){99}){99})"] {
        assert!(matching(bad).is_err(), "{bad}");
    }
    let described = world.machine.describe("a-1");
    let topics: Vec<_> =
        described.topics.iter().map(|topic| (&*topic.topic, &topic.partitions[..])).collect();
    assert_eq!(topics, [("t", &[0, 2][..]), ("u", &[1])]);
    assert_eq!((described.transaction_timeout_ms, described.producer_epoch), (TIMEOUT_MS, 0));
    for (id, error) in
        [("none", ErrorCode::TransactionalIdNotFound), ("", ErrorCode::InvalidRequest)]
    {
        assert_eq!(world.machine.describe(id).error_code, error.code());
    }
}
