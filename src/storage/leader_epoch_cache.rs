//! Which leader epoch starts at which offset of a log (KIP-101, KIP-279).
//!
//! Pure. Epochs and start offsets both ascend strictly. The file is `leader-epoch-checkpoint`
//! (see `checkpoint`); entries beyond the recovery point are rebuilt from the batches.

use ringlog_types::{LeaderEpoch, Offset};

/// An epoch and the first offset written under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The first offset written under it.
    pub start_offset: Offset,
}

/// Where an epoch ends in a log, as a replica or a client is told that compares its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The offset behind the last record that was written under it.
    pub end_offset: Offset,
}

/// The epochs of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochCache {
    entries: Vec<EpochEntry>,
    changed: bool,
}

impl LeaderEpochCache {
    /// The cache a checkpoint file describes. Entries out of order replace what they contradict,
    /// as if they had been assigned one after the other.
    pub(crate) fn from_entries(entries: impl IntoIterator<Item = EpochEntry>) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::default();
        for entry in entries {
            cache.assign(entry.epoch, entry.start_offset);
        }
        cache.changed = false;
        cache
    }

    /// Notes that the batch at `start_offset` was written under `epoch`. Negative epochs are
    /// those of batches from before epochs existed, and leave no trace.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) {
        if epoch < 0 || start_offset < 0 {
            return;
        }
        if let Some(last) = self.entries.last()
            && last.epoch == epoch
            && start_offset >= last.start_offset
        {
            return;
        }
        let contradicts =
            |entry: &EpochEntry| entry.epoch >= epoch || entry.start_offset >= start_offset;
        while self.entries.last().is_some_and(contradicts) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        self.changed = true;
    }

    /// Notes a batch that is found in the log, where it may be in the middle of what is known:
    /// nothing changes if the batch is of the epoch its offset is known to be of. An epoch below
    /// that is damage (the field is outside of the CRC), as epochs never fall. Anything else means
    /// that the entries are of a log that ended otherwise, and from here on the batches count
    /// (`LogSegment.recover`, which asks for an epoch above the latest).
    pub(crate) fn note_found(&mut self, epoch: LeaderEpoch, base_offset: Offset) {
        if self.epoch_for_offset(base_offset).is_none_or(|known| epoch > known) {
            self.assign(epoch, base_offset);
        }
    }

    /// The epoch of the newest batch.
    pub(crate) fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The largest epoch at or below the requested one, and where it ends; none when the requested
    /// epoch is newer than any known (`LeaderEpochFileCache.endOffsetFor`).
    pub(crate) fn end_offset_for(
        &self,
        requested: LeaderEpoch,
        log_end_offset: Offset,
    ) -> Option<EpochEndOffset> {
        if requested < 0 {
            return None;
        }
        if self.latest_epoch() == Some(requested) {
            return Some(EpochEndOffset { epoch: requested, end_offset: log_end_offset });
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= requested);
        let end_offset = self.entries.get(above)?.start_offset;
        // Below the oldest epoch, it is the requested one that ends where the log begins.
        let epoch = above.checked_sub(1).map_or(requested, |floor| self.entries[floor].epoch);
        Some(EpochEndOffset { epoch, end_offset })
    }

    /// The epoch under which `offset` was written.
    pub(crate) fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Forgets the epochs that start at or beyond `end_offset`.
    pub(crate) fn truncate_from_end(&mut self, end_offset: Offset) {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        self.changed |= keep < self.entries.len();
        self.entries.truncate(keep);
    }

    /// Forgets the epochs that end at or before `start_offset`; the one that spans it starts
    /// there from now on.
    pub(crate) fn truncate_from_start(&mut self, start_offset: Offset) {
        let after = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(spanning) = after.checked_sub(1) else { return };
        if self.entries[spanning].start_offset == start_offset && spanning == 0 {
            return;
        }
        self.entries.drain(..spanning);
        self.entries[0].start_offset = start_offset;
        self.changed = true;
    }

    /// The entries, oldest first.
    pub(crate) fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The file does not say everything.
    pub(crate) fn set_changed(&mut self) {
        self.changed = true;
    }

    /// Whether there is something the file does not say yet; asking resets it.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache::from_entries(
            entries.iter().map(|&(epoch, start_offset)| EpochEntry { epoch, start_offset }),
        )
    }

    #[test]
    fn end_offsets_follow_kip_279() {
        let cache = cache(&[(2, 10), (4, 20), (7, 35)]);
        for (requested, answer) in [
            (-1, None),
            (0, Some((0, 10))),
            (2, Some((2, 20))),
            (3, Some((2, 20))),
            (4, Some((4, 35))),
            (6, Some((4, 35))),
            (7, Some((7, 50))),
            (8, None),
        ] {
            let answer = answer.map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset });
            assert_eq!(cache.end_offset_for(requested, 50), answer, "{requested}");
        }
        assert_eq!(LeaderEpochCache::default().end_offset_for(0, 5), None);
    }

    #[test]
    fn assigning_replaces_what_contradicts() {
        let mut changed = cache(&[(2, 10), (4, 20), (7, 35)]);
        changed.assign(7, 40);
        assert!(!changed.take_changed());
        changed.assign(5, 30);
        assert_eq!(changed, {
            let mut expected = cache(&[(2, 10), (4, 20), (5, 30)]);
            expected.changed = true;
            expected
        });
        changed.assign(-1, 50);
        assert_eq!(changed.latest_epoch(), Some(5));
        assert_eq!(changed.epoch_for_offset(9), None);
        assert_eq!(changed.epoch_for_offset(29), Some(4));
    }

    #[test]
    fn batches_that_are_found_change_only_what_contradicts_them() {
        let all = [(2, 10), (4, 20), (7, 35)];
        for (found, left) in [
            // Walking starts anywhere in an epoch that is known, and with one that is not.
            (&[(2, 15), (4, 20), (4, 25), (7, 35), (7, 40)][..], &all[..]),
            (&[(4, 30), (5, 32), (7, 35)], &[(2, 10), (4, 20), (5, 32), (7, 35)]),
            (&[(1, 5), (2, 8), (4, 20), (7, 35)], &[(1, 5), (2, 8), (4, 20), (7, 35)]),
            // The log ended earlier than its epochs, and was continued.
            (&[(4, 20), (7, 30)], &[(2, 10), (4, 20), (7, 30)]),
            (&[(4, 20), (8, 30)], &[(2, 10), (4, 20), (8, 30)]),
            // Damage.
            (&[(4, 20), (0, 25), (-1, 26), (4, 27), (7, 35)], &all),
        ] {
            let mut walked = cache(&all);
            found.iter().for_each(|&(epoch, offset)| walked.note_found(epoch, offset));
            assert_eq!(walked.entries(), cache(left).entries(), "{found:?}");
            assert_eq!(walked.take_changed(), left != all, "{found:?}");
        }
    }

    #[test]
    fn truncation_keeps_the_spanning_epoch() {
        let all = [(2, 10), (4, 20), (7, 35)];
        for (start, left) in [
            (0, &[(2, 10), (4, 20), (7, 35)][..]),
            (10, &[(2, 10), (4, 20), (7, 35)]),
            (15, &[(2, 15), (4, 20), (7, 35)]),
            (20, &[(4, 20), (7, 35)]),
            (90, &[(7, 90)]),
        ] {
            let mut truncated = cache(&all);
            truncated.truncate_from_start(start);
            assert_eq!(truncated.entries(), cache(left).entries(), "{start}");
        }
        let mut truncated = cache(&all);
        truncated.truncate_from_end(20);
        assert_eq!(truncated.entries(), cache(&[(2, 10)]).entries());
    }
}
