//! Topics: making, finding and deleting them, and where their partitions begin and end.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ringlog_wire::messages::delete_records_response::DeleteRecordsResponse;
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use super::consumer::Consumer;
use super::ledger::Topic;
use super::producer::Producer;
use super::wire::{Bench, Connection, Lost};

/// The timestamps that stand for the end and the beginning of a partition.
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;

const LIST_OFFSETS_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;

/// Asks where a partition begins or ends; [`offset_of`] reads the answer.
pub(super) async fn ask_offset(
    connection: &mut Connection,
    topic: &Topic,
    partition: usize,
    timestamp: i64,
) -> Result<(), Lost> {
    let partition =
        ListOffsetsPartition { partition_index: partition as i32, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.name.into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    connection.send(LIST_OFFSETS_VERSION, &request).await
}

pub(super) fn offset_of(bench: &Bench, answer: &Bytes) -> Result<i64, Lost> {
    let answer: ListOffsetsResponse<'_> = bench.decode(answer, LIST_OFFSETS_VERSION)?;
    match answer.topics.first().and_then(|topic| topic.partitions.first()) {
        Some(partition) if partition.error_code == 0 => Ok(partition.offset),
        other => bench.wrong(format!("no offset: {other:?}")),
    }
}

/// Does something as often as connections break meanwhile; `attempt` gets how often it was tried.
async fn insist<T>(
    bench: &Bench,
    mut attempt: impl AsyncFnMut(&mut Connection, u32) -> Result<T, Lost>,
) -> Result<T, Lost> {
    let mut tried = 0;
    while !bench.ledger.is_over() {
        if let Ok(mut connection) = Connection::open(bench).await {
            if let Ok(done) = attempt(&mut connection, tried).await {
                return Ok(done);
            }
            tried += 1;
        }
    }
    Err(Lost)
}

/// The topic's id, if there is one of this name; with as many partitions as it must have.
async fn find(
    bench: &Bench,
    connection: &mut Connection,
    name: &'static str,
    partitions: usize,
) -> Result<Option<Uuid>, Lost> {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = connection.ask(METADATA_VERSION, &request).await?;
    let answer: MetadataResponse<'_> = bench.decode(&answer, METADATA_VERSION)?;
    let [topic] = answer.topics.as_slice() else {
        return bench.wrong("one topic was asked for");
    };
    match ErrorCode::from_code(topic.error_code) {
        Some(ErrorCode::UnknownTopicOrPartition) => Ok(None),
        Some(ErrorCode::None) if topic.partitions.len() == partitions => Ok(Some(topic.topic_id)),
        _ => bench.wrong(format!("the metadata are wrong: {topic:?}")),
    }
}

/// Sees that every partition is served. If the topic was there, an earlier attempt may still have
/// its logs made.
async fn see_open(
    bench: &Bench,
    connection: &mut Connection,
    name: &'static str,
    partitions: usize,
    was_there: bool,
) -> Result<(), Lost> {
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        current_leader_epoch: -1,
        timestamp: -1,
        ..Default::default()
    };
    let partitions = (0..partitions as i32).map(partition).collect();
    let topics = vec![ListOffsetsTopic { name: name.into(), partitions }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    loop {
        let answer = connection.ask(LIST_OFFSETS_VERSION, &request).await?;
        let answer: ListOffsetsResponse<'_> = bench.decode(&answer, LIST_OFFSETS_VERSION)?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let errors = partitions.filter(|partition| partition.error_code != 0);
        let errors: Vec<_> =
            errors.filter_map(|partition| ErrorCode::from_code(partition.error_code)).collect();
        match errors.as_slice() {
            [] => return Ok(()),
            [ErrorCode::NotLeaderOrFollower, ..] if was_there => bench.pause(10_000).await,
            errors => return bench.wrong(format!("{name} is made and not served: {errors:?}")),
        }
    }
}

/// Makes a topic. An attempt whose answer was lost may have made it.
pub(super) async fn create(
    bench: &Bench,
    name: &'static str,
    partitions: usize,
) -> Result<Rc<Topic>, Lost> {
    let version = bench.pick(&[5, 7]);
    let was_there = insist(bench, async |connection, tried| {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions as i32,
            replication_factor: 1,
            ..Default::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let answer = connection.ask(version, &request).await?;
        let answer: CreateTopicsResponse<'_> = bench.decode(&answer, version)?;
        let error = answer.topics.first().and_then(|topic| ErrorCode::from_code(topic.error_code));
        match error {
            Some(ErrorCode::None) => Ok(false),
            Some(ErrorCode::TopicAlreadyExists) if tried > 0 => Ok(true),
            error => bench.wrong(format!("{name} is not made: {error:?}, tried {tried} times")),
        }
    })
    .await?;
    let id = insist(bench, async |connection, _| {
        match find(bench, connection, name, partitions).await? {
            Some(id) => Ok(id),
            None => bench.wrong(format!("lost: {name} was made and is gone")),
        }
    })
    .await?;
    insist(bench, async |connection, _| {
        see_open(bench, connection, name, partitions, was_there).await
    })
    .await?;
    bench.ledger.made_topic(id);
    Ok(Rc::new(Topic::new(name, id, partitions)))
}

/// Deletes a topic, by name or by id. An attempt whose answer was lost may have deleted it.
async fn delete(bench: &Bench, topic: &Topic) -> Result<(), Lost> {
    let by_id = bench.below(2) == 0;
    let asked = match by_id {
        true => DeleteTopicState { name: None, topic_id: topic.id },
        false => DeleteTopicState { name: Some(topic.name.into()), topic_id: Uuid::ZERO },
    };
    let request =
        DeleteTopicsRequest { topics: vec![asked], timeout_ms: 30_000, ..Default::default() };
    insist(bench, async |connection, tried| {
        let answer = connection.ask(6, &request).await?;
        let answer: DeleteTopicsResponse<'_> = bench.decode(&answer, 6)?;
        let error =
            answer.responses.first().and_then(|topic| ErrorCode::from_code(topic.error_code));
        match error {
            Some(ErrorCode::None) => Ok(()),
            Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) if tried > 0 => {
                Ok(())
            }
            error => bench.wrong(format!("{} is not deleted: {error:?}", topic.name)),
        }
    })
    .await?;
    insist(bench, async |connection, _| {
        match find(bench, connection, topic.name, topic.partitions()).await? {
            None => Ok(()),
            Some(id) => bench.wrong(format!("{} was deleted and is there as {id}", topic.name)),
        }
    })
    .await?;
    bench.ledger.topics_deleted.set(bench.ledger.topics_deleted.get() + 1);
    Ok(())
}

