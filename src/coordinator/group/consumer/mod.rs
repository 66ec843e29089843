//! Consumer groups (KIP-848): the coordinator assigns, and members only send heartbeats.
//!
//! 1. What members say of themselves (subscriptions) makes the *group epoch*: it grows when they,
//!    or the topics they read, change.
//! 2. For each group epoch an assignor makes the *target assignment*, at most once in
//!    `group.consumer.assignment.interval.ms`.
//! 3. Each member is brought to its target on its own ([`reconcile`]): it gives back, then gets.
//!    Its *member epoch* says how far it has come.
//!
//! All of that is records of `__consumer_offsets` in Kafka's format: a decision looks at the group
//! as it is and makes records, and only their replay changes the group. So a decision that cannot
//! be written was not made. Only deadlines (sessions, revocations) and the resolution of regular
//! expressions are not in the log: a restart begins them anew.
//!
//! Invariants: a partition is owned by one member at most, from its assignment until its member
//! says that it has given it back, or is gone; epochs only grow; every static member's instance id
//! points to it.

pub(crate) mod assignor;
mod classic_member;
mod describe;
pub(crate) mod heartbeat;
mod heartbeat_request;
mod leave;
pub(crate) mod member;
mod metadata_hash;
mod migration;
#[cfg(test)]
mod migration_tests;
pub(crate) mod partitions;
mod reconcile;
pub(crate) mod record;
pub(crate) mod refusal;
pub(crate) mod regex;
mod replay;
mod target;
#[cfg(test)]
pub(in crate::group) mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ringlog_types::{TimestampMs, Uuid};

use self::member::Member;
use self::partitions::{Assigned, Partitions};
use self::refusal::Refusal;
use self::regex::ResolvedRegex;

pub use self::assignor::Assignor;

/// The topics that a member subscribes to, with expressions that stand for these.
fn names_of<'a>(
    member: &'a Member,
    regexes: &'a BTreeMap<Rc<str>, ResolvedRegex>,
) -> impl Iterator<Item = &'a Rc<str>> {
    let resolved = member.regex().and_then(|regex| regexes.get(regex));
    let resolved = resolved.into_iter().flat_map(|regex| regex.topics.iter());
    member.subscribed_topics.iter().chain(resolved)
}

/// Where a consumer group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsumerState {
    /// No members; offsets may be kept.
    Empty,
    /// The target assignment is older than the group.
    Assigning,
    /// Some members are not where their target is.
    Reconciling,
    /// Every member has what it shall have.
    Stable,
}

impl ConsumerState {
    /// Kafka's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ConsumerState::Empty => "Empty",
            ConsumerState::Assigning => "Assigning",
            ConsumerState::Reconciling => "Reconciling",
            ConsumerState::Stable => "Stable",
        }
    }
}

/// A consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: Rc<str>,
    epoch: i32,
    /// Of the topics subscribed to, as of this epoch.
    metadata_hash: i64,
    members: BTreeMap<Rc<str>, Member>,
    /// Which member an instance id stands for.
    static_members: HashMap<Rc<str>, Rc<str>>,
    /// The group epoch that the target assignment was made for.
    target_epoch: i32,
    /// When it was made; 0 if never, or by a version that did not say.
    target_made_ms: TimestampMs,
    target: BTreeMap<Rc<str>, Partitions>,
    /// How many members own a partition, or are to give it back. One in a log that is as it should
    /// be.
    owner_counts: HashMap<Uuid, HashMap<i32, u32>>,
    regexes: BTreeMap<Rc<str>, ResolvedRegex>,
    /// Written by Kafka 4.0, which kept the topics' metadata in a record of its own.
    has_partition_metadata: bool,

    /// Topics may have changed since the hash was computed. Not in the log.
    is_metadata_stale: bool,
}

