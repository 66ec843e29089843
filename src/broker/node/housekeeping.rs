//! What a node does by itself while it runs: retention, the scrub, checkpoints, snapshots of the
//! metadata, watching free space.
//!
//! Every shard looks after its own logs; shard 0 writes the checkpoints of all of them.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringlog_storage::{CheckpointFile, LogDirs, Scrub};

use crate::checkpoints;
use crate::coordinators::GROUP_TOPIC;
use crate::network::registry::{SWEEP_INTERVAL, SWEEP_INTERVAL_SHORT};
use crate::node::compaction;
use crate::node::halt;
use crate::publisher::offline;
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// How often free space is looked at.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether each disk takes what is to be written.
const DISK_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is looked whether a segment is to be checked.
const SCRUB_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked whether the metadata needs a snapshot.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// How often recovery points are written while they move: a crash leaves what was written since to
/// be read again.
const RECOVERY_POINT_INTERVAL: Duration = Duration::from_secs(1);
/// How often a shard looks which partitions it is to coordinate on.
const COORDINATORS_INTERVAL: Duration = Duration::from_secs(1);
/// Kafka's default for `log.retention.check.interval.ms`, also for a value that makes no sense.
const RETENTION_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Starts the shard's own chores; on shard 0 also the node's.
pub(crate) fn start(shard: &Rc<Shard>) {
    shard.rt.spawn(retention(shard.clone()));
    shard.rt.spawn(sweep_connections(shard.clone()));
    shard.rt.spawn(coordinators(shard.clone()));
    shard.rt.spawn(watch_disks(shard.clone()));
    for dir in shard.node.directories().iter() {
        let scrub = Scrub::new(&shard.replicas.storage, dir, shard.node.config.scrub_interval_ms);
        shard.rt.spawn(scrub_directory(shard.clone(), scrub, dir.index()));
    }
    shard.rt.spawn(compaction::run(shard.clone()));
    if shard.id() == CONTROLLER_SHARD {
        shard.rt.spawn(write_checkpoints(shard.clone()));
        shard.rt.spawn(watch_space(shard.clone()));
        shard.rt.spawn(snapshots(shard.clone()));
    }
}

/// Closes connections that are silent, or hold memory that others wait for and do not move.
async fn sweep_connections(shard: Rc<Shard>) {
    let idle_max = match shard.node.config.connections_max_idle_ms {
        ..=0 => Duration::MAX,
        idle_ms => Duration::from_millis(idle_ms as u64),
    };
    let memory = &shard.network.memory;
    let is_short = || memory.is_short() || shard.replicas.storage.is_nearly_short_of_memory();
    loop {
        let was_short = is_short();
        let interval = match was_short {
            true => SWEEP_INTERVAL_SHORT,
            false => SWEEP_INTERVAL.min(idle_max),
        };
        // Whoever begins to wait for memory has it looked for at once.
        if shard.rt.timeout(interval, memory.shortage()).await.is_ok() && was_short {
            shard.rt.sleep(interval).await;
        }
        shard.network.connections.sweep(shard.rt.now(), idle_max, is_short());
    }
}

/// Has a coordinator on each partition that needs one, also when nobody asks: members that fell
/// silent while the node was down, and offsets that expire, are to be noticed.
async fn coordinators(shard: Rc<Shard>) {
    loop {
        shard.rt.sleep(COORDINATORS_INTERVAL).await;
        let Some(topic) = shard.replicas.topics.by_name(GROUP_TOPIC) else {
            shard.coordinators.sweep(&[]);
            continue;
        };
        let open = topic.partitions.iter().filter_map(|entry| {
            let partition = entry.local().cloned().filter(|partition| !partition.is_offline())?;
            Some((partition, entry.leader_epoch))
        });
        if !shard.network.is_stopping() {
            shard.coordinators.sweep(&open.collect::<Vec<_>>());
        }
    }
}

/// Deletes what is beyond `retention.ms` and `retention.bytes`, rolls segments that are older than
/// `segment.ms`, and forgets idle producers.
async fn retention(shard: Rc<Shard>) {
    let config = &shard.node.config;
    let interval = Duration::from_millis(config.log_retention_check_interval_ms.max(0) as u64);
    loop {
        shard.rt.sleep(interval.max(RETENTION_INTERVAL_MIN)).await;
        for partition in shard.replicas.topics.local_partitions() {
            if shard.network.is_stopping() || partition.is_offline() {
                continue;
            }
            let now_ms = shard.rt.wall_clock_ms();
            partition.log.roll_if_old(now_ms);
            let name = &partition.topic_partition;
            match partition.log.apply_retention(now_ms).await {
                Ok(deleted) if deleted > 0 => {
                    tracing::info!(partition = %name, segments = deleted, "retention");
                }
                Ok(_) => {}
                Err(error) => tracing::error!(partition = %name, %error, "retention failed"),
            }
        }
    }
}

/// Has the finished segments of a directory checked, one after the other, for ever.
async fn scrub_directory(shard: Rc<Shard>, scrub: Scrub, dir_index: usize) {
    let logs = || {
        let partitions = shard.replicas.topics.local_partitions().into_iter();
        let open = partitions.filter(|partition| !partition.is_offline());
        let logs = open.map(|partition| partition.log.clone());
        logs.filter(|log| log.dir().index() == dir_index).collect()
    };
    while !shard.network.is_stopping() {
        if !scrub.step(logs).await {
            shard.rt.sleep(SCRUB_INTERVAL).await;
        }
    }
}

