//! CreatePartitions: more partitions for topics that exist.

use std::collections::HashSet;

use ringlog_types::{BrokerId, ErrorCode};
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::api_error::{ApiError, code_and_message};
use super::create_topics::occurrences;
use super::entropy::Entropy;
use super::mutation_quota::{MutationQuota, charge};
use super::placement::{check_manual, new_partition, place};
use super::{Controller, Decision, PARTITIONS_PER_REQUEST_MAX};
use crate::image::Topic;
use crate::record::MetadataRecord;

impl Controller {
    /// Answers CreatePartitions 0–3, of one who may change as much as `quota` says.
    pub fn create_partitions(
        &self,
        request: &CreatePartitionsRequest<'_>,
        random: u128,
        quota: &dyn MutationQuota,
    ) -> Decision<CreatePartitionsResponse<'static>> {
        let mut entropy = Entropy::new(random);
        let times = occurrences(request.topics.iter().map(|topic| &*topic.name));
        let mut repeated = HashSet::new();
        let mut left = PARTITIONS_PER_REQUEST_MAX;
        let mut records = Vec::new();
        let mut results: Vec<CreatePartitionsTopicResult<'static>> = Vec::new();
        for topic in &request.topics {
            let outcome = if times[&*topic.name] > 1 {
                if !repeated.insert(&*topic.name) {
                    continue;
                }
                Err(ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else {
                let planned = self.plan_partitions(topic, &mut left, &mut entropy);
                planned.and_then(|new| charge(quota, new.len()).map(|()| new))
            };
            let outcome = outcome.map(|new| {
                if !request.validate_only {
                    records.extend(new);
                }
            });
            let (error_code, error_message) = code_and_message(outcome);
            results.push(CreatePartitionsTopicResult {
                name: topic.name.to_string().into(),
                error_code,
                error_message,
            });
        }
        let response = CreatePartitionsResponse { results, ..Default::default() };
        Decision::new(response, records, "CreatePartitions")
    }

    fn plan_partitions(
        &self,
        wanted: &CreatePartitionsTopic<'_>,
        left: &mut i64,
        entropy: &mut Entropy,
    ) -> Result<Vec<MetadataRecord<'static>>, ApiError> {
        let Some(topic) = self.image.topic(&wanted.name) else {
            return Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, ""));
        };
        let (has, count) = (topic.partition_count(), wanted.count);
        let refuse = |code, message: String| Err(ApiError::new(code, message));
        if count == has {
            let message = format!("Topic already has {has} partition(s).");
            return refuse(ErrorCode::InvalidPartitions, message);
        }
        if count < has {
            let message = format!(
                "The topic {} currently has {has} partition(s); {count} would not be an increase.",
                topic.name
            );
            return refuse(ErrorCode::InvalidPartitions, message);
        }
        let additional = count - has;
        *left -= i64::from(additional);
        if *left < 0 {
            let message = "Excessively large number of partitions per request.".to_owned();
            return refuse(ErrorCode::PolicyViolation, message);
        }
        let replicas = self.replicas_of(topic, wanted, additional, entropy)?;
        let record = |(index, replicas)| {
            let partition = new_partition(&self.image, index, replicas)?;
            Ok(MetadataRecord::Partition(partition.to_record(topic.id, index)))
        };
        (has..).zip(replicas).map(record).collect()
    }

    fn replicas_of(
        &self,
        topic: &Topic,
        wanted: &CreatePartitionsTopic<'_>,
        additional: i32,
        entropy: &mut Entropy,
    ) -> Result<Vec<Vec<BrokerId>>, ApiError> {
        let like = topic.partitions.get(&0).map_or(1, |first| first.replicas.len());
        let Some(assignments) = &wanted.assignments else {
            let factor = i16::try_from(like).unwrap_or(i16::MAX);
            return place(&self.image, topic.partition_count(), additional, factor, entropy);
        };
        if assignments.len() != usize::try_from(additional).expect("it is an increase") {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) \
                 were specified.",
                assignments.len()
            );
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        let replicas = assignments.iter().map(|assignment| {
            let replicas = BrokerId::all_of(&assignment.broker_ids);
            check_manual(&self.image, &replicas, Some(like))?;
            Ok(replicas)
        });
        replicas.collect()
    }
}
