//! Which log directory holds a replica (KIP-858): how it is recorded, and what follows for a
//! replica that is in none.
//!
//! A record with a directory's id is the only thing that tells a log that is away, because its
//! disk is, from one that was never made. In Kafka a broker reports its directories with
//! AssignReplicasToDirs; here it is the controller's own node.

use ringlog_types::{BrokerId, Uuid};
use ringlog_wire::messages::partition_change_record::PartitionChangeRecord;

use super::{Controller, Decision};
use crate::features::RecordVersions;
use crate::image::Partition;
use crate::record::MetadataRecord;

/// A directory that is away and of which nothing more is known (`DirectoryId.LOST`).
const LOST: Uuid = Uuid::from_u128(1);
/// Ids below name no directory (`DirectoryId.reserved`): not known, lost, being migrated.
const FIRST_ID: u128 = 100;

/// Where a broker's replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectoryAssignment {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The directory's id; `None` for one that is away and not known by its id.
    pub directory: Option<Uuid>,
}

/// The directories that a node has when it starts, for those that were not found in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoriesAtStart {
    /// The ids of those in use.
    pub online: Vec<Uuid>,
    /// Whether one is missing: it cannot be used, or it was the node's the last time and is not
    /// there now. What is empty in its place has another id.
    pub one_is_missing: bool,
}

impl DirectoriesAtStart {
    /// Whether an id names a directory, be it here or not.
    pub fn is_directory(&self, id: Uuid) -> bool {
        u128::from_be_bytes(id.0) >= FIRST_ID
    }

    /// Whether the log of a partition may be made that was found in no directory. `recorded` is
    /// what the metadata say of its place.
    ///
    /// In a directory in use it can only be missing because the node was killed before it was
    /// made. Anywhere else it may lie in a directory that is away, with records that were
    /// acknowledged, and must not be replaced (`Partition.createLogInAssignedDirectoryId`).
    pub fn may_create(&self, recorded: Uuid) -> bool {
        match recorded {
            LOST => false,
            id if !self.is_directory(id) => !self.one_is_missing,
            id => self.online.contains(&id),
        }
    }
}

impl Partition {
    /// The directory of a broker's replica; zero where it is not recorded.
    pub fn directory(&self, broker_id: BrokerId) -> Uuid {
        let replicas = self.replicas.iter().zip(&self.directories);
        let mut of_broker = replicas.filter(|(replica, _)| **replica == broker_id);
        of_broker.next().map_or(Uuid::ZERO, |(_, directory)| *directory)
    }
}

impl Controller {
    /// Records where replicas of a broker are, where that is not recorded yet. Partitions that
    /// are gone by now, and a log whose version knows no directories, get no record.
    pub fn assign_directories(
        &self,
        broker_id: BrokerId,
        assignments: &[DirectoryAssignment],
    ) -> Decision<()> {
        let mut records = Vec::new();
        if RecordVersions::of(&self.image).partition() == 0 {
            return Decision::new((), records, "AssignReplicasToDirs");
        }
        for assignment in assignments {
            let topic = self.image.topic_by_id(assignment.topic_id);
            let partition = topic.and_then(|topic| topic.partitions.get(&assignment.partition));
            let Some(partition) = partition else { continue };
            let directory = assignment.directory.unwrap_or(LOST);
            let is_here = partition.replicas.contains(&broker_id);
            if !is_here || partition.directory(broker_id) == directory {
                continue;
            }
            let known = |at: usize| partition.directories.get(at).copied().unwrap_or(Uuid::ZERO);
            let replicas = partition.replicas.iter().enumerate();
            let directories = replicas.map(|(at, replica)| match *replica == broker_id {
                true => directory,
                false => known(at),
            });
            records.push(MetadataRecord::PartitionChange(PartitionChangeRecord {
                partition_id: assignment.partition,
                topic_id: assignment.topic_id,
                directories: Some(directories.collect()),
                ..Default::default()
            }));
        }
        Decision::new((), records, "AssignReplicasToDirs")
    }
}
