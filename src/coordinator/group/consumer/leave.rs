//! Members that go: by themselves, for a while (static members), or because they are silent.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use ringlog_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ringlog_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use super::heartbeat::{Draft, Scene, check_fenced, unknown_instance};
use super::member::{LEFT_STATIC_EPOCH, Member, MemberState};
use super::partitions::Assigned;
use super::refusal::Refusal;
use super::{ConsumerGroup, metadata_hash, record};
use crate::group::{Effects, Group, GroupCoordinator, Outcome, TimerKey};
use crate::outcome::{Now, Record};

/// A member that is late and cannot be taken out is so again after this.
const FENCE_RETRY_MS: u64 = 1_000;

impl GroupCoordinator {
    /// A heartbeat whose epoch says that the member leaves.
    pub(super) fn consumer_leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        now: Now,
    ) -> Result<Outcome<ConsumerGroupHeartbeatResponse<'static>>, Refusal> {
        let group = self.consumer_group(&request.group_id)?;
        let member = match request.instance_id.as_deref() {
            None => group.member_or_refusal(&request.member_id)?,
            Some(instance_id) => {
                let known = group.static_member(instance_id);
                let known = known.ok_or_else(|| unknown_instance(instance_id))?;
                check_fenced(known, &request.member_id, instance_id)?;
                known
            }
        };
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(Cow::Owned(member.id.to_string())),
            member_epoch: request.member_epoch,
            ..Default::default()
        };
        if request.instance_id.is_some() && request.member_epoch == LEFT_STATIC_EPOCH {
            let away = away(member);
            let records = vec![record::assignment(&group.id, &away)];
            let effects = Effects { records, ..Effects::default() };
            return Ok(Outcome { response, effects });
        }
        let leaving = BTreeSet::from([member.id.clone()]);
        let effects = self.remove_consumers(&request.group_id, &leaving, now);
        Ok(Outcome { response, effects })
    }

    /// The consumer group of an id.
    pub(in crate::group) fn consumer_group(
        &self,
        group_id: &str,
    ) -> Result<&ConsumerGroup, Refusal> {
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(Group::Classic(_) | Group::Other(_)) => {
                Err(Refusal::not_found(format!("Group {group_id} is not a consumer group.")))
            }
            None => Err(Refusal::not_found(format!("Group {group_id} not found."))),
        }
    }

    /// Members are taken out of a consumer group; the others are assigned anew.
    pub(in crate::group) fn remove_consumers(
        &mut self,
        group_id: &str,
        leaving: &BTreeSet<Rc<str>>,
        now: Now,
    ) -> Effects {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            return Effects::default();
        };
        if leaving.is_empty() {
            return Effects::default();
        }
        if let Some(effects) = self.downgrade(group, leaving, now) {
            return effects;
        }
        let mut draft = Draft::default();
        self.scene(group, now).remove_all(leaving, &mut draft);
        let records = std::mem::take(&mut draft.records);
        self.apply(group_id, draft, now);
        Effects { records, ..Effects::default() }
    }

    /// A member of a consumer group has been silent for a session.
    pub(in crate::group) fn consumer_expired(
        &mut self,
        group_id: &str,
        id: &Rc<str>,
        now: Now,
    ) -> Effects {
        let is_member = |group: &ConsumerGroup| group.members.contains_key(id);
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) if is_member(group) => self.fence(group_id, id, now),
            _ => Effects::default(),
        }
    }

    /// Takes a member out because it is late. If that cannot be written, it is tried again.
    fn fence(&mut self, group_id: &str, id: &Rc<str>, now: Now) -> Effects {
        let key = TimerKey::Member(group_id.into(), id.clone());
        self.timers.set(key, now.monotonic_ms + FENCE_RETRY_MS);
        self.remove_consumers(group_id, &BTreeSet::from([id.clone()]), now)
    }

    /// A member has had its rebalance timeout to give back what it is to.
    pub(in crate::group) fn revocation_due(
        &mut self,
        group_id: &str,
        id: &Rc<str>,
        now: Now,
    ) -> Effects {
        let is_late = |member: &Member| member.state == MemberState::UnrevokedPartitions;
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) if group.members.get(id).is_some_and(is_late) => {
                self.fence(group_id, id, now)
            }
            _ => Effects::default(),
        }
    }
}

impl GroupCoordinator {
    /// After loading: members have a whole session to show that they are still there.
    pub(in crate::group) fn begin_consumer(&mut self, group_id: &Rc<str>, now: Now) {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return };
        let times = self.cluster.consumer_times(group_id);
        for member in group.members() {
            let session_ms = match &member.classic {
                Some(classic) => classic.session_timeout_ms(),
                None => times.session_timeout_ms,
            };
            let key = TimerKey::Member(group_id.clone(), member.id.clone());
            self.timers.set(key, now.monotonic_ms + session_ms);
            if member.state == MemberState::UnrevokedPartitions {
                let patience_ms = u64::try_from(member.rebalance_timeout_ms).unwrap_or(0);
                let key = TimerKey::Revocation(group_id.clone(), member.id.clone());
                self.timers.set(key, now.monotonic_ms + patience_ms);
            }
        }
    }
}

impl ConsumerGroup {
    /// The records that delete the group, its members and all.
    pub(in crate::group) fn deletion(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let ids: BTreeSet<&Rc<str>> = self.members.keys().chain(self.target.keys()).collect();
        records.extend(ids.iter().map(|id| record::assignment_deletion(&self.id, id)));
        records.extend(ids.iter().map(|id| record::target_deletion(&self.id, id)));
        records.push(record::target_metadata_deletion(&self.id));
        records.extend(ids.iter().map(|id| record::member_deletion(&self.id, id)));
        records.extend(self.regexes.keys().map(|regex| record::regex_deletion(&self.id, regex)));
        if self.has_partition_metadata {
            records.push(record::partition_metadata_deletion(&self.id));
        }
        records.push(record::group_deletion(&self.id));
        records
    }
}

impl Scene<'_> {
    fn remove_all(&self, leaving: &BTreeSet<Rc<str>>, draft: &mut Draft) {
        let group = self.group;
        for id in leaving {
            self.remove(id, draft);
        }
        let stays = |member: &&Member| !leaving.contains(&member.id);
        let kept: BTreeSet<&Rc<str>> =
            group.members.values().filter(stays).filter_map(Member::regex).collect();
        for regex in group.regexes.keys().filter(|regex| !kept.contains(regex)) {
            draft.records.push(record::regex_deletion(&group.id, regex));
        }
        let names = group.subscribed_names(|member| leaving.contains(&member.id), None);
        let hash = metadata_hash::of_group(&names, self.cluster);
        draft.records.push(record::group(&group.id, group.epoch + 1, hash));
    }
}

/// A static member that is away keeps what it owns, and gives back nothing.
fn away(member: &Member) -> Member {
    let mut away = member.clone();
    away.epoch = LEFT_STATIC_EPOCH;
    away.pending_revocation = Assigned::new();
    for epoch in away.assigned.values_mut().flat_map(|partitions| partitions.values_mut()) {
        *epoch = 0;
    }
    away
}
