//! What goes wrong with a node's disk operations, and when: by chance or by plan.
//!
//! Every disk operation of a node has a number, counted from 1 at its latest start, so a test can
//! run once to count them and then again for each, failing or crashing exactly there.

use std::ops::RangeInclusive;

use rustix::io::Errno;

use super::Prng;

/// The kinds of disk operation that fail differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskOp {
    /// Reading from a file.
    Read,
    /// Writing to a file, durable or not.
    Write,
    /// Flushing a file or directory.
    Sync,
    /// Everything about names and lengths.
    Metadata,
    /// Taking blocks for a file ahead of its writes.
    Allocate,
}

/// What is wrong with everything below one directory, as with a disk that is mounted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirTrouble {
    /// No operation completes until the trouble ends.
    Hung,
    /// It has no more blocks to give.
    Full,
}

/// Chances that a disk operation fails with `EIO` or is slow, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DiskFaults {
    /// A read returns nothing.
    pub read_error: f64,
    /// A write fails, and any part of it may have happened.
    pub write_error: f64,
    /// A flush fails, and any part of what waited for it may be lost for good.
    pub sync_error: f64,
    /// Creating, renaming, removing, allocating fails and has not happened.
    pub metadata_error: f64,
    /// An operation takes a thousand times as long.
    pub slow: f64,
}

/// How long disk operations take, in nanoseconds.
#[derive(Clone, Debug)]
pub struct DiskTiming {
    /// A read.
    pub read_ns: RangeInclusive<u64>,
    /// A write that is not durable.
    pub write_ns: RangeInclusive<u64>,
    /// A durable write or a flush.
    pub sync_ns: RangeInclusive<u64>,
    /// Everything else.
    pub metadata_ns: RangeInclusive<u64>,
}

impl Default for DiskTiming {
    fn default() -> DiskTiming {
        DiskTiming {
            read_ns: 20_000..=200_000,
            write_ns: 20_000..=300_000,
            sync_ns: 50_000..=900_000,
            metadata_ns: 2_000..=60_000,
        }
    }
}

impl DiskTiming {
    pub(crate) fn draw(&self, op: DiskOp, durable: bool, prng: &mut Prng) -> u64 {
        prng.between(match op {
            DiskOp::Read => self.read_ns.clone(),
            DiskOp::Write if !durable => self.write_ns.clone(),
            DiskOp::Write | DiskOp::Sync => self.sync_ns.clone(),
            DiskOp::Metadata | DiskOp::Allocate => self.metadata_ns.clone(),
        })
    }
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    Fail(Errno),
    /// The node loses power as the operation is submitted.
    CrashBefore,
    /// The node loses power when the operation has completed.
    CrashAfter,
}

/// The faults of one node.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    pub(crate) chances: DiskFaults,
    /// Operations since the node started.
    pub(crate) ops: u64,
    crash_at: Option<u64>,
    /// Fail the operation of this number in this way.
    planned: Vec<(u64, Errno)>,
}

impl FaultPlan {
    /// Crash at the `n`-th disk operation from now, counted from 1.
    pub(crate) fn crash_after(&mut self, n: u64) {
        self.crash_at = Some(self.ops + n.max(1));
    }

    /// Fail the `n`-th disk operation from now, counted from 1.
    pub(crate) fn fail_after(&mut self, n: u64, why: Errno) {
        self.planned.push((self.ops + n.max(1), why));
    }

    /// A new start of the node: counting begins again and no plan is left.
    pub(crate) fn restart(&mut self) {
        *self = FaultPlan { chances: self.chances, ..FaultPlan::default() };
    }

    /// Counts an operation and decides about it.
    pub(crate) fn judge(&mut self, op: DiskOp, prng: &mut Prng) -> Verdict {
        self.ops += 1;
        if self.crash_at == Some(self.ops) {
            self.crash_at = None;
            return if prng.chance(0.5) { Verdict::CrashBefore } else { Verdict::CrashAfter };
        }
        if let Some(i) = self.planned.iter().position(|(n, _)| *n == self.ops) {
            let why = self.planned.swap_remove(i).1;
            // What has a descriptor needs no other.
            let needs_none = op != DiskOp::Metadata && matches!(why, Errno::MFILE | Errno::NFILE);
            return if needs_none { Verdict::Proceed } else { Verdict::Fail(why) };
        }
        let chance = match op {
            DiskOp::Read => self.chances.read_error,
            DiskOp::Write => self.chances.write_error,
            DiskOp::Sync => self.chances.sync_error,
            DiskOp::Metadata | DiskOp::Allocate => self.chances.metadata_error,
        };
        if prng.chance(chance) { Verdict::Fail(Errno::IO) } else { Verdict::Proceed }
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskFaults, DiskOp, FaultPlan, Verdict};
    use crate::sim::Prng;
    use rustix::io::Errno;

    #[test]
    fn plans_hit_their_operation_and_no_other() {
        let mut prng = Prng::new(1);
        let mut plan = FaultPlan::default();
        plan.judge(DiskOp::Read, &mut prng);
        plan.fail_after(2, Errno::NOSPC);
        plan.crash_after(3);
        let got: Vec<_> = (0..5).map(|_| plan.judge(DiskOp::Write, &mut prng)).collect();
        assert_eq!(got[..2], [Verdict::Proceed, Verdict::Fail(Errno::NOSPC)]);
        assert!(matches!(got[2], Verdict::CrashBefore | Verdict::CrashAfter));
        assert_eq!(got[3..], [Verdict::Proceed; 2]);
    }

    #[test]
    fn chances_are_per_kind_and_survive_a_restart() {
        let mut prng = Prng::new(1);
        let chances = DiskFaults { sync_error: 1.0, ..DiskFaults::default() };
        let mut plan = FaultPlan { chances, ..FaultPlan::default() };
        plan.restart();
        assert_eq!(plan.judge(DiskOp::Sync, &mut prng), Verdict::Fail(Errno::IO));
        assert_eq!(plan.judge(DiskOp::Write, &mut prng), Verdict::Proceed);
        assert_eq!(plan.ops, 2);
    }
}
