//! Topics and their partitions as the image holds them.

use std::sync::Arc;

use imbl::OrdMap;
use ringlog_types::{BrokerId, Uuid};
use ringlog_wire::messages::partition_change_record::PartitionChangeRecord;
use ringlog_wire::messages::partition_record::PartitionRecord;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, which no other topic ever has, not even a later one of this name.
    pub id: Uuid,
    /// Its partitions by index, from 0 without gaps.
    pub partitions: OrdMap<i32, Arc<Partition>>,
}

impl Topic {
    /// Number of partitions.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("indexes are 32 bits")
    }
}

/// In `PartitionChangeRecord.leader`: the leader stays (`LeaderConstants`).
pub(crate) const NO_LEADER_CHANGE: i32 = -2;

/// A partition (`PartitionRegistration`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are in sync.
    pub isr: Vec<BrokerId>,
    /// Replicas that a reassignment takes away.
    pub removing_replicas: Vec<BrokerId>,
    /// Replicas that a reassignment brings in.
    pub adding_replicas: Vec<BrokerId>,
    /// The leading broker, or [`BrokerId::NONE`].
    pub leader: BrokerId,
    /// 1 while an uncleanly elected leader recovers, else 0.
    pub leader_recovery_state: i8,
    /// Counts leaders.
    pub leader_epoch: i32,
    /// Counts changes.
    pub partition_epoch: i32,
    /// The log directory of each replica; zero where it is not known. Empty before Kafka 3.7.
    pub directories: Vec<Uuid>,
    /// Replicas out of sync that may lead all the same (KIP-966).
    pub eligible_leader_replicas: Vec<BrokerId>,
    /// The last replicas that were eligible.
    pub last_known_elr: Vec<BrokerId>,
}

impl Partition {
    pub(crate) fn from_record(record: &PartitionRecord) -> Partition {
        let ids = |ids: &Option<Vec<i32>>| BrokerId::all_of(ids.as_deref().unwrap_or_default());
        Partition {
            replicas: BrokerId::all_of(&record.replicas),
            isr: BrokerId::all_of(&record.isr),
            removing_replicas: BrokerId::all_of(&record.removing_replicas),
            adding_replicas: BrokerId::all_of(&record.adding_replicas),
            leader: BrokerId(record.leader),
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
            eligible_leader_replicas: ids(&record.eligible_leader_replicas),
            last_known_elr: ids(&record.last_known_elr),
        }
    }

    pub(crate) fn to_record(&self, topic_id: Uuid, partition_id: i32) -> PartitionRecord {
        let some = |ids: &[BrokerId]| (!ids.is_empty()).then(|| BrokerId::numbers(ids));
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: BrokerId::numbers(&self.replicas),
            isr: BrokerId::numbers(&self.isr),
            removing_replicas: BrokerId::numbers(&self.removing_replicas),
            adding_replicas: BrokerId::numbers(&self.adding_replicas),
            leader: self.leader.0,
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            eligible_leader_replicas: some(&self.eligible_leader_replicas),
            last_known_elr: some(&self.last_known_elr),
        }
    }

    /// This partition after a change (`PartitionRegistration.merge`): naming a leader, even the
    /// same one, begins a new leader epoch.
    pub(crate) fn merged(&self, change: &PartitionChangeRecord) -> Partition {
        let or = |new: &Option<Vec<i32>>, old: &[BrokerId]| match new {
            Some(new) => BrokerId::all_of(new),
            None => old.to_vec(),
        };
        let names_leader = change.leader != NO_LEADER_CHANGE;
        Partition {
            replicas: or(&change.replicas, &self.replicas),
            isr: or(&change.isr, &self.isr),
            removing_replicas: or(&change.removing_replicas, &self.removing_replicas),
            adding_replicas: or(&change.adding_replicas, &self.adding_replicas),
            leader: if names_leader { BrokerId(change.leader) } else { self.leader },
            leader_recovery_state: match change.leader_recovery_state {
                -1 => self.leader_recovery_state,
                state => state,
            },
            leader_epoch: self.leader_epoch.wrapping_add(i32::from(names_leader)),
            partition_epoch: self.partition_epoch.wrapping_add(1),
            directories: change.directories.as_ref().unwrap_or(&self.directories).clone(),
            eligible_leader_replicas: or(
                &change.eligible_leader_replicas,
                &self.eligible_leader_replicas,
            ),
            last_known_elr: or(&change.last_known_elr, &self.last_known_elr),
        }
    }
}
