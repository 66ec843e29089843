//! Members of the classic protocol in a consumer group, while its clients are upgraded one by one.
//!
//! A JoinGroup is their heartbeat with news: it is answered at once, with the member's epoch as the
//! generation and without a leader. SyncGroup brings what they own, and Heartbeat tells them to
//! join again when there is something to give back or to get.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;
use ringlog_wire::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use ringlog_wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use ringlog_wire::messages::heartbeat_request::HeartbeatRequest;
use ringlog_wire::messages::join_group_response::JoinGroupResponse;
use ringlog_wire::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use ringlog_wire::messages::sync_group_request::SyncGroupRequest;
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;
use ringlog_wire::{Message, Writer};

use super::ConsumerGroup;
use super::heartbeat::{Draft, Scene};
use super::member::{ClassicPart, Member, MemberState};
use super::migration::subscription;
use super::regex::Viewer;
use super::target::Changed;
use crate::group::classic::join::JoinRequest;
use crate::group::cluster_view::ClusterView;
use crate::group::membership::LeavingMember;
use crate::group::settings::MigrationPolicy;
use crate::group::{Deferred, Effects, Group, GroupCoordinator, Outcome, TimerKey, answers};
use crate::outcome::Now;

const CONSUMER: &str = "consumer";

impl GroupCoordinator {
    /// JoinGroup to a consumer group with members.
    pub(in crate::group) fn join_consumers(
        &mut self,
        group_id: &str,
        request: &JoinRequest,
        now: Now,
    ) -> Effects {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            unreachable!("it was looked for");
        };
        let mut draft = Draft::default();
        let answer = match self.scene(group, now).join(request, &mut draft) {
            Ok(answer) => answer,
            Err(error) => {
                draft = Draft::default();
                answers::join_error(error, &request.member_id)
            }
        };
        let records = std::mem::take(&mut draft.records);
        self.apply(group_id, draft, now);
        Effects { records, answers: vec![(request.reply_to, answer)], ..Effects::default() }
    }

    /// SyncGroup in a consumer group.
    pub(in crate::group) fn sync_consumer(
        &mut self,
        request: &SyncGroupRequest<'_>,
        now: Now,
    ) -> Deferred {
        let Some(Group::Consumer(group)) = self.groups.get(&*request.group_id) else {
            return answers::sync_error(ErrorCode::UnknownMemberId);
        };
        let mut draft = Draft::default();
        let synced = self.scene(group, now).sync(request, &mut draft);
        self.apply(&request.group_id, draft, now);
        synced.unwrap_or_else(answers::sync_error)
    }

    /// Heartbeat in a consumer group.
    pub(in crate::group) fn beat_consumer(
        &mut self,
        request: &HeartbeatRequest<'_>,
        now: Now,
    ) -> ErrorCode {
        let Some(Group::Consumer(group)) = self.groups.get(&*request.group_id) else {
            return ErrorCode::UnknownMemberId;
        };
        let mut draft = Draft::default();
        let beaten = self.scene(group, now).classic_beat(request, &mut draft);
        // One that is to join again has its rebalance timeout to do so.
        let waits = |timers: &crate::timers::Timers<TimerKey>, key: &TimerKey| timers.contains(key);
        draft.timers.retain(|(key, at_ms)| {
            !(matches!(key, TimerKey::ClassicJoin(..))
                && at_ms.is_some()
                && waits(&self.timers, key))
        });
        self.apply(&request.group_id, draft, now);
        beaten.err().unwrap_or(ErrorCode::None)
    }

    /// LeaveGroup from a consumer group, of members of either protocol.
    pub(in crate::group) fn leave_consumers(
        &mut self,
        group_id: &str,
        members: &[LeavingMember<'_>],
        now: Now,
    ) -> Outcome<LeaveGroupResponse<'static>> {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            unreachable!("it was looked for");
        };
        let mut leaving = std::collections::BTreeSet::new();
        let answers = members.iter().map(|of| {
            let found = find_leaving(group, of);
            let error = found.as_ref().err().copied().unwrap_or(ErrorCode::None);
            leaving.extend(found.ok());
            MemberResponse {
                member_id: Cow::Owned(of.member_id.to_owned()),
                group_instance_id: of.instance_id.map(|id| Cow::Owned(id.to_owned())),
                error_code: error.code(),
            }
        });
        let response = LeaveGroupResponse { members: answers.collect(), ..Default::default() };
        let effects = self.remove_consumers(group_id, &leaving, now);
        Outcome { response, effects }
    }
}

