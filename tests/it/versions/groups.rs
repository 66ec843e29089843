//! Consumer groups: membership and committed offsets.

use ringlog_types::ErrorCode;
use ringlog_wire::ApiKey;
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
use ringlog_wire::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ringlog_wire::messages::offset_fetch_response::OffsetFetchResponse;
use ringlog_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;

use super::{TOPIC, World};
use crate::raw_client::RawClient;

/// Version 0, topic "v", no user data.
const SUBSCRIPTION: [u8; 13] = [0, 0, 0, 0, 0, 1, 0, 1, b'v', 255, 255, 255, 255];
const ASSIGNMENT: &[u8] = b"all of it";
/// What loading a coordinator may be answered meanwhile.
const LOADING: [ErrorCode; 2] =
    [ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable];

/// A name that no other check uses.
pub(super) fn group(api: ApiKey, version: i16) -> String {
    format!("{api:?}-{version}")
}

pub(super) fn is_loading(code: i16) -> bool {
    LOADING.iter().any(|error| error.code() == code)
}

pub(super) fn find_coordinator(world: &mut World, version: i16) {
    let request = FindCoordinatorRequest {
        key: if version < 4 { "g".into() } else { "".into() },
        coordinator_keys: if version < 4 { vec![] } else { vec!["g".into(), "h".into()] },
        ..Default::default()
    };
    let answer = world.wire.ask(version, &request);
    let body: FindCoordinatorResponse = answer.decode();
    let port = i32::from(world.node.address().port());
    if version < 4 {
        assert_eq!((body.error_code, body.node_id, body.port), (0, 1, port));
        return;
    }
    let keys: Vec<&str> = body.coordinators.iter().map(|found| &*found.key).collect();
    assert_eq!(keys, ["g", "h"]);
    let found = &body.coordinators[1];
    assert_eq!((found.error_code, found.node_id, found.port), (0, 1, port));
}

/// Sees to it that groups can be asked for at all.
pub(super) fn prepare(wire: &mut RawClient) {
    let request = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
    let answer = wire.ask(3, &request);
    assert_eq!(answer.decode::<FindCoordinatorResponse>().error_code, 0);
}

