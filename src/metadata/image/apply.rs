//! How each record changes the image.
//!
//! Kafka's own rules (`MetadataDelta.replay`). A record that does not fit the image is an error
//! and changes nothing: the log is not one that this node may serve from.

use std::sync::Arc;

use ringlog_types::{BrokerId, Uuid, validate_topic_name};
use ringlog_wire::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use ringlog_wire::messages::config_record::ConfigRecord;
use ringlog_wire::messages::feature_level_record::FeatureLevelRecord;
use ringlog_wire::messages::partition_change_record::PartitionChangeRecord;
use ringlog_wire::messages::partition_record::PartitionRecord;
use ringlog_wire::messages::topic_record::TopicRecord;

use super::{Broker, ConfigResource, Delta, Image, Partition, Topic};
use crate::error::MetadataError;
use crate::record::{KeptRecord, MetadataRecord};

impl Image {
    /// Applies one record, which stood at `offset` and was written in `epoch`, and notes in
    /// `delta` what it touched.
    pub fn apply(
        &mut self,
        record: &MetadataRecord<'_>,
        offset: i64,
        epoch: i32,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        self.apply_record(record, delta)?;
        self.passed(offset, epoch);
        Ok(())
    }

    /// Notes that the log was read up to `offset`, for records that are not about metadata.
    pub fn passed(&mut self, offset: i64, epoch: i32) {
        self.offset = Some(offset);
        self.epoch = epoch;
    }

    fn apply_record(
        &mut self,
        record: &MetadataRecord<'_>,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                let broker = Broker::from_record(record);
                delta.brokers.insert(broker.id);
                self.brokers.insert(broker.id, Arc::new(broker));
                Ok(())
            }
            MetadataRecord::UnregisterBroker(record) => {
                let id = BrokerId(record.broker_id);
                self.broker_in_epoch("UnregisterBrokerRecord", id, record.broker_epoch)?;
                self.brokers.remove(&id);
                delta.brokers.insert(id);
                Ok(())
            }
            MetadataRecord::FenceBroker(record) => {
                let id = BrokerId(record.id);
                self.set_fenced("FenceBrokerRecord", id, record.epoch, true, delta)
            }
            MetadataRecord::UnfenceBroker(record) => {
                let id = BrokerId(record.id);
                self.set_fenced("UnfenceBrokerRecord", id, record.epoch, false, delta)
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                self.apply_registration_change(record, delta)
            }
            MetadataRecord::Topic(record) => self.apply_topic(record, delta),
            MetadataRecord::Partition(record) => self.apply_partition(record, delta),
            MetadataRecord::PartitionChange(record) => self.apply_partition_change(record, delta),
            MetadataRecord::RemoveTopic(record) => self.apply_remove_topic(record.topic_id, delta),
            MetadataRecord::ClearElr(record) => self.apply_clear_elr(&record.topic_name, delta),
            MetadataRecord::Config(record) => {
                self.apply_config(record, delta);
                Ok(())
            }
            MetadataRecord::ClientQuota(record) => {
                self.apply_client_quota(record, delta);
                Ok(())
            }
            MetadataRecord::FeatureLevel(record) => {
                self.apply_feature_level(record, delta);
                Ok(())
            }
            MetadataRecord::ProducerIds(record) => {
                self.next_producer_id = record.next_producer_id;
                Ok(())
            }
            MetadataRecord::NoOp(_) => Ok(()),
            MetadataRecord::BeginTransaction(_) => self.begin_transaction(),
            MetadataRecord::EndTransaction(_) => self.end_transaction(),
            MetadataRecord::AbortTransaction(_) => self.abort_transaction(),
            _ => self.keep(record),
        }
    }

    fn apply_topic(
        &mut self,
        record: &TopicRecord<'_>,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        let name: Arc<str> = Arc::from(&*record.name);
        if validate_topic_name(&name).is_err() {
            return Err(MetadataError::IllegalTopicName(name.to_string()));
        }
        if self.topic_ids.contains_key(&name) || self.topics.contains_key(&record.topic_id) {
            return Err(MetadataError::DuplicateTopic(name.to_string()));
        }
        self.topic_ids.insert(name.clone(), record.topic_id);
        let topic = Topic { name, id: record.topic_id, partitions: Default::default() };
        self.topics.insert(record.topic_id, topic);
        delta.topics.insert(record.topic_id);
        Ok(())
    }

    fn apply_partition(
        &mut self,
        record: &PartitionRecord,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        let topic = self.topics.get_mut(&record.topic_id).ok_or(MetadataError::UnknownTopic {
            record: "PartitionRecord",
            topic_id: record.topic_id,
        })?;
        topic.partitions.insert(record.partition_id, Arc::new(Partition::from_record(record)));
        delta.topics.insert(record.topic_id);
        Ok(())
    }

    fn apply_partition_change(
        &mut self,
        record: &PartitionChangeRecord,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        let (topic_id, index) = (record.topic_id, record.partition_id);
        let kind = "PartitionChangeRecord";
        let topic = self
            .topics
            .get_mut(&topic_id)
            .ok_or(MetadataError::UnknownTopic { record: kind, topic_id })?;
        let partition = topic
            .partitions
            .get_mut(&index)
            .ok_or(MetadataError::UnknownPartition { record: kind, topic_id, partition: index })?;
        *partition = Arc::new(partition.merged(record));
        delta.topics.insert(topic_id);
        Ok(())
    }

    fn apply_remove_topic(
        &mut self,
        topic_id: Uuid,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        let topic = self
            .topics
            .remove(&topic_id)
            .ok_or(MetadataError::UnknownTopic { record: "RemoveTopicRecord", topic_id })?;
        self.topic_ids.remove(&topic.name);
        let resource = ConfigResource::topic(topic.name.clone());
        self.configs.remove(&resource);
        delta.topics.remove(&topic_id);
        delta.configs.remove(&resource);
        delta.removed_topics.push((topic.name, topic_id));
        Ok(())
    }

    /// Forgets the eligible replicas of one topic, or of all for the empty name.
    fn apply_clear_elr(&mut self, name: &str, delta: &mut Delta) -> Result<(), MetadataError> {
        let ids: Vec<Uuid> = match name {
            "" => self.topics.keys().copied().collect(),
            _ => self.topic_ids.get(name).copied().into_iter().collect(),
        };
        for id in ids {
            let topic = self.topics.get_mut(&id).expect("the id was just found");
            let touched: Vec<i32> = topic
                .partitions
                .iter()
                .filter(|(_, partition)| {
                    !partition.eligible_leader_replicas.is_empty()
                        || !partition.last_known_elr.is_empty()
                })
                .map(|(index, _)| *index)
                .collect();
            for index in touched {
                let partition = topic.partitions.get_mut(&index).expect("the index was just found");
                let partition = Arc::make_mut(partition);
                partition.eligible_leader_replicas.clear();
                partition.last_known_elr.clear();
                delta.topics.insert(id);
            }
        }
        Ok(())
    }

    fn apply_config(&mut self, record: &ConfigRecord<'_>, delta: &mut Delta) {
        let resource = ConfigResource {
            resource_type: record.resource_type,
            name: Arc::from(&*record.resource_name),
        };
        let mut configs =
            self.configs.get(&resource).map(|set| (**set).clone()).unwrap_or_default();
        match &record.value {
            Some(value) => drop(configs.insert(record.name.to_string(), value.to_string())),
            None => drop(configs.remove(&*record.name)),
        }
        match configs.is_empty() {
            true => drop(self.configs.remove(&resource)),
            false => drop(self.configs.insert(resource.clone(), Arc::new(configs))),
        }
        delta.configs.insert(resource);
    }

    fn apply_feature_level(&mut self, record: &FeatureLevelRecord<'_>, delta: &mut Delta) {
        match record.feature_level {
            0 => drop(self.features.remove(&*record.name)),
            level => drop(self.features.insert(Arc::from(&*record.name), level)),
        }
        delta.features = true;
    }
}

