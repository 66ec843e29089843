//! Offsets of partitions: where they begin, end, or reach a time; and deleting records.

use std::collections::BTreeMap;

use ringlog_types::{BrokerId, Offset, TimestampMs, TopicPartition};
use ringlog_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ringlog_wire::messages::delete_records_response::DeleteRecordsResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;

use super::CHANGE_TIMEOUT_MS;
use crate::client::{Client, Node};
use crate::consumer::OffsetSpec;
use crate::error::ClientError;

/// An offset that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` when no record is that late.
    pub offset: Option<Offset>,
    /// The time of the record there, where the broker says it.
    pub timestamp: Option<TimestampMs>,
}

impl Client {
    /// The offsets of partitions at `spec`. One failing partition fails the call.
    ///
    /// # Errors
    /// A partition does not exist, or has no leader within the operation's time.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, ClientError> {
        self.retrying(async || {
            let mut offsets = BTreeMap::new();
            for (leader, partitions) in self.by_leader(partitions).await? {
                self.list_offsets_of(leader, &partitions, spec, &mut offsets).await?;
            }
            Ok(offsets)
        })
        .await
    }

    /// Partitions grouped by topic, and those by leader.
    async fn by_leader(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<BrokerId, BTreeMap<String, Vec<i32>>>, ClientError> {
        let mut leaders: BTreeMap<BrokerId, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
        for wanted in partitions {
            let topic = self.topic(&wanted.topic, false).await?;
            let Some(known) = topic.partition(wanted.partition) else {
                let count = topic.partitions.len();
                let name = &wanted.topic;
                let text =
                    format!("topic {name} has {count} partitions, none is {}", wanted.partition);
                return Err(ClientError::Invalid(text));
            };
            if known.leader.0 < 0 {
                self.refresh_topic(&wanted.topic, false).await?;
                let context = || wanted.to_string();
                let code = ringlog_types::ErrorCode::LeaderNotAvailable.code();
                return Err(ClientError::from_code(code, None, context).expect("not 0"));
            }
            let topics = leaders.entry(known.leader).or_default();
            topics.entry(wanted.topic.to_string()).or_default().push(wanted.partition);
        }
        Ok(leaders)
    }

    async fn list_offsets_of(
        &self,
        leader: BrokerId,
        topics: &BTreeMap<String, Vec<i32>>,
        spec: OffsetSpec,
        offsets: &mut BTreeMap<TopicPartition, ListedOffset>,
    ) -> Result<(), ClientError> {
        let partition = |partition: &i32| ListOffsetsPartition {
            partition_index: *partition,
            timestamp: spec.timestamp(),
            ..Default::default()
        };
        let topic = |(name, partitions): (&String, &Vec<i32>)| ListOffsetsTopic {
            name: name.clone().into(),
            partitions: partitions.iter().map(partition).collect(),
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: topics.iter().map(topic).collect(),
            ..Default::default()
        };
        let reply = self.request(Node::Broker(leader), &request).await?;
        let response: ListOffsetsResponse<'_> = reply.decode()?;
        for topic in &response.topics {
            for answer in &topic.partitions {
                let partition = TopicPartition::new(&*topic.name, answer.partition_index);
                let context = || format!("offsets of {partition}");
                if let Some(error) = ClientError::from_code(answer.error_code, None, context) {
                    if error.asks_for_metadata() {
                        self.refresh_topic(&topic.name, false).await?;
                    }
                    return Err(error);
                }
                let offset = match reply.version() {
                    0 => answer.old_style_offsets.first().copied(),
                    _ => Some(answer.offset),
                };
                let listed = ListedOffset {
                    offset: offset.filter(|offset| *offset >= 0),
                    timestamp: Some(answer.timestamp).filter(|time| *time >= 0),
                };
                offsets.insert(partition, listed);
            }
        }
        Ok(())
    }

    /// Deletes the records of a partition before `offset` (-1: all of them). Gives the first
    /// offset that is left.
    ///
    /// # Errors
    /// As the broker answers; an offset beyond the end is one.
    pub async fn delete_records(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<Offset, ClientError> {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: partition.topic.to_string().into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition.partition,
                    offset,
                }],
            }],
            timeout_ms: CHANGE_TIMEOUT_MS,
        };
        self.retrying(async || {
            let leaders = self.by_leader(std::slice::from_ref(partition)).await?;
            let (leader, _) = leaders.first_key_value().expect("one partition has one leader");
            let reply = self.request(Node::Broker(*leader), &request).await?;
            let response: DeleteRecordsResponse<'_> = reply.decode()?;
            let context = || format!("deleting records of {partition}");
            let topic = super::topics::only(response.topics, context)?;
            let result = super::topics::only(topic.partitions, context)?;
            ClientError::from_code(result.error_code, None, context)
                .map_or(Ok(result.low_watermark), Err)
        })
        .await
    }
}
