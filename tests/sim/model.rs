//! What a log must contain, kept outside of the simulated world.
//!
//! The model knows every batch that was ever appended, at its offset, and up to where the log has
//! promised that they survive a loss of power. A log that reads, ends or starts otherwise is
//! wrong; the first such finding is kept in `violation` and ends the history.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use ringlog_storage::Appended;

use crate::batches::Batch;

/// A batch where the log put it.
pub(crate) struct Entry {
    pub base: i64,
    pub epoch: i32,
    pub batch: Batch,
    /// Stored bytes of it were changed: it may be unreadable, but nothing else may.
    pub rotten: bool,
    /// Its length was: unless more is known to have been durable, nothing leads to what follows.
    pub length_is_rotten: bool,
}

impl Entry {
    pub(crate) fn end(&self) -> i64 {
        self.base + i64::from(self.batch.records)
    }

    /// The bytes as the log has to store them: with offset and leader epoch stamped in.
    pub(crate) fn stored(&self) -> Vec<u8> {
        let mut bytes = self.batch.bytes.to_vec();
        bytes[..8].copy_from_slice(&self.base.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }
}

/// One producer of one log: what it has sent and not seen acknowledged, oldest first.
pub(crate) struct Producer {
    /// -1: not idempotent.
    pub id: i64,
    pub epoch: i16,
    pub next_sequence: i32,
    pub unacknowledged: VecDeque<Batch>,
}

/// One log.
#[derive(Default)]
pub(crate) struct LogModel {
    pub entries: Vec<Entry>,
    /// No batch is appended below: where the log began anew, for the entries may end before.
    pub floor: i64,
    /// Everything below survives a loss of power.
    pub durable_end: i64,
    /// The largest start the log has shown, how far it was ever asked to go, and what a
    /// checkpoint made durable.
    pub start: i64,
    pub start_asked: i64,
    pub checkpointed_start: i64,
    /// A checkpoint says that everything below was durable.
    pub checkpointed_end: i64,
    /// Retention by time is at work: what is older may go, even if it is appended only now.
    pub retention_limit_ms: Option<i64>,
    /// Retention by size is under way: a segment that fills up and is sealed meanwhile may go too,
    /// if it is within what is too much.
    pub retains_by_size: bool,
    pub producers: Vec<Producer>,
    /// Which of the topics of this name it is, counted from 0.
    pub generation: u32,
    /// What the metadata say of it; they are kept elsewhere, and never lost.
    pub topic: Topic,
    /// Something is being cut off.
    pub cutting: Option<Cut>,
    /// Where the log ended after the last truncation.
    pub last_cut: i64,
    /// The last stop was clean: nothing is torn.
    pub stopped_clean: bool,
}

/// What a truncation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Everything from this offset on.
    At(i64),
    /// Everything; the log is to go on at this offset.
    All(i64),
}

/// Where in its life a topic is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Topic {
    /// It is to have a log; whether that is there yet is not known.
    #[default]
    Wanted,
    /// `Log::create` has returned: the partition survives.
    Created,
    /// It was deleted. Its log may still be there.
    Deleted,
}

impl LogModel {
    pub(crate) fn end(&self) -> i64 {
        self.entries.last().map_or(self.floor, |last| last.end().max(self.floor))
    }

    /// The place of the batch that holds `offset`.
    pub(crate) fn position(&self, offset: i64) -> usize {
        self.entries.partition_point(|entry| entry.end() <= offset)
    }

    /// Notes what an append returned.
    pub(crate) fn appended(
        &mut self,
        got: &Appended,
        batch: &Batch,
        epoch: i32,
    ) -> Result<(), String> {
        let last = got.base_offset + i64::from(batch.records) - 1;
        if got.last_offset != last {
            return Err(format!("{} records went to {got:?}", batch.records));
        }
        if got.duplicate {
            return match self.was_at(got.base_offset, batch) {
                true => Ok(()),
                false => Err(format!("taken for a duplicate of another batch: {got:?}")),
            };
        }
        if got.base_offset != self.end() {
            return Err(format!("appended at {} of {}", got.base_offset, self.end()));
        }
        let is_old = self.retention_limit_ms.is_some_and(|limit| batch.max_timestamp < limit);
        if (is_old || self.retains_by_size) && self.start_asked >= got.base_offset {
            self.start_asked = last + 1;
        }
        let batch = batch.clone();
        self.entries.push(Entry {
            base: got.base_offset,
            epoch,
            batch,
            rotten: false,
            length_is_rotten: false,
        });
        Ok(())
    }