/// Looks whether the disks take what is to be written, and has those who wait for one that does not
/// look at the time.
async fn watch_disks(shard: Rc<Shard>) {
    loop {
        shard.rt.sleep(DISK_INTERVAL).await;
        let held_up = shard.replicas.storage.held_up_directories();
        for partition in shard.replicas.topics.local_partitions() {
            if partition.log.look() || held_up.contains(&partition.log.dir().index()) {
                partition.log.look_again();
            }
        }
    }
}

/// Writes the checkpoints of all directories from time to time: each file at its own interval,
/// those that are due together at once; the recovery points also soon after one has moved.
async fn write_checkpoints(shard: Rc<Shard>) {
    let config = &shard.node.config;
    let recovery_points_ms = config.log_flush_offset_checkpoint_interval_ms;
    let start_offsets_ms = config.log_flush_start_offset_checkpoint_interval_ms;
    // High watermarks matter to followers only; they go along.
    let schedule = [
        (CheckpointFile::RecoveryPoints, recovery_points_ms),
        (CheckpointFile::HighWatermarks, recovery_points_ms),
        (CheckpointFile::LogStartOffsets, start_offsets_ms),
    ];
    let interval = |ms: i32| Duration::from_millis(ms.max(1) as u64);
    let start = shard.rt.now();
    let mut due = schedule.map(|(_, ms)| start + interval(ms));
    loop {
        let next = *due.iter().min().expect("there are three files");
        shard.rt.sleep_until(next.min(shard.rt.now() + RECOVERY_POINT_INTERVAL)).await;
        if shard.network.is_stopping() {
            return;
        }
        let now = shard.rt.now();
        let mut files = Vec::with_capacity(due.len());
        for (due, (file, ms)) in due.iter_mut().zip(schedule).filter(|(due, _)| **due <= now) {
            files.push(file);
            *due = now + interval(ms);
        }
        let moved = shard.node.recovery_points_moved.swap(false, Ordering::Relaxed);
        if moved && !files.contains(&CheckpointFile::RecoveryPoints) {
            files.push(CheckpointFile::RecoveryPoints);
        }
        if shard.node.compactions.ended.swap(false, Ordering::Relaxed) {
            files.push(CheckpointFile::CleanedEnds);
        }
        if files.is_empty() {
            continue;
        }
        if let Err(error) = checkpoints::write(&shard, &files).await {
            // Recovery reads more than it would have to; nothing is lost.
            tracing::error!(%error, "checkpoints were not written");
        }
    }
}

/// Writes snapshots of the metadata and removes what they stand for.
async fn snapshots(shard: Rc<Shard>) {
    let controller = shard.controller().expect("set before housekeeping starts");
    while !shard.network.is_stopping() {
        controller.look_after_snapshots().await;
        shard.rt.sleep(SNAPSHOT_INTERVAL).await;
    }
}

async fn watch_space(shard: Rc<Shard>) {
    while !shard.network.is_stopping() {
        shard.node.directories().check_space(&shard.rt).await;
        offline::follow_directories(&shard).await;
        report_directories(&shard, shard.node.directories());
        halt::look(&shard);
        shard.rt.sleep(SPACE_INTERVAL).await;
    }
}

/// Tells readiness probes of directories that cannot take appends.
fn report_directories(shard: &Shard, directories: &LogDirs) {
    let offline = directories.iter().filter(|dir| dir.is_offline()).count();
    shard.node.metrics.log_dirs_offline.set((offline + directories.unusable().len()) as i64);
    for dir in directories.iter() {
        let key = format!("log directory {}", dir.path().display());
        if dir.is_offline() {
            shard.node.metrics.set_unready(&key, "it is offline after a failure");
        } else if dir.is_full() {
            shard.node.metrics.set_unready(&key, "too little space is free; appends are refused");
        } else {
            shard.node.metrics.clear_unready(&key);
        }
    }
}

/// The end of a clean stop: the metadata log closes, and the directories say what they hold.
/// `unclean` are the places of those with logs that did not close cleanly: they get no marker.
/// Returns whether all got theirs.
pub(crate) async fn close_directories(shard: &Rc<Shard>, mut unclean: HashSet<usize>) -> bool {
    if let Some(controller) = shard.controller()
        && let Err(error) = controller.log().close().await
    {
        tracing::error!(%error, "the metadata log was not closed");
        unclean.insert(controller.log().dir().index());
    }
    let written = checkpoints::write(shard, &CheckpointFile::ALL).await;
    if let Err(error) = &written {
        // The marker vouches for the checkpoints: what lies below them was on disk.
        tracing::error!(%error, "checkpoints were not written");
    }
    let is_clean = |dir_index: usize| written.is_ok() && !unclean.contains(&dir_index);
    let marked = shard.node.directories().mark_clean_shutdown(&shard.rt, is_clean).await;
    if let Err(error) = &marked {
        tracing::error!(%error, "the directories were not marked clean");
    }
    unclean.is_empty() && written.is_ok() && marked.is_ok()
}
