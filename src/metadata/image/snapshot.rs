//! The image as records: what a snapshot holds.
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
    pub fn to_records(&self) -> Result<Vec<MetadataRecord<'_>>, MetadataError> {
        let mut records = Vec::new();
        self.features_to_records(&mut records);
        records.extend(
            self.brokers.values().map(|broker| MetadataRecord::RegisterBroker(broker.to_record())),
        );
        self.topics_to_records(&mut records);
        self.configs_to_records(&mut records);
        if self.next_producer_id > 0 {
            records.push(MetadataRecord::ProducerIds(ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
            }));
        }
        for frame in self.kept.values() {
            records.push(MetadataRecord::decode(frame)?);
        }
        Ok(records)
    }

    fn features_to_records<'a>(&'a self, records: &mut Vec<MetadataRecord<'a>>) {
        let first = |name: &str| name != METADATA_VERSION;
        let mut features: Vec<_> = self.features.iter().collect();
        features.sort_by_key(|(name, _)| (first(name), (*name).clone()));
        records.extend(features.into_iter().map(|(name, level)| {
            MetadataRecord::FeatureLevel(FeatureLevelRecord {
                name: (&**name).into(),
                feature_level: *level,
            })
        }));
    }

    fn topics_to_records<'a>(&'a self, records: &mut Vec<MetadataRecord<'a>>) {
        for topic in self.topics.values() {
            records.push(MetadataRecord::Topic(TopicRecord {
                name: (&*topic.name).into(),
                topic_id: topic.id,
            }));
            records.extend(topic.partitions.iter().map(|(index, partition)| {
                MetadataRecord::Partition(partition.to_record(topic.id, *index))
            }));
        }
    }

    fn configs_to_records<'a>(&'a self, records: &mut Vec<MetadataRecord<'a>>) {
        for (resource, configs) in &self.configs {
            records.extend(configs.iter().map(|(name, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: resource.resource_type,
                    resource_name: (&*resource.name).into(),
                    name: name.into(),
                    value: Some(value.into()),
                })
            }));
        }
    }
}
