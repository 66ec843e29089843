//! The requests of members: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::heartbeat_request::HeartbeatRequest;
use ringlog_wire::messages::join_group_request::JoinGroupRequest;
use ringlog_wire::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use ringlog_wire::messages::sync_group_request::SyncGroupRequest;

use super::classic::join::JoinRequest;
use super::classic::member::Joining;
use super::classic::sync::SyncRequest;
use super::classic::{ClassicGroup, Context};
use super::{Effects, Group, GroupCoordinator, ID_BYTES_MAX, Outcome, answers};
use crate::outcome::{Now, ReplyTo};

/// Who joins, beside what the request says.
#[derive(Debug, Clone, Copy)]
pub struct Joiner<'a> {
    /// From the request's header.
    pub client_id: &'a str,
    /// The address it comes from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: &'a str,
    /// The version of the request.
    pub version: i16,
    /// 128 random bits, for the id of a new member.
    pub random: u128,
}

/// A member that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingMember<'a> {
    /// Its id; may be empty if the instance is named.
    pub member_id: &'a str,
    /// Its `group.instance.id`.
    pub instance_id: Option<&'a str>,
}

/// From this version on, a member without an id comes back with the one it is given.
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// So much of a client's id stands in those of its members.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// From this version on, a static leader can be told not to assign.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

impl GroupCoordinator {
    /// JoinGroup. The answer is among the effects, of this or of a later decision.
    pub fn join(
        &mut self,
        request: &JoinGroupRequest<'_>,
        joiner: Joiner<'_>,
        reply_to: ReplyTo,
        now: Now,
    ) -> Effects {
        if let Err(error) = self.check_join(request) {
            let answer = answers::join_error(error, &request.member_id);
            return Effects { answers: vec![(reply_to, answer)], ..Effects::default() };
        }
        let mut records = self.make_room_for_classic(&request.group_id);
        if !self.groups.contains_key(&*request.group_id) {
            let id: Rc<str> = request.group_id.as_ref().into();
            let group = ClassicGroup::new(id.clone(), now.wall_ms);
            self.groups.insert(id, Group::Classic(Box::new(group)));
        }
        let join = join_request(request, joiner, reply_to);
        if matches!(self.groups.get(&*request.group_id), Some(Group::Consumer(_))) {
            return self.join_consumers(&request.group_id, &join, now);
        }
        let mut effects =
            self.with_classic(&request.group_id, now, |group, context| group.join(join, context));
        records.append(&mut effects.records);
        effects.records = records;
        self.forget_if_untouched(&request.group_id);
        effects
    }

