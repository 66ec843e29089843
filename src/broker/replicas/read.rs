//! Reading many partitions for one fetch: resolving the names, asking every owning shard once,
//! and waiting for data when there is too little.
//!
//! Nothing here knows the wire format; `handlers/fetch` turns requests into targets and
//! results into a response.

use std::future::Future;
use std::rc::Rc;

use ringlog_config::TopicCompression;
use ringlog_runtime::{Instant, Piece, ShardId};
use ringlog_storage::{AbortedTransaction, Log, ReadError, ReadPlan};
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, Uuid};

use crate::fetch_session::FetchTarget;
use crate::replicas::message_sets::{self, OldReader, Room};
use crate::replicas::partition::{FetchWaiter, Partition};
use crate::replicas::topics::check_leader_epoch;
use crate::shard::Shard;

/// What came of one partition of a fetch.
pub(crate) struct PartitionRead {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable_offset: Offset,
    pub(crate) log_start_offset: Offset,
    /// The epoch and end offset at which the reader's log parts from ours (KIP-595).
    pub(crate) diverging: Option<(LeaderEpoch, Offset)>,
    /// What a reader of committed transactions has to leave out.
    pub(crate) aborted: Vec<AbortedTransaction>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bytes: usize,
    /// Bytes that the client could have had of it, were there room for all of them in the response
    /// and did no batch end behind the limit of its own (`DelayedFetch.tryComplete`).
    available: usize,
    /// Waiting would not bring more: there is more already.
    pub(crate) cut_short: bool,
}

impl PartitionRead {
    pub(crate) fn failed(error: ErrorCode) -> PartitionRead {
        PartitionRead {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            aborted: Vec::new(),
            pieces: Vec::new(),
            bytes: 0,
            available: 0,
            cut_short: false,
        }
    }

    /// Whether the client should hear of this at once, however little it is.
    fn is_urgent(&self) -> bool {
        self.error.is_error() || self.diverging.is_some() || self.cut_short
    }
}

/// The bounds of one fetch.
#[derive(Clone, Copy)]
pub(crate) struct FetchLimits {
    pub(crate) bytes_min: usize,
    pub(crate) bytes_max: usize,
    /// The first partition with data may exceed the limits by its first batch, so that a
    /// consumer gets past any batch (KIP-74).
    pub(crate) whole_first_batch: bool,
    /// Only what no open transaction could still take back.
    pub(crate) read_committed: bool,
    /// Whether the client knows zstd; to others a topic that stores it is closed (KIP-110).
    pub(crate) takes_zstd: bool,
    /// The client reads no batches but these.
    pub(crate) old_reader: Option<OldReader>,
    pub(crate) deadline: Instant,
}

/// A target whose owner is known.
struct Routed {
    slot: usize,
    owner: ShardId,
    item: ReadItem,
}

#[derive(Clone, Copy)]
struct ReadItem {
    topic_id: Uuid,
    partition: i32,
    fetch_offset: Offset,
    bytes_max: usize,
    last_fetched_epoch: LeaderEpoch,
}

impl FetchLimits {
    /// Whether the client gets its answer now.
    fn are_met(&self, reads: &[(usize, PartitionRead)], now: Instant) -> bool {
        let bytes = reads.iter().map(|(_, read)| read.bytes.max(read.available)).sum::<usize>();
        bytes >= self.bytes_min
            || reads.iter().any(|(_, read)| read.is_urgent())
            || now >= self.deadline
    }
}

/// What reading some partitions gave, each with its place in the request.
type Reads = Vec<(usize, PartitionRead)>;

/// Partitions of a fetch, each with its place in the request.
type Items = Vec<(usize, ReadItem)>;

/// What a fetch gave.
pub(crate) struct Fetched {
    /// In the order of the targets.
    pub(crate) reads: Vec<PartitionRead>,
    /// The shard that owns all of the targets, if there is one.
    pub(crate) owner: Option<ShardId>,
}

