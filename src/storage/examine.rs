//! Damage that is met while a log is open: a look at a whole segment.
//!
//! Sealed segments are not read when a log is opened, nor is an open one below its last index
//! entry. Where a reader meets something that cannot be there, it may be the index that is wrong,
//! or a batch: every batch is then checked as in recovery, the damaged ones are fenced, so that
//! those around them can be read, and the indexes made anew.

use std::rc::Rc;

use ringlog_types::Offset;

use crate::error::ReadError;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log::Log;
use crate::names;
use crate::recovery::{RecoveryReport, Walk};
use crate::scan::Scanner;
use crate::seal;
use crate::segment::{Segment, Stage};
use crate::tail::block_floor;

impl Log {
    /// Checks every batch of the segment that is on disk. Returns whether that was done now; once
    /// is enough as long as the index stays loaded.
    pub(crate) async fn examine(&self, segment: &Rc<Segment>) -> Result<bool, ReadError> {
        if segment.examined.replace(true) {
            return Ok(false);
        }
        let runtime = self.shard.runtime();
        let path = segment.path(names::LOG);
        let sealed = segment.stage.get() == Stage::Sealed;
        let mut scanner = Scanner::open(runtime, &path).await?;
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
            index_interval_bytes: self.config().index_interval_bytes.max(0) as u64,
            epochs: &mut LeaderEpochCache::default(),
            report: &mut report,
        };
        walk.run(&found, &mut scanner).await?;
        for fenced in &report.fenced {
            tracing::error!(partition = %self.topic_partition, path = %path.display(),
                fence = ?fenced.fence, reason = fenced.reason,
                "durable records are damaged; their offsets cannot be read");
        }
        if sealed {
            found.complete_time_index();
            segment.max_timestamp.set(found.max_timestamp.get());
        }
        take_over(segment, &found);
        if sealed && let Err(error) = seal::rewrite_indexes(runtime, segment).await {
            // They are made anew in memory, and again when they are loaded the next time.
            tracing::warn!(path = %path.display(), %error, "its indexes cannot be repaired");
        }
        Ok(true)
    }
}

/// Gives a segment the fences and indexes of a walk over its first part.
fn take_over(segment: &Segment, found: &Segment) {
    for fence in found.fences.borrow().iter() {
        if segment.fence_at(fence.first_offset).is_none() {
            segment.fences.borrow_mut().push(*fence);
        }
    }
    let Some(mut made) = found.index.take() else { return };
    if let Some(known) = segment.index.borrow().as_ref() {
        made.offsets.extend_from(&known.offsets, found.size.get());
        made.times.extend_from(&known.times, found.end_offset.get());
    }
    segment.index.replace(Some(made));
    let mut write = segment.write.borrow_mut();
    write.index_entries_written = 0;
    write.time_entries_written = 0;
}
