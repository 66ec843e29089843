//! CreateTopics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ringlog_config::{ConfigEntry, TopicConfig, describe_topic};
use ringlog_types::{BrokerId, ErrorCode, Uuid};
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use ringlog_wire::messages::topic_record::TopicRecord;

use super::api_error::ApiError;
use super::configs::{check_length, config_record};
use super::entropy::Entropy;
use super::mutation_quota::{MutationQuota, charge};
use super::names::{CollidingNames, check_name};
use super::placement::{check_manual, new_partition, place};
use super::{Controller, Decision, PARTITIONS_PER_REQUEST_MAX};
use crate::image::{ConfigResource, Partition};
use crate::record::MetadataRecord;

/// The topic that is the metadata log itself.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A topic that passed every check.
struct Planned {
    name: Arc<str>,
    id: Uuid,
    partitions: Vec<Partition>,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
}

impl Controller {
    /// Answers CreateTopics 0–7, of one who may change as much as `quota` says.
    pub fn create_topics(
        &self,
        request: &CreateTopicsRequest<'_>,
        random: u128,
        quota: &dyn MutationQuota,
    ) -> Decision<CreateTopicsResponse<'static>> {
        let mut entropy = Entropy::new(random);
        let mut colliding = self.colliding.clone();
        let mut records = Vec::new();
        let mut topics = Vec::new();
        let mut repeated = HashSet::new();
        let times = occurrences(request.topics.iter().map(|topic| &*topic.name));
        let too_many = self.partitions_asked_for(&request.topics) > PARTITIONS_PER_REQUEST_MAX;
        for topic in &request.topics {
            let planned = if times[&*topic.name] > 1 {
                if !repeated.insert(&*topic.name) {
                    continue;
                }
                Err(ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else if too_many {
                let message = "Excessively large number of partitions per request.";
                Err(ApiError::new(ErrorCode::PolicyViolation, message))
            } else {
                let planned = self.plan_topic(topic, &colliding, &mut entropy);
                planned
                    .and_then(|planned| charge(quota, planned.partitions.len()).map(|()| planned))
            };
            topics.push(match planned {
                Ok(planned) => {
                    colliding.insert(&planned.name);
                    let result = self.created(&planned);
                    if !request.validate_only {
                        planned.into_records(&mut records);
                    }
                    result
                }
                Err(error) => refused(&topic.name, error),
            });
        }
        let response = CreateTopicsResponse { topics, ..Default::default() };
        Decision::new(response, records, "CreateTopics")
    }

    fn partitions_asked_for(&self, topics: &[CreatableTopic<'_>]) -> i64 {
        let count = |topic: &CreatableTopic<'_>| match topic.num_partitions {
            -1 if !topic.assignments.is_empty() => topic.assignments.len() as i64,
            -1 => i64::from(self.config.num_partitions),
            count => i64::from(count.max(0)),
        };
        topics.iter().map(count).sum()
    }

    fn plan_topic(
        &self,
        topic: &CreatableTopic<'_>,
        colliding: &CollidingNames,
        entropy: &mut Entropy,
    ) -> Result<Planned, ApiError> {
        let name = &*topic.name;
        check_name(name)?;
        if name == METADATA_TOPIC {
            let message = format!("Creation of internal topic {name} is prohibited.");
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        if self.image.topic(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err(ApiError::new(ErrorCode::TopicAlreadyExists, message));
        }
        if let Some(other) = colliding.other(name) {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(ApiError::new(ErrorCode::InvalidTopicException, message));
        }
        let configs = self.check_configs(topic)?;
        let partitions = match topic.assignments.is_empty() {
            true => self.place_topic(topic, entropy)?,
            false => self.assign_topic(topic)?,
        };
        let replication_factor = partitions.first().map_or(0, |first| first.replicas.len());
        Ok(Planned {
            name: name.into(),
            id: entropy.topic_id(&self.image),
            partitions,
            replication_factor: i16::try_from(replication_factor).unwrap_or(i16::MAX),
            configs,
        })
    }

    fn check_configs(
        &self,
        topic: &CreatableTopic<'_>,
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let mut configs = BTreeMap::new();
        for config in &topic.configs {
            let Some(value) = &config.value else {
                let message =
                    format!("Null value not supported for topic configs: {}", config.name);
                return Err(ApiError::new(ErrorCode::InvalidConfig, message));
            };
            check_length(&config.name, value)?;
            configs.insert(config.name.to_string(), value.to_string());
        }
        match TopicConfig::resolve(&self.config.topic_defaults, &configs) {
            Ok(_) => Ok(configs),
            Err(error) => Err(ApiError::new(ErrorCode::InvalidConfig, error.to_string())),
        }
    }

    fn place_topic(
        &self,
        topic: &CreatableTopic<'_>,
        entropy: &mut Entropy,
    ) -> Result<Vec<Partition>, ApiError> {
        let replication_factor = match topic.replication_factor {
            -1 => i16::try_from(self.config.default_replication_factor).unwrap_or(i16::MAX),
            factor if factor > 0 => factor,
            _ => {
                let message =
                    "Replication factor must be larger than 0, or -1 to use the default value.";
                return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message));
            }
        };
        let count = match topic.num_partitions {
            -1 => self.config.num_partitions,
            count if count > 0 => count,
            _ => {
                let message = "Number of partitions was set to an invalid non-positive value.";
                return Err(ApiError::new(ErrorCode::InvalidPartitions, message));
            }
        };
        let placed = place(&self.image, 0, count, replication_factor, entropy)?;
        (0..).zip(placed).map(|(index, on)| new_partition(&self.image, index, on)).collect()
    }