/// Fetches the targets, waiting for `limits.bytes_min` until the deadline.
pub(crate) async fn fetch(
    shard: &Rc<Shard>,
    targets: &[FetchTarget],
    limits: FetchLimits,
) -> Fetched {
    loop {
        let (failed, routed) = route_all(shard, targets, limits.takes_zstd);
        let mut groups = by_owner(shard, &routed);
        let owner = (failed.is_empty() && groups.len() == 1).then(|| groups[0].0);
        let fetched = if let Some(owner) = owner {
            // The wait happens where the partitions are: that is one message each way.
            let (_, items) = groups.swap_remove(0);
            shard.read_on(owner, move |shard| fetch_here(shard.clone(), items, limits)).await
        } else {
            fetch_there(shard, groups, failed, limits).await
        };
        if let Some(mut reads) = fetched {
            reads.sort_unstable_by_key(|(slot, _)| *slot);
            return Fetched { reads: reads.into_iter().map(|(_, read)| read).collect(), owner };
        }
    }
}

/// A fetch of partitions that are all here. `None` when it has to be routed again: after a wait,
/// one of them is gone.
async fn fetch_here(shard: Rc<Shard>, items: Items, limits: FetchLimits) -> Option<Reads> {
    loop {
        let reads = read_items(shard.clone(), items.clone(), limits).await;
        if limits.are_met(&reads, shard.rt.now()) {
            return Some(reads);
        }
        let waiter = FetchWaiter::default();
        if !register(&shard, &seen_items(&items, &reads), &waiter) {
            continue;
        }
        if let Some(reads) = park(&shard, limits, &waiter, reads).await {
            return Some(reads);
        }
        let is_here =
            |item: &ReadItem| shard.topics.local_partition(&item.topic_id, item.partition);
        if items.iter().any(|(_, item)| is_here(item).is_none()) {
            return None;
        }
    }
}

/// One pass of a fetch whose partitions are on several shards, and the wait if it gave too
/// little. `None` when it has to be done again.
async fn fetch_there(
    shard: &Rc<Shard>,
    groups: Vec<(ShardId, Items)>,
    failed: Reads,
    limits: FetchLimits,
) -> Option<Reads> {
    // Each shard may use its part of the limit.
    let share = FetchLimits { bytes_max: limits.bytes_max / groups.len().max(1), ..limits };
    let mut started = Vec::with_capacity(groups.len());
    for (owner, items) in &groups {
        let items = items.clone();
        let reading = shard.start_on(*owner, move |shard| read_items(shard.clone(), items, share));
        started.push(reading);
    }
    let mut reads = failed;
    for group in started {
        reads.extend(group.await);
    }
    if groups.is_empty() || limits.are_met(&reads, shard.rt.now()) {
        return Some(reads);
    }
    let waiter = FetchWaiter::default();
    match wait_on_all(shard, &groups, &reads, &waiter).await {
        true => park(shard, limits, &waiter, reads).await,
        false => None,
    }
}

/// Waits until one of the partitions moves on. Returns the reads if none did and they were empty;
/// if they were not, they have been dropped meanwhile, because they would pin buffers.
async fn park(
    shard: &Shard,
    limits: FetchLimits,
    waiter: &FetchWaiter,
    reads: Reads,
) -> Option<Reads> {
    let empty_handed = reads.iter().all(|(_, read)| read.bytes == 0).then_some(reads);
    shard.metrics.fetch_parked();
    let left = limits.deadline - shard.rt.now();
    let woken = shard.rt.timeout(left, waiter.given()).await;
    shard.metrics.fetch_unparked();
    match woken {
        Ok(()) => None,
        Err(_) => empty_handed,
    }
}

/// The targets that can be read, and the answers for those that cannot.
fn route_all(shard: &Shard, targets: &[FetchTarget], takes_zstd: bool) -> (Reads, Vec<Routed>) {
    let mut failed = Vec::new();
    let mut routed = Vec::with_capacity(targets.len());
    for (slot, target) in targets.iter().enumerate() {
        match route(shard, slot, target, takes_zstd) {
            Ok(route) => routed.push(route),
            Err(error) => failed.push((slot, PartitionRead::failed(error))),
        }
    }
    (failed, routed)
}

