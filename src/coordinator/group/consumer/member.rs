//! One member of a consumer group, as its records say (Kafka's `ConsumerGroupMember`).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::consumer_group_current_member_assignment_value::{
    ConsumerGroupCurrentMemberAssignmentValue, TopicPartitions,
};
use ringlog_wire::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
};

use super::partitions::Assigned;

/// A static member that is away, and whose place is kept for a session.
pub(crate) const LEFT_STATIC_EPOCH: i32 = -2;
/// Whoever leaves for good says so by this epoch; members whose assignment is deleted have it.
pub(crate) const LEFT_EPOCH: i32 = -1;

/// How far a member has come with its target assignment; the numbers are those of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has all that the target of its epoch promises.
    Stable = 1,
    /// It is to give partitions back, and has not said that it did.
    UnrevokedPartitions = 2,
    /// It waits for partitions that others still own.
    UnreleasedPartitions = 3,
    /// Written by a newer coordinator.
    Unknown = 127,
}

impl MemberState {
    fn from_number(number: i8) -> MemberState {
        match number {
            1 => MemberState::Stable,
            2 => MemberState::UnrevokedPartitions,
            3 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// What only members have that speak the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicPart {
    pub(crate) session_timeout_ms: i32,
    /// The most wanted first.
    pub(crate) protocols: Vec<(Rc<str>, Bytes)>,
}

impl ClassicPart {
    /// How long it may be silent.
    pub(crate) fn session_timeout_ms(&self) -> u64 {
        u64::try_from(self.session_timeout_ms).unwrap_or(0)
    }
}

/// A member. Two parts that come from two records: what it said of itself, and what it owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: Rc<str>,
    pub(crate) instance_id: Option<Rc<str>>,
    pub(crate) rack_id: Option<Rc<str>>,
    pub(crate) client_id: Rc<str>,
    pub(crate) client_host: Rc<str>,
    pub(crate) subscribed_topics: BTreeSet<Rc<str>>,
    /// Empty and `None` are both none; Kafka keeps them apart.
    pub(crate) subscribed_regex: Option<Rc<str>>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) server_assignor: Option<Rc<str>>,
    pub(crate) classic: Option<ClassicPart>,

    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Assigned,
    pub(crate) pending_revocation: Assigned,
}

impl Member {
    /// One that has not said anything yet.
    pub(crate) fn new(id: Rc<str>) -> Member {
        Member {
            id,
            instance_id: None,
            rack_id: None,
            client_id: "".into(),
            client_host: "".into(),
            subscribed_topics: BTreeSet::new(),
            subscribed_regex: None,
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Assigned::new(),
            pending_revocation: Assigned::new(),
        }
    }

    /// The expression it subscribes with, if it has one.
    pub(crate) fn regex(&self) -> Option<&Rc<str>> {
        self.subscribed_regex.as_ref().filter(|regex| !regex.is_empty())
    }

    /// Whether it has all that the target of this epoch promises.
    pub(crate) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// The epoch since which it owns a partition, or is to give it back.
    pub(crate) fn owns_since(&self, topic_id: &Uuid, index: i32) -> Option<i32> {
        let of = |assigned: &Assigned| assigned.get(topic_id)?.get(&index).copied();
        of(&self.assigned).or_else(|| of(&self.pending_revocation))
    }

    /// What it is told if it comes with another epoch than its own.
    pub(crate) fn stale(&self) -> ErrorCode {
        match self.classic {
            Some(_) => ErrorCode::IllegalGeneration,
            None => ErrorCode::StaleMemberEpoch,
        }
    }

    /// Goes on to `epoch`, and remembers the one before: its answer may get lost.
    pub(crate) fn move_to(&mut self, epoch: i32) {
        self.previous_epoch = std::mem::replace(&mut self.epoch, epoch);
    }

    /// The same as far as the record of what it said of itself goes.
    pub(crate) fn says_the_same(&self, other: &Member) -> bool {
        self.metadata_value() == other.metadata_value()
    }

