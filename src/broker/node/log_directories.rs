//! Which log directory holds which partition: recorded in the metadata (KIP-858), so that a log
//! whose directory is away is told from one that was never made.
//!
//! With one directory the place is known when a partition is created. With several it is chosen by
//! the shard that makes the log, and recorded before the client is answered. A start compares what
//! is recorded with what is there.

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_metadata::{Controller as Decisions, DirectoriesAtStart, DirectoryAssignment, Image};
use ringlog_storage::LogDirs;
use ringlog_types::{BrokerId, ErrorCode, TopicIdPartition, Uuid};

use crate::error::NodeError;
use crate::metadata_source::embedded::controller::Controller;
use crate::publisher;
use crate::shard::Shard;

/// The directories that the node has for its partitions. To be asked before it registers: its last
/// registration says which directories it had.
pub(crate) fn at_start(
    directories: &LogDirs,
    image: &Image,
    node_id: BrokerId,
) -> DirectoriesAtStart {
    let online: Vec<Uuid> = directories.iter().map(|dir| dir.id()).collect();
    let registered = image.broker(node_id).map_or(&[][..], |broker| &broker.log_dirs);
    let is_here = |id: &Uuid| online.contains(id);
    let one_is_missing = !directories.unusable().is_empty() || !registered.iter().all(is_here);
    DirectoriesAtStart { online, one_is_missing }
}

/// Records where partitions were found, by topic and partition. Returns those that must not be
/// made although none was found, each with the reason.
pub(crate) async fn compare(
    shard: &Rc<Shard>,
    controller: &Controller,
    at_start: &DirectoriesAtStart,
    found: &HashMap<TopicIdPartition, Uuid>,
) -> Result<HashMap<TopicIdPartition, String>, NodeError> {
    let node_id = shard.node.config.node_id;
    let unusable = shard.node.directories().unusable().first().map(ToString::to_string);
    let image = controller.image();
    let (mut assignments, mut away) = (Vec::new(), HashMap::new());
    for topic in image.topics() {
        for (&partition, registered) in &topic.partitions {
            let named = TopicIdPartition::new(topic.id, partition);
            let recorded = registered.directory(node_id);
            let directory = found.get(&named).copied();
            if directory.is_none() {
                if at_start.may_create(recorded) {
                    continue;
                }
                let reason = unusable.clone().unwrap_or_else(|| {
                    format!(
                        "its log is in no log directory, and the one that had it (id {recorded}) \
                         is not there: is its disk mounted? If the disk is lost, delete the topic"
                    )
                });
                away.insert(named, reason);
                if at_start.is_directory(recorded) {
                    continue;
                }
            }
            assignments.push(DirectoryAssignment { topic_id: topic.id, partition, directory });
        }
    }
    let assign = |decisions: &Decisions, _| decisions.assign_directories(node_id, &assignments);
    let recorded = publisher::make(shard, controller, assign).await;
    let failed =
        |error: ErrorCode| format!("the directories of partitions cannot be recorded: {error}");
    recorded.map_err(|error| NodeError::Metadata(failed(error)))?;
    Ok(away)
}
