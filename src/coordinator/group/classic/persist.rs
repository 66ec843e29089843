//! A classic group as a record, and back.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::TimestampMs;
use ringlog_wire::messages::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use ringlog_wire::messages::join_group_response::JoinGroupResponseMember;

use super::member::{Joining, Member};
use super::{ClassicGroup, ClassicState, Context};
use crate::group::record;
use crate::outcome::Record;

impl ClassicGroup {
    /// The group with its generation, its members and what they are assigned.
    pub(crate) fn record(&self) -> Record {
        let protocol = self.protocol_name();
        let members = self.members.values().map(|member| member_value(member, protocol)).collect();
        let value = GroupMetadataValue {
            protocol_type: Cow::Borrowed(self.protocol_type().unwrap_or_default()),
            generation: self.generation,
            protocol: protocol.map(Cow::Borrowed),
            leader: self.leader.as_deref().map(Cow::Borrowed),
            current_state_timestamp: self.state_since_ms,
            members,
        };
        record::group_record(&self.id, Some(&value))
    }

    /// The group that a record describes. Kafka's own values may lack timeouts (version 0).
    pub(crate) fn from_value(
        id: Rc<str>,
        value: &GroupMetadataValue<'_>,
        now_ms: TimestampMs,
    ) -> ClassicGroup {
        let mut group = ClassicGroup::new(id, now_ms);
        group.generation = value.generation;
        if !value.protocol_type.is_empty() {
            group.protocol_type = Some(value.protocol_type.as_ref().into());
        }
        group.protocol_name = value.protocol.as_deref().map(Rc::from);
        let name: Rc<str> = value.protocol.as_deref().unwrap_or_default().into();
        for member in &value.members {
            if !group.members.contains_key(&*member.member_id) {
                group.insert(member_of(member, &value.protocol_type, name.clone()));
            }
        }
        let is_known = |id: &str| group.members.contains_key(id);
        if let Some(leader) = value.leader.as_deref().filter(|leader| is_known(leader)) {
            group.leader = Some(leader.into());
        }
        group.state =
            if group.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        if value.current_state_timestamp >= 0 {
            group.state_since_ms = value.current_state_timestamp;
        }
        group
    }

    /// After loading: members have a whole session to show that they are still there.
    pub(crate) fn loaded(&mut self, context: &mut Context<'_>) {
        let ids: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.show_life(&id, context);
        }
    }

    /// All members, as the leader hears of them.
    pub(super) fn described_members(&self) -> Vec<JoinGroupResponseMember<'static>> {
        let protocol = self.protocol_name();
        let described = self.members.values().map(|member| JoinGroupResponseMember {
            member_id: Cow::Owned(member.id.to_string()),
            group_instance_id: member
                .joined
                .instance_id
                .as_ref()
                .map(|id| Cow::Owned(id.to_string())),
            metadata: Cow::Owned(member.metadata(protocol).to_vec()),
        });
        described.collect()
    }
}

fn member_value<'a>(member: &'a Member, protocol: Option<&str>) -> MemberMetadata<'a> {
    MemberMetadata {
        member_id: Cow::Borrowed(&member.id),
        group_instance_id: member.joined.instance_id.as_deref().map(Cow::Borrowed),
        client_id: Cow::Borrowed(&member.joined.client_id),
        client_host: Cow::Borrowed(&member.joined.client_host),
        rebalance_timeout: milliseconds(member.joined.rebalance_timeout_ms),
        session_timeout: milliseconds(member.joined.session_timeout_ms),
        subscription: Cow::Owned(member.metadata(protocol).to_vec()),
        assignment: Cow::Borrowed(&member.assignment),
    }
}

fn member_of(member: &MemberMetadata<'_>, protocol_type: &str, protocol: Rc<str>) -> Member {
    let session_timeout_ms = u64::try_from(member.session_timeout).unwrap_or(0);
    // Version 0 has no rebalance timeout: the session's was both.
    let rebalance_timeout_ms =
        u64::try_from(member.rebalance_timeout).unwrap_or(session_timeout_ms);
    let joining = Joining {
        instance_id: member.group_instance_id.as_deref().map(Rc::from),
        client_id: member.client_id.as_ref().into(),
        client_host: member.client_host.as_ref().into(),
        rebalance_timeout_ms,
        session_timeout_ms,
        protocol_type: protocol_type.into(),
        protocols: vec![(protocol, Bytes::copy_from_slice(&member.subscription))],
    };
    let mut restored = Member::new(member.member_id.as_ref().into(), joining);
    restored.assignment = Bytes::copy_from_slice(&member.assignment);
    restored
}

/// Timeouts came from requests as 32 bits.
fn milliseconds(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
