//! The offsets of one log, and their order.
//!
//! ```text
//! recovery point ≤ settled ≤ durable ≤ written ≤ log end
//! log start ≤ local log start ≤ log end         high watermark ≤ log end
//! ```
//!
//! * *log end*: what the next record gets.
//! * *written*: everything below has left the process.
//! * *durable*: everything below survives the loss of power, so it may be acknowledged.
//! * *settled*: everything below is on disk in its segment. Checkpoints, seals and trims go by it.
//!   As long as segments are the only place where records are made durable, it is the same.
//! * *recovery point*: after a crash nothing below is read again. It may lie before the log start.
//! * *log start* and *local log start*: the first offset that can be read, and the first that is on
//!   this node's disks. They are equal until segments are kept elsewhere.
//! * *high watermark*: everything below may be consumed and removed. It is given from outside,
//!   because it depends on the other replicas.
//!
//! Every method asserts the order of what it changes. All but the high watermark only move up; only
//! a truncation takes them back, all at once, after the recovery point. It is counted, so that one
//! who waits for an offset knows whether it is still the offset of the same record.

use std::cell::Cell;

use ringlog_types::Offset;

/// An offset up to which a log has certain records: a number alone does not tell whether they were
/// cut off since and others have their offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    offset: Offset,
    /// How often the log had been cut when it had them.
    cuts: u64,
}

impl LogEnd {
    /// The offset after the last of the records.
    pub fn offset(self) -> Offset {
        self.offset
    }
}

/// See the head of this file.
pub(crate) struct LogOffsets {
    recovery_point: Cell<Offset>,
    settled: Cell<Offset>,
    durable: Cell<Offset>,
    written: Cell<Offset>,
    log_end: Cell<Offset>,
    log_start: Cell<Offset>,
    local_log_start: Cell<Offset>,
    high_watermark: Cell<Offset>,
    /// How often the end was cut off, and where it was the last time.
    cuts: Cell<u64>,
    last_cut: Cell<Offset>,
}

impl LogOffsets {
    /// Of a log that was just made or opened: all of it is on disk. A recovery point from a
    /// checkpoint may claim more than there is.
    pub(crate) fn opened(log_start: Offset, log_end: Offset, recovery_point: Offset) -> LogOffsets {
        let offsets = LogOffsets {
            recovery_point: Cell::new(recovery_point.min(log_end)),
            settled: Cell::new(log_end),
            durable: Cell::new(log_end),
            written: Cell::new(log_end),
            log_end: Cell::new(log_end),
            log_start: Cell::new(log_start),
            local_log_start: Cell::new(log_start),
            high_watermark: Cell::new(log_end),
            cuts: Cell::new(0),
            last_cut: Cell::new(log_end),
        };
        offsets.check();
        offsets
    }

    pub(crate) fn recovery_point(&self) -> Offset {
        self.recovery_point.get()
    }

    pub(crate) fn settled(&self) -> Offset {
        self.settled.get()
    }

    pub(crate) fn durable(&self) -> Offset {
        self.durable.get()
    }

    pub(crate) fn written(&self) -> Offset {
        self.written.get()
    }

    pub(crate) fn log_end(&self) -> Offset {
        self.log_end.get()
    }

    pub(crate) fn log_start(&self) -> Offset {
        self.log_start.get()
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    /// A batch was appended in memory; the log ends at `end`.
    pub(crate) fn appended(&self, end: Offset) {
        assert!(end > self.log_end.get(), "an append moves the end of the log");
        self.log_end.set(end);
        self.check();
    }

    /// Everything below `end` has left the process. Returns whether that is news.
    pub(crate) fn written_to(&self, end: Offset) -> bool {
        let moves = end > self.written.get();
        if moves {
            self.written.set(end);
            self.check();
        }
        moves
    }

    /// Everything below `end` survives the loss of power. Returns whether that is news.
    pub(crate) fn durable_to(&self, end: Offset) -> bool {
        let moves = end > self.durable.get();
        if moves {
            self.durable.set(end);
            self.written.set(end.max(self.written.get()));
            self.check();
        }
        moves
    }

    /// Everything below `end` is on disk in its segment, and so it is durable. Returns whether it
    /// is news that it is durable.
    pub(crate) fn settled_to(&self, end: Offset) -> bool {
        if end > self.settled.get() {
            // In this order, so that the order holds in between.
            let moves = self.durable_to(end);
            self.settled.set(end);
            self.check();
            return moves;
        }
        false
    }

    /// What recovery needs to know of everything below `offset` is on disk. Returns whether the
    /// recovery point moves.
    pub(crate) fn recovery_point_at(&self, offset: Offset) -> bool {
        let moves = offset > self.recovery_point.get();
        if moves {
            self.recovery_point.set(offset);
            self.check();
        }
        moves
    }

    /// What lies below `offset` is removed. Returns whether the start moves.
    pub(crate) fn started_at(&self, offset: Offset) -> bool {
        let moves = offset > self.log_start.get();
        if moves {
            self.local_log_start.set(offset);
            self.log_start.set(offset);
            self.check();
        }
        moves
    }

    /// Everything below `offset` may be consumed. It may be less than before: whoever knows the
    /// replicas says so.
    pub(crate) fn high_watermark_at(&self, offset: Offset) {
        self.high_watermark.set(offset);
        self.check();
    }

    /// After a crash everything from `offset` on is to be read again.
    pub(crate) fn lower_recovery_point(&self, offset: Offset) {
        self.recovery_point.set(offset.min(self.recovery_point.get()));
        self.check();
    }

    /// Everything from `end` on is gone. The recovery point was lowered before.
    pub(crate) fn truncated_to(&self, end: Offset) {
        assert!(self.recovery_point.get() <= end && end <= self.log_end.get(), "a cut at {end}");
        for offset in [&self.log_start, &self.local_log_start, &self.high_watermark] {
            offset.set(offset.get().min(end));
        }
        self.cut_at(end);
    }

    /// Everything is gone, and the log goes on at `offset`. The recovery point was lowered before,
    /// and moves there when nothing is left on disk that could be read again.
    pub(crate) fn restarted_at(&self, offset: Offset) {
        self.log_start.set(offset);
        self.local_log_start.set(offset);
        self.high_watermark.set(offset);
        self.cut_at(offset);
    }

    fn cut_at(&self, end: Offset) {
        for offset in [&self.settled, &self.durable, &self.written, &self.log_end] {
            offset.set(end);
        }
        self.cuts.set(self.cuts.get() + 1);
        self.last_cut.set(end);
        self.check();
    }

    /// How often the end of the log was cut off.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.get()
    }