fn route(
    shard: &Shard,
    slot: usize,
    target: &FetchTarget,
    takes_zstd: bool,
) -> Result<Routed, ErrorCode> {
    let topic = shard.topics.find(&target.topic)?;
    let entry = topic.partition(target.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !takes_zstd && matches!(topic.config.compression, TopicCompression::Zstd(_)) {
        return Err(ErrorCode::UnsupportedCompressionType);
    }
    check_leader_epoch(target.current_leader_epoch, entry.leader_epoch)?;
    let item = ReadItem {
        topic_id: topic.id,
        partition: target.partition,
        fetch_offset: target.fetch_offset,
        bytes_max: target.partition_bytes_max,
        last_fetched_epoch: target.last_fetched_epoch,
    };
    Ok(Routed { slot, owner: entry.owner, item })
}

fn by_owner(shard: &Shard, routed: &[Routed]) -> Vec<(ShardId, Items)> {
    let mut groups: Vec<(ShardId, Items)> = Vec::new();
    for Routed { slot, owner, item } in routed {
        match groups.iter_mut().find(|(group, _)| group == owner) {
            Some((_, items)) => items.push((*slot, *item)),
            None => groups.push((*owner, vec![(*slot, *item)])),
        }
    }
    // Other shards first: they work while this one reads its own.
    groups.sort_by_key(|(owner, _)| *owner == shard.id());
    groups
}

/// Reads partitions that this shard owns, within a common limit: what each may take is decided one
/// after the other, what is on disk is then read at once.
async fn read_items(shard: Rc<Shard>, items: Items, limits: FetchLimits) -> Reads {
    let mut left = limits;
    let mut results = Vec::with_capacity(items.len());
    let mut waiting = Vec::new();
    for (slot, item) in items {
        let Some(partition) = shard.topics.local_partition(&item.topic_id, item.partition) else {
            results.push((slot, PartitionRead::failed(ErrorCode::KafkaStorageError)));
            continue;
        };
        if let Some(reader) = limits.old_reader {
            let nothing_yet = left.bytes_max == limits.bytes_max;
            let room = match nothing_yet && reader.sets_no_total() {
                true => FetchLimits { bytes_max: usize::MAX, ..left },
                false => left,
            };
            let read = read_messages(&shard, &partition, item, reader, room).await;
            left.bytes_max = left.bytes_max.saturating_sub(read.bytes);
            left.whole_first_batch &= read.bytes == 0;
            results.push((slot, read));
            continue;
        }
        let (mut read, plan) = plan_one(&partition, item, left).await;
        if let Some(plan) = plan {
            left.bytes_max = left.bytes_max.saturating_sub(plan.bytes());
            left.whole_first_batch &= plan.bytes() == 0;
            if plan.waits() {
                let reading = async move {
                    read_planned(&partition, plan, &mut read).await;
                    (slot, read)
                };
                waiting.push(shard.rt.spawn(reading));
                continue;
            }
            read_planned(&partition, plan, &mut read).await;
        }
        results.push((slot, read));
    }
    for reading in waiting {
        results.push(reading.await);
    }
    results
}

/// Reads a partition for a client of an old version. There is always a whole batch to convert:
/// the client's limits are about messages.
async fn read_messages(
    shard: &Shard,
    partition: &Partition,
    item: ReadItem,
    reader: OldReader,
    left: FetchLimits,
) -> PartitionRead {
    let room = Room {
        partition_bytes_max: item.bytes_max,
        left: left.bytes_max,
        whole_first: left.whole_first_batch,
    };
    let bytes_max = item.bytes_max.min(left.bytes_max).min(message_sets::BYTES_ENOUGH);
    let whole_first_batch = bytes_max > 0 || room.whole_first;
    let any = FetchLimits { bytes_max: usize::MAX, whole_first_batch, ..left };
    let (read, plan) = plan_one(partition, ReadItem { bytes_max, ..item }, any).await;
    match plan {
        Some(plan) => {
            let offset = item.fetch_offset;
            message_sets::read(&shard.rt, partition, reader, offset, (read, plan), room).await
        }
        None => read,
    }
}

/// The answer for one partition but for its records, and what to read of it.
async fn plan_one(
    partition: &Partition,
    item: ReadItem,
    left: FetchLimits,
) -> (PartitionRead, Option<ReadPlan>) {
    if partition.is_offline() {
        return (PartitionRead::failed(ErrorCode::KafkaStorageError), None);
    }
    let log = &partition.log;
    let mut read = PartitionRead {
        high_watermark: partition.high_watermark(),
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: log.log_start_offset(),
        ..PartitionRead::failed(ErrorCode::None)
    };
    match check_position(log, item) {
        Ok(None) => {}
        Ok(diverging) => return (PartitionRead { diverging, ..read }, None),
        Err(error) => return (PartitionRead::failed(error), None),
    }
    let up_to = match left.read_committed {
        true => read.last_stable_offset,
        false => read.high_watermark,
    };
    let bytes_max = item.bytes_max.min(left.bytes_max);
    if item.fetch_offset >= up_to {
        return (read, None);
    }
    if bytes_max == 0 && !left.whole_first_batch {
        // There is something, and no more room for it.
        read.cut_short = left.bytes_max == 0;
        return (read, None);
    }
    let plan = log.plan_read(item.fetch_offset, bytes_max, up_to, left.whole_first_batch).await;
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            return (PartitionRead::failed(read_error_code(partition, &error)), None);
        }
    };
    read.available = item.bytes_max.min(plan.available() as usize);
    if left.read_committed {
        match log.aborted_transactions(item.fetch_offset, &plan).await {
            Ok(aborted) => read.aborted = aborted,
            Err(error) => {
                return (PartitionRead::failed(read_error_code(partition, &error)), None);
            }
        }
    }
    (read, Some(plan))
}