fn join(wire: &mut RawClient, version: i16, group: &str) -> (String, i32) {
    let protocol =
        JoinGroupRequestProtocol { name: "range".into(), metadata: SUBSCRIPTION[..].into() };
    let mut request = JoinGroupRequest {
        group_id: group.to_owned().into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: if version == 0 { -1 } else { 30_000 },
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let mut has_id = false;
    loop {
        let answer = wire.ask(version, &request);
        let body: JoinGroupResponse = answer.decode();
        if is_loading(body.error_code) {
            continue;
        }
        if version >= 4 && !has_id {
            // A new member is to come back with its id (KIP-394).
            assert_eq!(body.error_code, ErrorCode::MemberIdRequired.code());
            request.member_id = body.member_id.into_owned().into();
            has_id = true;
            continue;
        }
        assert_eq!((body.error_code, body.generation_id), (0, 1), "{group}");
        assert_eq!((body.protocol_name.as_deref(), &body.leader), (Some("range"), &body.member_id));
        assert_eq!(body.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!(body.members.len(), 1);
        assert_eq!(body.members[0].metadata[..], SUBSCRIPTION);
        return (body.member_id.into_owned(), body.generation_id);
    }
}

fn sync(wire: &mut RawClient, version: i16, group: &str, member: &str) {
    let request = SyncGroupRequest {
        group_id: group.to_owned().into(),
        generation_id: 1,
        member_id: member.to_owned().into(),
        protocol_type: (version >= 5).then(|| "consumer".into()),
        protocol_name: (version >= 5).then(|| "range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.to_owned().into(),
            assignment: ASSIGNMENT.into(),
        }],
        ..Default::default()
    };
    let answer = wire.ask(version, &request);
    let body: SyncGroupResponse = answer.decode();
    assert_eq!((body.error_code, &body.assignment[..]), (0, ASSIGNMENT));
    assert_eq!(body.protocol_name.as_deref(), (version >= 5).then_some("range"));
}

/// A stable group of one member; its id.
fn settled(wire: &mut RawClient, group: &str) -> String {
    let (member, _) = join(wire, 9, group);
    sync(wire, 5, group, &member);
    member
}

pub(super) fn join_group(world: &mut World, version: i16) {
    join(&mut world.wire, version, &group(ApiKey::JoinGroup, version));
}

pub(super) fn sync_group(world: &mut World, version: i16) {
    let group = group(ApiKey::SyncGroup, version);
    let (member, _) = join(&mut world.wire, 9, &group);
    sync(&mut world.wire, version, &group, &member);
}

pub(super) fn heartbeat(world: &mut World, version: i16) {
    let group = group(ApiKey::Heartbeat, version);
    let member = settled(&mut world.wire, &group);
    for (generation_id, expected) in [(1, ErrorCode::None), (7, ErrorCode::IllegalGeneration)] {
        let request = HeartbeatRequest {
            group_id: group.clone().into(),
            generation_id,
            member_id: member.clone().into(),
            ..Default::default()
        };
        let answer = world.wire.ask(version, &request);
        assert_eq!(answer.decode::<HeartbeatResponse>().error_code, expected.code());
    }
}

pub(super) fn leave_group(world: &mut World, version: i16) {
    let group = group(ApiKey::LeaveGroup, version);
    let member = settled(&mut world.wire, &group);
    for expected in [ErrorCode::None, ErrorCode::UnknownMemberId] {
        let mut request =
            LeaveGroupRequest { group_id: group.clone().into(), ..Default::default() };
        let leaving = MemberIdentity { member_id: member.clone().into(), ..Default::default() };
        match version {
            ..3 => request.member_id = member.clone().into(),
            _ => request.members = vec![leaving],
        }
        let answer = world.wire.ask(version, &request);
        let body: LeaveGroupResponse = answer.decode();
        let code = if version < 3 { body.error_code } else { body.members[0].error_code };
        assert_eq!(code, expected.code());
    }
}

fn commit(world: &mut World, version: i16, group: &str, offset: i64) {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: if version >= 6 { 4 } else { -1 },
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { TOPIC.into() } else { "".into() },
        topic_id: if version < 10 { Default::default() } else { world.topic_id },
        partitions: vec![partition(0), partition(99)],
    };
    let request = OffsetCommitRequest {
        group_id: group.to_owned().into(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics: vec![topic],
        ..Default::default()
    };
    loop {
        let answer = world.wire.ask(version, &request);
        let body: OffsetCommitResponse = answer.decode();
        let partitions = &body.topics[0].partitions;
        if is_loading(partitions[0].error_code) {
            continue;
        }
        let codes: Vec<i16> = partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
        return;
    }
}

pub(super) fn offset_commit(world: &mut World, version: i16) {
    let group = group(ApiKey::OffsetCommit, version);
    commit(world, version, &group, 3);
    assert_eq!(committed(world, 8, &group), (3, if version >= 6 { 4 } else { -1 }));
}

/// The offset and epoch that a group has committed of the first partition.
fn committed(world: &mut World, version: i16, group: &str) -> (i64, i32) {
    let request = fetch_request(world, version, group, true);
    let answer = world.wire.ask(version, &request);
    let body: OffsetFetchResponse = answer.decode();
    if version < 8 {
        assert_eq!(body.error_code, 0);
        let partitions = &body.topics[0].partitions;
        assert_eq!(partitions[1].committed_offset, -1, "nothing was committed there");
        let found = &partitions[0];
        assert_eq!((found.error_code, found.metadata.as_deref()), (0, Some("note")));
        return (found.committed_offset, found.committed_leader_epoch);
    }
    let found = &body.groups[0];
    assert_eq!((&*found.group_id, found.error_code), (group, 0));
    let partitions = &found.topics[0].partitions;
    assert_eq!(partitions[1].committed_offset, -1, "nothing was committed there");
    let found = &partitions[0];
    assert_eq!((found.error_code, found.metadata.as_deref()), (0, Some("note")));
    (found.committed_offset, found.committed_leader_epoch)
}

fn fetch_request(
    world: &World,
    version: i16,
    group: &str,
    by_topic: bool,
) -> OffsetFetchRequest<'static> {
    let mut request = OffsetFetchRequest::default();
    if version < 8 {
        let topic = OffsetFetchRequestTopic { name: TOPIC.into(), partition_indexes: vec![0, 1] };
        request.group_id = group.to_owned().into();
        request.topics = by_topic.then(|| vec![topic]);
        return request;
    }
    let topic = OffsetFetchRequestTopics {
        name: if version < 10 { TOPIC.into() } else { "".into() },
        topic_id: if version < 10 { Default::default() } else { world.topic_id },
        partition_indexes: vec![0, 1],
    };
    request.groups = vec![OffsetFetchRequestGroup {
        group_id: group.to_owned().into(),
        topics: by_topic.then(|| vec![topic]),
        ..Default::default()
    }];
    request
}

