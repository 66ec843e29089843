//! What opening a log reads: its directory, its small files, and its segments.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use ringlog_config::TopicConfig;
use ringlog_runtime::Runtime;
use ringlog_types::{Offset, Uuid};

use crate::directories::checkpoint;
use crate::error::StorageError;
use crate::index::offset_index::OffsetIndex;
use crate::index::time_index::TimeIndex;
use crate::leader_epoch_cache::{EpochEntry, LeaderEpochCache};
use crate::local_offsets::{LocalOffset, parse_offset};
use crate::log::seal;
use crate::names;
use crate::recovery::beyond::Beyond;
use crate::recovery::open::OpenHint;
use crate::recovery::swapped;
use crate::recovery::walk::{self, Fenced, RecoveryReport, Walk};
use crate::segment::scan::Scanner;
use crate::segment::{Fence, Segment, SegmentIndex, Stage};
use crate::shard::StorageShard;

/// Small files larger than this are not what they claim to be.
const SMALL_FILE_BYTES_MAX: u64 = 64 << 20;

/// The files of a partition's directory.
#[derive(Default)]
pub(crate) struct Listing {
    /// Base offset and size of each `.log`.
    pub(crate) segments: Vec<(Offset, u64)>,
    pub(crate) snapshots: BTreeSet<Offset>,
    /// Files with offsets that go before the checkpoints; see [`crate::local_offsets`].
    local_offsets: Vec<(LocalOffset, u64)>,
    /// Base offsets of `.index` files.
    indexes: BTreeSet<Offset>,
    has_epochs: bool,
    has_metadata: bool,
    has_fences: bool,
}

impl Listing {
    /// The number of the newest file with one of the log's offsets; 0 if there is none.
    pub(crate) fn newest_local(&self, which: LocalOffset) -> u64 {
        let numbers = self.local_offsets.iter().filter(|(found, _)| *found == which);
        numbers.map(|(_, number)| *number).max().unwrap_or(0)
    }
}

/// What opening one log needs to know.
pub(crate) struct Opening<'a> {
    pub(crate) shard: &'a StorageShard,
    pub(crate) path: &'a Rc<Path>,
    pub(crate) config: &'a TopicConfig,
    pub(crate) hint: OpenHint,
}

/// What is known of where a segment that is walked ends.
struct Bounds {
    /// See [`Walk::next_base`].
    next_base: Option<Offset>,
    /// See [`Walk::durable_end`].
    durable_end: Offset,
    /// Its index was flushed with what lies below, because it was sealed.
    indexed_end: Offset,
}