fn find_leaving(group: &ConsumerGroup, of: &LeavingMember<'_>) -> Result<Rc<str>, ErrorCode> {
    match of.instance_id {
        None => group.member(of.member_id).map(|member| member.id.clone()),
        Some(instance_id) => {
            let known = group.static_member(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if !of.member_id.is_empty() && *known.id != *of.member_id {
                return Err(ErrorCode::FencedInstanceId);
            }
            Some(known.id.clone())
        }
    }
    .ok_or(ErrorCode::UnknownMemberId)
}

impl Scene<'_> {
    fn join(&self, request: &JoinRequest, draft: &mut Draft) -> Result<Deferred, ErrorCode> {
        let (group, joining) = (self.group, &request.joining);
        if self.settings.consumer.migration == MigrationPolicy::Disabled {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        self.check_room(&request.member_id).map_err(|refusal| refusal.error)?;
        let is_shared = |name: &str| {
            let mut members = group.members.values().filter_map(|member| member.classic.as_ref());
            members.all(|classic| classic.protocols.iter().any(|(known, _)| **known == *name))
        };
        let mut names = joining.protocols.iter().map(|(name, _)| name);
        if *joining.protocol_type != *CONSUMER || !names.any(|name| is_shared(name)) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let is_new = request.member_id.is_empty();
        let id = if is_new { &request.fresh_id } else { &request.member_id };
        if is_new && request.must_know_id && joining.instance_id.is_none() {
            return Ok(answers::join_error(ErrorCode::MemberIdRequired, id));
        }
        let read = subscription(&joining.protocols, None);
        let subscription = read.map_err(|_| ErrorCode::InconsistentGroupProtocol)?;
        let (member, replaces) = self.joining_member(request, id, draft)?;
        let updated = updated(&member, request, &subscription);
        let changed = Changed { member: &updated, replaces: replaces.as_deref() };
        let reported = reported(&subscription, self.cluster);
        // Whoever speaks the classic protocol has no expression.
        let viewer = Viewer::of_all();
        let advanced = self.advance(&member, &changed, Some(&reported), &viewer, draft);
        let advanced = advanced.map_err(|refusal| refusal.error)?;
        self.expect_beat(id, joining.session_timeout_ms, draft);
        let key = |kind: fn(Rc<str>, Rc<str>) -> TimerKey| kind(group.id.clone(), id.clone());
        draft.timers.push((key(TimerKey::ClassicJoin), None));
        let sync_ms = self.now.monotonic_ms + joining.rebalance_timeout_ms;
        draft.timers.push((key(TimerKey::ClassicSync), Some(sync_ms)));
        Ok(Deferred::Join(JoinGroupResponse {
            generation_id: advanced.epoch,
            protocol_type: Some(Cow::Borrowed(CONSUMER)),
            protocol_name: joining.protocols.first().map(|(name, _)| owned(name)),
            member_id: owned(id),
            ..Default::default()
        }))
    }

    /// The member that joins, as it is known; a static one may take the place of another.
    fn joining_member(
        &self,
        request: &JoinRequest,
        id: &Rc<str>,
        draft: &mut Draft,
    ) -> Result<(Member, Option<Rc<str>>), ErrorCode> {
        let Some(instance_id) = request.joining.instance_id.as_deref() else {
            let known = self.group.members.get(id).cloned();
            return Ok((known.unwrap_or_else(|| Member::new(id.clone())), None));
        };
        let known = self.group.static_member(instance_id);
        match known {
            None if request.member_id.is_empty() => Ok((Member::new(id.clone()), None)),
            None => Err(ErrorCode::UnknownMemberId),
            Some(known) if request.member_id.is_empty() => {
                Ok((self.replace(known, id, draft), Some(known.id.clone())))
            }
            Some(known) if known.id != *id => Err(ErrorCode::FencedInstanceId),
            Some(known) => Ok((known.clone(), None)),
        }
    }

    /// The member of the classic protocol that sends a request of a generation.
    fn classic_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(&Member, &ClassicPart), ErrorCode> {
        let member = match instance_id {
            None => self.group.member(member_id),
            Some(instance_id) => match self.group.static_member(instance_id) {
                Some(known) if *known.id != *member_id => return Err(ErrorCode::FencedInstanceId),
                known => known,
            },
        };
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        if generation != member.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok((member, classic))
    }

    fn sync(
        &self,
        request: &SyncGroupRequest<'_>,
        draft: &mut Draft,
    ) -> Result<Deferred, ErrorCode> {
        let instance_id = request.group_instance_id.as_deref();
        let (member, classic) =
            self.classic_member(&request.member_id, instance_id, request.generation_id)?;
        let protocol = classic.protocols.first().map(|(name, _)| &**name);
        let differs = |said: Option<&str>, known| said.is_some_and(|said| Some(said) != known);
        if differs(request.protocol_type.as_deref(), Some(CONSUMER))
            || differs(request.protocol_name.as_deref(), protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.group.epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.expect_join(member, draft);
            return Err(ErrorCode::RebalanceInProgress);
        }
        draft.timers.push((TimerKey::ClassicSync(self.group.id.clone(), member.id.clone()), None));
        self.expect_beat(&member.id, classic.session_timeout_ms(), draft);
        let owns = member.assigned.iter();
        let owns = owns.map(|(id, partitions)| (id, partitions.keys().copied().collect()));
        Ok(Deferred::Sync(SyncGroupResponse {
            protocol_type: Some(Cow::Borrowed(CONSUMER)),
            protocol_name: protocol.map(owned),
            assignment: Cow::Owned(assignment(member, owns, self.cluster).to_vec()),
            ..Default::default()
        }))
    }

    fn classic_beat(
        &self,
        request: &HeartbeatRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), ErrorCode> {
        let instance_id = request.group_instance_id.as_deref();
        let (member, classic) =
            self.classic_member(&request.member_id, instance_id, request.generation_id)?;
        self.expect_beat(&member.id, classic.session_timeout_ms(), draft);
        let is_due = member.epoch < self.group.target_epoch
            || member.state == MemberState::UnrevokedPartitions
            || (member.state == MemberState::UnreleasedPartitions && !self.waits(member));
        if is_due {
            self.expect_join(member, draft);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether what the member is promised is still another's.
    fn waits(&self, member: &Member) -> bool {
        let promised = self.group.target.get(&member.id).into_iter().flatten();
        let mut places = promised.flat_map(|(id, indexes)| indexes.iter().map(move |i| (id, *i)));
        places.any(|(id, index)| {
            !super::partitions::contains(&member.assigned, id, index)
                && self.group.owner_count(id, index) > 0
        })
    }

    fn expect_join(&self, member: &Member, draft: &mut Draft) {
        let patience_ms = u64::try_from(member.rebalance_timeout_ms).unwrap_or(0);
        let key = TimerKey::ClassicJoin(self.group.id.clone(), member.id.clone());
        draft.timers.push((key, Some(self.now.monotonic_ms + patience_ms)));
    }
}

/// The member with what its JoinGroup says of it.
fn updated(
    member: &Member,
    request: &JoinRequest,
    subscription: &ConsumerProtocolSubscription<'_>,
) -> Member {
    let joining = &request.joining;
    let milliseconds = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let rack_id = subscription.rack_id.as_deref().filter(|id| !id.is_empty()).map(Rc::from);
    let mut updated = member.clone();
    updated.instance_id = joining.instance_id.clone().or(updated.instance_id);
    updated.rack_id = rack_id.or(updated.rack_id);
    updated.rebalance_timeout_ms = milliseconds(joining.rebalance_timeout_ms);
    updated.subscribed_topics = subscription.topics.iter().map(|t| Rc::from(&**t)).collect();
    updated.subscribed_regex = Some("".into());
    updated.client_id = joining.client_id.clone();
    updated.client_host = joining.client_host.clone();
    updated.classic = Some(ClassicPart {
        session_timeout_ms: milliseconds(joining.session_timeout_ms),
        protocols: joining.protocols.clone(),
    });
    updated
}

/// What a member says that it owns, of topics that exist.
fn reported(
    subscription: &ConsumerProtocolSubscription<'_>,
    cluster: &dyn ClusterView,
) -> Vec<Reported> {
    let topics = subscription.owned_partitions.iter().filter_map(|topic| {
        let topic_id = cluster.by_name(&topic.topic)?.id;
        Some(Reported { topic_id, partitions: topic.partitions.clone() })
    });
    topics.collect()
}

/// Partitions as a SyncGroup brings them, in the version that the member speaks.
pub(super) fn assignment<'a>(
    member: &Member,
    partitions: impl Iterator<Item = (&'a Uuid, Vec<i32>)>,
    cluster: &dyn ClusterView,
) -> Bytes {
    let topics = partitions.filter_map(|(topic_id, partitions)| {
        let topic = Cow::Owned(cluster.name_of(topic_id)?.to_string());
        Some(TopicPartition { topic, partitions })
    });
    let value =
        ConsumerProtocolAssignment { assigned_partitions: topics.collect(), user_data: None };
    let spoken = member.classic.as_ref().and_then(|classic| classic.protocols.first());
    let spoken = spoken.and_then(|(_, metadata)| metadata.get(..2));
    let spoken = spoken.map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    let version = spoken.clamp(0, ConsumerProtocolAssignment::MAX_VERSION);
    let mut writer = Writer::new();
    writer.i16(version);
    value.encode(&mut writer, version).expect("names of topics are short");
    writer.into_bytes()
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}