    /// Whether the log has this very batch at `base`, or had until that was deleted.
    pub(crate) fn was_at(&self, base: i64, batch: &Batch) -> bool {
        let known = self.entries.get(self.position(base));
        known.is_some_and(|entry| entry.base == base && entry.batch.bytes == batch.bytes)
    }

    /// The log says that everything below `end` survives.
    pub(crate) fn promised(&mut self, end: i64) -> Result<(), String> {
        if end > self.end() && self.cutting.is_none() {
            return Err(format!("durable up to {end}, but only {} was appended", self.end()));
        }
        // What is being cut off may be gone or not.
        let kept = self.cutting.map_or(i64::MAX, |cut| self.kept_by(cut));
        self.durable_end = self.durable_end.max(end.min(kept));
        Ok(())
    }

    /// Everything below stays. A run of damaged batches goes as a whole, perhaps.
    fn kept_by(&self, cut: Cut) -> i64 {
        let Cut::At(offset) = cut else { return 0 };
        let Some(below) = self.entries.get(..=self.position(offset)) else { return offset };
        let damaged = below.iter().rev().take_while(|entry| entry.rotten).last();
        damaged.or(below.last()).map_or(offset, |entry| entry.base.min(offset))
    }

    /// From now on, what is to be cut off may be gone or not.
    pub(crate) fn cut_begins(&mut self, cut: Cut) -> Result<(), String> {
        let kept = self.kept_by(cut);
        self.cutting = Some(cut);
        self.durable_end = self.durable_end.min(kept);
        self.checkpointed_end = self.checkpointed_end.min(kept);
        self.checkpointed_start = self.checkpointed_start.min(kept);
        if let Cut::All(offset) = cut {
            // A start may find none of it and not even the offset.
            self.start_asked = self.start_asked.max(offset).max(self.end());
        }
        Ok(())
    }

    /// The log was cut at `end`.
    pub(crate) fn was_cut(&mut self, end: i64) -> Result<(), String> {
        let (asked, kept) = match self.cutting {
            Some(cut @ Cut::At(offset)) => (offset, self.kept_by(cut)),
            cutting => return Err(format!("cut at {end}, asked was {cutting:?}")),
        };
        let exact = self.entries.get(self.position(asked)).map_or(asked, |e| e.base.min(asked));
        if end != exact && !(kept <= end && end < exact && self.is_all_rotten(end, exact)) {
            return Err(format!("cut at {end}, asked was {:?}", self.cutting));
        }
        self.entries.truncate(self.position(end));
        self.floor = end;
        self.last_cut = end;
        self.start = self.start.min(end);
        self.renumber();
        Ok(())
    }

    /// Everything was removed, and the log goes on at `offset`.
    pub(crate) fn was_restarted(&mut self, offset: i64) -> Result<(), String> {
        self.entries.clear();
        self.floor = offset;
        self.last_cut = offset;
        self.durable_end = offset;
        (self.start, self.start_asked) = (offset, offset);
        self.renumber();
        Ok(())
    }

    /// The start of the log only moves up while it is open, and no further than was asked.
    pub(crate) fn started_at(&mut self, start: i64) -> Result<(), String> {
        if self.cutting.is_some() {
            return Ok(());
        }
        if start < self.start {
            return Err(format!("the log start went back from {} to {start}", self.start));
        }
        if start > self.start.max(self.start_asked) {
            return Err(format!("the log starts at {start}, asked was {}", self.start_asked));
        }
        self.start = start;
        Ok(())
    }

