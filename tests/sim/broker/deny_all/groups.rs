//! Groups and their offsets.

use ringlog_wire::ApiKey;
use ringlog_wire::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use ringlog_wire::messages::consumer_group_describe_response::ConsumerGroupDescribeResponse;
use ringlog_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ringlog_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ringlog_wire::messages::delete_groups_request::DeleteGroupsRequest;
use ringlog_wire::messages::delete_groups_response::DeleteGroupsResponse;
use ringlog_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ringlog_wire::messages::describe_groups_response::DescribeGroupsResponse;
use ringlog_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ringlog_wire::messages::find_coordinator_response::FindCoordinatorResponse;
use ringlog_wire::messages::heartbeat_request::HeartbeatRequest;
use ringlog_wire::messages::heartbeat_response::HeartbeatResponse;
use ringlog_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ringlog_wire::messages::join_group_response::JoinGroupResponse;
use ringlog_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ringlog_wire::messages::leave_group_response::LeaveGroupResponse;
use ringlog_wire::messages::list_groups_request::ListGroupsRequest;
use ringlog_wire::messages::list_groups_response::ListGroupsResponse;
use ringlog_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringlog_wire::messages::offset_commit_response::OffsetCommitResponse;
use ringlog_wire::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ringlog_wire::messages::offset_delete_response::OffsetDeleteResponse;
use ringlog_wire::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use ringlog_wire::messages::offset_fetch_response::OffsetFetchResponse;
use ringlog_wire::messages::sync_group_request::SyncGroupRequest;
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;

use super::{Asker, TOPIC, codes};

const GROUP: &str = "g";
const OF_TRANSACTIONS: i8 = 1;

/// What is told, if the API is of this area.
pub(super) async fn told(asker: &mut Asker, api: ApiKey) -> Option<String> {
    Some(match api {
        ApiKey::FindCoordinator => {
            let of_group = find_coordinator(asker, 0).await;
            let transactional = find_coordinator(asker, OF_TRANSACTIONS).await;
            format!("{of_group} | transactional {transactional}")
        }
        ApiKey::JoinGroup => {
            let protocol =
                JoinGroupRequestProtocol { name: "range".into(), metadata: (&b"m"[..]).into() };
            let request = JoinGroupRequest {
                group_id: GROUP.into(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 10_000,
                protocol_type: "consumer".into(),
                protocols: vec![protocol],
                ..Default::default()
            };
            let answer = asker.ask(5, &request).await;
            codes([answer.decode::<JoinGroupResponse<'_>>().error_code])
        }
        ApiKey::SyncGroup => {
            let request = SyncGroupRequest { group_id: GROUP.into(), ..Default::default() };
            let answer = asker.ask(3, &request).await;
            codes([answer.decode::<SyncGroupResponse<'_>>().error_code])
        }
        ApiKey::Heartbeat => {
            let request = HeartbeatRequest { group_id: GROUP.into(), ..Default::default() };
            let answer = asker.ask(3, &request).await;
            codes([answer.decode::<HeartbeatResponse>().error_code])
        }
        ApiKey::ConsumerGroupHeartbeat => {
            let request = ConsumerGroupHeartbeatRequest {
                group_id: GROUP.into(),
                member_id: "m".into(),
                rebalance_timeout_ms: 10_000,
                subscribed_topic_names: Some(vec![TOPIC.into()]),
                topic_partitions: Some(Vec::new()),
                ..Default::default()
            };
            let answer = asker.ask(1, &request).await;
            codes([answer.decode::<ConsumerGroupHeartbeatResponse<'_>>().error_code])
        }
        ApiKey::ConsumerGroupDescribe => {
            let group_ids = vec![GROUP.into()];
            let request = ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
            let answer = asker.ask(1, &request).await;
            codes([answer.decode::<ConsumerGroupDescribeResponse<'_>>().groups[0].error_code])
        }
        ApiKey::LeaveGroup => {
            let members = vec![MemberIdentity::default()];
            let request =
                LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() };
            let answer = asker.ask(3, &request).await;
            codes([answer.decode::<LeaveGroupResponse<'_>>().error_code])
        }
        ApiKey::ListGroups => {
            let answer = asker.ask(4, &ListGroupsRequest::default()).await;
            let body: ListGroupsResponse = answer.decode();
            format!("{}, {} groups", body.error_code, body.groups.len())
        }
        ApiKey::DescribeGroups => {
            let request =
                DescribeGroupsRequest { groups: vec![GROUP.into()], ..Default::default() };
            let answer = asker.ask(5, &request).await;
            codes([answer.decode::<DescribeGroupsResponse<'_>>().groups[0].error_code])
        }
        ApiKey::DeleteGroups => {
            let request = DeleteGroupsRequest { groups_names: vec![GROUP.into()] };
            let answer = asker.ask(2, &request).await;
            codes([answer.decode::<DeleteGroupsResponse<'_>>().results[0].error_code])
        }
        ApiKey::OffsetCommit => offset_commit(asker).await,
        ApiKey::OffsetFetch => offset_fetch(asker).await,
        ApiKey::OffsetDelete => offset_delete(asker).await,
        _ => return None,
    })
}

async fn find_coordinator(asker: &mut Asker, key_type: i8) -> String {
    let coordinator_keys = vec![GROUP.into()];
    let request = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
    let answer = asker.ask(4, &request).await;
    codes([answer.decode::<FindCoordinatorResponse<'_>>().coordinators[0].error_code])
}

async fn offset_commit(asker: &mut Asker) -> String {
    let topic = OffsetCommitRequestTopic {
        name: TOPIC.into(),
        partitions: vec![OffsetCommitRequestPartition::default()],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = asker.ask(8, &request).await;
    codes([answer.decode::<OffsetCommitResponse<'_>>().topics[0].partitions[0].error_code])
}

async fn offset_fetch(asker: &mut Asker) -> String {
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.into(),
        topics: None,
        member_epoch: -1,
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer = asker.ask(8, &request).await;
    codes([answer.decode::<OffsetFetchResponse<'_>>().groups[0].error_code])
}

async fn offset_delete(asker: &mut Asker) -> String {
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
    let topics = vec![OffsetDeleteRequestTopic { name: TOPIC.into(), partitions }];
    let answer = asker.ask(0, &OffsetDeleteRequest { group_id: GROUP.into(), topics }).await;
    codes([answer.decode::<OffsetDeleteResponse<'_>>().error_code])
}
