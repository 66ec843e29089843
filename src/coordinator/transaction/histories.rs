//! Random histories: producers that come, go and fence each other, markers that are late, crashes
//! that take back what was not committed. The bugs that are planted have to be found.
//!
//! Checked at the end, when nothing is under way any more: a transaction is committed everywhere or
//! nowhere; it is what its producer was told; nothing is left open; nobody has an epoch of another.

use std::collections::{BTreeMap, HashMap, HashSet};

use ringlog_types::ErrorCode;

use super::tests::{TIMEOUT_MS, World, asked, place};
use super::{Markers, Place, ProducerIdAndEpoch, TransactionSettings};
use crate::coordinator::Coordinator;

/// What is done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Markers are written for decisions that are not committed.
    MarkersBeforeCommit,
    /// A partition is written to that the coordinator does not know of, for good.
    WriteUnverified,
    /// A transaction is complete though one of its markers is not written.
    ForgottenMarker,
}

/// A small generator; equal seeds, equal histories.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }
}

/// One partition that is written to: what it knows of producers.
#[derive(Default)]
struct Partition {
    /// By producer id: the newest epoch, and the transaction that is open.
    producers: HashMap<i64, (i16, Option<usize>)>,
}

#[derive(Default, Clone, Copy)]
struct Fate {
    committed: usize,
    aborted: usize,
    open: usize,
}

/// A client with a transactional id, which others may have too.
struct Client {
    id: &'static str,
    version: i16,
    producer: Option<ProducerIdAndEpoch>,
    transaction: Option<usize>,
    /// It has asked for this end, and may not know whether it came.
    ending: Option<bool>,
}

struct History {
    world: World,
    chance: Chance,
    planted: Planted,
    clients: Vec<Client>,
    partitions: BTreeMap<Place, Partition>,
    pending: Vec<(Markers, Vec<Place>)>,
    fates: HashMap<usize, Fate>,
    told: HashMap<usize, bool>,
    given: HashSet<(i64, i16)>,
    next_transaction: usize,
}

impl History {
    fn new(seed: u64, planted: Planted) -> History {
        let client = |at: usize| Client {
            id: ["one", "two"][at % 2],
            version: if at < 2 { 0 } else { 2 },
            producer: None,
            transaction: None,
            ending: None,
        };
        History {
            world: World::new(TransactionSettings::default()),
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            planted,
            clients: (0..4).map(client).collect(),
            partitions: (0..3).map(|index| (place("t", index), Partition::default())).collect(),
            pending: Vec::new(),
            fates: HashMap::new(),
            told: HashMap::new(),
            given: HashSet::new(),
            next_transaction: 0,
        }
    }

    fn run(mut self) -> Result<(), String> {
        for _ in 0..150 {
            self.world.holds = true;
            match self.chance.below(100) {
                0..70 => self.client_step()?,
                70..90 => self.marker_step(),
                90..94 => self.world.pass(TIMEOUT_MS as u64 / 3),
                94..97 => self.crash(),
                _ => self.commit(),
            }
            if self.chance.percent(60) {
                self.commit();
            }
            self.take_markers();
        }
        self.settle()
    }

    fn commit(&mut self) {
        let (from, to) = (self.world.committed, self.world.log.len());
        self.world.commit(from + self.chance.below(to - from + 1));
    }

    /// A crash takes the markers that were under way, and some of what was not committed.
    fn crash(&mut self) {
        let (from, to) = (self.world.committed, self.world.log.len());
        let kept = from + self.chance.below(to - from + 1);
        self.world.restart(kept);
        self.pending.clear();
    }

    fn take_markers(&mut self) {
        if self.planted == Planted::MarkersBeforeCommit {
            // As if everything were committed.
            let end = self.world.log.len() as i64;
            self.world.machine.high_watermark = end;
            self.world.machine.ask_for_markers();
        }
        let markers = self.world.machine.commands();
        self.pending.extend(markers.into_iter().map(|markers| {
            let places = markers.places.clone();
            (markers, places)
        }));
    }

    fn marker_step(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let at = self.chance.below(self.pending.len());
        let (markers, left) = &mut self.pending[at];
        let (markers, place) = (markers.clone(), left.pop());
        let left = left.len();
        if let Some(place) = place {
            self.write_marker(&markers, &place);
        }
        let forgets = self.planted == Planted::ForgottenMarker && left == 1;
        if left == 0 || forgets {
            self.pending.swap_remove(at);
            let machine = &mut self.world.machine;
            let done = machine.markers_written(
                &markers.transactional_id,
                markers.producer,
                self.world.now,
            );
            self.world.carry_out(done.effects);
        }
    }

    /// A partition refuses markers that are older than what it knows.
    fn write_marker(&mut self, markers: &Markers, place: &Place) {
        let partition = self.partitions.get_mut(place).expect("one of ours");
        let known = partition.producers.entry(markers.producer.producer_id).or_insert((-1, None));
        let (epoch, open) = *known;
        let is_late = epoch == markers.producer.epoch && open.is_some();
        if markers.producer.epoch < epoch || (markers.transaction_version >= 2 && is_late) {
            return;
        }
        *known = (markers.producer.epoch, None);
        if let Some(transaction) = open {
            let fate = self.fates.entry(transaction).or_default();
            fate.open -= 1;
            match markers.is_commit {
                true => fate.committed += 1,
                false => fate.aborted += 1,
            }
        }
    }

