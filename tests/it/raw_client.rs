//! Requests as the tests send them over [`RawClient`], for what the real client would never send.

use bytes::Bytes;
use ringlog_record::BatchBuilder;
use ringlog_wire::Records;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
pub(crate) use ringlog_wire_client::{Answer, RawClient};

/// A batch of records with these values.
pub(crate) fn batch(values: &[String]) -> Bytes {
    let mut batch = BatchBuilder::new(0);
    values.iter().for_each(|value| batch.push(0, None, Some(value.as_bytes()), &[]));
    batch.build().unwrap().0.into()
}

/// A request to produce one batch.
pub(crate) fn produce(
    topic: &str,
    partition: i32,
    records: Bytes,
    timeout_ms: i32,
) -> ProduceRequest<'static> {
    let partition =
        PartitionProduceData { index: partition, records: Some(Records::Shared(vec![records])) };
    let topic = TopicProduceData {
        name: topic.to_owned().into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms, topic_data: vec![topic], ..Default::default() }
}

/// A request to fetch partitions of one topic, which waits for nothing.
pub(crate) fn fetch(topic: &str, partitions: &[FetchPartition]) -> FetchRequest<'static> {
    let topic = FetchTopic {
        topic: topic.to_owned().into(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    FetchRequest {
        replica_id: -1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// One partition of a fetch.
pub(crate) fn from_offset(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }
}

/// How many bytes of records a fetch brought of each partition.
pub(crate) fn bytes_of_each(response: &FetchResponse<'_>) -> Vec<usize> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.records.as_ref().map_or(0, Records::len)).collect()
}
