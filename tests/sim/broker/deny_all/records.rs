//! Records and offsets.

use ringlog_record::BatchBuilder;
use ringlog_types::Uuid;
use ringlog_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ringlog_wire::messages::delete_records_response::DeleteRecordsResponse;
use ringlog_wire::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use ringlog_wire::messages::describe_producers_response::DescribeProducersResponse;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ringlog_wire::messages::init_producer_id_response::InitProducerIdResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringlog_wire::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;
use ringlog_wire::{ApiKey, Records};

use super::{Asker, NOWHERE, TOPIC, codes};

/// By name, and by id.
const PRODUCE_VERSIONS: (i16, i16) = (9, 13);
const FETCH_VERSIONS: (i16, i16) = (12, 13);

/// What is told, if the API is of this area.
pub(super) async fn told(asker: &mut Asker, api: ApiKey) -> Option<String> {
    Some(match api {
        ApiKey::Produce => {
            let by_name = produce(asker, PRODUCE_VERSIONS.0, None).await;
            let by_id = produce(asker, PRODUCE_VERSIONS.1, None).await;
            let transactional = produce(asker, PRODUCE_VERSIONS.0, Some("t")).await;
            format!("{by_name} | by id {by_id} | transactional {transactional}")
        }
        ApiKey::Fetch => {
            let by_name = fetch(asker, FETCH_VERSIONS.0, -1).await;
            let by_id = fetch(asker, FETCH_VERSIONS.1, -1).await;
            let as_a_broker = fetch(asker, FETCH_VERSIONS.0, 2).await;
            format!("{by_name} | by id {by_id} | as a broker {as_a_broker}")
        }
        ApiKey::ListOffsets => list_offsets(asker).await,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch(asker).await,
        ApiKey::DeleteRecords => delete_records(asker).await,
        ApiKey::InitProducerId => {
            let idempotent = init_producer_id(asker, None).await;
            let transactional = init_producer_id(asker, Some("t")).await;
            format!("{idempotent} | transactional {transactional}")
        }
        ApiKey::DescribeProducers => describe_producers(asker).await,
        _ => return None,
    })
}

/// The topic that exists and the one that does not, by id where the version wants that.
fn named(asker: &Asker, by_id: bool) -> [(&'static str, Uuid); 2] {
    match by_id {
        true => [("", asker.topic_id), ("", Uuid::from_u128(77))],
        false => [(TOPIC, Uuid::ZERO), (NOWHERE, Uuid::ZERO)],
    }
}

async fn produce(
    asker: &mut Asker,
    version: i16,
    transactional_id: Option<&'static str>,
) -> String {
    let mut batch = BatchBuilder::new(1000);
    if transactional_id.is_some() {
        batch = batch.producer(5, 0, 0).transactional();
    }
    batch.push(1000, None, Some(b"v"), &[]);
    let batch = batch.build().expect("a batch").0;
    let topics = named(asker, version == PRODUCE_VERSIONS.1).map(|(name, topic_id)| {
        let records = Some(Records::Borrowed(&batch));
        let partition_data = vec![PartitionProduceData { index: 0, records }];
        TopicProduceData { name: name.into(), topic_id, partition_data }
    });
    let request = ProduceRequest {
        transactional_id: transactional_id.map(Into::into),
        acks: -1,
        timeout_ms: 1000,
        topic_data: topics.to_vec(),
    };
    let answer = asker.ask(version, &request).await;
    let body: ProduceResponse = answer.decode();
    codes(body.responses.iter().map(|topic| topic.partition_responses[0].error_code))
}

async fn fetch(asker: &mut Asker, version: i16, replica_id: i32) -> String {
    let topics = named(asker, version == FETCH_VERSIONS.1).map(|(name, topic_id)| FetchTopic {
        topic: name.into(),
        topic_id,
        partitions: vec![FetchPartition {
            partition_max_bytes: 1000,
            current_leader_epoch: -1,
            ..Default::default()
        }],
    });
    let request = FetchRequest {
        replica_id,
        // An answer does not wait for what may not be read.
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        max_bytes: 1000,
        session_epoch: -1,
        topics: topics.to_vec(),
        ..Default::default()
    };
    let answer = asker.ask(version, &request).await;
    let body: FetchResponse = answer.decode();
    let errors = body.responses.iter().map(|topic| topic.partitions[0].error_code);
    format!("{}: {}", body.error_code, codes(errors))
}

async fn list_offsets(asker: &mut Asker) -> String {
    let topics = [TOPIC, NOWHERE].map(|name| ListOffsetsTopic {
        name: name.into(),
        partitions: vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }],
    });
    let request =
        ListOffsetsRequest { replica_id: -1, topics: topics.to_vec(), ..Default::default() };
    let answer = asker.ask(7, &request).await;
    let body: ListOffsetsResponse = answer.decode();
    codes(body.topics.iter().map(|topic| topic.partitions[0].error_code))
}

async fn offset_for_leader_epoch(asker: &mut Asker) -> String {
    let topics = [TOPIC, NOWHERE].map(|name| OffsetForLeaderTopic {
        topic: name.into(),
        partitions: vec![OffsetForLeaderPartition {
            current_leader_epoch: -1,
            ..Default::default()
        }],
    });
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.to_vec() };
    let answer = asker.ask(4, &request).await;
    let body: OffsetForLeaderEpochResponse = answer.decode();
    codes(body.topics.iter().map(|topic| topic.partitions[0].error_code))
}

async fn delete_records(asker: &mut Asker) -> String {
    let topics = [TOPIC, NOWHERE].map(|name| DeleteRecordsTopic {
        name: name.into(),
        partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: -1 }],
    });
    let request = DeleteRecordsRequest { topics: topics.to_vec(), timeout_ms: 1000 };
    let answer = asker.ask(2, &request).await;
    let body: DeleteRecordsResponse = answer.decode();
    codes(body.topics.iter().map(|topic| topic.partitions[0].error_code))
}

async fn init_producer_id(asker: &mut Asker, transactional_id: Option<&'static str>) -> String {
    let request = InitProducerIdRequest {
        transactional_id: transactional_id.map(Into::into),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    let answer = asker.ask(4, &request).await;
    let body: InitProducerIdResponse = answer.decode();
    assert_eq!(body.producer_id, -1);
    codes([body.error_code])
}

async fn describe_producers(asker: &mut Asker) -> String {
    let topics =
        [TOPIC, NOWHERE].map(|name| TopicRequest { name: name.into(), partition_indexes: vec![0] });
    let answer = asker.ask(0, &DescribeProducersRequest { topics: topics.to_vec() }).await;
    let body: DescribeProducersResponse = answer.decode();
    codes(body.topics.iter().map(|topic| topic.partitions[0].error_code))
}
