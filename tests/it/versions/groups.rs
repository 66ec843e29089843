//! What clients are told of groups and coordinators as long as there are none.

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ringlog_wire::messages::describe_groups_response::DescribeGroupsResponse;
use ringlog_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ringlog_wire::messages::find_coordinator_response::FindCoordinatorResponse;
use ringlog_wire::messages::list_groups_request::ListGroupsRequest;
use ringlog_wire::messages::list_groups_response::ListGroupsResponse;

use super::World;

pub(super) fn find_coordinator(world: &mut World, version: i16) {
    let unavailable = ErrorCode::CoordinatorNotAvailable.code();
    let invalid = ErrorCode::InvalidRequest.code();
    for (key_type, expected) in [
        (0, unavailable),
        (1, unavailable),
        (2, if version < 6 { invalid } else { unavailable }),
        (3, invalid),
    ] {
        if version == 0 && key_type != 0 {
            continue;
        }
        let mut asked = FindCoordinatorRequest { key_type, ..Default::default() };
        if version < 4 {
            asked.key = "g".into();
        } else {
            asked.coordinator_keys = vec!["g".into(), "h".into()];
        }
        let answer = world.wire.ask(version, &asked);
        let body: FindCoordinatorResponse = answer.decode();
        if version < 4 {
            assert_eq!((body.error_code, body.node_id, body.port), (expected, -1, -1));
            let message = body.error_message.as_deref().unwrap_or_default();
            assert_eq!(message.is_empty(), version == 0);
            if expected == unavailable && version > 0 {
                assert_eq!(message, "The coordinator is not available.");
            }
            continue;
        }
        let found: Vec<_> = body
            .coordinators
            .iter()
            .map(|found| (&*found.key, found.error_code, found.node_id, &*found.host, found.port))
            .collect();
        assert_eq!(found, ["g", "h"].map(|key| (key, expected, -1, "", -1)));
    }
}

pub(super) fn list_groups(world: &mut World, version: i16) {
    let mut asked = ListGroupsRequest::default();
    if version >= 4 {
        asked.states_filter = vec!["Stable".into()];
    }
    let answer = world.wire.ask(version, &asked);
    let body: ListGroupsResponse = answer.decode();
    assert_eq!((body.error_code, body.groups.len()), (0, 0));
}

pub(super) fn describe_groups(world: &mut World, version: i16) {
    let asked = DescribeGroupsRequest {
        groups: vec!["g".into()],
        include_authorized_operations: version >= 3,
    };
    let answer = world.wire.ask(version, &asked);
    let body: DescribeGroupsResponse = answer.decode();
    let [group] = &body.groups[..] else { panic!("{body:?}") };
    assert_eq!((&*group.group_id, &*group.group_state), ("g", "Dead"));
    let not_found = ErrorCode::GroupIdNotFound.code();
    assert_eq!(group.error_code, if version < 6 { 0 } else { not_found });
    let message = (version >= 6).then_some("Group g not found.");
    assert_eq!(group.error_message.as_deref(), message);
    let operations = if (3..6).contains(&version) { 3400 } else { i32::MIN };
    assert_eq!(group.authorized_operations, operations);
}
