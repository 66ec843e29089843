//! Reads sealed segments now and then, so that damage is found before its records are needed.
//!
//! One [`Scrub`] looks after the logs of one directory on one shard. In turns:
//!
//! 1. Two kinds of segments are next, one after the other: one that was sealed lately, and of all
//!    others that one whose last check is the longest ago, if that is long enough.
//! 2. It is read from its first byte to its last, around the page cache, a piece at a time. Each
//!    piece is booked with the directory's rate ([`LogDir::scrub_rate`]), which all shards share.
//!    While the disk does not keep up with what is appended, or memory is short, pieces wait.
//! 3. Every batch is judged as in recovery: its header, its checksum, how its offsets follow.
//!    Damage that is news is fenced, in memory and then in the file of fences, and the segment's
//!    indexes are made anew, as if a reader had met it.
//! 4. When its fences are on disk, the segment counts as checked at the time at which that began.
//!    This is written down once a minute at most ([`crate::checked_segments`]).
//!
//! Retention and truncation go on meanwhile. What was found in a segment that is not what it was
//! (see [`Segment::generation`]) counts for nothing.

mod round;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringlog_runtime::Instant;
use ringlog_types::{Offset, TimestampMs};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::log_dir::LogDir;
use crate::names;
use crate::scrub::round::Round;
use crate::segment::scan::{Pace, Scanner};
use crate::segment::{Segment, Stage};
use crate::shard::StorageShard;
use crate::shard::budget::Budget;

/// How long a segment that cannot be read is let alone.
const RETRY_MS: i64 = 3_600_000;
/// How long one is let alone whose check came to nothing, if it is still there.
const VOID_MS: i64 = 60_000;
/// What was checked of a log is written down so often.
const WRITE_INTERVAL_MS: i64 = 60_000;
/// How much later a piece is read while others need the disk or the memory more.
const GIVE_WAY: Duration = Duration::from_secs(1);

/// See the head of this file.
pub struct Scrub {
    shard: StorageShard,
    dir: Arc<LogDir>,
    /// A segment is checked again after so long.
    interval_ms: i64,
    round: Round,
    /// The last segment was one that was sealed lately.
    took_sealed: Cell<bool>,
}

/// How the check of a segment ended.
enum Outcome {
    Checked,
    /// It is not what it was, or is being closed.
    Void,
    Unreadable(ReadError),
}

impl Scrub {
    /// Of the logs that a shard has in a directory. A segment is checked again after
    /// `interval_ms`.
    pub fn new(shard: &StorageShard, dir: &Arc<LogDir>, interval_ms: i64) -> Scrub {
        Scrub {
            shard: shard.clone(),
            dir: dir.clone(),
            interval_ms,
            round: Round::default(),
            took_sealed: Cell::new(false),
        }
    }

    /// Checks the next segment. Returns whether there was one. `logs` are those of the directory on
    /// the shard; it is asked for them now and then.
    pub async fn step(&self, logs: impl FnOnce() -> Vec<Rc<Log>>) -> bool {
        if self.dir.scrub_rate().is_off() || self.dir.is_offline() {
            return false;
        }
        let sealed = match self.took_sealed.replace(false) {
            false => self.shard.take_sealed(&self.dir),
            true => None,
        };
        if let Some((log, base_offset)) = sealed {
            self.took_sealed.set(true);
            self.look_at(&log, base_offset).await;
            return true;
        }
        if self.round.is_over(self.shard.runtime().now()) {
            let found = self.round.begin(&self.shard, logs(), self.interval_ms).await;
            self.shard.tell(|observer| observer.longest_unchecked(self.dir.index(), found));
        }
        match self.round.next() {
            Some((log, base_offset)) => {
                self.look_at(&log, base_offset).await;
                true
            }
            // There may be sealed ones, whose turn it was not.
            None => match self.shard.take_sealed(&self.dir) {
                Some((log, base_offset)) => {
                    self.look_at(&log, base_offset).await;
                    true
                }
                None => false,
            },
        }
    }

    /// Checks a segment, if it is due.
    async fn look_at(&self, log: &Rc<Log>, base_offset: Offset) {
        let Some(segment) = log.sealed_segment(base_offset) else { return };
        log.load_checks().await;
        let (size, now_ms) = (segment.size.get(), self.shard.runtime().wall_clock_ms());
        if !log.checked.is_due((base_offset, size), now_ms, self.interval_ms) {
            return;
        }
        match Box::pin(self.check(log, &segment)).await {
            Outcome::Checked => log.checked.note_checked(base_offset, size, now_ms),
            Outcome::Void => log.checked.postpone(base_offset, now_ms.saturating_add(VOID_MS)),
            Outcome::Unreadable(error) => {
                // It may be the disk that passes, or the bytes that are gone: somebody has to look.
                if self.shard.may_complain(&segment.path(names::LOG), u64::MAX) {
                    self.shard.tell(|observer| observer.scrub_found_damage());
                    tracing::error!(partition = %log.topic_partition, %error,
                        "a segment cannot be checked");
                }
                if log.checked.last(base_offset, size).is_none() {
                    log.checked.note_unchecked(base_offset, size, now_ms);
                }
                log.checked.postpone(base_offset, now_ms.saturating_add(RETRY_MS));
            }
        }
        log.write_down_checks(WRITE_INTERVAL_MS).await;
    }

