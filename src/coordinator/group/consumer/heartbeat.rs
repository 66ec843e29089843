//! ConsumerGroupHeartbeat: a member joins, lives, says what is new, and hears what it owns.

use std::borrow::Cow;
use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions as Reported,
};
use ringlog_wire::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use super::member::{LEFT_STATIC_EPOCH, Member, MemberState};
use super::partitions::{self, Assigned, Partitions};
use super::reconcile::Reconciliation;
use super::refusal::Refusal;
use super::regex::{self, Resolution, Viewer};
use super::target::Changed;
use super::{ConsumerGroup, heartbeat_request, metadata_hash, record};
use crate::group::cluster_view::ClusterView;
use crate::group::membership::shortened;
use crate::group::{Effects, Group, GroupCoordinator, Outcome, TimerKey};
use crate::outcome::{Now, Record};

/// Expressions of a group are resolved so often at most, and again after this.
const REGEX_PAUSE_MS: i64 = 10_000;
const REGEX_REFRESH_MS: i64 = 10 * 60 * 1_000;

/// Who sends a heartbeat, beside what the request says.
#[derive(Debug, Clone)]
pub struct Beater<'a> {
    /// From the request's header.
    pub client_id: &'a str,
    /// The address it comes from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: &'a str,
    /// The version of the request.
    pub version: i16,
    /// 128 random bits, for the id of a new member.
    pub random: u128,
    /// Which topics it may see.
    pub viewer: Viewer,
}

/// A decision in the making: its records, and what goes with them.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) records: Vec<Record>,
    /// Deadlines to set, by the monotonic clock, or to cancel.
    pub(super) timers: Vec<(TimerKey, Option<u64>)>,
    /// Expressions to be resolved.
    pub(super) resolution: Option<Resolution>,
    /// The group's topics were looked at, and are as they were.
    is_metadata_settled: bool,
}

/// What a subscription's change means for the group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RegexChange {
    None,
    /// What it stands for is not known yet: the epoch grows when it is.
    Unresolved,
    Resolved,
}

/// A group as it is, with what is around it.
pub(super) struct Scene<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) cluster: &'a dyn ClusterView,
    pub(super) settings: &'a crate::group::GroupSettings,
    /// Topics were created in this version of the metadata.
    pub(super) topics_version: i64,
    pub(super) is_resolving: bool,
    pub(super) now: Now,
}

