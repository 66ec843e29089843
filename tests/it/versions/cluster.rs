//! The quorum, reassignments and producers, as administrators ask about them.

use ringlog_record::BatchBuilder;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use ringlog_wire::messages::describe_producers_response::DescribeProducersResponse;
use ringlog_wire::messages::describe_quorum_request::{
    DescribeQuorumRequest, PartitionData, TopicData,
};
use ringlog_wire::messages::describe_quorum_response::DescribeQuorumResponse;
use ringlog_wire::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use ringlog_wire::messages::list_partition_reassignments_response as list_reassignments;

use super::{FIRST_TIMESTAMP, TOPIC, World, topics};
use crate::old_clients::produce;

pub(super) fn list_partition_reassignments(world: &mut World, version: i16) {
    let named = ListPartitionReassignmentsTopics { name: TOPIC.into(), partition_indexes: vec![0] };
    for topics in [None, Some(vec![named])] {
        let request = ListPartitionReassignmentsRequest { topics, ..Default::default() };
        let answer = world.wire.ask(version, &request);
        let body: list_reassignments::ListPartitionReassignmentsResponse = answer.decode();
        assert_eq!((body.error_code, body.error_message.is_none()), (0, true));
        assert!(body.topics.is_empty());
    }
}

pub(super) fn describe_quorum(world: &mut World, version: i16) {
    let mut ask = |name: &'static str, partition_index: i32| {
        let partitions = vec![PartitionData { partition_index }];
        let topics = vec![TopicData { topic_name: name.into(), partitions }];
        let answer = world.wire.ask(version, &DescribeQuorumRequest { topics });
        let body: DescribeQuorumResponse = answer.decode();
        assert_eq!((body.error_code, &*body.topics[0].topic_name), (0, name));
        let partition = &body.topics[0].partitions[0];
        let voters: Vec<_> = partition
            .current_voters
            .iter()
            .map(|voter| (voter.replica_id, voter.log_end_offset))
            .collect();
        let nodes: Vec<i32> = body.nodes.iter().map(|node| node.node_id).collect();
        assert_eq!(partition.observers, []);
        (partition.error_code, partition.leader_id, partition.high_watermark, voters, nodes)
    };
    let (error, leader_id, high_watermark, voters, nodes) = ask("__cluster_metadata", 0);
    assert_eq!((error, leader_id), (0, 1));
    assert!(high_watermark > 0);
    assert_eq!(voters, [(1, high_watermark)]);
    assert_eq!(nodes, if version >= 2 { vec![1] } else { vec![] });
    for (name, partition) in [("__cluster_metadata", 1), (TOPIC, 0)] {
        let (error, ..) = ask(name, partition);
        assert_eq!(error, ErrorCode::UnknownTopicOrPartition.code(), "{name}-{partition}");
    }
}

pub(super) fn describe_producers(world: &mut World, version: i16) {
    let name = format!("producers-{version}");
    topics::create(&mut world.wire, &name, 1, &[]);
    for (producer_id, base_sequence) in [(40, 0), (41, 0), (40, 2)] {
        let mut batch = BatchBuilder::new(FIRST_TIMESTAMP).producer(producer_id, 3, base_sequence);
        batch.push(FIRST_TIMESTAMP + i64::from(base_sequence), None, Some(b"v"), &[]);
        batch.push(FIRST_TIMESTAMP, None, Some(b"v"), &[]);
        assert_eq!(produce(&mut world.wire, 7, &name, 0, &batch.build().unwrap().0).0, 0);
    }
    let asked = |name: &str, partition_indexes| TopicRequest {
        name: name.to_owned().into(),
        partition_indexes,
    };
    let topics =
        vec![asked(&name, vec![0, 1, 0]), asked("nowhere", vec![0]), asked("a b", vec![0])];
    let answer = world.wire.ask(version, &DescribeProducersRequest { topics });
    let body: DescribeProducersResponse = answer.decode();
    let [topic, unknown, invalid] = &body.topics[..] else { panic!("three topics") };
    let [first, second] = &topic.partitions[..] else { panic!("named twice, answered once") };
    let told: Vec<_> = first
        .active_producers
        .iter()
        .map(|p| (p.producer_id, p.producer_epoch, p.last_sequence, p.last_timestamp))
        .collect();
    assert_eq!(first.error_code, 0);
    assert_eq!(told, [(40, 3, 3, FIRST_TIMESTAMP + 2), (41, 3, 1, FIRST_TIMESTAMP)]);
    let first = &first.active_producers[0];
    assert_eq!((first.coordinator_epoch, first.current_txn_start_offset), (-1, -1));
    // Kafka has words for a topic, and none for a partition.
    let not_here = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!((second.error_code, second.error_message.as_deref()), (not_here, None));
    let unknown = &unknown.partitions[0];
    let words = "This server does not host this topic-partition.";
    assert_eq!((unknown.error_code, unknown.error_message.as_deref()), (not_here, Some(words)));
    let invalid = &invalid.partitions[0];
    assert_eq!(invalid.error_code, ErrorCode::InvalidTopicException.code());
}
