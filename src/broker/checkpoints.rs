//! The offset checkpoints of the node, written by shard 0 because a file holds all partitions of
//! a directory.
//!
//! An entry knows its partition by name alone. So that a new topic never gets the offsets of an
//! earlier one of its name, entries go when their topic is deleted, at the start of a node (it may
//! have been killed in between), and once more before a topic is created. Offsets are gathered and
//! written in one turn: entries that were gathered before a deletion are written before it.
//!
//! What DeleteRecords has removed stays removed: it is answered when the new start of the log
//! survives a crash ([`settle_log_starts`]). However many wait for that, one file is written at a
//! time, for all who asked before.

use std::collections::HashSet;
use std::rc::Rc;

use ringlog_metadata::MetadataRecord;
use ringlog_storage::{CheckpointFile, LogCheckpoint, StorageError};
use ringlog_types::TopicPartition;

use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// Gathers the offsets of all logs and writes them, directory by directory.
pub(crate) async fn write(shard: &Rc<Shard>, files: &[CheckpointFile]) -> Result<(), StorageError> {
    assert_eq!(shard.id(), CONTROLLER_SHARD, "one shard writes checkpoints");
    let _turn = shard.checkpoint_turn.acquire(1).await;
    let (entries, unopened) = gather(shard).await;
    let directories = shard.node.directories();
    directories.write_some_checkpoints(&shard.rt, &entries, &unopened, files).await
}

/// Sees to it that every log starts, after a crash too, where it starts now. Returns the places in
/// `log.dirs` of the directories of which that is not so.
pub(crate) async fn settle_log_starts(shard: Rc<Shard>) -> Vec<usize> {
    assert_eq!(shard.id(), CONTROLLER_SHARD, "one shard writes checkpoints");
    let write = || async {
        let _turn = shard.checkpoint_turn.acquire(1).await;
        let (entries, unopened) = gather(&shard).await;
        let files = [CheckpointFile::LogStartOffsets];
        let directories = shard.node.directories();
        let failed = directories.write_each(&shard.rt, &entries, &unopened, &files).await;
        for (_, error) in &failed {
            tracing::error!(%error, "the starts of logs were not written");
        }
        let offline = directories.iter().filter(|dir| dir.is_offline()).map(|dir| dir.index());
        offline.chain(failed.iter().map(|(dir_index, _)| *dir_index)).collect()
    };
    shard.log_starts_run.join(write).await
}

/// The offsets of all logs, and the partitions whose logs could not be opened.
async fn gather(shard: &Rc<Shard>) -> (Vec<LogCheckpoint>, HashSet<TopicPartition>) {
    let of_shards = shard
        .on_every_shard(|shard| {
            let partitions = shard.replicas.topics.local_partitions();
            let entries: Vec<LogCheckpoint> =
                partitions.iter().map(|partition| partition.log.checkpoint()).collect();
            std::future::ready((entries, shard.replicas.topics.unopened_partitions(shard.id())))
        })
        .await;
    let (entries, unopened): (Vec<_>, Vec<_>) = of_shards.into_iter().unzip();
    let mut entries: Vec<LogCheckpoint> = entries.into_iter().flatten().collect();
    entries.extend(shard.controller().map(|controller| controller.log().checkpoint()));
    (entries, unopened.into_iter().flatten().collect())
}

/// Takes out what the checkpoints say of topics with these names.
pub(crate) async fn forget_topics(
    shard: &Shard,
    names: &HashSet<&str>,
) -> Result<(), StorageError> {
    if names.is_empty() {
        return Ok(());
    }
    let _turn = shard.checkpoint_turn.acquire(1).await;
    let keep = |_, partition: &TopicPartition| !names.contains(&*partition.topic);
    shard.node.directories().keep_checkpoints(&shard.rt, keep).await
}

/// The names of the topics that these records create.
pub(crate) fn created_topics<'a>(records: &'a [MetadataRecord<'static>]) -> HashSet<&'a str> {
    let name = |record: &'a MetadataRecord<'static>| match record {
        MetadataRecord::Topic(topic) => Some(&*topic.name),
        _ => None,
    };
    records.iter().filter_map(name).collect()
}