/// Whether the log has what the reader asks for, or at which epoch and end offset the log that it
/// has read parted from this one (`Partition.readRecords`).
fn check_position(log: &Log, item: ReadItem) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let ReadItem { fetch_offset, last_fetched_epoch, .. } = item;
    let end = (last_fetched_epoch >= 0).then(|| log.epoch_end_offset(last_fetched_epoch));
    // An epoch newer than any here is of another log, and nothing in common can be named: the
    // reader has to start over.
    let is_of_another_log = end.is_some_and(|(epoch, offset)| epoch < 0 || offset < 0);
    if is_of_another_log || fetch_offset < log.log_start_offset() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let parts = |&(epoch, end_offset): &(LeaderEpoch, Offset)| {
        epoch < last_fetched_epoch || end_offset < fetch_offset
    };
    match end.filter(parts) {
        None if fetch_offset > log.log_end_offset() => Err(ErrorCode::OffsetOutOfRange),
        diverging => Ok(diverging),
    }
}

pub(crate) async fn read_planned(partition: &Partition, plan: ReadPlan, read: &mut PartitionRead) {
    match partition.log.read_planned(plan).await {
        Ok(records) => {
            read.bytes = records.bytes;
            read.cut_short = records.cut_short;
            partition.metrics.fetched(records.bytes);
            read.pieces = records.pieces;
        }
        Err(error) => *read = PartitionRead::failed(read_error_code(partition, &error)),
    }
}

fn read_error_code(partition: &Partition, error: &ReadError) -> ErrorCode {
    let code = error.error_code();
    if code != ErrorCode::OffsetOutOfRange {
        let name = &partition.topic_partition;
        tracing::warn!(partition = %name, %error, "a read failed");
    }
    code
}

/// What a fetch has seen of each partition it waits for.
fn seen_items(
    items: &[(usize, ReadItem)],
    reads: &[(usize, PartitionRead)],
) -> Vec<(ReadItem, Offset)> {
    let slots = reads.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
    let mut high_watermarks = vec![-1; slots];
    reads.iter().for_each(|(slot, read)| high_watermarks[*slot] = read.high_watermark);
    let seen =
        |(slot, item): &(usize, ReadItem)| (*item, high_watermarks[*slot].max(item.fetch_offset));
    items.iter().map(seen).collect()
}

/// Registers the waiter with every partition that was read. Returns false when one of them has
/// got some data in the meantime.
async fn wait_on_all(
    shard: &Rc<Shard>,
    groups: &[(ShardId, Items)],
    reads: &[(usize, PartitionRead)],
    waiter: &FetchWaiter,
) -> bool {
    let mut started = Vec::new();
    for (owner, items) in groups {
        let seen = seen_items(items, reads);
        let waiter = waiter.clone();
        let registered = shard.start_on(*owner, move |shard| {
            let registered = register(shard, &seen, &waiter);
            std::future::ready(registered)
        });
        started.push(registered);
    }
    all(started).await
}

fn register(shard: &Shard, seen: &[(ReadItem, Offset)], waiter: &FetchWaiter) -> bool {
    seen.iter().all(|(item, seen)| {
        let partition = shard.topics.local_partition(&item.topic_id, item.partition);
        partition.is_some_and(|partition| partition.wait_beyond(*seen, waiter))
    })
}

async fn all(answers: Vec<impl Future<Output = bool>>) -> bool {
    let mut all = true;
    for answer in answers {
        all &= answer.await;
    }
    all
}
