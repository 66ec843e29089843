//! Producer state from disk: the newest snapshot that fits, and the batches behind it.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use ringlog_types::Offset;

use crate::batch_header;
use crate::error::StorageError;
use crate::names;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::scan::Scanner;
use crate::segment::Segment;
use crate::shard::StorageShard;

/// A snapshot larger than this is not one: it would be of a million producers.
const SNAPSHOT_BYTES_MAX: u64 = 64 << 20;

/// A log whose producers are to be found.
pub(crate) struct Replay<'a> {
    pub(crate) shard: &'a StorageShard,
    pub(crate) directory: &'a Path,
    pub(crate) segments: &'a [Rc<Segment>],
}

impl Replay<'_> {
    /// The producers at `end`, and the snapshots that are left. Snapshots of what lies beyond, or
    /// that are damaged, are removed.
    pub(crate) async fn load(
        &self,
        mut snapshots: BTreeSet<Offset>,
        end: Offset,
        clean: bool,
    ) -> Result<(ProducerState, BTreeSet<Offset>), StorageError> {
        for beyond in snapshots.split_off(&(end + 1)) {
            self.remove(beyond).await?;
        }
        let (mut state, mut from) = (ProducerState::default(), None);
        while let Some(&newest) = snapshots.last() {
            let path = self.path(newest);
            let bytes = self.shard.runtime().read_file(&path, SNAPSHOT_BYTES_MAX).await;
            let bytes = bytes.map_err(StorageError::io("read", &path))?;
            match producer_snapshot::decode(&bytes) {
                Ok(decoded) => {
                    (state, from) = (decoded, Some(newest));
                    break;
                }
                Err(reason) => {
                    tracing::warn!(path = %path.display(), reason, "snapshot is damaged");
                    self.remove(newest).await?;
                    snapshots.remove(&newest);
                }
            }
        }
        if from.is_none() && clean {
            // As Kafka: not worth reading everything for producers of long ago.
            return Ok((state, snapshots));
        }
        let from = from.unwrap_or(0);
        for segment in self.segments {
            if segment.end_offset.get() > from && segment.size.get() > 0 {
                self.replay(segment, from, &mut state).await?;
            }
        }
        Ok((state, snapshots))
    }

    fn path(&self, offset: Offset) -> std::path::PathBuf {
        self.directory.join(names::segment_file(offset, names::SNAPSHOT))
    }

    async fn remove(&self, offset: Offset) -> Result<(), StorageError> {
        let path = self.path(offset);
        self.shard.runtime().remove_file(&path).await.map_err(StorageError::io("remove", &path))
    }

    /// Applies the batches of a segment from offset `from` on.
    async fn replay(
        &self,
        segment: &Segment,
        from: Offset,
        state: &mut ProducerState,
    ) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        let mut scanner = Scanner::open(runtime, &segment.path(names::LOG)).await?;
        let start = segment.index.borrow().as_ref().map(|index| index.offsets.lookup(from));
        let mut position = start.map_or(0, u64::from);
        while position < segment.size.get() {
            if let Some(fence) = segment.fence_behind(position)
                && fence.position == position
            {
                position = fence.end_position;
                continue;
            }
            let Ok(header) = scanner.header(position).await? else { break };
            let at = position;
            position += header.size as u64;
            let Some(batch) = header.producer_batch() else { continue };
            if header.base_offset < from {
                continue;
            }
            if !header.is_control() {
                state.apply(&batch);
                continue;
            }
            let bytes = scanner.bytes(at, header.size as u64).await?;
            if let Some(coordinator_epoch) = batch_header::coordinator_epoch(bytes) {
                state.apply_marker(
                    batch.producer_id,
                    batch.producer_epoch,
                    coordinator_epoch,
                    batch.max_timestamp,
                );
            }
        }
        Ok(())
    }
}