impl ConsumerGroup {
    pub(crate) fn new(id: Rc<str>) -> ConsumerGroup {
        ConsumerGroup {
            id,
            // Kafka begins there: a member that owns nothing yet has an epoch too.
            epoch: 1,
            metadata_hash: 0,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            target_epoch: 0,
            target_made_ms: 0,
            target: BTreeMap::new(),
            owner_counts: HashMap::new(),
            regexes: BTreeMap::new(),
            has_partition_metadata: false,
            is_metadata_stale: true,
        }
    }

    pub(crate) fn id(&self) -> &Rc<str> {
        &self.id
    }

    pub(crate) fn state(&self) -> ConsumerState {
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    fn member_or_refusal(&self, id: &str) -> Result<&Member, Refusal> {
        self.member(id).ok_or_else(|| {
            let message = format!("Member {id} is not a member of group {}.", self.id);
            Refusal::unknown_member(message)
        })
    }

    fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.get(self.static_members.get(instance_id)?)
    }

    /// What a member is promised; a static member that comes back with another id has what it was
    /// promised before.
    fn target_of(&self, id: &str, instance_id: Option<&str>) -> Partitions {
        let before = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
        let target = self.target.get(before.map_or(id, |before| &**before));
        target.cloned().unwrap_or_default()
    }

    fn owner_count(&self, topic_id: &Uuid, index: i32) -> u32 {
        let of_topic = self.owner_counts.get(topic_id);
        of_topic.and_then(|partitions| partitions.get(&index)).copied().unwrap_or(0)
    }

    /// How many members subscribe with a regular expression.
    fn regex_subscribers(&self, regex: &str) -> usize {
        let uses = |member: &&Member| member.regex().is_some_and(|of| **of == *regex);
        self.members.values().filter(uses).count()
    }

    /// The topics that a member subscribes to, by name or expression, whether they exist or not.
    fn names_of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Rc<str>> {
        names_of(member, &self.regexes)
    }

    /// The topics that members subscribe to, with one of them changed, come or gone.
    fn subscribed_names<'a>(
        &'a self,
        without: impl Fn(&Member) -> bool,
        with: Option<&'a Member>,
    ) -> BTreeSet<&'a Rc<str>> {
        let others = self.members.values().filter(|member| !without(member));
        others.chain(with).flat_map(|member| self.names_of(member)).collect()
    }

    /// Whether a member subscribes to the topic.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        let reads = |member: &Member| self.names_of(member).any(|name| **name == *topic);
        self.members.values().any(reads)
    }

    /// Topics were created, deleted or got more partitions: the next heartbeat looks at them.
    pub(crate) fn topics_changed(&mut self) {
        self.is_metadata_stale = true;
    }

    /// Puts a member in, in place of what it was.
    fn put(&mut self, member: Member) {
        if let Some(before) = self.members.remove(&member.id) {
            self.disown(&before.assigned);
            self.disown(&before.pending_revocation);
        }
        self.own(&member.assigned);
        self.own(&member.pending_revocation);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    fn take_out(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.disown(&member.assigned);
        self.disown(&member.pending_revocation);
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id).is_some_and(|known| **known == *id)
        {
            self.static_members.remove(instance_id);
        }
        Some(member)
    }

    fn own(&mut self, assigned: &Assigned) {
        for (topic_id, partitions) in assigned {
            let counts = self.owner_counts.entry(*topic_id).or_default();
            for index in partitions.keys() {
                *counts.entry(*index).or_default() += 1;
            }
        }
    }

    fn disown(&mut self, assigned: &Assigned) {
        for (topic_id, partitions) in assigned {
            let counts = self.owner_counts.get_mut(topic_id).expect("it was owned");
            for index in partitions.keys() {
                let count = counts.get_mut(index).expect("it was owned");
                *count -= 1;
                if *count == 0 {
                    counts.remove(index);
                }
            }
            if counts.is_empty() {
                self.owner_counts.remove(topic_id);
            }
        }
    }
}
