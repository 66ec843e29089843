//! Records and offsets.

use ringlog_record::{BatchBuilder, BatchIter, RecordIter, decompressed_records};
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::Records;
use ringlog_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ringlog_wire::messages::delete_records_response::DeleteRecordsResponse;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ringlog_wire::messages::init_producer_id_response::InitProducerIdResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse,
};
use ringlog_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringlog_wire::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::{PartitionProduceResponse, ProduceResponse};

use super::{FIRST_TIMESTAMP, TOPIC, World, fill, topics};
use crate::old_clients::{self, Message, messages};
use crate::raw_client::RawClient;

/// An id that no topic has.
const NO_TOPIC: Uuid = Uuid([7; 16]);

/// Offset, timestamp, key, value.
type Read = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// The records of batches, from an offset on.
fn read(batches: &[u8], from: i64) -> Vec<Read> {
    let mut found = Vec::new();
    for batch in BatchIter::new(batches) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let records = decompressed_records(&batch, 1 << 20).unwrap();
        for record in RecordIter::new(&batch, &records).map(|record| record.unwrap()) {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            found.push((record.offset, record.timestamp, key, value));
        }
    }
    found.retain(|(offset, ..)| *offset >= from);
    found
}

/// What [`fill`] wrote.
fn filled() -> Vec<Read> {
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    vec![
        (0, FIRST_TIMESTAMP, bytes("k0"), bytes("v0")),
        (1, FIRST_TIMESTAMP + 1000, None, bytes("v1")),
        (2, FIRST_TIMESTAMP + 2000, bytes("k2"), None),
        (3, FIRST_TIMESTAMP + 3000, bytes("k3"), bytes("v3")),
    ]
}

fn send(
    world: &mut World,
    version: i16,
    name: &str,
    topic_id: Uuid,
    records: &[u8],
) -> PartitionProduceResponse<'static> {
    let data = PartitionProduceData { index: 0, records: Some(Records::Borrowed(records)) };
    let by_id = version >= 13;
    let topic = TopicProduceData {
        name: if by_id { "".into() } else { name.into() },
        topic_id: if by_id { topic_id } else { Uuid::ZERO },
        partition_data: vec![data],
    };
    let request =
        ProduceRequest { acks: 1, timeout_ms: 9000, topic_data: vec![topic], ..Default::default() };
    let answer = world.wire.ask(version, &request);
    let body: ProduceResponse = answer.decode();
    let topic = &body.responses[0];
    assert_eq!(topic.name, if by_id { "" } else { name });
    assert_eq!(topic.topic_id, if by_id { topic_id } else { Uuid::ZERO });
    let partition = topic.partition_responses[0].clone();
    let error_message = partition.error_message.map(|message| message.into_owned().into());
    assert!(partition.record_errors.is_empty());
    PartitionProduceResponse { error_message, record_errors: Vec::new(), ..partition }
}