    fn client_step(&mut self) -> Result<(), String> {
        let at = self.chance.below(self.clients.len());
        let Some(producer) = self.clients[at].producer else { return self.init(at) };
        if self.chance.percent(4) {
            // It dies, and another takes its place.
            let Client { id, version, .. } = self.clients[at];
            self.clients[at] =
                Client { id, version, producer: None, transaction: None, ending: None };
            return Ok(());
        }
        if let Some(is_commit) = self.clients[at].ending {
            self.end(at, producer, is_commit);
        } else if self.clients[at].transaction.is_some() && self.chance.percent(40) {
            let is_commit = self.chance.percent(60);
            self.end(at, producer, is_commit);
        } else {
            self.write(at, producer);
        }
        Ok(())
    }

    /// Whether an answer that rests on what was just decided comes to the client.
    fn is_answered(&mut self) -> bool {
        if self.chance.percent(90) {
            self.world.commit(self.world.log.len());
            return true;
        }
        false
    }

    fn init(&mut self, at: usize) -> Result<(), String> {
        let Ok(producer) = self.world.init(self.clients[at].id, None) else { return Ok(()) };
        if self.is_answered() {
            if !self.given.insert((producer.producer_id, producer.epoch)) {
                return Err(format!("{producer:?} is given twice"));
            }
            self.clients[at].producer = Some(producer);
        }
        Ok(())
    }

    fn write(&mut self, at: usize, producer: ProducerIdAndEpoch) {
        let Client { id, version, .. } = self.clients[at];
        let place = place("t", self.chance.below(3) as i32);
        let added = self.world.add(id, producer, std::slice::from_ref(&place), version);
        if added != ErrorCode::None {
            self.give_up_if_fenced(at, added);
            return;
        }
        let is_told = self.is_answered();
        let asked = asked(id, producer, std::slice::from_ref(&place), version);
        let verified = self.world.machine.verify_partitions(&asked) == Ok(vec![ErrorCode::None]);
        if !(is_told && verified || self.planted == Planted::WriteUnverified) {
            return;
        }
        let transaction = *self.clients[at].transaction.get_or_insert_with(|| {
            self.next_transaction += 1;
            self.next_transaction
        });
        let partition = self.partitions.get_mut(&place).expect("one of ours");
        let known = partition.producers.entry(producer.producer_id).or_insert((-1, None));
        if producer.epoch < known.0 {
            return;
        }
        if known.1.is_none() {
            self.fates.entry(transaction).or_default().open += 1;
        }
        *known = (producer.epoch, Some(known.1.unwrap_or(transaction)));
    }

    fn end(&mut self, at: usize, producer: ProducerIdAndEpoch, is_commit: bool) {
        let Client { id, version, transaction, .. } = self.clients[at];
        self.clients[at].ending = Some(is_commit);
        let ended = self.world.end(id, producer, is_commit, version);
        match ended {
            Ok(next) if self.is_answered() => {
                if next != producer {
                    self.given.insert((next.producer_id, next.epoch));
                }
                if let Some(transaction) = transaction {
                    self.told.insert(transaction, is_commit);
                }
                let client = &mut self.clients[at];
                (client.producer, client.transaction, client.ending) = (Some(next), None, None);
            }
            Ok(_) | Err(ErrorCode::ConcurrentTransactions) => {}
            Err(error) => self.give_up_if_fenced(at, error),
        }
    }

    fn give_up_if_fenced(&mut self, at: usize, error: ErrorCode) {
        if error != ErrorCode::ConcurrentTransactions {
            let client = &mut self.clients[at];
            (client.producer, client.transaction, client.ending) = (None, None, None);
        }
    }

    /// Nobody does anything any more: what is open times out, and all markers are written.
    fn settle(mut self) -> Result<(), String> {
        self.world.restart(self.world.committed);
        self.pending.clear();
        self.world.holds = false;
        for _ in 0..3 {
            self.world.pass(TIMEOUT_MS as u64 + 20_000);
            self.take_markers();
            while !self.pending.is_empty() {
                self.marker_step();
                self.take_markers();
            }
        }
        for (transaction, fate) in &self.fates {
            let told = self.told.get(transaction);
            if fate.open > 0 {
                return Err(format!("transaction {transaction} is left open"));
            }
            if fate.committed > 0 && fate.aborted > 0 {
                return Err(format!("transaction {transaction} is half committed"));
            }
            if told == Some(&true) && fate.aborted > 0 {
                return Err(format!("transaction {transaction} is lost"));
            }
            if told == Some(&false) && fate.committed > 0 {
                return Err(format!("transaction {transaction} was aborted and is there"));
            }
        }
        Ok(())
    }
}

#[test]
fn transactions_end_everywhere_as_their_producers_were_told() {
    for seed in 0..1_000 {
        let history = History::new(seed, Planted::Nothing);
        history.run().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn planted_bugs_are_found() {
    for planted in
        [Planted::MarkersBeforeCommit, Planted::WriteUnverified, Planted::ForgottenMarker]
    {
        let is_found = |seed: &u64| History::new(*seed, planted).run().is_err();
        assert!((0..1_000).any(|seed| is_found(&seed)), "{planted:?} is not found");
    }
}
