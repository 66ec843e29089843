//! Reading partitions of this shard for one fetch, and waiting for data when there is too little.
//!
//! Nothing here knows the wire format or another shard: `handlers/fetch` turns requests into
//! targets, asks every owning shard once, and turns the results into a response.

use std::rc::Rc;
use std::time::Duration;

use ringlog_runtime::{Instant, Piece, WorkOwner};
use ringlog_storage::{AbortedTransaction, EpochEndOffset, Log, ReadError, ReadPlan};
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, Uuid};

use crate::network::lane::Standing;
use crate::replicas::Replicas;
use crate::replicas::message_sets::{self, Converter, OldReader, Room};
use crate::replicas::partition::{FetchWaiter, Partition};

/// The outcome of one partition of a fetch.
pub(crate) struct PartitionRead {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable_offset: Offset,
    pub(crate) log_start_offset: Offset,
    /// The epoch and end offset at which the reader's log parts from ours (KIP-595).
    pub(crate) diverging: Option<EpochEndOffset>,
    /// The transactions that a reader of committed ones has to leave out.
    pub(crate) aborted: Vec<AbortedTransaction>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bytes: usize,
    /// Bytes that the client could have had of it, were there room for all of them in the response
    /// and did no batch end behind the limit of its own (`DelayedFetch.tryComplete`).
    available: usize,
    /// Waiting would not bring more: there is more already.
    pub(crate) cut_short: bool,
    /// Damage is passed over.
    pub(crate) passes_damage: bool,
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
            passes_damage: false,
        }
    }

    /// Whether the client should hear of this at once, however little it is.
    fn is_urgent(&self) -> bool {
        self.error.is_error() || self.diverging.is_some() || self.cut_short
    }
}

/// How often a read that waits for memory looks for it.
const MEMORY_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// A read waits for memory at least so long: its client would ask again at once.
const MEMORY_WAIT_MIN: Duration = Duration::from_millis(100);

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
    /// Damaged records are passed over, unless their topic says otherwise. A replica must have all
    /// or none: it never passes over any.
    pub(crate) passes_damage: bool,
    /// The client reads no batches but these.
    pub(crate) old_reader: Option<OldReader>,
    pub(crate) deadline: Instant,
    /// How the client's peer stands with the node: who is not known to take its answers leaves some
    /// of the memory to others.
    pub(crate) standing: Standing,
    /// In whose name what is read is converted.
    pub(crate) work_owner: WorkOwner,
}

#[derive(Clone, Copy)]
pub(crate) struct ReadItem {
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: Offset,
    pub(crate) bytes_max: usize,
    pub(crate) last_fetched_epoch: LeaderEpoch,
}

impl FetchLimits {
    /// Whether the client gets its answer now.
    pub(crate) fn are_met(&self, reads: &[(usize, PartitionRead)], now: Instant) -> bool {
        let bytes = reads.iter().map(|(_, read)| read.bytes.max(read.available)).sum::<usize>();
        bytes >= self.bytes_min
            || reads.iter().any(|(_, read)| read.is_urgent())
            || now >= self.deadline
    }
}

/// The outcomes of reading some partitions, each with its place in the request.
pub(crate) type Reads = Vec<(usize, PartitionRead)>;

/// Partitions of a fetch, each with its place in the request.
pub(crate) type Items = Vec<(usize, ReadItem)>;

/// A fetch of partitions that are all here. `None` when it has to be routed again: after a wait,
/// one of them is gone.
pub(crate) async fn fetch_here(
    replicas: Rc<Replicas>,
    items: Items,
    limits: FetchLimits,
) -> Option<Reads> {
    loop {
        let reads = read_items(replicas.clone(), items.clone(), limits).await;
        if limits.are_met(&reads, replicas.rt.now()) {
            return Some(reads);
        }
        let waiter = FetchWaiter::default();
        if !register(&replicas, &seen_items(&items, &reads), &waiter) {
            continue;
        }
        if let Some(reads) = park(&replicas, limits, &waiter, reads).await {
            return Some(reads);
        }
        let is_here =
            |item: &ReadItem| replicas.topics.local_partition(&item.topic_id, item.partition);
        if items.iter().any(|(_, item)| is_here(item).is_none()) {
            return None;
        }
    }
}

/// Waits until one of the partitions moves on. Returns the reads if none did and they were empty;
/// if they were not, they have been dropped meanwhile, because they would pin buffers.
pub(crate) async fn park(
    replicas: &Replicas,
    limits: FetchLimits,
    waiter: &FetchWaiter,
    reads: Reads,
) -> Option<Reads> {
    let empty_handed = reads.iter().all(|(_, read)| read.bytes == 0).then_some(reads);
    replicas.metrics.fetch_parked();
    let left = limits.deadline - replicas.rt.now();
    let woken = replicas.rt.timeout(left, waiter.given()).await;
    replicas.metrics.fetch_unparked();
    match woken {
        Ok(()) => None,
        Err(_) => empty_handed,
    }
}

/// Waits, with empty hands, until there is memory to read to. If there is none for as long as the
/// client waits, or a little longer, it gets nothing yet.
async fn wait_for_memory(replicas: &Replicas, limits: FetchLimits) -> FetchLimits {
    let is_short = || match limits.standing {
        Standing::Known => replicas.storage.is_short_of_memory(),
        Standing::Other => replicas.storage.is_nearly_short_of_memory(),
    };
    if !is_short() {
        return limits;
    }
    let until = limits.deadline.max(replicas.rt.now() + MEMORY_WAIT_MIN);
    while is_short() {
        if replicas.rt.now() >= until {
            return FetchLimits { bytes_max: 0, whole_first_batch: false, ..limits };
        }
        replicas.rt.sleep(MEMORY_LOOK_INTERVAL).await;
    }
    limits
}

