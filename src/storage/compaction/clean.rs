//! One round of compaction of one log; the steps are in the head of this folder.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_record::{BatchView, ControlRecordType, RecordIter};
use ringlog_runtime::WorkOwner;
use ringlog_types::{Offset, ProducerId, TimestampMs};

use crate::background_rate::BackgroundRate;
use crate::compaction::Cleanable;
use crate::compaction::key_map::{KeyMap, SLOT_BYTES};
use crate::compaction::new_segment::NewSegment;
use crate::compaction::rewrite::{Counts, LastOfProducer, Rewrite, Survey};
use crate::compaction::transactions::Transactions;
use crate::compaction::whole_batches::WholeBatches;
use crate::error::{ReadError, StorageError};
use crate::index::offset_index::ENTRY_BYTES;
use crate::index::transaction_index::AbortedTransaction;
use crate::log::Log;
use crate::segment::{Segment, Stage};

/// Segments are put together up to this size at most: with delete horizons, what is left of some
/// may take a little more space than they did.
const GROUP_BYTES_MAX: u64 = 1 << 30;

/// In whose turn batches are looked at on the thread that computes: no client has this number.
const COMPACTION: WorkOwner = WorkOwner(u64::MAX);

/// What a round may take.
#[derive(Debug, Clone)]
pub struct CleanOptions {
    /// Memory for the table of keys.
    pub key_bytes_max: usize,
    /// How full the table may become.
    pub load_factor: f64,
    /// What all rounds read and write together.
    pub rate: Arc<BackgroundRate>,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Where the clean part of the log ends now.
    pub end_offset: Offset,
    /// Bytes of the batches that were read to be rewritten.
    pub bytes_read: u64,
    /// Bytes of those that took their place.
    pub bytes_written: u64,
    /// Records that were read to be rewritten.
    pub records_read: u64,
    /// Records that stayed.
    pub records_left: u64,
    /// Keys in the dirty part.
    pub keys: u64,
}

/// Why a round ended early. The log is as good as before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompactionError {
    /// The log was closed, truncated or otherwise changed meanwhile: the next round begins anew.
    #[error("the log has changed meanwhile")]
    Overtaken,
    /// What cannot be read, or would come out wrong. It will be so in the next round, unless what
    /// is damaged has been fenced meanwhile.
    #[error("{0}")]
    Uncleanable(String),
    /// The disk.
    #[error(transparent)]
    Storage(StorageError),
}

/// The same, before the damage was looked at.
pub(crate) enum CleanError {
    Overtaken,
    Uncleanable(String),
    Storage(StorageError),
    Damaged { segment: Rc<Segment>, position: u64, reason: &'static str },
}

impl From<StorageError> for CleanError {
    fn from(error: StorageError) -> CleanError {
        match error {
            StorageError::Truncated { .. } | StorageError::Closed => CleanError::Overtaken,
            unusable @ StorageError::Unusable { .. } => {
                CleanError::Uncleanable(unusable.to_string())
            }
            error => CleanError::Storage(error),
        }
    }
}

impl From<ReadError> for CleanError {
    fn from(error: ReadError) -> CleanError {
        match error {
            ReadError::Storage(error) => error.into(),
            error => CleanError::Uncleanable(error.to_string()),
        }
    }
}

impl Log {
    /// Compacts the log as far as `cleanable` says, or as the table of keys goes.
    ///
    /// # Errors
    /// See [`CompactionError`].
    pub async fn compact(
        &self,
        cleanable: &Cleanable,
        options: &CleanOptions,
        now_ms: TimestampMs,
    ) -> Result<Cleaned, CompactionError> {
        let Some(_round) = self.cleaning.begin_round() else {
            return Err(CompactionError::Overtaken);
        };
        let result = Box::pin(self.clean(cleanable, options, now_ms)).await;
        match result {
            Ok(cleaned) => Ok(cleaned),
            Err(CleanError::Overtaken) => Err(CompactionError::Overtaken),
            Err(CleanError::Uncleanable(why)) => Err(CompactionError::Uncleanable(why)),
            Err(CleanError::Storage(error)) => Err(CompactionError::Storage(error)),
            Err(CleanError::Damaged { segment, position, reason }) => {
                // What is found is fenced, and the next round steps around it.
                let offset = segment.base_offset;
                let error = self.corrupt(&segment, offset, position, reason);
                let known = segment.fences.borrow().len();
                Box::pin(self.examine_again(&segment, position)).await.ok();
                match segment.fences.borrow().len() > known {
                    true => Err(CompactionError::Overtaken),
                    false => Err(CompactionError::Uncleanable(error.to_string())),
                }
            }
        }
    }