impl GroupCoordinator {
    /// ConsumerGroupHeartbeat.
    pub fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        beater: &Beater<'_>,
        now: Now,
    ) -> Outcome<ConsumerGroupHeartbeatResponse<'static>> {
        let assignors = &self.settings.consumer.assignors;
        let checked = heartbeat_request::check(request, beater.version, assignors);
        let decided = checked.and_then(|()| match request.member_epoch {
            ..0 => self.consumer_leave(request, now),
            0.. => self.consumer_beat(request, beater, now),
        });
        decided.unwrap_or_else(|Refusal { error, message }| {
            Outcome::unchanged(ConsumerGroupHeartbeatResponse {
                error_code: error.code(),
                error_message: Some(Cow::Owned(message)),
                ..Default::default()
            })
        })
    }

    fn consumer_beat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        beater: &Beater<'_>,
        now: Now,
    ) -> Result<Outcome<ConsumerGroupHeartbeatResponse<'static>>, Refusal> {
        let mut effects = Effects::default();
        let joins = request.member_epoch == 0;
        let fresh = self.consumer_group_for(&request.group_id, joins, &mut effects, now)?;
        let mut draft = Draft::default();
        let group = match (&fresh, self.groups.get(&*request.group_id)) {
            (Some(fresh), _) => fresh,
            (None, Some(Group::Consumer(group))) => group,
            (None, _) => unreachable!("it was looked for"),
        };
        let scene = self.scene(group, now);
        let response = scene.beat(request, beater, &mut draft)?;
        effects.records.append(&mut draft.records);
        self.apply(&request.group_id, draft, now);
        Ok(Outcome { response, effects })
    }

    pub(super) fn scene<'a>(&'a self, group: &'a ConsumerGroup, now: Now) -> Scene<'a> {
        Scene {
            group,
            cluster: &*self.cluster,
            settings: &self.settings,
            topics_version: self.topics_version,
            is_resolving: self.resolutions.contains_key(group.id()),
            now,
        }
    }

    /// Sets deadlines, and begins to resolve what has to be.
    pub(super) fn apply(&mut self, group_id: &str, draft: Draft, now: Now) {
        for (key, at_ms) in draft.timers {
            match at_ms {
                Some(at_ms) => self.timers.set(key, at_ms),
                None => self.timers.cancel(&key),
            }
        }
        if let Some(resolution) = draft.resolution {
            let id: Rc<str> = group_id.into();
            self.resolutions.insert(id.clone(), resolution);
            self.timers.set(TimerKey::Regexes(id), now.monotonic_ms);
        }
        // Where they were found changed, the replay of the record settles it.
        if draft.is_metadata_settled
            && let Some(Group::Consumer(group)) = self.groups.get_mut(group_id)
        {
            group.is_metadata_stale = false;
        }
    }

    /// One step of the resolution of a group's expressions; the records that come out.
    pub(in crate::group) fn resolve_regexes(&mut self, group_id: &Rc<str>, now: Now) -> Effects {
        let mut effects = Effects::default();
        let Some(mut resolution) = self.resolutions.remove(group_id) else { return effects };
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return effects };
        if !resolution.step() {
            self.resolutions.insert(group_id.clone(), resolution);
            // Others have their turn first.
            self.timers.set(TimerKey::Regexes(group_id.clone()), now.monotonic_ms + 1);
            return effects;
        }
        let mut regexes = group.regexes.clone();
        let mut has_changed = false;
        for (regex, found) in resolution.into_resolved() {
            if group.regex_subscribers(&regex) == 0 {
                continue;
            }
            let before = group.regexes.get(&regex).map(|before| &before.topics);
            has_changed |=
                before.map_or(!found.topics.is_empty(), |topics| *topics != found.topics);
            effects.records.push(record::regex(group_id, &regex, &found));
            regexes.insert(regex, found);
        }
        let members = group.members.values();
        let names = members.flat_map(|member| super::names_of(member, &regexes)).collect();
        let hash = metadata_hash::of_group(&names, &*self.cluster);
        if has_changed || hash != group.metadata_hash {
            effects.records.push(record::group(group_id, group.epoch + 1, hash));
        }
        effects
    }
}

