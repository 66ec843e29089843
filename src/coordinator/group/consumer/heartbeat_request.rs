//! A ConsumerGroupHeartbeat request, checked as far as no group is needed
//! (`throwIfConsumerGroupHeartbeatRequestIsInvalid`).

use ringlog_types::ErrorCode;
use ringlog_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;

use super::assignor::Assignor;
use super::member::{LEFT_EPOCH, LEFT_STATIC_EPOCH};
use super::refusal::Refusal;
use crate::group::ID_BYTES_MAX;

/// From this version on a member makes its own id.
const OWN_MEMBER_ID_VERSION: i16 = 1;

/// Refuses what can be nobody's heartbeat.
pub(super) fn check(
    request: &ConsumerGroupHeartbeatRequest<'_>,
    version: i16,
    assignors: &[Assignor],
) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    if version >= OWN_MEMBER_ID_VERSION || epoch > 0 || epoch == LEFT_EPOCH {
        check_filled(Some(&request.member_id), "MemberId can't be empty.")?;
    }
    check_filled(Some(&request.group_id), "GroupId can't be empty.")?;
    check_filled(request.instance_id.as_deref(), "InstanceId can't be empty.")?;
    check_filled(request.rack_id.as_deref(), "RackId can't be empty.")?;
    match epoch {
        0 => check_join(request)?,
        LEFT_STATIC_EPOCH if request.instance_id.is_none() => {
            return Err(Refusal::invalid("InstanceId can't be null."));
        }
        ..LEFT_STATIC_EPOCH => return Err(Refusal::invalid("MemberEpoch is invalid.")),
        _ => {}
    }
    check_assignor(request, assignors)?;
    check_lengths(request)
}

fn check_filled(text: Option<&str>, message: &str) -> Result<(), Refusal> {
    match text {
        Some(text) if text.trim().is_empty() => Err(Refusal::invalid(message)),
        _ => Ok(()),
    }
}

fn check_join(request: &ConsumerGroupHeartbeatRequest<'_>) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        let message = "RebalanceTimeoutMs must be provided in first request.";
        return Err(Refusal::invalid(message));
    }
    if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(Refusal::invalid("TopicPartitions must be empty when (re-)joining."));
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return Err(Refusal::invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
             (re-)joining.",
        ));
    }
    Ok(())
}

fn check_assignor(
    request: &ConsumerGroupHeartbeatRequest<'_>,
    assignors: &[Assignor],
) -> Result<(), Refusal> {
    let Some(wanted) = request.server_assignor.as_deref() else { return Ok(()) };
    let names: Vec<&str> = assignors.iter().map(|assignor| assignor.name()).collect();
    if names.contains(&wanted) {
        return Ok(());
    }
    let message = format!(
        "ServerAssignor {wanted} is not supported. Supported assignors: {}.",
        names.join(", ")
    );
    Err(Refusal::new(ErrorCode::UnsupportedAssignor, message))
}

/// What does not fit into a record is nobody's.
fn check_lengths(request: &ConsumerGroupHeartbeatRequest<'_>) -> Result<(), Refusal> {
    let optional = [&request.instance_id, &request.rack_id, &request.subscribed_topic_regex];
    let optional = optional.into_iter().filter_map(|text| text.as_deref());
    let names = request.subscribed_topic_names.iter().flatten().map(|name| name.as_ref());
    let mut all = [request.group_id.as_ref(), request.member_id.as_ref()]
        .into_iter()
        .chain(optional)
        .chain(names);
    if all.any(|text| text.len() > ID_BYTES_MAX) {
        return Err(Refusal::invalid("An id or a name is too long."));
    }
    Ok(())
}