    async fn check(&self, log: &Rc<Log>, segment: &Rc<Segment>) -> Outcome {
        if segment.is_gone() {
            return Outcome::Checked;
        }
        let path = segment.path(names::LOG);
        let pace = Rc::new(ScrubPace {
            shard: self.shard.clone(),
            dir: self.dir.clone(),
            log: log.clone(),
            budget: log.budget.clone(),
            segment: segment.clone(),
            generation: segment.generation(),
        });
        let scanner = Scanner::open_paced(self.shard.runtime(), &path, pace.clone()).await;
        let examined = match scanner {
            Ok(scanner) => log.walk_batches(segment, scanner).await,
            Err(error) => Err(log.unopened(segment, error).await),
        };
        match examined {
            _ if pace.is_over() => return Outcome::Void,
            Ok(examined) if examined.has_news(segment) => {
                self.shard.tell(|observer| observer.scrub_found_damage());
                log.take_over(segment, examined).await;
            }
            Ok(_) => {}
            // Its file is gone, and that is fenced now.
            Err(ReadError::Corrupt { .. }) if segment.is_gone() => {
                self.shard.tell(|observer| observer.scrub_found_damage());
            }
            Err(error) => return Outcome::Unreadable(error),
        }
        match log.retry_fences().await && !pace.is_over() {
            true => Outcome::Checked,
            false => Outcome::Void,
        }
    }
}

/// Reads a segment at the directory's rate, for as long as that makes sense.
struct ScrubPace {
    shard: StorageShard,
    dir: Arc<LogDir>,
    log: Rc<Log>,
    budget: Rc<Budget>,
    segment: Rc<Segment>,
    generation: u64,
}

impl ScrubPace {
    fn is_over(&self) -> bool {
        let is_same = self.segment.generation() == self.generation;
        !(is_same && self.log.has_segment(&self.segment))
            || self.log.failure().is_some()
            || self.log.is_closing()
    }
}

impl Pace for ScrubPace {
    fn book(&self, bytes: u64) -> Result<Instant, StorageError> {
        if self.is_over() {
            return Err(StorageError::Closed);
        }
        self.shard.tell(|observer| observer.scrubbed(bytes));
        let now = self.shard.runtime().now();
        let turn = self.dir.scrub_rate().book(bytes, now);
        let is_in_the_way = self.budget.is_held_up() || self.shard.is_nearly_short_of_memory();
        Ok(if is_in_the_way { turn.max(now + GIVE_WAY) } else { turn })
    }
}

impl Log {
    /// The segment with this base offset, if it is sealed.
    fn sealed_segment(&self, base_offset: Offset) -> Option<Rc<Segment>> {
        let segment = self.segment_for(base_offset)?;
        let is_it = segment.base_offset == base_offset && segment.stage.get() == Stage::Sealed;
        is_it.then_some(segment)
    }

    /// Reads what earlier lives of the node checked, once.
    async fn load_checks(&self) {
        if self.checked.is_loaded() {
            return;
        }
        let _turn = self.checked.file_turn().await;
        if !self.checked.is_loaded() {
            let path = self.path.borrow().join(names::CHECKED_SEGMENTS);
            let file = self.shard.runtime().read_file(&path, CHECKS_BYTES_MAX).await;
            self.checked.load(&file.unwrap_or_default());
        }
    }

    /// Writes down what was checked, if there is news and that was not done for so long.
    pub(crate) async fn write_down_checks(&self, interval_ms: i64) {
        let now_ms = self.shard.runtime().wall_clock_ms();
        if !self.checked.is_write_due(now_ms, interval_ms) {
            return;
        }
        let _turn = self.checked.file_turn().await;
        if self.failure().is_some() || !self.checked.is_write_due(now_ms, interval_ms) {
            return;
        }
        let bases: Vec<Offset> = self.segments.borrow().iter().map(|s| s.base_offset).collect();
        self.checked.keep(|base_offset| bases.binary_search(&base_offset).is_ok());
        let path = self.path.borrow().join(names::CHECKED_SEGMENTS);
        let text = self.checked.take_news(now_ms);
        if let Err(error) = self.shard.runtime().write_file_atomic(&path, text.as_bytes()).await {
            // It is checked once more.
            tracing::debug!(path = %path.display(), %error, "what was checked is not written down");
        }
    }

    /// When a segment was checked last, or since when it waits for that.
    async fn last_check(&self, segment: &Segment) -> TimestampMs {
        let (base_offset, size) = (segment.base_offset, segment.size.get());
        if let Some(at_ms) = self.checked.last(base_offset, size) {
            return at_ms;
        }
        let runtime = self.shard.runtime();
        let stat = runtime.stat(&segment.path(names::LOG)).await;
        let since_ms = stat.map_or_else(|_| runtime.wall_clock_ms(), |stat| stat.modified_ms);
        self.checked.note_unchecked(base_offset, size, since_ms);
        since_ms
    }
}

/// A larger file is not what its name says.
const CHECKS_BYTES_MAX: u64 = 64 << 20;
