//! Producer state from disk: the newest snapshot that fits, and the batches behind it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::rc::Rc;

use ringlog_types::{Offset, TimestampMs};

use crate::error::StorageError;
use crate::index::offset_index::OffsetIndex;
use crate::names;
use crate::producers::snapshot;
use crate::producers::state::ProducerState;
use crate::recovery::beyond::Beyond;
use crate::segment::Segment;
use crate::segment::batch_header::{self, BatchHeader};
use crate::segment::scan::Scanner;
use crate::shard::StorageShard;

/// A snapshot larger than this is left out, as if it were damaged: it would be of millions of
/// producers, many times as many as are remembered.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// A log whose producers are to be found.
pub(crate) struct Replay<'a> {
    pub(crate) shard: &'a StorageShard,
    pub(crate) directory: &'a Path,
    pub(crate) segments: &'a [Rc<Segment>],
}

/// What the disk says of producers.
pub(crate) struct Loaded {
    pub(crate) state: ProducerState,
    /// Offsets of the snapshots there are.
    pub(crate) snapshots: BTreeSet<Offset>,
    /// The newest of them cannot be read.
    pub(crate) damaged: bool,
}

impl Replay<'_> {
    /// The producers at `end`, and the snapshots that are left. Snapshots of what lies beyond are
    /// removed; a damaged one is made up for by an older one and the batches behind that, and
    /// stays until there is a newer one, because its name says how far the log once reached.
    pub(crate) async fn load(
        &self,
        mut snapshots: BTreeSet<Offset>,
        end: Offset,
        clean: bool,
    ) -> Result<Loaded, StorageError> {
        for beyond in snapshots.split_off(&(end + 1)) {
            self.remove(beyond).await?;
        }
        let now_ms = self.shard.runtime().wall_clock_ms();
        let (mut state, mut from, mut damaged) = (ProducerState::default(), None, false);
        for &newest in snapshots.iter().rev() {
            let path = self.path(newest);
            let decoded = match self.shard.runtime().read_file(&path, SNAPSHOT_BYTES_MAX).await {
                Ok(bytes) => snapshot::decode(&bytes),
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err("too large"),
                Err(error) => return Err(StorageError::io("read", &path)(error)),
            };
            match decoded {
                Ok(decoded) => {
                    (state, from) = (decoded, Some(newest));
                    let stat = self.shard.runtime().stat(&path).await;
                    let stat = stat.map_err(StorageError::io("stat", &path))?;
                    state.date(stat.modified_ms, now_ms);
                    break;
                }
                Err(reason) => {
                    tracing::warn!(path = %path.display(), reason, "snapshot cannot be used");
                    damaged = true;
                }
            }
        }
        if from.is_none() && clean && !damaged {
            // As Kafka: not worth reading everything for producers of long ago.
            return Ok(Loaded { state, snapshots, damaged });
        }
        let from = from.unwrap_or(0);
        for segment in self.segments {
            if segment.end_offset.get() > from && segment.size.get() > 0 {
                self.replay(segment, from, &mut state, now_ms).await?;
            }
        }
        Ok(Loaded { state, snapshots, damaged })
    }

    fn path(&self, offset: Offset) -> std::path::PathBuf {
        self.directory.join(names::segment_file(offset, names::SNAPSHOT))
    }

    async fn remove(&self, offset: Offset) -> Result<(), StorageError> {
        let path = self.path(offset);
        self.shard.runtime().remove_file(&path).await.map_err(StorageError::io("remove", &path))
    }

    fn beyond(&self, segment: &Segment) -> Beyond {
        let index = segment.index.borrow();
        let landmarks = index.as_ref().map(|index| index.offsets.clone());
        let base_offset = segment.base_offset;
        Beyond::new(base_offset, landmarks.unwrap_or_else(|| OffsetIndex::new(base_offset)))
    }

    /// Applies the batches of a segment from offset `from` on. When they were written is not known:
    /// their producers are taken to have written now.
    async fn replay(
        &self,
        segment: &Segment,
        from: Offset,
        state: &mut ProducerState,
        now_ms: TimestampMs,
    ) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        let mut scanner = Scanner::open(runtime, &segment.path(names::LOG)).await?;
        let start = segment.index.borrow().as_ref().map(|index| index.offsets.lookup(from));
        let mut position = start.map_or(0, u64::from);
        let starts_below =
            |header: BatchHeader| header.base_offset <= from.max(segment.base_offset);
        if position > 0 && !scanner.whole_batch(position).await?.is_ok_and(starts_below) {
            // The index is wrong.
            position = 0;
        }
        let mut beyond = self.beyond(segment);
        let mut expected = segment.base_offset;
        while position < segment.size.get() {
            if let Some(fence) = segment.fence_behind(position)
                && fence.position == position
                && fence.end_position > position
            {
                (position, expected) = (fence.end_position, fence.end_offset);
                continue;
            }
            let (at, header) = match scanner.whole_batch(position).await? {
                Ok(header) => (position, header),
                // A sealed segment was not walked: its damage is not known yet.
                Err(_) => {
                    let found = Box::pin(beyond.find(&mut scanner, position, expected, true));
                    let Some(found) = found.await? else { break };
                    found
                }
            };
            if at >= segment.size.get() {
                break;
            }
            (position, expected) = (at + header.size as u64, header.next_offset());
            let Some(batch) = header.producer_batch() else { continue };
            if header.base_offset < from {
                continue;
            }
            if !header.is_control() {
                state.apply(&batch, now_ms);
                continue;
            }
            let bytes = scanner.bytes(at, header.size as u64).await?;
            if let Some(coordinator_epoch) = batch_header::coordinator_epoch(bytes) {
                state.apply_marker(
                    batch.producer_id,
                    batch.producer_epoch,
                    coordinator_epoch,
                    batch.max_timestamp,
                    now_ms,
                );
            }
        }
        Ok(())
    }
}
