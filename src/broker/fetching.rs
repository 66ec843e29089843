//! Reading many partitions for one fetch: resolving the names, asking every owning shard once,
//! and waiting for data when there is too little.
//!
//! Nothing here knows the wire format; `handlers/fetch.rs` turns requests into targets and
//! results into a response.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_runtime::{Instant, Piece, ShardId};
use ringlog_storage::{ReadError, ReadPlan};
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, Uuid};
use tokio::sync::Notify;

use crate::fetch_session::{FetchTarget, TopicRef};
use crate::partition::{FetchWaiter, Partition};
use crate::shard::Shard;
use crate::topics::TopicEntry;

/// What came of one partition of a fetch.
pub(crate) struct PartitionRead {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
    /// The epoch and end offset at which the reader's log parts from ours (KIP-595).
    pub(crate) diverging: Option<(LeaderEpoch, Offset)>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bytes: usize,
    /// Waiting would not bring more: there is more already.
    pub(crate) cut_short: bool,
}

impl PartitionRead {
    pub(crate) fn failed(error: ErrorCode) -> PartitionRead {
        PartitionRead {
            error,
            high_watermark: -1,
            log_start_offset: -1,
            diverging: None,
            pieces: Vec::new(),
            bytes: 0,
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

/// Fetches the targets, waiting for `limits.bytes_min` until the deadline. The results are in the
/// order of the targets.
pub(crate) async fn fetch(
    shard: &Rc<Shard>,
    targets: &[FetchTarget],
    limits: FetchLimits,
) -> Vec<PartitionRead> {
    loop {
        let (results, routed) = read_all(shard, targets, limits).await;
        let bytes: usize = results.iter().map(|read| read.bytes).sum();
        let urgent = results.iter().any(PartitionRead::is_urgent);
        let now = shard.rt.now();
        if bytes >= limits.bytes_min || urgent || targets.is_empty() || now >= limits.deadline {
            return results;
        }
        let waiter: FetchWaiter = Arc::new(Notify::new());
        if !wait_on_all(shard, &routed, &results, &waiter).await {
            continue;
        }
        // What was read so far is read again later; it must not pin buffers meanwhile.
        let empty_handed = (bytes == 0).then_some(results);
        shard.metrics.fetch_parked();
        let woken = shard.rt.timeout(limits.deadline - now, waiter.notified()).await;
        shard.metrics.fetch_unparked();
        if let (Err(_), Some(results)) = (woken, empty_handed) {
            return results;
        }
    }
}

/// One pass over all targets.
async fn read_all(
    shard: &Rc<Shard>,
    targets: &[FetchTarget],
    limits: FetchLimits,
) -> (Vec<PartitionRead>, Vec<Routed>) {
    let mut results: Vec<Option<PartitionRead>> = Vec::with_capacity(targets.len());
    let mut routed = Vec::with_capacity(targets.len());
    for (slot, target) in targets.iter().enumerate() {
        match route(shard, slot, target) {
            Ok(route) => {
                routed.push(route);
                results.push(None);
            }
            Err(error) => results.push(Some(PartitionRead::failed(error))),
        }
    }
    let groups = by_owner(shard, &routed);
    // Each shard may use its part of the limit; with one shard involved, all of it.
    let bytes_max = limits.bytes_max / groups.len().max(1);
    let mut started = Vec::with_capacity(groups.len());
    for (owner, items) in groups {
        let whole_first_batch = limits.whole_first_batch;
        let reads = shard.start_on(owner, move |shard| {
            read_items(shard.clone(), items, bytes_max, whole_first_batch)
        });
        started.push(reads);
    }
    for reads in started {
        for (slot, read) in reads.await {
            results[slot] = Some(read);
        }
    }
    let results = results.into_iter().map(|read| read.expect("every slot was read")).collect();
    (results, routed)
}

fn route(shard: &Shard, slot: usize, target: &FetchTarget) -> Result<Routed, ErrorCode> {
    let topic = find_topic(shard, &target.topic)?;
    let entry = topic.partition(target.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
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

/// The topic a request names, or the error for one this node does not know.
pub(crate) fn find_topic(shard: &Shard, topic: &TopicRef) -> Result<Rc<TopicEntry>, ErrorCode> {
    match topic {
        TopicRef::Name(name) => {
            shard.topics.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
        TopicRef::Id(id) => shard.topics.by_id(id).ok_or(ErrorCode::UnknownTopicId),
    }
}

/// Fences a client that knows an older leader epoch, and sends one that knows a newer one to
/// refresh (KIP-320). -1 means the client does not say.
pub(crate) fn check_leader_epoch(
    client: LeaderEpoch,
    current: LeaderEpoch,
) -> Result<(), ErrorCode> {
    match client {
        client if client < 0 || client == current => Ok(()),
        client if client < current => Err(ErrorCode::FencedLeaderEpoch),
        _ => Err(ErrorCode::UnknownLeaderEpoch),
    }
}

fn by_owner(shard: &Shard, routed: &[Routed]) -> Vec<(ShardId, Vec<(usize, ReadItem)>)> {
    let mut groups: Vec<(ShardId, Vec<(usize, ReadItem)>)> = Vec::new();
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
async fn read_items(
    shard: Rc<Shard>,
    items: Vec<(usize, ReadItem)>,
    bytes_max: usize,
    mut whole_first_batch: bool,
) -> Vec<(usize, PartitionRead)> {
    let mut left = bytes_max;
    let mut results = Vec::with_capacity(items.len());
    let mut waiting = Vec::new();
    for (slot, item) in items {
        let Some(partition) = shard.local_partition(&item.topic_id, item.partition) else {
            results.push((slot, PartitionRead::failed(ErrorCode::KafkaStorageError)));
            continue;
        };
        let (mut read, plan) = plan_one(&partition, item, left, whole_first_batch).await;
        if let Some(plan) = plan {
            left = left.saturating_sub(plan.bytes());
            whole_first_batch &= plan.bytes() == 0;
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

/// The answer for one partition but for its records, and what to read of it.
async fn plan_one(
    partition: &Partition,
    item: ReadItem,
    left: usize,
    whole_first_batch: bool,
) -> (PartitionRead, Option<ReadPlan>) {
    if partition.is_offline() {
        return (PartitionRead::failed(ErrorCode::KafkaStorageError), None);
    }
    let log = &partition.log;
    let mut read = PartitionRead {
        high_watermark: partition.high_watermark(),
        log_start_offset: log.log_start_offset(),
        ..PartitionRead::failed(ErrorCode::None)
    };
    if item.last_fetched_epoch >= 0 {
        let (epoch, end_offset) = log.epoch_end_offset(item.last_fetched_epoch);
        if epoch < item.last_fetched_epoch || end_offset < item.fetch_offset {
            read.diverging = Some((epoch, end_offset));
            return (read, None);
        }
    }
    if item.fetch_offset < read.log_start_offset || item.fetch_offset > log.log_end_offset() {
        return (PartitionRead::failed(ErrorCode::OffsetOutOfRange), None);
    }
    let bytes_max = item.bytes_max.min(left);
    if item.fetch_offset >= read.high_watermark || (bytes_max == 0 && !whole_first_batch) {
        return (read, None);
    }
    let plan =
        log.plan_read(item.fetch_offset, bytes_max, read.high_watermark, whole_first_batch).await;
    match plan {
        Ok(plan) => (read, Some(plan)),
        Err(error) => (PartitionRead::failed(read_error_code(partition, &error)), None),
    }
}

async fn read_planned(partition: &Partition, plan: ReadPlan, read: &mut PartitionRead) {
    match partition.log.read_planned(plan).await {
        Ok(records) => {
            read.bytes = records.bytes;
            read.cut_short = records.cut_short;
            // How many records there are is not known without reading them.
            partition.metrics.fetched(0u64, records.bytes);
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

/// Registers the waiter with every partition that was read without data. Returns false when one
/// of them has got some in the meantime.
async fn wait_on_all(
    shard: &Rc<Shard>,
    routed: &[Routed],
    results: &[PartitionRead],
    waiter: &FetchWaiter,
) -> bool {
    let mut started = Vec::new();
    for (owner, items) in by_owner(shard, routed) {
        let seen: Vec<(ReadItem, Offset)> = items
            .into_iter()
            .map(|(slot, item)| (item, results[slot].high_watermark.max(item.fetch_offset)))
            .collect();
        let waiter = waiter.clone();
        let registered = shard.start_on(owner, move |shard| {
            let registered = register(shard, &seen, &waiter);
            std::future::ready(registered)
        });
        started.push(registered);
    }
    all(started).await
}

fn register(shard: &Shard, seen: &[(ReadItem, Offset)], waiter: &FetchWaiter) -> bool {
    seen.iter().all(|(item, seen)| {
        let partition = shard.local_partition(&item.topic_id, item.partition);
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
