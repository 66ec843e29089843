//! Damage that is met while a log is open: a look at a whole segment.
//!
//! Sealed segments are not read when a log is opened, nor is an open one below its last index
//! entry. Where a reader meets something that cannot be there, it may be the index that is wrong,
//! or a batch: every batch is then checked as in recovery, the damaged ones are fenced, so that
//! those around them can be read, and the indexes made anew. So are indexes that are missing.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringlog_types::Offset;

use crate::error::{ReadError, StorageError};
use crate::index::offset_index::{INDEX_BYTES_MAX, OffsetIndex};
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log::Log;
use crate::log::seal;
use crate::names;
use crate::recovery::beyond::Beyond;
use crate::recovery::walk::{Fenced, RecoveryReport, Walk};
use crate::segment::scan::Scanner;
use crate::segment::tail::block_floor;
use crate::segment::{Examination, Fence, Segment, Stage};

impl Log {
    /// Checks every batch of the segment that is on disk. Returns whether that was done since the
    /// caller looked; once is enough as long as the index stays loaded.
    pub(crate) async fn examine(&self, segment: &Rc<Segment>) -> Result<bool, ReadError> {
        loop {
            match segment.examination.get() {
                Examination::Done => return Ok(false),
                Examination::None => {
                    let under_way = UnderWay::begin(segment);
                    // Rare, and large: it is not to be part of every read's future.
                    Box::pin(self.check_batches(segment)).await?;
                    under_way.end();
                    return Ok(true);
                }
                Examination::UnderWay => {
                    let mut registration = segment.examination_ended.registration();
                    let ended = |context: &mut Context<'_>| match segment.examination.get() {
                        Examination::UnderWay => {
                            registration.register(context);
                            Poll::Pending
                        }
                        _ => Poll::Ready(()),
                    };
                    poll_fn(ended).await;
                    if segment.examination.get() == Examination::Done {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// The same for a segment whose chain of heads breaks at `position`. If it was examined before,
    /// the damage may be newer than that: it is examined once more for each such place.
    pub(crate) async fn examine_again(
        &self,
        segment: &Rc<Segment>,
        position: u64,
    ) -> Result<(), ReadError> {
        let is_done = segment.examination.get() == Examination::Done;
        if segment.breaks_anew(position) && is_done {
            segment.examination.set(Examination::None);
        }
        self.examine(segment).await.map(drop)
    }

    /// Where batches start by the segment's index, in memory or on disk.
    async fn landmarks(&self, segment: &Segment) -> OffsetIndex {
        if let Some(index) = segment.index.borrow().as_ref() {
            return index.offsets.clone();
        }
        let path = segment.path(names::INDEX);
        let bytes = self.shard.runtime().read_file(&path, INDEX_BYTES_MAX).await;
        let mut offsets = OffsetIndex::decode(segment.base_offset, &bytes.unwrap_or_default());
        offsets.truncate(segment.end_offset.get(), segment.size.get());
        offsets
    }

    async fn check_batches(&self, segment: &Rc<Segment>) -> Result<(), ReadError> {
        if segment.is_moving() {
            return Err(StorageError::Truncated { offset: segment.base_offset }.into());
        }
        let scanner = Scanner::open(self.shard.runtime(), &segment.path(names::LOG)).await;
        let scanner = match scanner {
            Ok(scanner) => scanner,
            Err(error) => return Err(self.unopened(segment, error).await),
        };
        let examined = self.walk_batches(segment, scanner).await?;
        self.take_over(segment, examined).await;
        Ok(())
    }

    /// Walks over what is on disk of a segment, and changes nothing.
    pub(crate) async fn walk_batches(
        &self,
        segment: &Rc<Segment>,
        mut scanner: Scanner,
    ) -> Result<Examined, ReadError> {
        let generation = segment.generation();
        if segment.is_moving() || segment.is_retired() {
            return Err(StorageError::Truncated { offset: segment.base_offset }.into());
        }
        let sealed = segment.stage.get() == Stage::Sealed;
        scanner.limit(match sealed {
            true => segment.size.get(),
            // The last block may be written again.
            false => block_floor(segment.write.borrow().written),
        });
        let found = Segment::open(&self.path.borrow(), segment.base_offset, 0);
        let mut report = RecoveryReport::default();
        let mut walk = Walk {
            recovery_point: Offset::MAX,
            durable_end: 0,
            refuse_damage_from: None,
            next_base: sealed.then(|| segment.end_offset.get()),
            ends_early: false,
            beyond: Beyond::new(segment.base_offset, self.landmarks(segment).await),
            torn_bytes_max: 0,
            index_interval_bytes: self.config().index_interval_bytes.max(0) as u64,
            epochs: &mut LeaderEpochCache::default(),
            report: &mut report,
        };
        walk.run(&found, &mut scanner).await?;
        // Whoever repairs what is out of the log makes files that are nobody's.
        if segment.generation() != generation || !self.has_segment(segment) {
            return Err(StorageError::Truncated { offset: segment.base_offset }.into());
        }
        let mut damage = report.fenced;
        let (position, first_offset) = (found.size.get(), found.end_offset.get());
        if sealed && position < segment.size.get() && first_offset < segment.end_offset.get() {
            // Zeros behind all of a segment's offsets are space that Kafka prepared.
            let (end_position, end_offset) = (segment.size.get(), segment.end_offset.get());
            let fence = Fence { position, end_position, first_offset, end_offset };
            let (path, reason) = (segment.path(names::LOG), "the file ends early");
            damage.push(Fenced { path, fence, reason });
        }
        Ok(Examined { found, damage, sealed })
    }

    /// Gives a segment the fences and indexes that a walk over it found.
    pub(crate) async fn take_over(&self, segment: &Rc<Segment>, examined: Examined) {
        self.cleaning.wait_replaced().await;
        if segment.is_retired() {
            return;
        }
        let _repair = self.cleaning.begin_repair();
        let Examined { found, damage, sealed } = examined;
        let is_news = self.note_damage(segment, &damage);
        if sealed {
            found.complete_time_index();
            segment.max_timestamp.set(found.max_timestamp.get());
        }
        take_over_indexes(segment, &found);
        if is_news {
            self.write_down_fences().await;
        }
        if sealed && let Err(error) = seal::rewrite_indexes(self.shard.runtime(), segment).await {
            let path = segment.path(names::LOG);
            // They are made anew in memory, and again when they are loaded the next time.
            tracing::warn!(path = %path.display(), %error, "its indexes cannot be repaired");
        }
    }
}

/// What a walk over a segment found.
pub(crate) struct Examined {
    /// The segment as it is on disk.
    found: Segment,
    damage: Vec<Fenced>,
    /// All of it was looked at.
    sealed: bool,
}

impl Examined {
    /// Whether there is damage in it that is not fenced yet.
    pub(crate) fn has_news(&self, segment: &Segment) -> bool {
        self.damage.iter().any(|found| segment.fence_at(found.fence.first_offset).is_none())
    }
}

/// An examination that is under way; when it fails or is given up, the next one begins anew.
struct UnderWay<'a>(&'a Segment);

impl<'a> UnderWay<'a> {
    fn begin(segment: &'a Segment) -> UnderWay<'a> {
        segment.examination.set(Examination::UnderWay);
        UnderWay(segment)
    }

    fn end(self) {
        self.0.examination.set(Examination::Done);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.0.examination.get() == Examination::UnderWay {
            self.0.examination.set(Examination::None);
        }
        self.0.examination_ended.wake_all();
    }
}

/// Gives a segment the indexes of a walk over its first part.
fn take_over_indexes(segment: &Segment, found: &Segment) {
    let Some(mut made) = found.index.take() else { return };
    let write = segment.write.borrow();
    if let Some(known) = segment.index.borrow().as_ref() {
        // Entries of what is in memory alone are our own. Those of the last block, which was not
        // looked at, may be from the damaged file: they go.
        made.offsets.extend_from(&known.offsets, write.written.max(found.size.get()));
        made.times.extend_from(&known.times, write.written_offset.max(found.end_offset.get()));
    }
    segment.replace_index(made);
    if segment.stage.get() != Stage::Open {
        // Its last entry was made when it was closed, and may be among those that went.
        segment.complete_time_index();
    }
}