impl Scene<'_> {
    fn beat(
        &self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        beater: &Beater<'_>,
        draft: &mut Draft,
    ) -> Result<ConsumerGroupHeartbeatResponse<'static>, Refusal> {
        self.check_room(&request.member_id)?;
        let reported = request.topic_partitions.as_deref();
        let id: Rc<str> = match request.member_id.is_empty() {
            true => Uuid::from_random(beater.random).to_string().into(),
            false => request.member_id.as_ref().into(),
        };
        let (member, replaces) = self.member_of(request, &id, draft)?;
        let updated = updated(&member, request, beater);
        let changed = Changed { member: &updated, replaces: replaces.as_deref() };
        let advanced = self.advance(&member, &changed, reported, &beater.viewer, draft)?;
        let times = self.cluster.consumer_times(&self.group.id);
        self.expect_beat(&id, times.session_timeout_ms, draft);
        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some())
            && reported.is_some();
        let is_told = request.member_epoch == 0
            || is_full
            || !partitions::same_partitions(&member.assigned, &advanced.assigned);
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(Cow::Owned(advanced.id.to_string())),
            member_epoch: advanced.epoch,
            heartbeat_interval_ms: milliseconds(times.heartbeat_interval_ms),
            assignment: is_told.then(|| assignment(&advanced.assigned)),
            ..Default::default()
        })
    }

    /// Whether `group.consumer.max.size` lets the member in.
    pub(super) fn check_room(&self, member_id: &str) -> Result<(), Refusal> {
        let size_max = self.settings.consumer.size_max;
        if self.group.members.len() < size_max || self.group.members.contains_key(member_id) {
            return Ok(());
        }
        let message =
            format!("The consumer group has reached its maximum capacity of {size_max} members.");
        Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message))
    }

    /// The member that sends a request, as it is known; a new one if it joins. With a static member
    /// that comes back goes the id that it had.
    fn member_of(
        &self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        id: &Rc<str>,
        draft: &mut Draft,
    ) -> Result<(Member, Option<Rc<str>>), Refusal> {
        let (epoch, joins) = (request.member_epoch, request.member_epoch == 0);
        let reported = request.topic_partitions.as_deref();
        let Some(instance_id) = request.instance_id.as_deref() else {
            let known = match joins {
                true => self.group.members.get(id).cloned(),
                false => Some(self.group.member_or_refusal(id)?.clone()),
            };
            let member = known.unwrap_or_else(|| Member::new(id.clone()));
            check_epoch(&member, epoch, reported)?;
            return Ok((member, None));
        };
        let known = self.group.static_member(instance_id);
        if !joins {
            let known = known.ok_or_else(|| unknown_instance(instance_id))?;
            check_fenced(known, id, instance_id)?;
            check_epoch(known, epoch, reported)?;
            return Ok((known.clone(), None));
        }
        let Some(known) = known else { return Ok((Member::new(id.clone()), None)) };
        if known.classic.is_none() && known.epoch != LEFT_STATIC_EPOCH {
            let message = format!(
                "Static member {id} with instance id {instance_id} cannot join the group because \
                 the instance id is owned by {} member.",
                known.id
            );
            return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
        }
        Ok((self.replace(known, id, draft), Some(known.id.clone())))
    }

    /// A static member comes back under another id: all that the old one had is the new one's.
    pub(super) fn replace(&self, known: &Member, id: &Rc<str>, draft: &mut Draft) -> Member {
        let member = Member { id: id.clone(), epoch: 0, previous_epoch: 0, ..known.clone() };
        let group_id = &self.group.id;
        let promised = self.group.target.get(&known.id).cloned().unwrap_or_default();
        self.remove(&known.id, draft);
        draft.records.push(record::member(group_id, &member));
        draft.records.push(record::target(group_id, id, &promised));
        draft.records.push(record::assignment(group_id, &member));
        member
    }

    /// A member is gone: its records are deleted.
    pub(super) fn remove(&self, id: &Rc<str>, draft: &mut Draft) {
        let group_id = &self.group.id;
        draft.records.push(record::assignment_deletion(group_id, id));
        draft.records.push(record::target_deletion(group_id, id));
        draft.records.push(record::member_deletion(group_id, id));
    }

    pub(super) fn expect_beat(&self, id: &Rc<str>, within_ms: u64, draft: &mut Draft) {
        let key = TimerKey::Member(self.group.id.clone(), id.clone());
        draft.timers.push((key, Some(self.now.monotonic_ms + within_ms)));
    }

    /// What a member has said, and what comes of it: the group's epoch, the target, and the
    /// member's next step.
    pub(super) fn advance(
        &self,
        before: &Member,
        changed: &Changed<'_>,
        reported: Option<&[Reported]>,
        viewer: &Viewer,
        draft: &mut Draft,
    ) -> Result<Member, Refusal> {
        let (group, member) = (self.group, changed.member);
        let is_new = changed.replaces.is_none() && !group.members.contains_key(&member.id);
        if is_new || !member.says_the_same(before) {
            draft.records.push(record::member(&group.id, member));
        }
        let names_changed = member.subscribed_topics != before.subscribed_topics;
        let regex_change = self.note_regex(before, changed, viewer, draft)?;
        let is_classic = member.classic.is_some();
        let is_bumped = names_changed
            || regex_change == RegexChange::Resolved
            || (is_classic && regex_change != RegexChange::None);
        let epoch = self.group_epoch(changed, is_bumped, draft);
        let (target_epoch, target) = self.target(epoch, changed, draft);
        let has_subscription_changed = names_changed || regex_change != RegexChange::None;
        let target = (target_epoch, &target);
        self.reconcile(member, target, has_subscription_changed, reported, draft)
    }

    /// The group's epoch after the change.
    fn group_epoch(&self, changed: &Changed<'_>, is_bumped: bool, draft: &mut Draft) -> i32 {
        let group = self.group;
        if !is_bumped && !group.is_metadata_stale {
            return group.epoch;
        }
        let names = group.subscribed_names(|other| changed.supersedes(other), Some(changed.member));
        let hash = metadata_hash::of_group(&names, self.cluster);
        if group.has_partition_metadata {
            draft.records.push(record::partition_metadata_deletion(&group.id));
        }
        if !is_bumped && hash == group.metadata_hash {
            draft.is_metadata_settled = true;
            return group.epoch;
        }
        let epoch = group.epoch + 1;
        draft.records.push(record::group(&group.id, epoch, hash));
        epoch
    }

    /// The target that holds: a new one, if the group's epoch has grown and it is time.
    fn target(&self, epoch: i32, changed: &Changed<'_>, draft: &mut Draft) -> (i32, Partitions) {
        let (group, member) = (self.group, changed.member);
        let interval_ms = self.cluster.consumer_times(&group.id).assignment_interval_ms;
        let now_ms = self.now.wall_ms;
        if epoch <= group.target_epoch || !group.may_assign(interval_ms, now_ms) {
            let target = group.target_of(&member.id, member.instance_id.as_deref());
            return (group.target_epoch, target);
        }
        let assignor = group.assignor(Some(changed), &self.settings.consumer.assignors);
        let (mut records, target) =
            group.make_target(epoch, changed, assignor, self.cluster, now_ms);
        draft.records.append(&mut records);
        (epoch, target)
    }

    fn reconcile(
        &self,
        member: &Member,
        (target_epoch, target): (i32, &Partitions),
        has_subscription_changed: bool,
        reported: Option<&[Reported]>,
        draft: &mut Draft,
    ) -> Result<Member, Refusal> {
        if !has_subscription_changed && member.is_reconciled_to(target_epoch) {
            return Ok(member.clone());
        }
        let group = self.group;
        let next = Reconciliation {
            target_epoch,
            target,
            subscribed: &group.topic_ids_of(member, self.cluster),
            has_subscription_changed,
            reported,
            owner_count: &|topic_id, index| group.owner_count(topic_id, index),
        }
        .next(member)?;
        if next == *member {
            return Ok(next);
        }
        draft.records.push(record::assignment(&group.id, &next));
        if next.classic.is_none() {
            let key = TimerKey::Revocation(group.id.clone(), next.id.clone());
            let patience_ms = u64::try_from(next.rebalance_timeout_ms).unwrap_or(0);
            let is_awaited = next.state == MemberState::UnrevokedPartitions;
            let at_ms = is_awaited.then(|| self.now.monotonic_ms + patience_ms);
            draft.timers.push((key, at_ms));
        }
        Ok(next)
    }

    /// Looks at a member's expression, and whether the group's are to be resolved (again).
    fn note_regex(
        &self,
        before: &Member,
        changed: &Changed<'_>,
        viewer: &Viewer,
        draft: &mut Draft,
    ) -> Result<RegexChange, Refusal> {
        let group = self.group;
        let (old, new) = (before.regex(), changed.member.regex());
        let mut change = RegexChange::None;
        let mut is_due = false;
        if before.subscribed_regex != changed.member.subscribed_regex {
            change = RegexChange::Unresolved;
            if let Some(old) = old
                && group.regex_subscribers(old) == 1
            {
                draft.records.push(record::regex_deletion(&group.id, old));
            }
            match new {
                Some(new) if group.regex_subscribers(new) == 0 => {
                    regex::check(new)?;
                    is_due = true;
                }
                Some(new) if group.regexes.contains_key(new) => change = RegexChange::Resolved,
                Some(_) => {}
                None if old.is_some() => change = RegexChange::Resolved,
                None => {}
            }
        }
        draft.resolution = self.resolution(changed, is_due, viewer);
        Ok(change)
    }

    fn resolution(
        &self,
        changed: &Changed<'_>,
        is_due: bool,
        viewer: &Viewer,
    ) -> Option<Resolution> {
        let group = self.group;
        let others = group.members.values().filter(|other| !changed.supersedes(other));
        let members = others.chain([changed.member]);
        let mut regexes: Vec<Rc<str>> =
            members.filter_map(|member| member.regex().cloned()).collect();
        regexes.sort_unstable();
        regexes.dedup();
        if regexes.is_empty() || self.is_resolving {
            return None;
        }
        let now_ms = self.now.wall_ms;
        let last = group.regexes.values().next();
        let last_ms = last.map(|resolved| resolved.resolved_ms);
        let since_ms = last_ms.map(|last_ms| now_ms.saturating_sub(last_ms));
        if since_ms.is_some_and(|since_ms| since_ms <= REGEX_PAUSE_MS) {
            return None;
        }
        let is_due = is_due
            || regexes.len() != group.regexes.len()
            || last.is_none_or(|resolved| resolved.version < self.topics_version)
            || since_ms.is_some_and(|since_ms| since_ms > REGEX_REFRESH_MS);
        is_due.then(|| Resolution::begin(regexes, viewer.clone(), self.cluster, now_ms))
    }
}

