//! Log compaction: of each key only the newest record stays (`cleanup.policy=compact`).
//!
//! A log has a *clean* part, which was compacted before, and behind it a *dirty* one. A round:
//!
//! 1. [`Log::cleanable`] says how much of a log is dirty and may be compacted: never the open
//!    segment, nothing at or beyond the last stable offset, and nothing that is younger than
//!    `min.compaction.lag.ms`. [`choose`] takes the log that needs it most.
//! 2. The dirty part is read, and the newest offset of each key put into a table
//!    ([`key_map`]). If the table is full, the round goes so far only.
//! 3. All segments up to there are rewritten without what is superseded ([`rewrite`]), several
//!    small ones into one.
//! 4. Each that is finished takes the place of those it was made from ([`swap`]).
//! 5. The clean part reaches to where the table did. `cleaner-offset-checkpoint` says so with the
//!    next checkpoint; if it is older than the truth, work is done again.
//!
//! Offsets never change, and what is left of a segment are its own batches. Decompressing, hashing
//! and packing are computed on the thread that gives way to all others; reading and writing go
//! around the page cache.

pub(crate) mod clean;
pub(crate) mod key_map;
mod new_segment;
mod rewrite;
mod swap;
mod transactions;
mod whole_batches;

use std::rc::Rc;

use ringlog_config::TopicConfig;
use ringlog_types::{Offset, TimestampMs};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::segment::{Segment, Stage};

/// How much of a log can be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleanable {
    /// The first offset that was not compacted with those before it.
    pub dirty_start: Offset,
    /// Nothing from here on may be touched.
    pub dirty_end: Offset,
    /// Bytes of the segments before the dirty ones.
    pub clean_bytes: u64,
    /// Bytes of the segments that can be compacted.
    pub dirty_bytes: u64,
    /// The oldest of the timestamps with which the dirty segments begin.
    pub oldest_ms: Option<TimestampMs>,
}

impl Cleanable {
    /// The share of the log that is dirty, as far as it may be touched.
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            bytes => self.dirty_bytes as f64 / bytes as f64,
        }
    }

    /// Whether a round is due: the log is dirty enough, or some of it has waited for
    /// `max.compaction.lag.ms` (`LogCleanerManager.grabFilthiestCompactedLog`).
    pub fn is_due(&self, config: &TopicConfig, now_ms: TimestampMs) -> bool {
        self.dirty_bytes > 0
            && (self.dirty_ratio() > config.min_cleanable_dirty_ratio
                || self.is_overdue(config, now_ms))
    }

    fn is_overdue(&self, config: &TopicConfig, now_ms: TimestampMs) -> bool {
        let lag_ms = config.max_compaction_lag_ms.max(config.min_compaction_lag_ms);
        let waits_too_long = |oldest_ms: TimestampMs| now_ms.saturating_sub(oldest_ms) > lag_ms;
        lag_ms < i64::MAX && self.oldest_ms.is_some_and(waits_too_long)
    }
}

/// The one of these that needs a round most: of those that are due, the dirtiest.
pub fn choose<'a>(
    candidates: impl IntoIterator<Item = (Cleanable, &'a TopicConfig)>,
    now_ms: TimestampMs,
) -> Option<usize> {
    let due = candidates.into_iter().enumerate();
    let due = due.filter(|(_, (cleanable, config))| cleanable.is_due(config, now_ms));
    let ratio = |(_, (cleanable, _)): &(usize, (Cleanable, &TopicConfig))| cleanable.dirty_ratio();
    due.max_by(|a, b| ratio(a).total_cmp(&ratio(b))).map(|(at, _)| at)
}

impl Log {
    /// Everything below was compacted with itself; `None` if nothing ever was.
    pub fn cleaned_end(&self) -> Option<Offset> {
        self.cleaning.cleaned_end()
    }

    /// How much of the log can be compacted now (`LogCleanerManager.cleanableOffsets`).
    ///
    /// # Errors
    /// A segment cannot be read.
    pub async fn cleanable(&self, now_ms: TimestampMs) -> Result<Cleanable, ReadError> {
        let config = self.config();
        let segments = self.segments.borrow().clone();
        let start = self.log_start_offset();
        let dirty_start = match self.cleaned_end() {
            Some(cleaned) if (start..=self.log_end_offset()).contains(&cleaned) => cleaned,
            _ => start,
        };
        let mut cleanable = Cleanable { dirty_start, dirty_end: dirty_start, ..Default::default() };
        let stable_end = self.last_stable_offset().min(self.durable_offset());
        for segment in segments {
            let end_offset = segment.end_offset.get();
            if segment.stage.get() != Stage::Sealed || end_offset > stable_end {
                break;
            }
            if end_offset <= dirty_start {
                cleanable.clean_bytes += segment.size.get();
                continue;
            }
            if config.min_compaction_lag_ms > 0 {
                let newest_ms = self.newest_ms(&segment).await?;
                if newest_ms > now_ms.saturating_sub(config.min_compaction_lag_ms) {
                    break;
                }
            }
            let first_ms = self.first_ms(&segment).await?;
            cleanable.oldest_ms = cleanable.oldest_ms.into_iter().chain(first_ms).min();
            cleanable.dirty_bytes += segment.size.get();
            cleanable.dirty_end = end_offset;
        }
        Ok(cleanable)
    }

    /// The largest timestamp of a segment; the time it was last written if it has none.
    async fn newest_ms(&self, segment: &Rc<Segment>) -> Result<TimestampMs, ReadError> {
        self.load_max_timestamp(segment).await?;
        if let Some((newest_ms, _)) = segment.max_timestamp.get() {
            return Ok(newest_ms);
        }
        let path = segment.path(crate::names::LOG);
        let stat = self.shard.runtime().stat(&path).await;
        Ok(stat.map_err(StorageError::io("stat", &path))?.modified_ms)
    }

    /// The largest timestamp of a segment's first batch.
    async fn first_ms(&self, segment: &Rc<Segment>) -> Result<Option<TimestampMs>, ReadError> {
        if segment.first_timestamp.get().is_none() && segment.size.get() > 0 {
            let header = self.first_header(segment).await?;
            segment.first_timestamp.set(header.map(|header| header.max_timestamp));
        }
        Ok(segment.first_timestamp.get().filter(|timestamp| *timestamp >= 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleanable(clean_bytes: u64, dirty_bytes: u64) -> Cleanable {
        Cleanable { clean_bytes, dirty_bytes, oldest_ms: Some(1_000), ..Default::default() }
    }

    #[test]
    fn the_dirtiest_log_that_is_due_is_chosen() {
        let config = TopicConfig::default();
        let lagging = TopicConfig { max_compaction_lag_ms: 500, ..TopicConfig::default() };
        let any = TopicConfig { min_cleanable_dirty_ratio: 0.0, ..TopicConfig::default() };
        for (candidates, expected) in [
            (vec![], None),
            (vec![(cleanable(100, 100), &config), (cleanable(100, 20), &config)], None),
            (vec![(cleanable(100, 101), &config), (cleanable(0, 5), &config)], Some(1)),
            (vec![(cleanable(100, 0), &lagging), (cleanable(900, 100), &lagging)], Some(1)),
            (vec![(cleanable(0, 0), &any), (cleanable(900, 1), &any)], Some(1)),
        ] {
            assert_eq!(choose(candidates.clone(), 1_501), expected, "{candidates:?}");
        }
        assert_eq!(choose([(cleanable(900, 100), &lagging)], 1_500), None, "it is not time yet");
    }
}