/// Deletes records from the front of a partition, and looks where it begins some time later. Where
/// the answer came it begins there, whatever happened to the node meanwhile.
async fn trim(bench: &Bench, topic: &Topic) -> Result<(), Lost> {
    let partition = bench.below(topic.partitions() as u64) as usize;
    let end = insist(bench, async |connection, _| {
        ask_offset(connection, topic, partition, LATEST).await?;
        offset_of(bench, &connection.receive().await?)
    })
    .await?;
    let before = bench.below(end as u64 + 1) as i64;
    insist(bench, async |connection, _| {
        let asked = DeleteRecordsPartition { partition_index: partition as i32, offset: before };
        let asked = DeleteRecordsTopic { name: topic.name.into(), partitions: vec![asked] };
        let request = DeleteRecordsRequest { topics: vec![asked], timeout_ms: 30_000 };
        let answer = connection.ask(2, &request).await?;
        let answer: DeleteRecordsResponse<'_> = bench.decode(&answer, 2)?;
        match answer.topics.first().and_then(|topic| topic.partitions.first()) {
            Some(answer) if answer.error_code == 0 && answer.low_watermark == before => Ok(()),
            other => bench.wrong(format!("nothing is deleted up to {before}: {other:?}")),
        }
    })
    .await?;
    bench.pause(40_000).await;
    let start = insist(bench, async |connection, _| {
        ask_offset(connection, topic, partition, EARLIEST).await?;
        offset_of(bench, &connection.receive().await?)
    })
    .await?;
    match start == before {
        true => Ok(()),
        false => bench.wrong(format!("records up to {before} are back: it begins at {start}")),
    }
}

/// Makes a topic, fills and reads and deletes it, and begins again with the same name.
pub(super) async fn come_and_go(bench: Bench) {
    while !bench.ledger.draining.get() && !bench.ledger.is_over() {
        let partitions = 1 + bench.below(2) as usize;
        let Ok(topic) = create(&bench, "fleeting", partitions).await else { return };
        let producers =
            (0..partitions).map(|partition| Producer::new(&bench, &topic, partition, 3));
        let producers: Vec<_> = producers.map(|producer| bench.rt.spawn(producer.run())).collect();
        for producer in producers {
            producer.await;
        }
        Consumer::new(&bench, &topic).compare_all().await;
        bench.pause(5_000).await;
        if trim(&bench, &topic).await.is_err() {
            return;
        }
        if delete(&bench, &topic).await.is_err() {
            return;
        }
    }
}

/// Where every partition ends; each has to begin at 0, since nothing is ever deleted from one.
pub(super) async fn ends(
    bench: &Bench,
    connection: &mut Connection,
    topic: &Topic,
) -> Result<Vec<i64>, Lost> {
    let mut ends = Vec::new();
    for partition in 0..topic.partitions() {
        ask_offset(connection, topic, partition, EARLIEST).await?;
        ask_offset(connection, topic, partition, LATEST).await?;
        let start = offset_of(bench, &connection.receive().await?)?;
        ends.push(offset_of(bench, &connection.receive().await?)?);
        if start != 0 {
            return bench.wrong(format!("lost: {}-{partition} begins at {start}", topic.name));
        }
    }
    Ok(ends)
}

/// A topic that was made and not deleted is there, as itself.
pub(super) async fn is_there(
    bench: &Bench,
    connection: &mut Connection,
    topic: &Topic,
) -> Result<(), Lost> {
    match find(bench, connection, topic.name, topic.partitions()).await? {
        Some(id) if id == topic.id => Ok(()),
        other => bench.wrong(format!("lost: {} is {}, found {other:?}", topic.name, topic.id)),
    }
}
