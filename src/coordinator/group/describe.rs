//! DescribeGroups and ListGroups.

use std::borrow::Cow;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_groups_response::DescribedGroup;
use ringlog_wire::messages::describe_groups_response::DescribedGroupMember;
use ringlog_wire::messages::list_groups_response::ListedGroup;

use super::classic::member::Member;
use super::classic::{ClassicGroup, ClassicState};
use super::{Group, GroupCoordinator, OtherKind};

/// From this version of DescribeGroups on, a group that is not there is an error (KIP-1043).
const NOT_FOUND_VERSION: i16 = 6;

/// Which groups ListGroups is to list; without names all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter<'a> {
    /// States, as Kafka writes them, in any case.
    pub states: Vec<&'a str>,
    /// Types (`classic`, `consumer` …), in any case.
    pub types: Vec<&'a str>,
}

impl GroupCoordinator {
    /// DescribeGroups, of one group.
    pub fn describe(&self, group_id: &str, version: i16) -> DescribedGroup<'static> {
        match self.groups.get(group_id) {
            Some(Group::Classic(group)) => described(group),
            Some(Group::Consumer(_) | Group::Other(_)) => {
                not_found(group_id, version, format!("Group {group_id} is not a classic group."))
            }
            None => not_found(group_id, version, format!("Group {group_id} not found.")),
        }
    }

    /// ListGroups.
    pub fn list(&self, filter: &ListFilter<'_>) -> Vec<ListedGroup<'static>> {
        let mut listed: Vec<ListedGroup<'static>> = self
            .groups
            .iter()
            .map(|(id, group)| listed(id, group))
            .filter(|group| filter.lets(group))
            .collect();
        listed.sort_unstable_by(|one, other| one.group_id.cmp(&other.group_id));
        listed
    }
}

impl ListFilter<'_> {
    fn lets(&self, group: &ListedGroup<'_>) -> bool {
        let any = |wanted: &[&str], is: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        any(&self.states, &group.group_state) && any(&self.types, &group.group_type)
    }
}

fn listed(id: &str, group: &Group) -> ListedGroup<'static> {
    let (protocol_type, state, kind) = match group {
        Group::Classic(group) => {
            (group.protocol_type().unwrap_or_default(), group.state().name(), "classic")
        }
        Group::Consumer(group) => ("consumer", group.state().name(), "consumer"),
        Group::Other(OtherKind::Share) => ("share", "Unknown", "share"),
        Group::Other(OtherKind::Streams) => ("streams", "Unknown", "streams"),
    };
    ListedGroup {
        group_id: owned(id),
        protocol_type: owned(protocol_type),
        group_state: Cow::Borrowed(state),
        group_type: Cow::Borrowed(kind),
    }
}

fn described(group: &ClassicGroup) -> DescribedGroup<'static> {
    // Between two generations nobody has an assignment, and metadata is not of one protocol.
    let is_stable = group.state() == ClassicState::Stable;
    let protocol = if is_stable { group.protocol_name() } else { None };
    DescribedGroup {
        group_id: owned(group.id()),
        group_state: Cow::Borrowed(group.state().name()),
        protocol_type: owned(group.protocol_type().unwrap_or_default()),
        protocol_data: owned(protocol.unwrap_or_default()),
        members: group.members().map(|member| described_member(member, protocol)).collect(),
        ..Default::default()
    }
}

fn described_member(member: &Member, protocol: Option<&str>) -> DescribedGroupMember<'static> {
    let assignment = if protocol.is_some() { member.assignment.to_vec() } else { Vec::new() };
    DescribedGroupMember {
        member_id: owned(&member.id),
        group_instance_id: member.joined.instance_id.as_deref().map(owned),
        client_id: owned(&member.joined.client_id),
        client_host: owned(&member.joined.client_host),
        member_metadata: Cow::Owned(member.metadata(protocol).to_vec()),
        member_assignment: Cow::Owned(assignment),
    }
}

fn not_found(group_id: &str, version: i16, message: String) -> DescribedGroup<'static> {
    let is_error = version >= NOT_FOUND_VERSION;
    let error = if is_error { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
    DescribedGroup {
        error_code: error.code(),
        error_message: is_error.then_some(Cow::Owned(message)),
        group_id: owned(group_id),
        group_state: Cow::Borrowed(ClassicState::Dead.name()),
        ..Default::default()
    }
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}