    /// `offset` as an end of the records that are below it now.
    pub(crate) fn end_at(&self, offset: Offset) -> LogEnd {
        let end = self.log_end.get();
        assert!(offset <= end, "nothing is in the log up to {offset}, which ends at {end}");
        LogEnd { offset, cuts: self.cuts.get() }
    }

    /// Whether the records below `end` are still those that were there when it was taken. After
    /// several cuts the answer may be no though they are.
    pub(crate) fn has(&self, end: LogEnd) -> bool {
        match self.cuts.get() - end.cuts {
            0 => true,
            1 => end.offset <= self.last_cut.get(),
            _ => false,
        }
    }

    fn check(&self) {
        let (settled, durable) = (self.settled.get(), self.durable.get());
        assert!(self.recovery_point.get() <= settled, "recovery point beyond what is settled");
        assert!(settled <= durable, "settled beyond what is durable");
        let (written, end) = (self.written.get(), self.log_end.get());
        assert!(durable <= written && written <= end, "{durable} ≤ {written} ≤ {end}");
        let (start, local_start) = (self.log_start.get(), self.local_log_start.get());
        assert!(0 <= start && start <= local_start, "{start} ≤ {local_start}");
        assert!(local_start <= end, "the log starts at {local_start}, behind its end {end}");
        assert!(self.high_watermark.get() <= end, "the high watermark is beyond the log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_move_up_in_order() {
        let offsets = LogOffsets::opened(10, 20, 500);
        assert_eq!(offsets.recovery_point(), 20, "a checkpoint cannot claim more than there is");
        offsets.appended(30);
        assert!(offsets.written_to(25) && !offsets.written_to(25));
        assert!(offsets.durable_to(28) && !offsets.durable_to(27));
        assert_eq!((offsets.written(), offsets.durable(), offsets.settled()), (28, 28, 20));
        assert!(!offsets.settled_to(28), "that it is durable was known");
        assert!(offsets.settled_to(30));
        assert_eq!((offsets.settled(), offsets.durable()), (30, 30));
        assert!(offsets.recovery_point_at(30) && !offsets.recovery_point_at(29));
        assert!(offsets.started_at(12) && !offsets.started_at(11));
        offsets.high_watermark_at(30);
        offsets.high_watermark_at(15);
        assert_eq!(
            (offsets.log_start(), offsets.high_watermark(), offsets.log_end()),
            (12, 15, 30)
        );
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let refused = |change: fn(&LogOffsets)| {
            let changed = std::panic::catch_unwind(|| change(&LogOffsets::opened(10, 20, 15)));
            assert!(changed.is_err());
        };
        refused(|offsets| offsets.appended(20));
        refused(|offsets| assert!(offsets.written_to(21)));
        refused(|offsets| assert!(offsets.durable_to(21)));
        refused(|offsets| assert!(offsets.settled_to(21)));
        refused(|offsets| assert!(offsets.started_at(21)));
        refused(|offsets| offsets.high_watermark_at(21));
        refused(|offsets| assert!(offsets.recovery_point_at(21)));
        refused(|offsets| {
            offsets.appended(30);
            offsets.durable_to(30);
            // It is not in its segment.
            offsets.recovery_point_at(25);
        });
        refused(|_| assert_eq!(LogOffsets::opened(21, 20, 0).log_start(), 21));
    }
}