    async fn clean(
        &self,
        cleanable: &Cleanable,
        options: &CleanOptions,
        now_ms: TimestampMs,
    ) -> Result<Cleaned, CleanError> {
        let cuts = self.offsets.cuts();
        let segments: Vec<Rc<Segment>> = {
            let all = self.segments.borrow();
            let below = |segment: &&Rc<Segment>| segment.end_offset.get() <= cleanable.dirty_end;
            all.iter().take_while(below).cloned().collect()
        };
        if segments.iter().any(|segment| segment.stage.get() != Stage::Sealed) {
            return Err(CleanError::Overtaken);
        }
        let Some(first) = segments.first() else { return Err(CleanError::Overtaken) };
        let aborted = self.aborted_between(first.base_offset, cleanable.dirty_end).await?;
        let survey = self.survey(&segments, cleanable, &aborted, options).await?;
        self.check_under_way(&survey.transactions).await?;
        let keys_end = survey.end;
        let keys = survey.keys.len() as u64;
        if keys_end <= cleanable.dirty_start {
            return Err(CleanError::Uncleanable(
                "the table of keys is too small for one batch; raise \
                 log.cleaner.dedupe.buffer.size"
                    .to_owned(),
            ));
        }
        let config = self.config();
        let mut rewrite = Rewrite::new(survey.keys, Transactions::new(aborted));
        rewrite.dirty_start = cleanable.dirty_start;
        rewrite.keys_end = keys_end;
        rewrite.last_of_producers = self.last_of_producers();
        rewrite.now_ms = now_ms;
        rewrite.delete_retention_ms = config.delete_retention_ms;
        if segments.iter().any(is_fenced) {
            rewrite.transactions.keep_markers();
        }
        let index_bytes = config.segment_index_bytes.max(0) as u64 / ENTRY_BYTES as u64;
        let limits = GroupLimits {
            bytes_max: (config.segment_bytes.max(0) as u64)
                .min(GROUP_BYTES_MAX)
                .min(index_bytes.saturating_mul(config.index_interval_bytes.max(1) as u64)),
        };
        let upper: Vec<_> =
            segments.into_iter().take_while(|segment| segment.base_offset < keys_end).collect();
        for group in groups(&upper, &limits) {
            rewrite = self.clean_group(group, rewrite, options).await?;
        }
        if self.offsets.cuts() != cuts {
            return Err(CleanError::Overtaken);
        }
        self.cleaning.cleaned_to(keys_end);
        let Counts { bytes_read, bytes_written, records_read, records_left } = rewrite.counts;
        let end_offset = keys_end;
        Ok(Cleaned { end_offset, bytes_read, bytes_written, records_read, records_left, keys })
    }

    /// Reads the dirty part into a table of keys.
    async fn survey(
        &self,
        segments: &[Rc<Segment>],
        cleanable: &Cleanable,
        aborted: &[AbortedTransaction],
        options: &CleanOptions,
    ) -> Result<Survey, CleanError> {
        let runtime = self.shard.runtime();
        let start = cleanable.dirty_start;
        let seed = [runtime.random_u64(), runtime.random_u64()];
        let keys_max = (cleanable.dirty_end - start).max(0) as u64;
        let bytes_max = options.key_bytes_max.max(SLOT_BYTES);
        let mut survey = Survey {
            keys: KeyMap::new(seed, keys_max, bytes_max, options.load_factor),
            transactions: Transactions::new(
                aborted.iter().filter(|entry| entry.last_offset >= start).copied(),
            ),
            start,
            end: start,
            is_full: false,
        };
        if segments.iter().any(is_fenced) {
            survey.transactions.keep_markers();
        }
        for segment in segments.iter().filter(|segment| segment.end_offset.get() > start) {
            if !is_fenced(segment) {
                survey = self.survey_segment(segment, survey, options).await?;
            }
            if survey.is_full {
                break;
            }
            survey.end = survey.end.max(segment.end_offset.get());
        }
        if survey.transactions.is_contradicted() {
            return Err(contradicted());
        }
        Ok(survey)
    }

    async fn survey_segment(
        &self,
        segment: &Rc<Segment>,
        mut survey: Survey,
        options: &CleanOptions,
    ) -> Result<Survey, CleanError> {
        let runtime = self.shard.runtime();
        self.load_index(segment).await?;
        let position = {
            let index = segment.index.borrow();
            index.as_ref().map_or(0, |index| u64::from(index.offsets.lookup(survey.start)))
        };
        let mut batches = WholeBatches::open(self, segment, position).await?;
        while let Some(bytes) = batches.next().await? {
            self.check_current(segment)?;
            options.rate.turn(runtime, bytes.len() as u64).await;
            let computed = runtime.compute(COMPACTION, move || {
                let taken = survey.batches(&bytes);
                (survey, taken)
            });
            let (done, taken) = computed.await;
            survey = done;
            taken.map_err(|_| batches.damaged("its records are not what its header says"))?;
            if survey.is_full {
                break;
            }
        }
        Ok(survey)
    }

    /// Whether the aborted transactions of which the markers lie further on have those.
    async fn check_under_way(&self, transactions: &Transactions) -> Result<(), CleanError> {
        for transaction in transactions.under_way() {
            if !self.is_aborted_at(transaction).await? {
                return Err(contradicted());
            }
        }
        Ok(())
    }

