//! The image as records: what a snapshot holds. They are made one at a time, so that writing a
//! large snapshot can pause anywhere.
//!
//! Applied to an empty image, the records give an equal one. Their order is Kafka's: features
//! first, so that a reader knows at once whether it can read on.

use ringlog_wire::messages::config_record::ConfigRecord;
use ringlog_wire::messages::feature_level_record::FeatureLevelRecord;
use ringlog_wire::messages::producer_ids_record::ProducerIdsRecord;
use ringlog_wire::messages::topic_record::TopicRecord;

use super::Image;
use crate::error::MetadataError;
use crate::features::METADATA_VERSION;
use crate::record::MetadataRecord;

impl Image {
    /// The records that make this image.
    pub fn records(&self) -> impl Iterator<Item = Result<MetadataRecord<'_>, MetadataError>> {
        let brokers = self.brokers.values().map(|broker| broker.to_record());
        let known = self
            .feature_records()
            .chain(brokers.map(MetadataRecord::RegisterBroker))
            .chain(self.topic_records())
            .chain(self.config_records())
            .chain(self.client_quota_records())
            .chain(self.producer_id_record());
        known.map(Ok).chain(self.kept.values().map(|frame| MetadataRecord::decode(frame)))
    }

    fn feature_records(&self) -> impl Iterator<Item = MetadataRecord<'_>> {
        let mut features: Vec<_> = self.features.iter().collect();
        features.sort_by_key(|(name, _)| (&***name != METADATA_VERSION, (*name).clone()));
        features.into_iter().map(|(name, level)| {
            let name = (&**name).into();
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level: *level })
        })
    }

    fn topic_records(&self) -> impl Iterator<Item = MetadataRecord<'_>> {
        self.topics.values().flat_map(|topic| {
            let record = TopicRecord { name: (&*topic.name).into(), topic_id: topic.id };
            let partitions = topic.partitions.iter().map(|(index, partition)| {
                MetadataRecord::Partition(partition.to_record(topic.id, *index))
            });
            std::iter::once(MetadataRecord::Topic(record)).chain(partitions)
        })
    }

    fn config_records(&self) -> impl Iterator<Item = MetadataRecord<'_>> {
        self.configs.iter().flat_map(|(resource, configs)| {
            configs.iter().map(|(name, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: resource.resource_type,
                    resource_name: (&*resource.name).into(),
                    name: name.into(),
                    value: Some(value.into()),
                })
            })
        })
    }

    fn producer_id_record(&self) -> Option<MetadataRecord<'_>> {
        let record = ProducerIdsRecord {
            broker_id: -1,
            broker_epoch: -1,
            next_producer_id: self.next_producer_id,
        };
        (self.next_producer_id > 0).then_some(MetadataRecord::ProducerIds(record))
    }
}