/// The member with what the request says of it.
fn updated(
    member: &Member,
    request: &ConsumerGroupHeartbeatRequest<'_>,
    beater: &Beater<'_>,
) -> Member {
    let mut updated = member.clone();
    let said = |text: &Option<Cow<'_, str>>, known: &mut Option<Rc<str>>| {
        if let Some(text) = text.as_deref() {
            *known = Some(text.into());
        }
    };
    said(&request.instance_id, &mut updated.instance_id);
    said(&request.rack_id, &mut updated.rack_id);
    said(&request.server_assignor, &mut updated.server_assignor);
    said(&request.subscribed_topic_regex, &mut updated.subscribed_regex);
    if request.rebalance_timeout_ms != -1 {
        updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(names) = &request.subscribed_topic_names {
        updated.subscribed_topics = names.iter().map(|name| Rc::from(name.as_ref())).collect();
    }
    updated.client_id = shortened(beater.client_id).into();
    updated.client_host = beater.client_host.into();
    updated.classic = None;
    updated
}

/// Whether a member that sends this epoch is the one that is known.
fn check_epoch(
    member: &Member,
    received: i32,
    reported: Option<&[Reported]>,
) -> Result<(), Refusal> {
    // The answer with the present epoch may be lost: the last one will do for a member that owns
    // nothing that is not its own.
    let is_one_behind = received == member.previous_epoch
        && reported.is_some_and(|reported| partitions::is_subset(reported, &member.assigned));
    let what = match received.cmp(&member.epoch) {
        _ if received == 0 => return Ok(()),
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less if is_one_behind => return Ok(()),
        std::cmp::Ordering::Less => "smaller",
        std::cmp::Ordering::Greater => "greater",
    };
    let message = format!(
        "The consumer group member has a {what} member epoch ({received}) than the one known by \
         the group coordinator ({}). The member must abandon all its partitions and rejoin.",
        member.epoch
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

pub(super) fn unknown_instance(instance_id: &str) -> Refusal {
    Refusal::unknown_member(format!("Instance id {instance_id} is unknown."))
}

/// Whether another member has taken a static member's place.
pub(super) fn check_fenced(known: &Member, id: &str, instance_id: &str) -> Result<(), Refusal> {
    if *known.id == *id {
        return Ok(());
    }
    let message = format!(
        "Static member {id} with instance id {instance_id} was fenced by member {}.",
        known.id
    );
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

fn assignment(assigned: &Assigned) -> Assignment {
    let topics = assigned.iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
    });
    Assignment { topic_partitions: topics.collect() }
}

/// Settings of 32 bits.
fn milliseconds(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
