//! The target assignment of a group epoch (Kafka's `TargetAssignmentBuilder`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringlog_types::{TimestampMs, Uuid};

use super::assignor::{Assignor, Subscriber};
use super::member::Member;
use super::partitions::Partitions;
use super::{ConsumerGroup, record};
use crate::group::cluster_view::ClusterView;
use crate::outcome::Record;

/// A member that comes or changes with the decision that is being made.
pub(super) struct Changed<'a> {
    pub(super) member: &'a Member,
    /// The static member whose place it takes.
    pub(super) replaces: Option<&'a str>,
}

impl Changed<'_> {
    /// Whether another member, as it was, is not to be looked at any more.
    pub(super) fn supersedes(&self, other: &Member) -> bool {
        other.id == self.member.id || self.replaces == Some(&*other.id)
    }
}

impl ConsumerGroup {
    /// Whether a new target may be made already.
    pub(super) fn may_assign(&self, interval_ms: u64, now_ms: TimestampMs) -> bool {
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX);
        self.target_made_ms == 0 || now_ms >= self.target_made_ms.saturating_add(interval_ms)
    }

    /// The assignor that most members want, the first in the settings of equals.
    pub(super) fn assignor(&self, changed: Option<&Changed<'_>>, known: &[Assignor]) -> Assignor {
        let others = self.members.values();
        let others = others.filter(|member| changed.is_none_or(|of| !of.supersedes(member)));
        let members = others.chain(changed.map(|of| of.member));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for wanted in members.filter_map(|member| member.server_assignor.as_deref()) {
            *votes.entry(wanted).or_default() += 1;
        }
        let votes_of = |assignor: &Assignor| votes.get(assignor.name()).copied().unwrap_or(0);
        let mut best = known[0];
        for assignor in known {
            if votes_of(assignor) > votes_of(&best) {
                best = *assignor;
            }
        }
        best
    }

    /// Makes the target of `epoch`: the records of what changes, and what `changed` is promised.
    pub(super) fn make_target(
        &self,
        epoch: i32,
        changed: &Changed<'_>,
        assignor: Assignor,
        cluster: &dyn ClusterView,
        now_ms: TimestampMs,
    ) -> (Vec<Record>, Partitions) {
        let before = self.target_of(&changed.member.id, changed.member.instance_id.as_deref());
        let nothing = Partitions::new();
        let mut resolver = Resolver { cluster, counts: BTreeMap::new(), last: None };
        let mut subscribers: Vec<Subscriber<'_>> = Vec::with_capacity(self.members.len() + 1);
        let others = self.members.values().filter(|member| !changed.supersedes(member));
        for member in others {
            subscribers.push(Subscriber {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                topics: resolver.topics_of(self, member),
                before: self.target.get(&member.id).unwrap_or(&nothing),
            });
        }
        subscribers.push(Subscriber {
            id: changed.member.id.clone(),
            instance_id: changed.member.instance_id.clone(),
            topics: resolver.topics_of(self, changed.member),
            before: &before,
        });
        subscribers.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let mut target = assignor.assign(&subscribers, &resolver.counts);
        let mut records = Vec::new();
        for (id, partitions) in &target {
            // One that was replaced has records already, with what the other was promised.
            let known = match *id == changed.member.id && changed.replaces.is_some() {
                true => Some(&before),
                false => self.target.get(id),
            };
            if known != Some(partitions) {
                records.push(record::target(&self.id, id, partitions));
            }
        }
        records.push(record::target_metadata(&self.id, epoch, now_ms));
        let promised = target.remove(&changed.member.id).unwrap_or_default();
        (records, promised)
    }

    /// The ids of the topics that a member subscribes to and that exist.
    pub(super) fn topic_ids_of(
        &self,
        member: &Member,
        cluster: &dyn ClusterView,
    ) -> BTreeSet<Uuid> {
        let names = self.names_of(member);
        names.filter_map(|name| cluster.by_name(name)).map(|facts| facts.id).collect()
    }
}

/// From names to ids, once for members that say the same one after the other.
struct Resolver<'a> {
    cluster: &'a dyn ClusterView,
    counts: BTreeMap<Uuid, i32>,
    last: Option<(&'a Member, Rc<BTreeSet<Uuid>>)>,
}

impl<'a> Resolver<'a> {
    fn topics_of(&mut self, group: &'a ConsumerGroup, member: &'a Member) -> Rc<BTreeSet<Uuid>> {
        if let Some((last, topics)) = &self.last
            && last.regex() == member.regex()
            && last.subscribed_topics == member.subscribed_topics
        {
            return topics.clone();
        }
        let mut topics = BTreeSet::new();
        for facts in group.names_of(member).filter_map(|name| self.cluster.by_name(name)) {
            self.counts.insert(facts.id, facts.partition_count);
            topics.insert(facts.id);
        }
        let topics = Rc::new(topics);
        self.last = Some((member, topics.clone()));
        topics
    }
}