pub(super) fn produce(world: &mut World, version: i16) {
    let name = format!("produce-{version}");
    topics::create(&mut world.wire, &name, 1, &[]);
    let id = topics::id_of(&mut world.wire, &name);
    let magic = if version < 2 { 0 } else { 1 };
    let message = |key: Option<&[u8]>, value: Option<&[u8]>| Message {
        offset: 0,
        magic,
        timestamp: if magic == 0 { -1 } else { FIRST_TIMESTAMP },
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
    };
    let sent = [message(Some(b"k"), Some(b"v")), message(None, None)];
    let records = if version < 3 {
        [sent[0].encode(), sent[1].encode()].concat()
    } else {
        let mut builder = BatchBuilder::new(FIRST_TIMESTAMP);
        builder.push(FIRST_TIMESTAMP, Some(b"k"), Some(b"v"), &[]);
        builder.push(FIRST_TIMESTAMP, None, None, &[]);
        builder.build().unwrap().0
    };
    for base_offset in [0, 2] {
        let answer = send(world, version, &name, id, &records);
        assert_eq!((answer.error_code, answer.base_offset), (0, base_offset));
        assert_eq!(answer.log_append_time_ms, -1);
        assert_eq!(answer.log_start_offset, if version < 5 { -1 } else { 0 });
        assert_eq!(answer.error_message, None);
    }
    let (_, high_watermark, stored) =
        old_clients::fetch(&mut world.wire, 12, &name, &[(0, 0, 1 << 20)]).remove(0);
    let expected = (0..4).map(|offset| {
        let Message { timestamp, key, value, .. } = sent[offset as usize % 2].clone();
        (offset, timestamp, key, value)
    });
    assert_eq!((high_watermark, read(&stored, 0)), (4, expected.collect::<Vec<_>>()));

    let mut damaged = records.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let refused = send(world, version, &name, id, &damaged);
    let corrupt = ErrorCode::CorruptMessage.code();
    assert_eq!((refused.error_code, refused.base_offset), (corrupt, -1));
    assert_eq!(refused.error_message.is_some(), version >= 8);
    let unknown = send(world, version, "nowhere", NO_TOPIC, &records).error_code;
    let error =
        if version < 13 { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
    assert_eq!(unknown, error.code());
}

fn fetch_request(version: i16, name: &str, id: Uuid, fetch_offset: i64) -> FetchRequest<'_> {
    let partition = FetchPartition {
        partition: 0,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let by_id = version >= 13;
    let topic = FetchTopic {
        topic: if by_id { "".into() } else { name.into() },
        topic_id: if by_id { id } else { Uuid::ZERO },
        partitions: vec![partition],
    };
    let mut request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        topics: vec![topic],
        session_epoch: if version >= 7 { 0 } else { -1 },
        ..Default::default()
    };
    if version < 15 {
        request.replica_id = -1;
    }
    request
}

pub(super) fn fetch(world: &mut World, version: i16) {
    for from in [0, 1, 3] {
        let request = fetch_request(version, TOPIC, world.topic_id, from);
        let answer = world.wire.ask(version, &request);
        let body: FetchResponse = answer.decode();
        assert_eq!((body.error_code, body.session_id != 0), (0, version >= 7));
        let topic = &body.responses[0];
        assert_eq!(topic.topic, if version < 13 { TOPIC } else { "" });
        assert_eq!(topic.topic_id, if version < 13 { Uuid::ZERO } else { world.topic_id });
        let partition = &topic.partitions[0];
        assert_eq!((partition.partition_index, partition.error_code), (0, 0));
        assert_eq!(partition.high_watermark, 4);
        assert_eq!(partition.last_stable_offset, if version < 4 { -1 } else { 4 });
        assert_eq!(partition.log_start_offset, if version < 5 { -1 } else { 0 });
        assert_eq!(partition.preferred_read_replica, -1);
        let records = partition.records.as_ref().and_then(Records::as_slice).unwrap();
        let expected = filled().into_iter().filter(|(offset, ..)| *offset >= from);
        if version >= 4 {
            assert_eq!(read(records, from), expected.collect::<Vec<_>>());
            continue;
        }
        let magic = if version < 2 { 0 } else { 1 };
        let expected = expected.map(|(offset, timestamp, key, value)| Message {
            offset,
            magic,
            timestamp: if magic == 0 { -1 } else { timestamp },
            key,
            value,
        });
        assert_eq!(messages(records), (expected.collect(), 0));
    }
    let errors = [
        (TOPIC, world.topic_id, 5, ErrorCode::OffsetOutOfRange),
        (
            "nowhere",
            NO_TOPIC,
            0,
            match version {
                ..13 => ErrorCode::UnknownTopicOrPartition,
                _ => ErrorCode::UnknownTopicId,
            },
        ),
    ];
    for (name, id, offset, error) in errors {
        let answer = world.wire.ask(version, &fetch_request(version, name, id, offset));
        let body: FetchResponse = answer.decode();
        let partition = &body.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (error.code(), -1));
    }
}

