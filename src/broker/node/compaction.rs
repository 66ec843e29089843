//! Compacting the logs of a shard, one after the other, in the background.
//!
//! Every shard looks after its own logs. How many are compacted at once, what they read and write,
//! and the memory for their keys are limits of the node. A log that cannot be compacted is told of
//! once and left alone until the next start, as Kafka does it; what a reader gets of it does not
//! change.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_storage::{CleanOptions, Cleanable, Cleaned, CompactionError, Log, choose};
use ringlog_types::{TimestampMs, TopicPartition, Uuid};

use crate::shard::Shard;
use crate::shared::Compactions;

/// Kafka's default for `log.cleaner.backoff.ms` is much longer; 0 must not spin.
const BACKOFF_MIN: Duration = Duration::from_millis(1);
/// How long a shard waits for another's compaction to end.
const TURN_RETRY: Duration = Duration::from_millis(500);

/// The logs that are left alone.
type Uncleanable = HashSet<(Uuid, i32)>;

/// Compacts the shard's logs as long as it runs.
pub(crate) async fn run(shard: Rc<Shard>) {
    if !shard.node.config.log_cleaner_enable {
        return;
    }
    let mut uncleanable = Uncleanable::default();
    loop {
        let config = shard.config();
        let backoff = Duration::from_millis(config.log_cleaner_backoff_ms.max(0) as u64);
        shard.rt.sleep(backoff.max(BACKOFF_MIN)).await;
        while !shard.network.is_stopping() && compact_one(&shard, &mut uncleanable).await {}
    }
}

/// Compacts the log that needs it most. Returns whether there was one.
async fn compact_one(shard: &Rc<Shard>, uncleanable: &mut Uncleanable) -> bool {
    let now_ms = shard.rt.wall_clock_ms();
    let candidates = candidates(shard, uncleanable, now_ms).await;
    report(shard, &candidates, uncleanable, now_ms);
    let configs: Vec<_> = candidates.iter().map(|(log, _)| log.config()).collect();
    let dirty = candidates.iter().map(|(_, dirty)| *dirty);
    let chosen = choose(dirty.zip(configs.iter().map(|config| &**config)), now_ms);
    let Some((log, dirty)) = chosen.map(|at| &candidates[at]) else { return false };
    let _turn = loop {
        let config = shard.config();
        match Turn::take(shard, config.log_cleaner_threads) {
            Some(turn) => break turn,
            None => shard.rt.sleep(TURN_RETRY).await,
        }
        if shard.network.is_stopping() {
            return false;
        }
    };
    let options = options(&shard.node.compactions, &shard.config());
    let started = shard.rt.now();
    let result = log.compact(dirty, &options, now_ms).await;
    let name = log.topic_partition();
    match result {
        Ok(cleaned) => {
            count(shard, &cleaned);
            tracing::info!(partition = %name, end_offset = cleaned.end_offset,
                keys = cleaned.keys, bytes_before = cleaned.bytes_read,
                bytes_after = cleaned.bytes_written, took = ?(shard.rt.now() - started),
                "compacted");
            true
        }
        Err(CompactionError::Overtaken) => false,
        Err(CompactionError::Storage(error)) => {
            tracing::warn!(partition = %name, %error, "compaction failed");
            false
        }
        Err(CompactionError::Uncleanable(why)) => {
            tracing::error!(partition = %name, why, "it is not compacted any more");
            uncleanable.insert(place(log));
            true
        }
    }
}

fn place(log: &Log) -> (Uuid, i32) {
    (log.topic_id(), log.topic_partition().partition)
}

/// The logs that are to be compacted, with what can be.
async fn candidates(
    shard: &Shard,
    uncleanable: &Uncleanable,
    now_ms: TimestampMs,
) -> Vec<(Rc<Log>, Cleanable)> {
    let mut candidates = Vec::new();
    for partition in shard.replicas.topics.local_partitions() {
        let log = &partition.log;
        let is_compacted = log.config().cleanup_policy.compact;
        if !is_compacted || partition.is_offline() || uncleanable.contains(&place(log)) {
            continue;
        }
        match log.cleanable(now_ms).await {
            Ok(cleanable) => candidates.push((log.clone(), cleanable)),
            Err(error) => {
                let name: &TopicPartition = log.topic_partition();
                tracing::debug!(partition = %name, %error, "cannot be compacted now");
            }
        }
    }
    candidates
}

/// A compaction that counts as one of the node's.
struct Turn(Rc<Shard>);

impl Turn {
    fn take(shard: &Rc<Shard>, turns_max: i32) -> Option<Turn> {
        let turns_max = turns_max.max(1) as usize;
        let running = &shard.node.compactions.running;
        let one_more = |running: usize| (running < turns_max).then_some(running + 1);
        let taken = running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Turn(shard.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.node.compactions.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one compaction may take of the node.
fn options(compactions: &Compactions, config: &BrokerConfig) -> CleanOptions {
    // 0 is no limit here; Kafka's default is the largest number there is.
    let rate = config.log_cleaner_io_max_bytes_per_second;
    let rate = if rate < 1e18 { rate.max(1.0) as u64 } else { 0 };
    compactions.rate.set_bytes_per_second(rate);
    let turns = i64::from(config.log_cleaner_threads.max(1));
    let key_bytes_max = config.log_cleaner_dedupe_buffer_size.max(0) / turns;
    CleanOptions {
        key_bytes_max: usize::try_from(key_bytes_max).unwrap_or(usize::MAX),
        load_factor: config.log_cleaner_io_buffer_load_factor,
        rate: compactions.rate.clone(),
    }
}

fn count(shard: &Shard, cleaned: &Cleaned) {
    let metrics = &shard.metrics;
    metrics.compactions.increment();
    metrics.compaction_read_bytes.add(cleaned.bytes_read);
    metrics.compaction_written_bytes.add(cleaned.bytes_written);
    let dropped = cleaned.records_read.saturating_sub(cleaned.records_left);
    metrics.compaction_dropped_records.add(dropped);
    shard.node.compactions.ended.store(true, Ordering::Relaxed);
}

fn report(
    shard: &Shard,
    candidates: &[(Rc<Log>, Cleanable)],
    uncleanable: &Uncleanable,
    now_ms: TimestampMs,
) {
    let metrics = &shard.metrics;
    let ratio = candidates.iter().map(|(_, dirty)| dirty.dirty_ratio()).fold(0.0, f64::max);
    metrics.compaction_dirty_percent.set((ratio * 100.0) as i64);
    let oldest_ms = candidates.iter().filter_map(|(_, dirty)| dirty.oldest_ms).min();
    let age_ms = oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms).max(0));
    metrics.compaction_oldest_dirty_seconds.set(age_ms / 1000);
    metrics.compaction_uncleanable.set(uncleanable.len() as i64);
}
