//! Consumer groups (KIP-848).

use ringlog_types::ErrorCode;
use ringlog_wire::ApiKey;
use ringlog_wire::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use ringlog_wire::messages::consumer_group_describe_response::ConsumerGroupDescribeResponse;
use ringlog_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ringlog_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use super::groups::{group, is_loading};
use super::{TOPIC, World};
use crate::raw_client::RawClient;

type Answer = ConsumerGroupHeartbeatResponse<'static>;

fn join_request(group: &str, version: i16) -> ConsumerGroupHeartbeatRequest<'static> {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned().into(),
        // Members make their own ids from version 1 on.
        member_id: if version == 0 { "".into() } else { "own-id".into() },
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(vec![]),
        ..Default::default()
    }
}

/// Asks until the coordinator is loaded.
fn beat(wire: &mut RawClient, version: i16, request: &ConsumerGroupHeartbeatRequest<'_>) -> Answer {
    loop {
        let answer = wire.ask(version, request);
        let body: ConsumerGroupHeartbeatResponse = answer.decode();
        if !is_loading(body.error_code) {
            let text = |text: Option<std::borrow::Cow<'_, str>>| {
                text.map(|text| std::borrow::Cow::Owned(text.into_owned()))
            };
            return Answer {
                error_message: text(body.error_message),
                member_id: text(body.member_id),
                assignment: body.assignment,
                throttle_time_ms: body.throttle_time_ms,
                error_code: body.error_code,
                member_epoch: body.member_epoch,
                heartbeat_interval_ms: body.heartbeat_interval_ms,
            };
        }
    }
}

pub(super) fn consumer_group_heartbeat(world: &mut World, version: i16) {
    let group = group(ApiKey::ConsumerGroupHeartbeat, version);
    let request = join_request(&group, version);
    let joined = beat(&mut world.wire, version, &request);
    assert_eq!((joined.error_code, joined.heartbeat_interval_ms), (0, 5_000));
    let id = joined.member_id.unwrap().into_owned();
    assert!(if version == 0 { id.len() == 22 } else { id == "own-id" }, "{id}");
    assert!(!joined.assignment.unwrap().topic_partitions[0].partitions.is_empty());
    let next = ConsumerGroupHeartbeatRequest {
        group_id: group.clone().into(),
        member_id: id.clone().into(),
        member_epoch: joined.member_epoch,
        ..Default::default()
    };
    let answer = beat(&mut world.wire, version, &next);
    assert_eq!((answer.error_code, answer.member_epoch), (0, joined.member_epoch));
    assert_eq!(answer.assignment, None, "nothing is new");
    if version >= 1 {
        let broken = ConsumerGroupHeartbeatRequest {
            member_id: "other".into(),
            subscribed_topic_regex: Some("(".into()),
            ..join_request(&group, version)
        };
        let answer = beat(&mut world.wire, version, &broken);
        assert_eq!(answer.error_code, ErrorCode::InvalidRegularExpression.code());
        let message = answer.error_message.unwrap();
        assert!(message.starts_with("SubscribedTopicRegex `(` is not a valid"), "{message}");
    }
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..next };
    let answer = beat(&mut world.wire, version, &leave);
    assert_eq!((answer.error_code, answer.member_epoch), (0, -1));
    let answer = beat(&mut world.wire, version, &leave);
    assert_eq!(answer.error_code, ErrorCode::UnknownMemberId.code());
}

pub(super) fn consumer_group_describe(world: &mut World, version: i16) {
    let group = group(ApiKey::ConsumerGroupDescribe, version);
    world.wire.set_client_id("it");
    let joined = beat(&mut world.wire, 1, &join_request(&group, 1));
    assert_eq!(joined.error_code, 0);
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.clone().into(), "nobody".into()],
        include_authorized_operations: true,
    };
    let answer = world.wire.ask(version, &request);
    let body: ConsumerGroupDescribeResponse = answer.decode();
    let [found, unknown] = &body.groups[..] else { panic!("two groups") };
    assert_eq!((found.error_code, &*found.group_state), (0, "Stable"));
    assert_eq!((found.group_epoch, found.assignment_epoch), (2, 2));
    assert_eq!((&*found.assignor_name, found.authorized_operations), ("uniform", 3_400));
    let member = &found.members[0];
    assert_eq!((&*member.member_id, &*member.client_id), ("own-id", "it"));
    assert_eq!((&*member.client_host, member.member_epoch), ("/127.0.0.1", 2));
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(&*member.assignment.topic_partitions[0].topic_name, TOPIC);
    assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
    assert_eq!(unknown.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(unknown.error_message.as_deref(), Some("Group nobody not found."));
}