/// Reads partitions that this shard owns, within a common limit: what each may take is decided one
/// after the other, what is on disk is then read at once.
pub(crate) async fn read_items(replicas: Rc<Replicas>, items: Items, limits: FetchLimits) -> Reads {
    let limits = wait_for_memory(&replicas, limits).await;
    let mut left = limits;
    let mut results = Vec::with_capacity(items.len());
    let mut waiting = Vec::new();
    for (slot, item) in items {
        let Some(partition) = replicas.topics.local_partition(&item.topic_id, item.partition)
        else {
            let error = replicas.topics.why_not_local(&item.topic_id, item.partition);
            results.push((slot, PartitionRead::failed(error)));
            continue;
        };
        if let Some(reader) = limits.old_reader {
            let nothing_yet = left.bytes_max == limits.bytes_max;
            let room = match nothing_yet && left.bytes_max > 0 && reader.sets_no_total() {
                true => FetchLimits { bytes_max: usize::MAX, ..left },
                false => left,
            };
            let read = read_messages(&replicas, &partition, item, reader, room).await;
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
                waiting.push(replicas.rt.spawn(reading));
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
    replicas: &Replicas,
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
            let converter = Converter { rt: &replicas.rt, work_owner: left.work_owner, reader };
            message_sets::read(converter, partition, offset, (read, plan), room).await
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
    let passes_damage = left.passes_damage && !log.config().stop_at_damage;
    read.passes_damage = passes_damage;
    let wanted = Wanted { bytes_max, up_to, whole_first_batch: left.whole_first_batch };
    let plan = plan_over_damage(log, item.fetch_offset, wanted, passes_damage).await;
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

/// The bytes that a read may take.
pub(crate) struct Wanted {
    pub(crate) bytes_max: usize,
    pub(crate) up_to: Offset,
    pub(crate) whole_first_batch: bool,
}

/// Plans a read from `offset` on, or from behind the damage that is there.
pub(crate) async fn plan_over_damage(
    log: &Log,
    offset: Offset,
    wanted: Wanted,
    passes_damage: bool,
) -> Result<ReadPlan, ReadError> {
    let Wanted { bytes_max, up_to, whole_first_batch } = wanted;
    let mut offset = offset;
    loop {
        match log.plan_read(offset, bytes_max, up_to, whole_first_batch).await {
            Err(error @ ReadError::Corrupt { .. }) if passes_damage => {
                // Each time it is another fence, and they are in order.
                let Some(beyond) = log.pass_damage(offset) else { return Err(error) };
                offset = beyond.min(up_to);
            }
            planned => return planned,
        }
    }
}

/// Whether the log has what the reader asks for, or at which epoch and end offset the log that it
/// has read parted from this one (`Partition.readRecords`).
fn check_position(log: &Log, item: ReadItem) -> Result<Option<EpochEndOffset>, ErrorCode> {
    let ReadItem { fetch_offset, last_fetched_epoch, .. } = item;
    let compares = last_fetched_epoch >= 0;
    let end = if compares { log.epoch_end_offset(last_fetched_epoch) } else { None };
    // An epoch newer than any here is of another log, and nothing in common can be named: the
    // reader has to start over.
    let is_of_another_log = compares && end.is_none();
    if is_of_another_log || fetch_offset < log.log_start_offset() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let parts =
        |end: &EpochEndOffset| end.epoch < last_fetched_epoch || end.end_offset < fetch_offset;
    match end.filter(parts) {
        None if fetch_offset > log.log_end_offset() => Err(ErrorCode::OffsetOutOfRange),
        diverging => Ok(diverging),
    }
}

pub(crate) async fn read_planned(partition: &Partition, plan: ReadPlan, read: &mut PartitionRead) {
    let offset = plan.offset();
    match partition.log.read_planned(plan).await {
        Ok(records) => {
            read.bytes = records.bytes;
            read.cut_short = records.cut_short;
            partition.metrics.fetched(records.bytes);
            read.pieces = records.pieces;
        }
        // The damage was found by this read, and the next passes over it.
        Err(ReadError::Corrupt { .. })
            if read.passes_damage && partition.log.pass_damage(offset).is_some() =>
        {
            read.cut_short = true;
        }
        Err(error) => *read = PartitionRead::failed(read_error_code(partition, &error)),
    }
}

fn read_error_code(partition: &Partition, error: &ReadError) -> ErrorCode {
    let code = error.error_code();
    // The log tells of damage itself, and not each time. A consumer tries again at once.
    let is_told = matches!(code, ErrorCode::OffsetOutOfRange | ErrorCode::CorruptMessage);
    if !is_told && partition.log.may_complain() {
        let name = &partition.topic_partition;
        tracing::warn!(partition = %name, %error, "a read failed");
    }
    code
}

/// The end of each partition that a fetch waits for, as it has seen it.
pub(crate) fn seen_items(
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

pub(crate) fn register(
    replicas: &Replicas,
    seen: &[(ReadItem, Offset)],
    waiter: &FetchWaiter,
) -> bool {
    seen.iter().all(|(item, seen)| {
        let partition = replicas.topics.local_partition(&item.topic_id, item.partition);
        partition.is_some_and(|partition| partition.wait_beyond(*seen, waiter))
    })
}