impl Opening<'_> {
    fn runtime(&self) -> &Runtime {
        self.shard.runtime()
    }

    /// Lists the directory and removes what was on its way out (`LogLoader`).
    pub(crate) async fn list(&self) -> Result<Listing, StorageError> {
        let runtime = self.runtime();
        swapped::finish(runtime, self.path).await?;
        let mut listing = Listing::default();
        let entries = runtime.read_dir(self.path).await;
        for entry in entries.map_err(StorageError::io("list", self.path))? {
            if entry.is_dir {
                continue;
            }
            let path = self.path.join(&entry.name);
            match names::parse_segment_file(&entry.name) {
                Some((base, names::LOG)) => listing.segments.push((base, entry.len)),
                Some((base, names::INDEX)) => {
                    listing.indexes.insert(base);
                }
                Some((offset, names::SNAPSHOT)) => {
                    listing.snapshots.insert(offset);
                }
                Some((_, suffix))
                    if [names::DELETED, names::TEMPORARY]
                        .iter()
                        .any(|ending| suffix.ends_with(ending)) =>
                {
                    runtime.remove_file(&path).await.map_err(StorageError::io("remove", &path))?;
                }
                _ if entry.name == names::LEADER_EPOCH_CHECKPOINT => listing.has_epochs = true,
                _ if entry.name == names::FENCED_RANGES => listing.has_fences = true,
                _ if entry.name == names::PARTITION_METADATA => listing.has_metadata = true,
                _ => listing.local_offsets.extend(LocalOffset::parse(&entry.name)),
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// Has the offsets in the log's own directory go before the checkpoints'. A file that cannot
    /// be read says that something was lowered, and not how far: everything is read again.
    pub(crate) async fn take_local_offsets(
        &mut self,
        listing: &Listing,
    ) -> Result<(), StorageError> {
        for (which, number) in &listing.local_offsets {
            let path = self.path.join(which.file_name(*number));
            let bytes = self.runtime().read_file(&path, SMALL_FILE_BYTES_MAX).await;
            let offset = parse_offset(&bytes.map_err(StorageError::io("read", &path))?);
            let is_newest = *number == listing.newest_local(*which);
            self.hint.clean = false;
            match (which, offset) {
                (LocalOffset::RecoveryPoint, offset) => {
                    let offset = offset.unwrap_or(0);
                    self.hint.recovery_point = self.hint.recovery_point.min(offset);
                }
                (LocalOffset::LogStart, Some(offset)) if is_newest => {
                    self.hint.log_start_offset = offset;
                }
                (LocalOffset::LogStart, _) => {}
            }
        }
        Ok(())
    }

    async fn read_text(&self, name: &str) -> Result<String, StorageError> {
        let path = self.path.join(name);
        let bytes = self.runtime().read_file(&path, SMALL_FILE_BYTES_MAX).await;
        let bytes = bytes.map_err(StorageError::io("read", &path))?;
        String::from_utf8(bytes).map_err(|_| StorageError::unusable(&path, "it is not text"))
    }

    /// The topic id of the directory, compared with the one the cluster knows.
    pub(crate) async fn topic_id(
        &self,
        listing: &Listing,
        known: Option<Uuid>,
    ) -> Result<Uuid, StorageError> {
        if !listing.has_metadata {
            let id = known.unwrap_or(Uuid::ZERO);
            if !id.is_zero() {
                write_partition_metadata(self.runtime(), self.path, id).await?;
            }
            return Ok(id);
        }
        let path = self.path.join(names::PARTITION_METADATA);
        let text = self.read_text(names::PARTITION_METADATA).await?;
        let id = checkpoint::decode_partition_metadata(&text)
            .map_err(|malformed| StorageError::unusable(&path, malformed.to_string()))?;
        match known {
            Some(known) if known != id => Err(StorageError::unusable(
                self.path,
                format!(
                    "it belongs to another topic of this name (id {id}, the cluster has {known}); \
                     move it away if it is not needed, or, if its partition.metadata is damaged, \
                     put the cluster's id there"
                ),
            )),
            _ => Ok(id),
        }
    }

    pub(crate) async fn epochs(&self, listing: &Listing) -> Result<LeaderEpochCache, StorageError> {
        if !listing.has_epochs {
            return Ok(LeaderEpochCache::default());
        }
        let text = self.read_text(names::LEADER_EPOCH_CHECKPOINT).await?;
        match checkpoint::decode_epochs(&text) {
            Ok(entries) => Ok(LeaderEpochCache::from_entries(entries)),
            Err(malformed) => {
                let path = self.path.join(names::LEADER_EPOCH_CHECKPOINT);
                tracing::warn!(path = %path.display(), %malformed, "made anew from the log");
                Box::pin(self.epochs_of_log(listing)).await
            }
        }
    }

    /// The epochs as the batches have them. They only grow: a segment is walked only if the next
    /// one begins with another epoch than it.
    async fn epochs_of_log(&self, listing: &Listing) -> Result<LeaderEpochCache, StorageError> {
        let (mut entries, mut next_epoch) = (Vec::new(), None);
        for &(base, _) in listing.segments.iter().rev() {
            let path = self.path.join(names::segment_file(base, names::LOG));
            let mut scanner = Scanner::open(self.runtime(), &path).await?;
            let Ok(first) = scanner.header(0).await? else { continue };
            let (mut position, mut epoch) = (0, None);
            while let Ok(header) = scanner.header(position).await? {
                if epoch < Some(header.leader_epoch) {
                    epoch = Some(header.leader_epoch);
                    let start_offset = header.base_offset;
                    entries.push(EpochEntry { epoch: header.leader_epoch, start_offset });
                }
                if next_epoch == Some(first.leader_epoch) {
                    break;
                }
                position += header.size as u64;
            }
            next_epoch = Some(first.leader_epoch);
        }
        entries.sort_by_key(|entry| entry.start_offset);
        entries.dedup_by_key(|entry| entry.epoch);
        let mut epochs = LeaderEpochCache::from_entries(entries);
        epochs.set_changed();
        Ok(epochs)
    }

    /// The offsets that lie in no segment, if one between `segment` and the next is gone of which
    /// other files are left.
    async fn gap_behind(
        &self,
        segment: &Segment,
        next_base: Offset,
        listing: &Listing,
    ) -> Result<Option<Fence>, StorageError> {
        if listing.indexes.range(segment.base_offset + 1..next_base).next().is_none() {
            return Ok(None);
        }
        // What a truncation leaves of files looks the same, but then the offsets are here.
        let mut scanner = Scanner::open(self.runtime(), &segment.path(names::LOG)).await?;
        let (mut position, mut end_offset) = (0, segment.base_offset);
        while let Ok(header) = scanner.header(position).await? {
            position += header.size as u64;
            end_offset = header.next_offset();
        }
        let size = segment.size.get();
        let is_gap = position == size && end_offset < next_base;
        Ok(is_gap.then_some(Fence {
            position: size,
            end_position: size,
            first_offset: end_offset,
            end_offset: next_base,
        }))
    }

    /// Up to where everything was on disk once, by two witnesses: the recovery point, which has no
    /// checksum and may be of another log of the same name, and the newest producer snapshot,
    /// which is written before the recovery point moves to its offset. A clean stop writes the
    /// snapshot of the log's end (Kafka's does too). A third one are the fences that were found
    /// before: what they hide was durable, and an earlier start may have removed the snapshot.
    fn durable_end(&self, listing: &Listing, fences: &[(Offset, Fence)]) -> Offset {
        let fenced_end = fences.iter().map(|(_, fence)| fence.end_offset).max();
        let witnessed = match listing.snapshots.last() {
            Some(&snapshot) if self.hint.clean => snapshot,
            Some(&snapshot) => snapshot.min(self.hint.recovery_point),
            None => 0,
        };
        witnessed.max(fenced_end.unwrap_or(0))
    }

    /// Takes the segments off the end of the list that were begun, perhaps before the one before
    /// them was whole, and have no batch (`log/roll.rs`). If the one before was sealed, its end is
    /// where they begin; then they stay.
    async fn take_unused_segments(
        &self,
        listing: &mut Listing,
    ) -> Result<Vec<Offset>, StorageError> {
        let mut unused = Vec::new();
        while let Some(&(base, _)) = listing.segments.last()
            && listing.segments.len() > 1
            && !self.hint.clean
            && base > self.hint.recovery_point
            && !listing.snapshots.contains(&base)
        {
            if Box::pin(self.has_batch(base)).await? {
                break;
            }
            listing.segments.pop();
            unused.push(base);
        }
        Ok(unused)
    }

    /// Whether there is a batch in a segment, though the first may be damaged. Space prepared for
    /// appends has zeros, or what became of them.
    async fn has_batch(&self, base: Offset) -> Result<bool, StorageError> {
        let segment = Segment::open(self.path, base, 0);
        let mut scanner = Scanner::open(self.runtime(), &segment.path(names::LOG)).await?;
        if scanner.trailing_zeros(0).await? == 0 {
            return Ok(false);
        }
        if scanner.whole_batch(0).await?.is_ok_and(|header| header.base_offset >= base) {
            return Ok(true);
        }
        let landmarks = self.landmarks(&segment, &scanner, 0).await;
        let beyond = Beyond::new(base, landmarks).find(&mut scanner, 0, base, false).await?;
        Ok(beyond.is_some())
    }

    /// Removes what there is of segments that got nothing, newest first.
    async fn remove_unused(&self, unused: &[Offset]) -> Result<(), StorageError> {
        let runtime = self.runtime();
        for &base in unused {
            // The `.log` last: without it nobody looks for the others.
            for suffix in [names::INDEX, names::TIME_INDEX, names::TXN_INDEX, names::LOG] {
                let path = self.path.join(names::segment_file(base, suffix));
                match runtime.remove_file(&path).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StorageError::io("remove", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        if unused.is_empty() {
            return Ok(());
        }
        runtime.sync_dir(self.path).await.map_err(StorageError::io("flush", self.path))
    }

    /// The segments, all sealed but the last, with everything beyond the recovery point checked.
    pub(crate) async fn segments(
        &self,
        listing: &mut Listing,
        fences: &[(Offset, Fence)],
        epochs: &mut LeaderEpochCache,
        report: &mut RecoveryReport,
    ) -> Result<Vec<Rc<Segment>>, StorageError> {
        let now_ms = self.runtime().wall_clock_ms();
        let durable_end = self.durable_end(listing, fences);
        let unused = self.take_unused_segments(listing).await?;
        if listing.segments.is_empty() {
            let base = self.hint.log_start_offset.max(durable_end);
            return Ok(vec![Rc::new(Segment::open(self.path, base, now_ms))]);
        }
        let mut segments = Vec::with_capacity(listing.segments.len());
        for (at, &(base, size)) in listing.segments.iter().enumerate() {
            let next_base = listing.segments.get(at + 1).map(|(base, _)| *base);
            // A recovery point beyond where the next one begins says that this one was sealed. One
            // that is just there may be of an open segment, after a checkpoint or a truncation,
            // that was closed for its age and not sealed any more: its files are not trimmed, and
            // its time index lacks its end.
            let trusted = match next_base {
                Some(next_base) => self.hint.clean || next_base < self.hint.recovery_point,
                None => false,
            };
            let segment = match next_base {
                Some(next_base) if trusted => Segment::sealed(self.path, base, size, next_base),
                _ => {
                    let segment = Segment::open(self.path, base, now_ms);
                    let sealed_end = next_base.filter(|end| listing.snapshots.contains(end));
                    let indexed_end = sealed_end.unwrap_or(0);
                    let bounds = Bounds { next_base, durable_end, indexed_end };
                    Box::pin(self.walk(&segment, bounds, epochs, report)).await?;
                    if let Some(next_base) = next_base {
                        self.seal_recovered(&segment, next_base).await?;
                    }
                    segment
                }
            };
            if let Some(next_base) = next_base
                && let Some(fence) = Box::pin(self.gap_behind(&segment, next_base, listing)).await?
            {
                segment.fences.borrow_mut().push(fence);
                let path = segment.path(names::LOG);
                let reason = "the segment behind it is gone";
                report.fenced.push(Fenced { path, fence, reason });
            }
            segments.push(Rc::new(segment));
        }
        // Not before the others were read: a log that is refused stays as it is.
        self.remove_unused(&unused).await?;
        let newest = segments.last().expect("there is one for each file").clone();
        let end_offset = newest.end_offset.get();
        if newest.fences.borrow().iter().any(|fence| fence.end_position == newest.size.get()) {
            // Damage is at its end. It stays as it is; appends go elsewhere.
            self.seal_recovered(&newest, end_offset).await?;
            segments.push(Rc::new(Segment::open(self.path, end_offset, now_ms)));
        }
        Ok(segments)
    }

    /// The damage that was found before: the base offsets of segments, and their fences.
    pub(crate) async fn known_fences(
        &self,
        listing: &Listing,
    ) -> Result<Vec<(Offset, Fence)>, StorageError> {
        if !listing.has_fences {
            return Ok(Vec::new());
        }
        let path = self.path.join(names::FENCED_RANGES);
        let text = self.read_text(names::FENCED_RANGES).await?;
        checkpoint::decode_fences(&text)
            .map_err(|malformed| StorageError::unusable(&path, malformed.to_string()))
    }

    /// Tells segments of damage that was found before and is not walked over now, and writes down
    /// what was found now.
    pub(crate) async fn fences(
        &self,
        known: Vec<(Offset, Fence)>,
        segments: &[Rc<Segment>],
        report: &RecoveryReport,
    ) -> Result<(), StorageError> {
        let path = self.path.join(names::FENCED_RANGES);
        for (base_offset, fence) in known {
            if let Some((segment, fence)) = place_fence(segments, base_offset, fence)
                && segment.fence_at(fence.first_offset).is_none()
            {
                segment.fences.borrow_mut().push(fence);
            }
        }
        if report.fenced.is_empty() {
            return Ok(());
        }
        write_fences(self.runtime(), &path, segments).await
    }

    /// Brings an open segment to the end of what is whole in its file.
    async fn walk(
        &self,
        segment: &Segment,
        bounds: Bounds,
        epochs: &mut LeaderEpochCache,
        report: &mut RecoveryReport,
    ) -> Result<(), StorageError> {
        let path = segment.path(names::LOG);
        let mut scanner = Scanner::open(self.runtime(), &path).await?;
        if let Ok(first) = scanner.header(0).await? {
            segment.first_timestamp.set(Some(first.max_timestamp));
        }
        let resumed = self.resume_from_index(segment, &mut scanner).await?;
        let recovery_point = if self.hint.clean { Offset::MAX } else { self.hint.recovery_point };
        let landmarks = self.landmarks(segment, &scanner, bounds.indexed_end).await;
        let mut walk = Walk {
            recovery_point,
            durable_end: bounds.durable_end,
            refuse_damage_from: self.hint.refuse_damage_from,
            next_base: bounds.next_base,
            ends_early: !self.config.cleanup_policy.compact,
            beyond: Beyond::new(segment.base_offset, landmarks),
            torn_bytes_max: walk::torn_bytes_max(self.config),
            index_interval_bytes: self.config.index_interval_bytes.max(0) as u64,
            epochs,
            report,
        };
        walk.run(segment, &mut scanner).await?;
        report.work += scanner.work();
        let entries = segment.index.borrow().as_ref().map_or(0, |index| index.offsets.len());
        if !resumed && entries > 0 {
            report.indexes_rebuilt += 1;
        }
        Ok(())
    }

    /// The entries of the `.index` that were flushed before the recovery point moved beyond them,
    /// or before the snapshot of the segment's end was written.
    async fn landmarks(
        &self,
        segment: &Segment,
        scanner: &Scanner,
        indexed_end: Offset,
    ) -> OffsetIndex {
        let path = segment.path(names::INDEX);
        let bytes = self.runtime().read_file(&path, SMALL_FILE_BYTES_MAX).await;
        let mut offsets = OffsetIndex::decode(segment.base_offset, &bytes.unwrap_or_default());
        let believed = if self.hint.clean { Offset::MAX } else { self.hint.recovery_point };
        let believed = believed.max(indexed_end);
        offsets.truncate(believed, scanner.length());
        offsets
    }

    /// Takes the entries of the index files that lie below the recovery point, and moves the
    /// segment to the last of them, if the log agrees with it.
    async fn resume_from_index(
        &self,
        segment: &Segment,
        scanner: &mut Scanner,
    ) -> Result<bool, StorageError> {
        let believed = if self.hint.clean { Offset::MAX } else { self.hint.recovery_point };
        let base = segment.base_offset;
        let runtime = self.runtime();
        let read = |suffix| {
            let path = segment.path(suffix);
            async move { runtime.read_file(&path, SMALL_FILE_BYTES_MAX).await.unwrap_or_default() }
        };
        let mut offsets = OffsetIndex::decode(base, &read(names::INDEX).await);
        let time_bytes = read(names::TIME_INDEX).await;
        let mut times = TimeIndex::decode(base, &time_bytes);
        if !times.is_all_of(&time_bytes) {
            return Ok(false);
        }
        offsets.truncate(believed, scanner.length());
        let Some(last) = offsets.last() else { return Ok(false) };
        let (position, last_offset) =
            (u64::from(last.position), base + i64::from(last.relative_offset));
        let header = match scanner.whole_batch(position).await? {
            Ok(header) if header.last_offset() == last_offset => header,
            _ => return Ok(false),
        };
        let beyond = times.truncate(last_offset + 1);
        // Timestamps below the entry are known by the time index alone, so its end has to be
        // right; and what is left out of it must not be there only because its offset is wrong.
        for (timestamp, offset) in times.last().into_iter().chain(beyond) {
            if !has_timestamp(scanner, &offsets, offset, timestamp).await? {
                return Ok(false);
            }
        }
        segment.max_timestamp.set(times.last());
        segment.index.replace(Some(SegmentIndex { offsets, times }));
        segment.resume_at(position, header.base_offset);
        Ok(true)
    }

    /// Finishes a segment that was recovered though it is not the newest.
    async fn seal_recovered(
        &self,
        segment: &Segment,
        next_base: Offset,
    ) -> Result<(), StorageError> {
        segment.complete_time_index();
        segment.end_offset.set(next_base.max(segment.end_offset.get()));
        let path = segment.path(names::LOG);
        let options =
            ringlog_runtime::OpenOptions { read: true, write: true, ..Default::default() };
        let runtime = self.runtime();
        let file = runtime.open(&path, &options).await.map_err(StorageError::io("open", &path))?;
        segment.write.borrow_mut().file = Some(file);
        seal::trim_files(runtime, segment).await?;
        let mut write = segment.write.borrow_mut();
        write.file = None;
        write.written = segment.size.get();
        drop(write);
        segment.stage.set(Stage::Sealed);
        Ok(())
    }
}

/// Whether the batch that holds `offset` is there and its largest timestamp is this.
async fn has_timestamp(
    scanner: &mut Scanner,
    offsets: &OffsetIndex,
    offset: Offset,
    timestamp: i64,
) -> Result<bool, StorageError> {
    let mut position = u64::from(offsets.lookup(offset));
    while let Ok(header) = scanner.header(position).await? {
        if header.last_offset() >= offset {
            return Ok(header.base_offset <= offset && header.max_timestamp == timestamp);
        }
        position += header.size as u64;
    }
    Ok(false)
}

/// The segment that a fence is in which was written down for the one with that base offset, and how
/// it lies there: of a segment that is gone, between the one before it and the next.
fn place_fence(
    segments: &[Rc<Segment>],
    base_offset: Offset,
    fence: Fence,
) -> Option<(&Rc<Segment>, Fence)> {
    let behind = segments.partition_point(|segment| segment.base_offset <= base_offset);
    let segment = &segments[behind.checked_sub(1)?];
    let (size, end_offset) = (segment.size.get(), segment.end_offset.get());
    if segment.base_offset == base_offset {
        return (fence.end_position <= size).then_some((segment, fence));
    }
    let is_between = behind < segments.len() && fence.end_offset <= end_offset;
    is_between.then_some((segment, Fence { position: size, end_position: size, ..fence }))
}

/// Writes down the fences of all segments.
pub(crate) async fn write_fences(
    runtime: &Runtime,
    path: &Path,
    segments: &[Rc<Segment>],
) -> Result<(), StorageError> {
    let of_segment = |segment: &Rc<Segment>| {
        let fences = segment.fences.borrow().clone();
        fences.into_iter().map(|fence| (segment.base_offset, fence)).collect::<Vec<_>>()
    };
    let fences: Vec<_> = segments.iter().flat_map(of_segment).collect();
    let text = checkpoint::encode_fences(&fences);
    let written = runtime.write_file_atomic(path, text.as_bytes()).await;
    written.map_err(StorageError::io("write", path))
}

/// Writes a partition's `partition.metadata`.
pub(crate) async fn write_partition_metadata(
    runtime: &Runtime,
    directory: &Path,
    topic_id: Uuid,
) -> Result<(), StorageError> {
    let path = directory.join(names::PARTITION_METADATA);
    let text = checkpoint::encode_partition_metadata(topic_id);
    let written = runtime.write_file_atomic(&path, text.as_bytes()).await;
    written.map_err(StorageError::io("write", &path))
}