    async fn is_aborted_at(&self, transaction: AbortedTransaction) -> Result<bool, CleanError> {
        let offset = transaction.last_offset;
        let bytes = self.read_whole_batches(offset, 1, offset + 1).await?;
        let Ok(batch) = BatchView::check(&bytes) else { return Ok(false) };
        let marker = RecordIter::new(&batch, batch.records_bytes()).next_bare();
        let kind = marker.and_then(Result::ok).and_then(|marker| marker.key);
        Ok(batch.producer_id() == transaction.producer_id
            && batch.attributes().is_control()
            && kind.and_then(ControlRecordType::from_key) == Some(ControlRecordType::Abort))
    }

    /// The last thing that each producer wrote which may write again.
    fn last_of_producers(&self) -> HashMap<ProducerId, LastOfProducer> {
        let producers = self.producers.borrow();
        let last = producers.entries().iter().map(|(id, entry)| match entry.last_batch() {
            Some(last) => (id, LastOfProducer::Data(last.last_offset)),
            None => (id, LastOfProducer::Marker(entry.epoch)),
        });
        last.collect()
    }

    /// Rewrites some segments into one, and puts that in their place.
    async fn clean_group(
        &self,
        group: &[Rc<Segment>],
        rewrite: Rewrite,
        options: &CleanOptions,
    ) -> Result<Rewrite, CleanError> {
        let base_offset = group.first().expect("a group is not empty").base_offset;
        let bytes: u64 = group.iter().map(|segment| segment.size.get()).sum();
        if bytes == 0 {
            // Nothing says which segments an empty one stands for.
            return Ok(rewrite);
        }
        if self.dir.available_bytes() <= bytes {
            // Both are there for a while. Rather none of it than a full disk.
            return Err(CleanError::Overtaken);
        }
        let made = self.make_segment(group, rewrite, options).await;
        let replaced = match made {
            Ok((new, rewrite)) => self.replace(group, new).await.map(|()| rewrite),
            Err(error) => Err(error),
        };
        if replaced.is_err() && self.failure().is_none() {
            self.remove_cleaned(base_offset).await;
        }
        replaced
    }

    async fn make_segment(
        &self,
        group: &[Rc<Segment>],
        mut rewrite: Rewrite,
        options: &CleanOptions,
    ) -> Result<(Rc<Segment>, Rewrite), CleanError> {
        let runtime = self.shard.runtime();
        let base_offset = group.first().expect("a group is not empty").base_offset;
        let end_offset = group.last().expect("a group is not empty").end_offset.get();
        let mut new = NewSegment::create(self, base_offset).await?;
        for segment in group {
            let mut batches = WholeBatches::open(self, segment, 0).await?;
            while let Some(bytes) = batches.next().await? {
                self.check_current(segment)?;
                options.rate.turn(runtime, bytes.len() as u64).await;
                let computed = runtime.compute(COMPACTION, move || {
                    let mut left = Vec::with_capacity(bytes.len());
                    let taken = rewrite.batches(&bytes, &mut left);
                    (rewrite, left, taken)
                });
                let (done, left, taken) = computed.await;
                rewrite = done;
                taken.map_err(|_| batches.damaged("its records are not what its header says"))?;
                options.rate.turn(runtime, left.len() as u64).await;
                new.append(&left).await?;
            }
        }
        if let Some(last) = rewrite.take_last_dropped() {
            new.append(&last).await?;
        }
        let aborted = std::mem::take(&mut rewrite.aborted);
        let new = new.finish(end_offset, &aborted).await?;
        Ok((new, rewrite))
    }

    /// Whether the round may go on with this segment.
    fn check_current(&self, segment: &Segment) -> Result<(), CleanError> {
        match self.may_replace() && !segment.is_retired() {
            true => Ok(()),
            false => Err(CleanError::Overtaken),
        }
    }
}

fn contradicted() -> CleanError {
    let why = "the index of aborted transactions is not what the log's markers say";
    CleanError::Uncleanable(why.to_owned())
}

fn is_fenced(segment: &Rc<Segment>) -> bool {
    !segment.fences.borrow().is_empty()
}

/// How large a segment may become.
struct GroupLimits {
    bytes_max: u64,
}

/// Segments that are rewritten together, in order. One with damage is left as it is.
fn groups<'a>(segments: &'a [Rc<Segment>], limits: &GroupLimits) -> Vec<&'a [Rc<Segment>]> {
    let mut groups = Vec::new();
    let mut at = 0;
    while at < segments.len() {
        if is_fenced(&segments[at]) {
            at += 1;
            continue;
        }
        let base_offset = segments[at].base_offset;
        let mut bytes = 0;
        let fits = |segment: &&Rc<Segment>| {
            bytes += segment.size.get();
            !is_fenced(segment)
                && bytes <= limits.bytes_max
                && segment.end_offset.get() - base_offset <= i64::from(i32::MAX)
        };
        let count = segments[at..].iter().take_while(fits).count().max(1);
        groups.push(&segments[at..at + count]);
        at += count;
    }
    groups
}