    /// The log was opened again: compares its bounds with what was promised, and forgets what is
    /// allowed to be lost.
    pub(crate) fn recovered(&mut self, start: i64, end: i64) -> Result<(), String> {
        let promised = self.promised_end();
        if end < promised {
            return Err(format!("lost: the log ends at {end}, promised was {promised}"));
        }
        if matches!(self.cutting, Some(Cut::All(at)) if at == start && at == end) {
            self.entries.clear();
            self.floor = end;
        }
        if start == end && start > 0 && start <= self.start_asked {
            // Everything below was deleted, and what was behind lost. Deleted batches stay known:
            // the log knows their producers, and takes one that is sent again for a duplicate.
            self.entries.truncate(self.position(end));
            self.floor = end;
        }
        if end > self.end() {
            return Err(format!("the log ends at {end}, only {} was appended", self.end()));
        }
        let kept = self.position(end);
        if self.entries.get(kept).is_some_and(|entry| entry.base < end) {
            return Err(format!("the log ends at {end}, in the middle of a batch"));
        }
        if start > self.start.max(self.start_asked) {
            return Err(format!("the log starts at {start}, asked was {}", self.start_asked));
        }
        if start < self.checkpointed_start {
            let asked = self.checkpointed_start;
            return Err(format!("the log starts at {start}, checkpointed was {asked}"));
        }
        self.entries.truncate(kept);
        self.floor = end;
        self.cutting = None;
        self.stopped_clean = false;
        self.start = start;
        self.start_asked = start;
        self.retention_limit_ms = None;
        self.retains_by_size = false;
        // What recovery has accepted it serves, so it has to stay from now on.
        self.durable_end = end;
        self.renumber();
        Ok(())
    }

    /// Where a log has to reach that is opened now. Without a checkpoint, damage at the very end
    /// cannot be told from a write that was not finished.
    fn promised_end(&self) -> i64 {
        if self.stopped_clean {
            return self.durable_end;
        }
        let below = &self.entries[..self.position(self.durable_end)];
        let rotten_end = below.iter().rev().take_while(|entry| entry.rotten).last();
        let mut end = rotten_end.map_or(self.durable_end, |entry| entry.base);
        let unknown = &below[self.position(self.checkpointed_end).min(below.len())..];
        if let Some(entry) = unknown.iter().find(|entry| entry.length_is_rotten) {
            end = end.min(entry.base);
        }
        end.max(self.checkpointed_end).min(self.durable_end)
    }

    /// Whether damage may have cost something.
    pub(crate) fn is_rotten(&self) -> bool {
        self.entries.iter().any(|entry| entry.rotten)
    }

    /// Whether every batch with an offset in this range is damaged.
    pub(crate) fn is_all_rotten(&self, from: i64, to: i64) -> bool {
        let entries = self.entries[self.position(from)..].iter();
        entries.take_while(|entry| entry.base < to).all(|entry| entry.rotten)
    }

    /// Notes that a range was fenced. Behind a batch whose length was changed nothing leads to
    /// what follows, unless a checkpoint says that more was durable: that may be in the range, too.
    /// Returns whether damage explains it.
    pub(crate) fn was_fenced(&mut self, from: i64, to: i64) -> bool {
        let first = self.position(from);
        let is_lost = self.entries.get(first).is_some_and(|entry| entry.length_is_rotten)
            && to > self.checkpointed_end;
        if is_lost {
            let entries = self.entries[first..].iter_mut();
            entries.take_while(|entry| entry.base < to).for_each(|entry| entry.rotten = true);
        }
        self.is_all_rotten(from, to)
    }

    /// Whether the batch that holds `offset` is damaged.
    pub(crate) fn is_rotten_at(&self, offset: i64) -> bool {
        self.entries.get(self.position(offset)).is_some_and(|entry| entry.rotten)
    }

    /// Notes that a byte of the segment that starts at `base_offset` was changed.
    pub(crate) fn rot(&mut self, base_offset: i64, position: u64) {
        let first = self.position(base_offset);
        if self.entries.get(first).is_none_or(|entry| entry.base != base_offset) {
            return;
        }
        let mut end = 0;
        for entry in &mut self.entries[first..] {
            let start = end;
            end += entry.batch.bytes.len() as u64;
            if position < end {
                entry.rotten = true;
                entry.length_is_rotten |= (8..12).contains(&(position - start));
                return;
            }
        }
    }