/// Brokers.
impl Image {
    fn broker_in_epoch(
        &mut self,
        record: &'static str,
        broker: BrokerId,
        epoch: i64,
    ) -> Result<&mut Broker, MetadataError> {
        match self.brokers.get_mut(&broker) {
            Some(found) if found.epoch == epoch => Ok(Arc::make_mut(found)),
            _ => Err(MetadataError::UnknownBroker { record, broker, epoch }),
        }
    }

    fn set_fenced(
        &mut self,
        record: &'static str,
        id: BrokerId,
        epoch: i64,
        fenced: bool,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        self.broker_in_epoch(record, id, epoch)?.fenced = fenced;
        delta.brokers.insert(id);
        Ok(())
    }

    fn apply_registration_change(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        let (kind, id) = ("BrokerRegistrationChangeRecord", BrokerId(record.broker_id));
        let broker = self.broker_in_epoch(kind, id, record.broker_epoch)?;
        // 1 and -1 are yes and no, 0 is "as it was".
        match record.fenced {
            1 => broker.fenced = true,
            -1 => broker.fenced = false,
            _ => {}
        }
        if record.in_controlled_shutdown == 1 {
            broker.in_controlled_shutdown = true;
        }
        if !record.log_dirs.is_empty() {
            broker.log_dirs = record.log_dirs.clone();
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_log_dirs = Some(cordoned.clone());
        }
        delta.brokers.insert(id);
        Ok(())
    }
}

/// Transactions: records that count together or not at all (KIP-868).
impl Image {
    fn begin_transaction(&mut self) -> Result<(), MetadataError> {
        if self.in_transaction() {
            return Err(MetadataError::Transaction(
                "a BeginTransactionRecord stands inside a transaction",
            ));
        }
        self.before_transaction = Some(Box::new(self.clone()));
        Ok(())
    }

    fn end_transaction(&mut self) -> Result<(), MetadataError> {
        match self.before_transaction.take() {
            Some(_) => Ok(()),
            None => Err(MetadataError::Transaction(
                "an EndTransactionRecord stands outside a transaction",
            )),
        }
    }

    fn abort_transaction(&mut self) -> Result<(), MetadataError> {
        match self.before_transaction.take() {
            Some(before) => {
                // The quorum's own records are no part of it.
                let quorum = std::mem::take(&mut self.quorum);
                *self = Image { quorum, ..*before };
                Ok(())
            }
            None => Err(MetadataError::Transaction(
                "an AbortTransactionRecord stands outside a transaction",
            )),
        }
    }
}

/// Records that are kept as they came.
impl Image {
    fn keep(&mut self, record: &MetadataRecord<'_>) -> Result<(), MetadataError> {
        match record.kept() {
            KeptRecord::Put(key) => drop(self.kept.insert(key, record.encode_kept()?)),
            KeptRecord::Remove(key) => drop(self.kept.remove(&key)),
        }
        Ok(())
    }
}
