//! This node's registration as a broker, at each start.
//!
//! The embedded controller serves one node: whoever else stands in the image (a log taken over
//! from a larger cluster) is not there, and is fenced.

use ringlog_types::{BrokerId, Uuid};
use ringlog_wire::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use ringlog_wire::messages::partition_change_record::PartitionChangeRecord;

use super::{Controller, Decision};
use crate::features::{RecordVersions, SUPPORTED_FEATURES};
use crate::image::{Broker, BrokerEndpoint, BrokerFeature, Partition};
use crate::record::MetadataRecord;

/// A broker that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its `node.id`.
    pub broker_id: BrokerId,
    /// Chosen anew at each start.
    pub incarnation_id: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<BrokerEndpoint>,
    /// Its rack.
    pub rack: Option<String>,
    /// The ids of its log directories.
    pub log_dirs: Vec<Uuid>,
    /// Whether it stopped cleanly last time, so that no log can have lost its end.
    pub stopped_cleanly: bool,
}

impl Controller {
    /// Registers and unfences a broker, and lets it lead what it can. The first record will stand
    /// at `next_offset`, which becomes the broker's epoch: the answer.
    ///
    /// After an unclean stop every partition begins a new leader epoch: an unflushed end of a log
    /// may be gone, and what is written in its place must not look like it (KIP-101).
    pub fn register_broker(&self, registration: Registration, next_offset: i64) -> Decision<i64> {
        let id = registration.broker_id;
        let clean = registration.stopped_cleanly;
        // A log that came from an older cluster may not hold newer fields yet.
        let version = RecordVersions::of(&self.image).register_broker();
        let broker = Broker {
            id,
            epoch: next_offset,
            incarnation_id: registration.incarnation_id,
            endpoints: registration.endpoints,
            features: SUPPORTED_FEATURES
                .iter()
                .map(|feature| BrokerFeature {
                    name: feature.name.to_owned(),
                    min_level: feature.min_level,
                    max_level: feature.max_level,
                })
                .collect(),
            rack: registration.rack.map(Into::into),
            fenced: true,
            in_controlled_shutdown: false,
            log_dirs: if version >= 3 { registration.log_dirs } else { Vec::new() },
            cordoned_log_dirs: (version >= 4).then(Vec::new),
            is_migrating_zk_broker: false,
        };
        let mut records = vec![MetadataRecord::RegisterBroker(broker.to_record())];
        for other in self.image.brokers().filter(|other| other.id != id && !other.fenced) {
            records.push(set_fenced(other.id, other.epoch, 1));
        }
        records.push(set_fenced(id, next_offset, -1));
        for topic in self.image.topics() {
            for (&index, partition) in &topic.partitions {
                let change = take_over(partition, id, clean);
                records.extend(change.map(|change| {
                    MetadataRecord::PartitionChange(PartitionChangeRecord {
                        partition_id: index,
                        topic_id: topic.id,
                        ..change
                    })
                }));
            }
        }
        Decision::new(next_offset, records, "RegisterBroker")
    }
}

/// `fenced` is 1 to fence and -1 to unfence.
fn set_fenced(id: BrokerId, broker_epoch: i64, fenced: i8) -> MetadataRecord<'static> {
    MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker_id: id.0,
        broker_epoch,
        fenced,
        ..Default::default()
    })
}

/// How a partition changes when this broker is the only one there is.
fn take_over(partition: &Partition, id: BrokerId, clean: bool) -> Option<PartitionChangeRecord> {
    if !partition.replicas.contains(&id) {
        // Nobody has it. Say so, unless that is said already.
        return (partition.leader != BrokerId::NONE)
            .then(|| PartitionChangeRecord { leader: -1, ..Default::default() });
    }
    // A replica that was eligible when the last one stopped has all that was committed (KIP-966).
    let was_eligible = partition.eligible_leader_replicas.contains(&id)
        || (partition.eligible_leader_replicas.is_empty()
            && partition.last_known_elr.contains(&id));
    let may_lead = partition.isr.contains(&id) || (partition.isr.is_empty() && was_eligible);
    if !may_lead {
        return (partition.leader != BrokerId::NONE)
            .then(|| PartitionChangeRecord { leader: -1, ..Default::default() });
    }
    let alone = partition.isr == [id]
        && partition.eligible_leader_replicas.is_empty()
        && partition.last_known_elr.is_empty();
    if clean && partition.leader == id && alone {
        return None;
    }
    let emptied = |ids: &[BrokerId]| (!ids.is_empty()).then(Vec::new);
    Some(PartitionChangeRecord {
        leader: id.0,
        isr: (partition.isr != [id]).then(|| vec![id.0]),
        eligible_leader_replicas: emptied(&partition.eligible_leader_replicas),
        last_known_elr: emptied(&partition.last_known_elr),
        ..Default::default()
    })
}