    /// What a restarted producer does: it goes on where the log stands, or, when batches it saw
    /// acknowledged are gone (`flush=async`), under a new epoch.
    fn renumber(&mut self) {
        let rotten = self.is_rotten();
        for producer in self.producers.iter_mut().filter(|producer| producer.id >= 0) {
            let newest = self
                .entries
                .iter()
                .rev()
                .find(|entry| entry.batch.summary.producer_id == producer.id);
            let in_log = newest.map_or((0, 0), |entry| {
                let summary = &entry.batch.summary;
                (summary.producer_epoch, summary.base_sequence + entry.batch.records)
            });
            let front = producer.unacknowledged.front().map(|batch| batch.summary.base_sequence);
            let next = front.unwrap_or(producer.next_sequence);
            // Of a damaged batch nobody knows the sequence.
            let fits = !rotten && (in_log.0, in_log.1) >= (producer.epoch, next);
            if !fits && next > 0 {
                producer.epoch += 1;
                producer.next_sequence = 0;
                producer.unacknowledged.clear();
            }
        }
    }

    /// Another topic gets the name: nothing of the one before counts for it.
    pub(crate) fn recreated(&mut self) {
        let mut producers = std::mem::take(&mut self.producers);
        for producer in &mut producers {
            producer.next_sequence = if producer.id >= 0 { 0 } else { -1 };
            producer.unacknowledged.clear();
        }
        let generation = self.generation + 1;
        *self = LogModel { producers, generation, ..LogModel::default() };
    }

    /// How far retention by time may move the start: to the first record that is not too old.
    pub(crate) fn expired_end(&self, limit_ms: i64) -> i64 {
        let young = self.entries.iter().find(|entry| entry.batch.max_timestamp >= limit_ms);
        young.map_or(self.end(), |entry| entry.base)
    }

    /// The first record at or after `start` whose timestamp is at or after `timestamp`.
    pub(crate) fn first_at_or_after(&self, timestamp: i64, start: i64) -> Option<i64> {
        self.entries[self.position(start)..].iter().find_map(|entry| {
            let mut records = entry.batch.timestamps.iter().enumerate();
            let fits = |(i, t): &(usize, &i64)| **t >= timestamp && entry.base + *i as i64 >= start;
            records.find(fits).map(|(i, _)| entry.base + i as i64)
        })
    }

    /// Compares the bytes of a read from `offset` on with what they have to be.
    pub(crate) fn check_bytes(
        &self,
        offset: i64,
        up_to: i64,
        bytes: &[u8],
    ) -> Result<usize, String> {
        let mut at = 0;
        let mut position = self.position(offset);
        let mut whole = 0;
        while at < bytes.len() {
            let Some(entry) = self.entries.get(position) else {
                return Err(format!("bytes behind the end in a read at {offset}"));
            };
            if entry.base >= up_to {
                return Err(format!("a batch at {} in a read up to {up_to}", entry.base));
            }
            let want = entry.stored();
            let n = want.len().min(bytes.len() - at);
            if !entry.rotten && want[..n] != bytes[at..at + n] {
                return Err(format!("other bytes at offset {}, read from {offset}", entry.base));
            }
            at += n;
            whole += usize::from(n == want.len());
            position += 1;
        }
        Ok(whole)
    }
}

/// What all tasks of all incarnations share with the checkers.
#[derive(Clone, Default)]
pub(crate) struct Shared(Rc<State>);

#[derive(Default)]
pub(crate) struct State {
    pub logs: RefCell<Vec<LogModel>>,
    violation: RefCell<Option<String>>,
    /// The workload is to end orderly.
    pub stop: Cell<bool>,
    /// It has.
    pub stopped: Cell<bool>,
    /// Logs are open and serve.
    pub serving: Cell<bool>,
    /// The directories are open, and logs are being opened.
    pub recovering: Cell<bool>,
    /// Checkpoint files are being written.
    pub checkpointing: Cell<bool>,
    /// Errors of the disk are expected: a log may go offline.
    pub errors_expected: Cell<bool>,
    /// Bytes of files other than `.log` were changed too, so that these are not as Kafka's rules
    /// say.
    pub files_rotted: Cell<bool>,
    /// Checkpoints were damaged, which have no checksum: reads may fail, and ends may be cut, but
    /// nothing false is told.
    pub rotted: Cell<bool>,
    /// How often the program was started.
    pub incarnation: Cell<i32>,
    pub acknowledged: Cell<u64>,
    pub reads: Cell<u64>,
}

impl std::ops::Deref for Shared {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl State {
    /// Keeps the first finding.
    pub(crate) fn check<T>(&self, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.violation.borrow_mut().get_or_insert(why);
                None
            }
        }
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.violation.borrow().is_some() || self.stopped.get()
    }
}