    fn check_join(&self, request: &JoinGroupRequest<'_>) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        let names = request.protocols.iter().map(|protocol| protocol.name.len());
        let instance = request.group_instance_id.as_deref().unwrap_or_default().len();
        let lengths = [request.member_id.len(), instance, request.protocol_type.len()];
        if names.chain(lengths).any(|length| length > ID_BYTES_MAX) {
            return Err(ErrorCode::InvalidRequest);
        }
        let timeout_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
        let settings = &self.settings;
        let allowed = settings.group_min_session_timeout_ms..=settings.group_max_session_timeout_ms;
        if !allowed.contains(&timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        match self.groups.get(&*request.group_id) {
            Some(Group::Other(_)) => Err(ErrorCode::InconsistentGroupProtocol),
            Some(Group::Classic(_)) => Ok(()),
            Some(Group::Consumer(group)) if group.members().next().is_some() => Ok(()),
            Some(Group::Consumer(_)) if request.member_id.is_empty() => Ok(()),
            Some(Group::Consumer(_)) => Err(ErrorCode::UnknownMemberId),
            None if request.member_id.is_empty() => Ok(()),
            None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// A group that a refused request made is not kept.
    pub(super) fn forget_if_untouched(&mut self, group_id: &str) {
        if let Some(Group::Classic(group)) = self.groups.get(group_id)
            && group.is_untouched()
            && self.offsets.newest().of(group_id).is_none()
        {
            self.groups.remove(group_id);
        }
    }

    /// SyncGroup. The answer is among the effects, of this or of a later decision.
    pub fn sync(&mut self, request: &SyncGroupRequest<'_>, reply_to: ReplyTo, now: Now) -> Effects {
        if matches!(self.groups.get(&*request.group_id), Some(Group::Consumer(_))) {
            let answer = self.sync_consumer(request, now);
            return Effects { answers: vec![(reply_to, answer)], ..Effects::default() };
        }
        let unknown = match check_group_id(&request.group_id) {
            Err(error) => Some(error),
            Ok(()) => self.classic(&request.group_id).err().map(|_| ErrorCode::UnknownMemberId),
        };
        if let Some(error) = unknown {
            let answer = answers::sync_error(error);
            return Effects { answers: vec![(reply_to, answer)], ..Effects::default() };
        }
        let part = |assignment: &[u8]| Bytes::copy_from_slice(assignment);
        let assignments = request.assignments.iter();
        let assignments: HashMap<&str, Bytes> =
            assignments.map(|of| (&*of.member_id, part(&of.assignment))).collect();
        let sync = SyncRequest {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            protocol_type: request.protocol_type.as_deref(),
            protocol_name: request.protocol_name.as_deref(),
            assignments,
            reply_to,
        };
        self.with_classic(&request.group_id, now, |group, context| group.sync(&sync, context))
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest<'_>, now: Now) -> Outcome<ErrorCode> {
        let mut response = Err(ErrorCode::UnknownMemberId);
        if let Err(error) = check_group_id(&request.group_id) {
            return Outcome::unchanged(error);
        }
        if matches!(self.groups.get(&*request.group_id), Some(Group::Consumer(_))) {
            return Outcome::unchanged(self.beat_consumer(request, now));
        }
        let effects = self.with_classic(&request.group_id, now, |group, context| {
            let instance_id = request.group_instance_id.as_deref();
            response =
                group.heartbeat(&request.member_id, instance_id, request.generation_id, context);
        });
        Outcome { response: response.err().unwrap_or(ErrorCode::None), effects }
    }

    /// LeaveGroup. Versions below 3 name one member and have no list of answers: the error of the
    /// first is theirs.
    pub fn leave(
        &mut self,
        group_id: &str,
        members: &[LeavingMember<'_>],
        now: Now,
    ) -> Outcome<LeaveGroupResponse<'static>> {
        if let Err(error) = check_group_id(group_id) {
            return Outcome::unchanged(leave_error(error));
        }
        if matches!(self.groups.get(group_id), Some(Group::Consumer(_))) {
            return self.leave_consumers(group_id, members, now);
        }
        if self.classic(group_id).is_err() {
            return Outcome::unchanged(leave_error(ErrorCode::UnknownMemberId));
        }
        let mut response = LeaveGroupResponse::default();
        let effects = self.with_classic(group_id, now, |group, context| {
            response.members = leave_all(group, members, context);
        });
        self.forget_if_untouched(group_id);
        Outcome { response, effects }
    }
}

fn leave_all(
    group: &mut ClassicGroup,
    members: &[LeavingMember<'_>],
    context: &mut Context<'_>,
) -> Vec<MemberResponse<'static>> {
    let mut has_member_left = false;
    let answers = members
        .iter()
        .map(|member| {
            let left = group.leave(member.member_id, member.instance_id, context);
            has_member_left |= left == Ok(true);
            MemberResponse {
                member_id: Cow::Owned(member.member_id.to_owned()),
                group_instance_id: member.instance_id.map(|id| Cow::Owned(id.to_owned())),
                error_code: left.err().unwrap_or(ErrorCode::None).code(),
            }
        })
        .collect();
    group.left(has_member_left, context);
    answers
}

fn leave_error(error: ErrorCode) -> LeaveGroupResponse<'static> {
    LeaveGroupResponse { error_code: error.code(), ..Default::default() }
}

/// Kafka refuses the empty id here; commits and look-ups may use it.
fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    let is_usable = !group_id.is_empty() && group_id.len() <= ID_BYTES_MAX;
    if is_usable { Ok(()) } else { Err(ErrorCode::InvalidGroupId) }
}

fn join_request(
    request: &JoinGroupRequest<'_>,
    joiner: Joiner<'_>,
    reply_to: ReplyTo,
) -> JoinRequest {
    let timeout = |value: i32| u64::try_from(value).ok();
    let session_timeout_ms = timeout(request.session_timeout_ms).unwrap_or(0);
    let instance_id = request.group_instance_id.as_deref();
    let client_id = shortened(joiner.client_id);
    let protocol = |name: &str, metadata: &[u8]| (name.into(), Bytes::copy_from_slice(metadata));
    JoinRequest {
        member_id: request.member_id.as_ref().into(),
        fresh_id: member_id(instance_id.unwrap_or(client_id), joiner.random),
        must_know_id: joiner.version >= MEMBER_ID_REQUIRED_VERSION,
        may_skip_assignment: joiner.version >= SKIP_ASSIGNMENT_VERSION,
        joining: Joining {
            instance_id: instance_id.map(Rc::from),
            client_id: client_id.into(),
            client_host: joiner.client_host.into(),
            // Version 0 has none: the session's is both.
            rebalance_timeout_ms: timeout(request.rebalance_timeout_ms)
                .unwrap_or(session_timeout_ms),
            session_timeout_ms,
            protocol_type: request.protocol_type.as_ref().into(),
            protocols: request.protocols.iter().map(|p| protocol(&p.name, &p.metadata)).collect(),
        },
        reply_to,
    }
}

/// A client's id, as far as it goes into a member's: ids that are given out are kept for a session,
/// whoever asks for them.
pub(super) fn shortened(client_id: &str) -> &str {
    let mut end = client_id.len().min(CLIENT_ID_BYTES_MAX);
    while !client_id.is_char_boundary(end) {
        end -= 1;
    }
    &client_id[..end]
}

/// A member's id as Kafka makes it: the client's or instance's name, and a UUID in hexadecimal.
fn member_id(name: &str, random: u128) -> Rc<str> {
    // Version 4, variant 1 (RFC 9562).
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{name}-{a}-{b}-{c}-{d}-{e}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_id_is_its_name_and_a_uuid() {
        assert_eq!(&*member_id("c", 0), "c-00000000-0000-4000-8000-000000000000");
        assert_eq!(&*member_id("c", u128::MAX), "c-ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_long_client_id_is_cut_between_characters() {
        let long = "ä".repeat(CLIENT_ID_BYTES_MAX);
        assert_eq!(shortened(&long).len(), CLIENT_ID_BYTES_MAX);
        assert_eq!(shortened(&format!("a{long}")).len(), CLIENT_ID_BYTES_MAX - 1);
        assert_eq!(shortened("ä"), "ä");
    }
}