    fn assign_topic(&self, topic: &CreatableTopic<'_>) -> Result<Vec<Partition>, ApiError> {
        for (is_set, what) in [
            (topic.replication_factor != -1, "replication factor"),
            (topic.num_partitions != -1, "numPartitions"),
        ] {
            if is_set {
                let message = format!(
                    "A manual partition assignment was specified, but {what} was not set to -1."
                );
                return Err(ApiError::new(ErrorCode::InvalidRequest, message));
            }
        }
        let mut partitions = BTreeMap::new();
        let mut like = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if partitions.contains_key(&index) {
                let message =
                    format!("Found multiple manual partition assignments for partition {index}");
                return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let replicas = BrokerId::all_of(&assignment.broker_ids);
            check_manual(&self.image, &replicas, like)?;
            like = Some(replicas.len());
            partitions.insert(index, new_partition(&self.image, index, replicas)?);
        }
        if (0..).zip(partitions.keys()).any(|(expected, index)| expected != *index) {
            let message = "partitions should be a consecutive 0-based integer sequence";
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Ok(partitions.into_values().collect())
    }

    fn created(&self, planned: &Planned) -> CreatableTopicResult<'static> {
        let entries = describe_topic(&self.config, &planned.configs, None);
        let config = |entry: ConfigEntry| CreatableTopicConfigs {
            name: entry.name.into(),
            value: entry.value.map(Into::into),
            read_only: entry.read_only,
            config_source: entry.source.code(),
            is_sensitive: entry.is_sensitive,
        };
        CreatableTopicResult {
            name: planned.name.to_string().into(),
            error_message: None,
            topic_id: planned.id,
            num_partitions: i32::try_from(planned.partitions.len()).expect("bounded"),
            replication_factor: planned.replication_factor,
            configs: Some(entries.into_iter().map(config).collect()),
            ..Default::default()
        }
    }
}

impl Planned {
    /// The topic, its settings, its partitions: the order in which Kafka writes them.
    fn into_records(self, records: &mut Vec<MetadataRecord<'static>>) {
        records.push(MetadataRecord::Topic(TopicRecord {
            name: self.name.to_string().into(),
            topic_id: self.id,
        }));
        let resource = ConfigResource::topic(self.name);
        for (key, value) in self.configs {
            records.push(config_record(&resource, key, Some(value)));
        }
        for (index, partition) in (0..).zip(self.partitions) {
            records.push(MetadataRecord::Partition(partition.to_record(self.id, index)));
        }
    }
}

fn refused(name: &str, error: ApiError) -> CreatableTopicResult<'static> {
    CreatableTopicResult {
        name: name.to_owned().into(),
        error_code: error.code.code(),
        error_message: error.message(),
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    }
}

/// How often each name stands in a request.
pub(super) fn occurrences<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut times = HashMap::new();
    for name in names {
        *times.entry(name).or_insert(0) += 1;
    }
    times
}
