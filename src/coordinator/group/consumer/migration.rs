//! Groups that change their protocol (`group.consumer.migration.policy`).
//!
//! * An empty group becomes of the kind that joins it; nothing but its kind changes.
//! * *Upgrade*: a classic group of consumers, with all its members, becomes a consumer group when
//!   the first member of the new protocol joins. Members keep what they own, and go on with the
//!   classic protocol ([`classic_member`](super::classic_member)).
//! * *Downgrade*: when the last member of the new protocol leaves, those of the classic one are a
//!   classic group again, and join anew.

use std::collections::BTreeSet;
use std::rc::Rc;

use ringlog_wire::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use ringlog_wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use ringlog_wire::{DecodeError, Message, Reader};

use super::member::{ClassicPart, Member};
use super::partitions::{self, Assigned};
use super::refusal::Refusal;
use super::{ConsumerGroup, metadata_hash, record};
use crate::group::classic::{self, ClassicGroup, ClassicState};
use crate::group::cluster_view::ClusterView;
use crate::group::record::group_record;
use crate::group::{Continuation, Effects, Group, GroupCoordinator, TimerKey};
use crate::outcome::{Now, Record};

const CONSUMER: &str = "consumer";

impl GroupCoordinator {
    /// Sees to it that a heartbeat has a consumer group: a new one is returned if it joins and
    /// there is none yet, or one of the classic protocol that may become one.
    pub(super) fn consumer_group_for(
        &mut self,
        group_id: &str,
        joins: bool,
        effects: &mut Effects,
        now: Now,
    ) -> Result<Option<ConsumerGroup>, Refusal> {
        match self.groups.get_mut(group_id) {
            Some(Group::Consumer(_)) => Ok(None),
            None if joins => Ok(Some(ConsumerGroup::new(group_id.into()))),
            None => Err(Refusal::not_found(format!("Consumer group {group_id} not found."))),
            Some(Group::Classic(group)) if joins && group.state() == ClassicState::Empty => {
                effects.records.push(group_record(group_id, None));
                Ok(Some(ConsumerGroup::new(group_id.into())))
            }
            Some(Group::Classic(_)) if joins => self.upgrade(group_id, effects, now).map(Some),
            Some(Group::Classic(_) | Group::Other(_)) => {
                Err(Refusal::not_found(format!("Group {group_id} is not a consumer group.")))
            }
        }
    }

    fn upgrade(
        &mut self,
        group_id: &str,
        effects: &mut Effects,
        now: Now,
    ) -> Result<ConsumerGroup, Refusal> {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else {
            unreachable!("it was looked for");
        };
        let cannot = |why: &str| {
            let message =
                format!("Cannot upgrade classic group {group_id} to consumer group {why}");
            Err(Refusal::not_found(message))
        };
        if !self.settings.consumer.migration.upgrades() {
            return cannot("because online upgrade is disabled.");
        }
        if group.protocol_type() != Some(CONSUMER) {
            return cannot("because the group does not use the consumer embedded protocol.");
        }
        if group.members().count() > self.settings.consumer.size_max {
            return cannot("because the group size exceeds the consumer group maximum size.");
        }
        let upgraded = match upgraded(group, &*self.cluster) {
            Ok(upgraded) => upgraded,
            Err(Unreadable::Malformed) => {
                return cannot("because the embedded consumer protocol is malformed.");
            }
            Err(Unreadable::UserData) => {
                return cannot(
                    "because an unsupported custom assignor is in use. Please refer to the \
                     documentation or switch to a default assignor before re-attempting the \
                     upgrade.",
                );
            }
        };
        // Whoever waits for the classic rebalance joins the other group instead.
        effects.answers.append(&mut group.send_all_away());
        effects.records.push(group_record(group_id, None));
        effects.records.append(&mut upgraded.creation());
        for member in upgraded.members.values() {
            let session_ms = member.classic.as_ref().map_or(0, ClassicPart::session_timeout_ms);
            let key = TimerKey::Member(upgraded.id.clone(), member.id.clone());
            self.timers.set(key, now.monotonic_ms + session_ms);
        }
        Ok(upgraded)
    }

    /// The classic group that is left when these members leave a consumer group; `None` if it stays
    /// one.
    pub(super) fn downgrade(
        &self,
        group: &ConsumerGroup,
        leaving: &BTreeSet<Rc<str>>,
        now: Now,
    ) -> Option<Effects> {
        let left = || group.members.values().filter(|member| !leaving.contains(&member.id));
        let count = left().count();
        let may = self.settings.consumer.migration.downgrades()
            && count > 0
            && count <= self.settings.group_max_size
            && left().all(|member| member.classic.is_some());
        if !may {
            return None;
        }
        let mut classic = ClassicGroup::new(group.id.clone(), now.wall_ms);
        for member in left() {
            let target = group.target.get(&member.id).cloned().unwrap_or_default();
            let names = target.iter().map(|(id, indexes)| (id, indexes.iter().copied().collect()));
            let assignment = super::classic_member::assignment(member, names, &*self.cluster);
            classic.take_over(member, assignment);
        }
        classic.settle(group.epoch);
        let mut records = group.deletion();
        records.push(classic.record());
        let then = Some(Continuation::Downgraded { group_id: group.id.clone() });
        Some(Effects { records, then, ..Effects::default() })
    }

