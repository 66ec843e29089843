//! One fetch of many partitions: finding their owners, asking each of them once, and waiting for
//! data when there is too little.

use std::future::Future;
use std::rc::Rc;

use ringlog_config::TopicCompression;
use ringlog_runtime::ShardId;
use ringlog_types::ErrorCode;

use crate::fetch_session::FetchTarget;
use crate::replicas::partition::FetchWaiter;
use crate::replicas::read::{
    self, FetchLimits, Items, PartitionRead, ReadItem, Reads, fetch_here, park, read_items,
    seen_items,
};
use crate::replicas::topics::{TopicEntry, check_leader_epoch};
use crate::shard::Shard;

/// The outcome of a fetch.
pub(crate) struct Fetched {
    /// In the order of the targets.
    pub(crate) reads: Vec<PartitionRead>,
    /// The shard that owns all of the targets, if there is one.
    pub(crate) owner: Option<ShardId>,
}

/// The partitions that a fetch is to read, and how much.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) targets: &'a [FetchTarget],
    /// Which of them may not be read, in their order; empty where all may.
    pub(crate) denied: &'a [bool],
}

/// A target whose owner is known.
struct Routed {
    slot: usize,
    owner: ShardId,
    item: ReadItem,
}

/// Fetches the targets, waiting for `limits.bytes_min` until the deadline.
pub(crate) async fn fetch(shard: &Rc<Shard>, wanted: Wanted<'_>, limits: FetchLimits) -> Fetched {
    loop {
        let (failed, routed) = route_all(shard, wanted, limits.takes_zstd);
        let mut groups = by_owner(shard, &routed);
        let owner = (failed.is_empty() && groups.len() == 1).then(|| groups[0].0);
        let fetched = if let Some(owner) = owner {
            // The wait happens where the partitions are: that is one message each way.
            let (_, items) = groups.swap_remove(0);
            shard
                .read_on(owner, move |shard| fetch_here(shard.replicas.clone(), items, limits))
                .await
        } else {
            fetch_there(shard, groups, failed, limits).await
        };
        if let Some(mut reads) = fetched {
            reads.sort_unstable_by_key(|(slot, _)| *slot);
            return Fetched { reads: reads.into_iter().map(|(_, read)| read).collect(), owner };
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
        let reading =
            shard.start_on(*owner, move |shard| read_items(shard.replicas.clone(), items, share));
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
        true => park(&shard.replicas, limits, &waiter, reads).await,
        false => None,
    }
}

/// The targets that can be read, and the answers for those that cannot.
fn route_all(shard: &Shard, wanted: Wanted<'_>, takes_zstd: bool) -> (Reads, Vec<Routed>) {
    let Wanted { targets, denied } = wanted;
    let mut failed = Vec::new();
    let mut routed = Vec::with_capacity(targets.len());
    for (slot, target) in targets.iter().enumerate() {
        let routed_or_not = match denied.get(slot) {
            Some(true) => Err(ErrorCode::TopicAuthorizationFailed),
            _ => route(shard, slot, target, takes_zstd),
        };
        match routed_or_not {
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
    let topic = find_topic(shard, target)?;
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

/// The topic of a target. One whose id was known once is missed by its name, and if another has
/// that name now, the id is the wrong one (`ReplicaManager.readFromLog`).
fn find_topic(shard: &Shard, target: &FetchTarget) -> Result<Rc<TopicEntry>, ErrorCode> {
    let topics = &shard.replicas.topics;
    let found = topics.find(&target.topic);
    match (&found, &target.known_as) {
        (Err(ErrorCode::UnknownTopicId), Some(name)) => Err(match topics.by_name(name).is_some() {
            true => ErrorCode::InconsistentTopicId,
            false => ErrorCode::UnknownTopicOrPartition,
        }),
        _ => found,
    }
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
            let registered = read::register(&shard.replicas, &seen, &waiter);
            std::future::ready(registered)
        });
        started.push(registered);
    }
    all(started).await
}

async fn all(answers: Vec<impl Future<Output = bool>>) -> bool {
    let mut all = true;
    for answer in answers {
        all &= answer.await;
    }
    all
}