pub(super) fn offset_fetch(world: &mut World, version: i16) {
    let group = group(ApiKey::OffsetFetch, version);
    commit(world, 8, &group, 2);
    let epoch = if version >= 5 { 4 } else { -1 };
    assert_eq!(committed(world, version, &group), (2, epoch));
    if version < 2 {
        return;
    }
    // Everything that the group has.
    let request = fetch_request(world, version, &group, false);
    let answer = world.wire.ask(version, &request);
    let body: OffsetFetchResponse = answer.decode();
    if version < 8 {
        assert_eq!((body.topics.len(), &*body.topics[0].name), (1, TOPIC));
        assert_eq!(body.topics[0].partitions.len(), 1);
        return;
    }
    let topics = &body.groups[0].topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
    match version {
        ..10 => assert_eq!(topics[0].name, TOPIC),
        _ => assert_eq!(topics[0].topic_id, world.topic_id),
    }
}

pub(super) fn offset_delete(world: &mut World, version: i16) {
    let group = group(ApiKey::OffsetDelete, version);
    commit(world, 8, &group, 2);
    let request = OffsetDeleteRequest {
        group_id: group.clone().into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: TOPIC.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let answer = world.wire.ask(version, &request);
    let body: OffsetDeleteResponse = answer.decode();
    assert_eq!((body.error_code, body.topics[0].partitions[0].error_code), (0, 0));
    let request = fetch_request(world, 8, &group, false);
    let answer = world.wire.ask(8, &request);
    assert_eq!(answer.decode::<OffsetFetchResponse>().groups[0].topics, []);
}

pub(super) fn describe_groups(world: &mut World, version: i16) {
    let group = group(ApiKey::DescribeGroups, version);
    world.wire.set_client_id("it");
    let member = settled(&mut world.wire, &group);
    let request = DescribeGroupsRequest {
        groups: vec![group.clone().into(), "nobody".into()],
        include_authorized_operations: version >= 3,
    };
    let answer = world.wire.ask(version, &request);
    let body: DescribeGroupsResponse = answer.decode();
    let [found, unknown] = &body.groups[..] else { panic!("two groups") };
    assert_eq!((found.error_code, &*found.group_state), (0, "Stable"));
    assert_eq!((&*found.protocol_type, &*found.protocol_data), ("consumer", "range"));
    let described = &found.members[0];
    assert_eq!((&*described.member_id, &*described.client_id), (&*member, "it"));
    assert_eq!(described.client_host, "/127.0.0.1");
    assert_eq!(described.member_assignment[..], *ASSIGNMENT);
    let operations = if version >= 3 { 3_400 } else { i32::MIN };
    assert_eq!(found.authorized_operations, operations);
    let expected = if version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
    assert_eq!((unknown.error_code, &*unknown.group_state), (expected.code(), "Dead"));
    assert_eq!(unknown.error_message.is_some(), version >= 6);
}

pub(super) fn list_groups(world: &mut World, version: i16) {
    let group = group(ApiKey::ListGroups, version);
    settled(&mut world.wire, &group);
    let request = ListGroupsRequest {
        states_filter: if version >= 4 { vec!["stable".into()] } else { vec![] },
        types_filter: if version >= 5 { vec!["classic".into()] } else { vec![] },
    };
    let answer = world.wire.ask(version, &request);
    let body: ListGroupsResponse = answer.decode();
    assert_eq!(body.error_code, 0);
    let found = body.groups.iter().find(|listed| *listed.group_id == *group).unwrap();
    assert_eq!(found.protocol_type, "consumer");
    assert_eq!(found.group_state, if version >= 4 { "Stable" } else { "" });
    assert_eq!(found.group_type, if version >= 5 { "classic" } else { "" });
    if version >= 4 {
        let request = ListGroupsRequest { states_filter: vec!["Dead".into()], ..request };
        let answer = world.wire.ask(version, &request);
        assert_eq!(answer.decode::<ListGroupsResponse>().groups, []);
    }
}

pub(super) fn delete_groups(world: &mut World, version: i16) {
    let (empty, full) =
        (group(ApiKey::DeleteGroups, version), format!("DeleteGroups-{version}-full"));
    commit(world, 8, &empty, 1);
    settled(&mut world.wire, &full);
    let names = [&*empty, &*full, "nobody"];
    let groups_names = names.iter().map(|name| (*name).to_owned().into()).collect();
    let answer = world.wire.ask(version, &DeleteGroupsRequest { groups_names });
    let body: DeleteGroupsResponse = answer.decode();
    let codes: Vec<i16> = body.results.iter().map(|result| result.error_code).collect();
    let expected =
        [ErrorCode::None, ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound].map(|e| e.code());
    assert_eq!(codes, expected);
}