    /// A group that was downgraded is in the log: its members join anew.
    pub(in crate::group) fn downgraded(&mut self, group_id: &str, now: Now) -> Effects {
        self.with_classic(group_id, now, |group, context| {
            group.loaded(context);
            group.begin_anew(context);
        })
    }

    /// An empty consumer group that a member of the classic protocol joins is a classic one from
    /// now on; the records that delete it.
    pub(in crate::group) fn make_room_for_classic(&mut self, group_id: &str) -> Vec<Record> {
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) if group.members.is_empty() => {
                let records = group.deletion();
                self.groups.remove(group_id);
                self.resolutions.remove(group_id);
                records
            }
            _ => Vec::new(),
        }
    }
}

impl ConsumerGroup {
    /// The records of a group that comes from another protocol.
    fn creation(&self) -> Vec<Record> {
        let (id, members) = (&self.id, self.members.values());
        let mut records: Vec<Record> = members.map(|member| record::member(id, member)).collect();
        records.push(record::group(id, self.epoch, self.metadata_hash));
        records
            .extend(self.target.iter().map(|(member, target)| record::target(id, member, target)));
        records.push(record::target_metadata(id, self.target_epoch, self.target_made_ms));
        records.extend(self.members.values().map(|member| record::assignment(id, member)));
        records
    }
}

/// Why the members of a classic group cannot be taken over.
enum Unreadable {
    Malformed,
    UserData,
}

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Unreadable {
        Unreadable::Malformed
    }
}

/// A classic group as a consumer group: its members own what the leader gave them.
fn upgraded(group: &ClassicGroup, cluster: &dyn ClusterView) -> Result<ConsumerGroup, Unreadable> {
    let mut upgraded = ConsumerGroup::new(group.id().clone());
    let epoch = group.generation();
    (upgraded.epoch, upgraded.target_epoch) = (epoch, epoch);
    for known in group.members() {
        let subscription = subscription(&known.joined.protocols, group.protocol_name())?;
        let assigned = assigned(&known.assignment, epoch, cluster)?;
        let joined = &known.joined;
        let target = assigned.iter().map(|(id, of)| (*id, of.keys().copied().collect()));
        upgraded.target.insert(known.id.clone(), target.collect());
        let mut member = Member::new(known.id.clone());
        member.instance_id = joined.instance_id.clone();
        member.rack_id = subscription.rack_id.as_deref().filter(|id| !id.is_empty()).map(Rc::from);
        member.client_id = joined.client_id.clone();
        member.client_host = joined.client_host.clone();
        member.rebalance_timeout_ms = milliseconds(joined.rebalance_timeout_ms);
        member.subscribed_topics = subscription.topics.iter().map(|t| Rc::from(&**t)).collect();
        (member.epoch, member.previous_epoch) = (epoch, epoch);
        member.assigned = assigned;
        member.classic = Some(ClassicPart {
            session_timeout_ms: milliseconds(joined.session_timeout_ms),
            protocols: joined.protocols.clone(),
        });
        upgraded.put(member);
    }
    let names = upgraded.subscribed_names(|_| false, None);
    upgraded.metadata_hash = metadata_hash::of_group(&names, cluster);
    Ok(upgraded)
}

/// What a member said under the group's protocol, or its first.
pub(super) fn subscription<'a>(
    protocols: &'a [classic::member::Protocol],
    name: Option<&str>,
) -> Result<ConsumerProtocolSubscription<'a>, DecodeError> {
    let named = protocols.iter().find(|(known, _)| Some(&**known) == name);
    let metadata = named.or(protocols.first()).map_or(&[][..], |(_, metadata)| metadata);
    let mut reader = Reader::new(metadata);
    // Newer versions only add to the end.
    let version = reader.i16()?.clamp(0, ConsumerProtocolSubscription::MAX_VERSION);
    ConsumerProtocolSubscription::decode(&mut reader, version)
}

fn assigned(
    assignment: &[u8],
    epoch: i32,
    cluster: &dyn ClusterView,
) -> Result<Assigned, Unreadable> {
    let mut assigned = Assigned::new();
    if assignment.is_empty() {
        return Ok(assigned);
    }
    let mut reader = Reader::new(assignment);
    let version = reader.i16()?.clamp(0, ConsumerProtocolAssignment::MAX_VERSION);
    let value = ConsumerProtocolAssignment::decode(&mut reader, version)?;
    if value.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(Unreadable::UserData);
    }
    for topic in &value.assigned_partitions {
        let Some(facts) = cluster.by_name(&topic.topic) else { continue };
        for index in &topic.partitions {
            partitions::insert(&mut assigned, facts.id, *index, epoch);
        }
    }
    Ok(assigned)
}

/// Timeouts came from requests as 32 bits.
fn milliseconds(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
