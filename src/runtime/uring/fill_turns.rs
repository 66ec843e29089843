//! Turns to fill pipes from files: so many at once of each disk.
//!
//! A thread of the kernel that fills a pipe waits for the disk. Each disk has threads of its own
//! number, so that those which wait for one that hangs are not missing at the others.

use std::cell::RefCell;

use crate::sync::Semaphore;

/// Threads of the kernel that fill pipes from one disk, for one shard: what more readers want of
/// it comes after. Untold, every such wait would have a thread of its own.
pub(super) const TURNS_OF_DISK: usize = 32;

/// The turns of one shard, by disk.
#[derive(Default)]
pub(super) struct FillTurns {
    /// As many as there are disks below the log directories: few.
    disks: RefCell<Vec<(u64, Semaphore)>>,
}

impl FillTurns {
    /// The turns of a disk. Another disk is told by how many there are now.
    pub(super) fn of(&self, disk: u64, grown: impl FnOnce(usize)) -> Semaphore {
        let mut disks = self.disks.borrow_mut();
        if let Some((_, turns)) = disks.iter().find(|(known, _)| *known == disk) {
            return turns.clone();
        }
        let turns = Semaphore::new(TURNS_OF_DISK);
        disks.push((disk, turns.clone()));
        grown(disks.len());
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that hung had all 32 threads wait for it, and consumers of healthy ones got
    /// nothing that was on disk.
    #[test]
    fn a_disk_that_hangs_takes_no_turns_of_others() {
        let (turns, mut grown) = (FillTurns::default(), Vec::new());
        let hung = turns.of(1, |disks| grown.push(disks));
        let taken: Vec<_> = (0..TURNS_OF_DISK).map(|_| hung.try_acquire(1)).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(turns.of(1, |_| unreachable!("it is known")).try_acquire(1).is_none());
        let healthy = turns.of(2, |disks| grown.push(disks));
        assert!(healthy.try_acquire(1).is_some());
        assert_eq!(grown, [1, 2]);
    }
}