fn offset_at(
    wire: &mut RawClient,
    version: i16,
    name: &str,
    timestamp: i64,
) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: name.into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = wire.ask(version, &request);
    let body: ListOffsetsResponse = answer.decode();
    assert_eq!(body.topics[0].name, name);
    body.topics[0].partitions[0].clone()
}

pub(super) fn list_offsets(world: &mut World, version: i16) {
    let unsupported = ErrorCode::UnsupportedVersion.code();
    // Timestamp asked for, first version that knows it, offset and timestamp of the answer.
    let cases = [
        (-1, 0, 4, -1),
        (-2, 0, 0, -1),
        (FIRST_TIMESTAMP + 500, 1, 1, FIRST_TIMESTAMP + 1000),
        (FIRST_TIMESTAMP + 4000, 1, -1, -1),
        (-3, 7, 3, FIRST_TIMESTAMP + 3000),
        (-4, 8, 0, -1),
        (-5, 9, -1, -1),
    ];
    for (asked, first, offset, timestamp) in cases {
        if version < first && asked != -3 {
            continue;
        }
        let found = offset_at(&mut world.wire, version, TOPIC, asked);
        if version < first {
            assert_eq!(found.error_code, unsupported);
        } else if version == 0 {
            assert_eq!((found.error_code, found.old_style_offsets), (0, vec![offset]));
        } else {
            let epoch = if version < 4 || offset == -1 { -1 } else { 0 };
            let expected = (0, offset, timestamp, epoch);
            let found = (found.error_code, found.offset, found.timestamp, found.leader_epoch);
            assert_eq!(found, expected, "{asked}");
        }
    }
    let unknown = offset_at(&mut world.wire, version, "nowhere", -1);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

pub(super) fn offset_for_leader_epoch(world: &mut World, version: i16) {
    let partition =
        |partition| OffsetForLeaderPartition { partition, leader_epoch: 0, ..Default::default() };
    let topic =
        OffsetForLeaderTopic { topic: TOPIC.into(), partitions: vec![partition(0), partition(9)] };
    let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
    let answer = world.wire.ask(version, &request);
    let body: OffsetForLeaderEpochResponse = answer.decode();
    let [known, unknown] = &body.topics[0].partitions[..] else { panic!("two partitions") };
    assert_eq!((known.error_code, known.partition, known.end_offset), (0, 0, 4));
    assert_eq!(known.leader_epoch, if version < 1 { -1 } else { 0 });
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

pub(super) fn delete_records(world: &mut World, version: i16) {
    let name = format!("cut-{version}");
    topics::create(&mut world.wire, &name, 1, &[]);
    fill(&mut world.wire, &name);
    for (offset, expected) in [(2, (0, 2)), (9, (ErrorCode::OffsetOutOfRange.code(), -1))] {
        let partition = DeleteRecordsPartition { partition_index: 0, offset };
        let topic = DeleteRecordsTopic { name: name.as_str().into(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 9000 };
        let answer = world.wire.ask(version, &request);
        let body: DeleteRecordsResponse = answer.decode();
        let partition = &body.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), expected);
    }
    assert_eq!(offset_at(&mut world.wire, 1, &name, -2).offset, 2);
}

pub(super) fn init_producer_id(world: &mut World, version: i16) {
    let mut ask = |transactional_id: Option<&'static str>| {
        let request = InitProducerIdRequest {
            transactional_id: transactional_id.map(Into::into),
            transaction_timeout_ms: 1000,
            ..Default::default()
        };
        world.wire.ask(version, &request).decode::<InitProducerIdResponse>()
    };
    let (first, second) = (ask(None), ask(None));
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert!(first.producer_id >= 0 && second.producer_id > first.producer_id);
    let refused = ask(Some("t"));
    let expected = (ErrorCode::UnsupportedVersion.code(), -1, -1);
    assert_eq!((refused.error_code, refused.producer_id, refused.producer_epoch), expected);
}