    /// What it said of itself, as a record's value.
    pub(crate) fn metadata_value(&self) -> ConsumerGroupMemberMetadataValue<'_> {
        fn text(text: &Option<Rc<str>>) -> Option<Cow<'_, str>> {
            text.as_deref().map(Cow::Borrowed)
        }
        ConsumerGroupMemberMetadataValue {
            instance_id: text(&self.instance_id),
            rack_id: text(&self.rack_id),
            client_id: Cow::Borrowed(&self.client_id),
            client_host: Cow::Borrowed(&self.client_host),
            subscribed_topic_names: self
                .subscribed_topics
                .iter()
                .map(|name| Cow::Borrowed(&**name))
                .collect(),
            subscribed_topic_regex: text(&self.subscribed_regex),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: text(&self.server_assignor),
            classic_member_metadata: self.classic.as_ref().map(classic_value),
        }
    }

    /// Takes in the record of what it said of itself.
    pub(crate) fn take_metadata(&mut self, value: &ConsumerGroupMemberMetadataValue<'_>) {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(Rc::from);
        self.instance_id = text(&value.instance_id);
        self.rack_id = text(&value.rack_id);
        self.client_id = value.client_id.as_ref().into();
        self.client_host = value.client_host.as_ref().into();
        self.subscribed_topics =
            value.subscribed_topic_names.iter().map(|name| Rc::from(name.as_ref())).collect();
        self.subscribed_regex = text(&value.subscribed_topic_regex);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor = text(&value.server_assignor);
        self.classic = value.classic_member_metadata.as_ref().map(classic_part);
    }

    /// What it owns, as a record's value.
    pub(crate) fn assignment_value(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state as i8,
            assigned_partitions: topics_value(&self.assigned),
            partitions_pending_revocation: topics_value(&self.pending_revocation),
        }
    }

    /// Takes in the record of what it owns.
    pub(crate) fn take_assignment(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_number(value.state);
        self.assigned = assigned_of(&value.assigned_partitions, value.member_epoch);
        self.pending_revocation =
            assigned_of(&value.partitions_pending_revocation, value.member_epoch);
    }

    /// The record of what it owns is deleted.
    pub(crate) fn drop_assignment(&mut self) {
        self.epoch = LEFT_EPOCH;
        self.previous_epoch = LEFT_EPOCH;
        self.assigned.clear();
        self.pending_revocation.clear();
    }
}

fn classic_value(part: &ClassicPart) -> ClassicMemberMetadata<'_> {
    let protocols = part.protocols.iter().map(|(name, metadata)| ClassicProtocol {
        name: Cow::Borrowed(name),
        metadata: Cow::Borrowed(metadata),
    });
    ClassicMemberMetadata {
        session_timeout_ms: part.session_timeout_ms,
        supported_protocols: protocols.collect(),
    }
}

fn classic_part(value: &ClassicMemberMetadata<'_>) -> ClassicPart {
    let protocols = value.supported_protocols.iter();
    let protocols = protocols.map(|protocol| {
        (Rc::from(protocol.name.as_ref()), Bytes::copy_from_slice(&protocol.metadata))
    });
    ClassicPart { session_timeout_ms: value.session_timeout_ms, protocols: protocols.collect() }
}

fn topics_value(assigned: &Assigned) -> Vec<TopicPartitions> {
    let topics = assigned.iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
    });
    topics.collect()
}

/// Records of Kafka 4.2 and before do not say when a partition was assigned: in the member's epoch
/// at the latest.
fn assigned_of(topics: &[TopicPartitions], member_epoch: i32) -> Assigned {
    let mut assigned = Assigned::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let epochs = topic.assignment_epochs.as_deref();
        let epochs = epochs.filter(|epochs| epochs.len() == topic.partitions.len());
        let into = assigned.entry(topic.topic_id).or_default();
        for (at, partition) in topic.partitions.iter().enumerate() {
            let epoch = epochs.map_or(member_epoch.max(0), |epochs| epochs[at]);
            into.insert(*partition, epoch);
        }
    }
    assigned
}
