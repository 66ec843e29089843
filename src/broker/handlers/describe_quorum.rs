//! DescribeQuorum (key 55): the voters and observers of the metadata log (KIP-595). The node's
//! embedded controller is the only voter, and its log's leader.

use std::rc::Rc;

use ringlog_types::{ErrorCode, LeaderEpoch, Offset};
use ringlog_wire::messages::describe_quorum_request::DescribeQuorumRequest;
use ringlog_wire::messages::describe_quorum_response::{
    DescribeQuorumResponse, Node, PartitionData, ReplicaState, TopicData,
};

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// From this version the nodes' addresses are told.
const VERSION_NODES: i16 = 2;

const METADATA_TOPIC: &str = "__cluster_metadata";

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeQuorumRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if !request.authorize(shard.node.authorizer, Operation::Describe, Resource::Cluster) {
        let error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return request.respond(&DescribeQuorumResponse { error_code, ..Default::default() });
    }
    let is_the_log = match &asked.topics[..] {
        [topic] if topic.topic_name == METADATA_TOPIC => {
            matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
        }
        _ => false,
    };
    if !is_the_log {
        return request.respond(&elsewhere(&asked));
    }
    let state = shard.start_on(CONTROLLER_SHARD, |shard| {
        let controller = shard.controller().expect("set before connections are accepted");
        std::future::ready((controller.leader_epoch(), controller.log().log_end_offset()))
    });
    let (leader_epoch, log_end_offset) = state.await;
    let mut response = alone(&shard, leader_epoch, log_end_offset);
    if request.version >= VERSION_NODES {
        // Nothing listens for other controllers.
        let node = Node { node_id: shard.node.config.node_id.0, ..Default::default() };
        response.nodes.push(node);
    }
    request.respond(&response)
}

/// There is no other quorum (`DescribeQuorumRequest.getPartitionLevelErrorResponse`).
fn elsewhere<'a>(asked: &DescribeQuorumRequest<'a>) -> DescribeQuorumResponse<'a> {
    let topics = asked.topics.iter().map(|topic| TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                ..Default::default()
            })
            .collect(),
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}

fn alone(
    shard: &Shard,
    leader_epoch: LeaderEpoch,
    log_end_offset: Offset,
) -> DescribeQuorumResponse<'static> {
    let node_id = shard.node.config.node_id.0;
    let now_ms = shard.rt.wall_clock_ms();
    let own = ReplicaState {
        replica_id: node_id,
        log_end_offset,
        last_fetch_timestamp: now_ms,
        last_caught_up_timestamp: now_ms,
        ..Default::default()
    };
    let partition = PartitionData {
        leader_id: node_id,
        leader_epoch,
        high_watermark: log_end_offset,
        current_voters: vec![own],
        ..Default::default()
    };
    let topic = TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    DescribeQuorumResponse { topics: vec![topic], ..Default::default() }
}
