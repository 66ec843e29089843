//! Records back into a consumer group.
//!
//! After compaction the records of a group come in the order in which each was written last: a
//! member's assignment may come before the member, and a deletion may have nothing to delete. So
//! every record but a deletion makes what it belongs to.

use std::rc::Rc;

use super::ConsumerGroup;
use super::member::{LEFT_EPOCH, Member};
use super::partitions::Partitions;
use super::record::ConsumerRecord;
use super::regex::ResolvedRegex;

impl ConsumerRecord<'_> {
    /// Whether it deletes something.
    pub(in crate::group) fn is_deletion(&self) -> bool {
        match self {
            ConsumerRecord::Group(value) => value.is_none(),
            ConsumerRecord::PartitionMetadata(is_there) => !is_there,
            ConsumerRecord::Member(_, value) => value.is_none(),
            ConsumerRecord::TargetMetadata(value) => value.is_none(),
            ConsumerRecord::Target(_, value) => value.is_none(),
            ConsumerRecord::Assignment(_, value) => value.is_none(),
            ConsumerRecord::Regex(_, value) => value.is_none(),
        }
    }
}

impl ConsumerGroup {
    /// Takes in a record, of the log or of a decision; the group's own deletion is its owner's to
    /// carry out.
    pub(in crate::group) fn take_in(&mut self, record: &ConsumerRecord<'_>, is_decision: bool) {
        match record {
            ConsumerRecord::Group(None) => {}
            ConsumerRecord::Group(Some(value)) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
                // A decision looks at the topics as they are.
                self.is_metadata_stale &= !is_decision;
            }
            ConsumerRecord::PartitionMetadata(is_there) => self.has_partition_metadata = *is_there,
            ConsumerRecord::Member(id, Some(value)) => {
                let mut member = self.member_or_new(id);
                member.take_metadata(value);
                self.put(member);
            }
            ConsumerRecord::Member(id, None) => {
                self.take_out(id);
            }
            ConsumerRecord::TargetMetadata(Some(value)) => {
                self.target_epoch = value.assignment_epoch;
                self.target_made_ms = value.assignment_timestamp;
            }
            ConsumerRecord::TargetMetadata(None) => {
                self.target_epoch = LEFT_EPOCH;
                self.target_made_ms = 0;
            }
            ConsumerRecord::Target(id, Some(value)) => {
                let mut partitions = Partitions::new();
                for topic in value.topic_partitions.iter().filter(|t| !t.partitions.is_empty()) {
                    let into = partitions.entry(topic.topic_id).or_default();
                    into.extend(&topic.partitions);
                }
                self.target.insert(id.as_ref().into(), partitions);
            }
            ConsumerRecord::Target(id, None) => {
                self.target.remove(id.as_ref());
            }
            ConsumerRecord::Assignment(id, Some(value)) => {
                let mut member = self.member_or_new(id);
                member.take_assignment(value);
                self.put(member);
            }
            ConsumerRecord::Assignment(id, None) => {
                if let Some(mut member) = self.members.get(id.as_ref()).cloned() {
                    member.drop_assignment();
                    self.put(member);
                }
            }
            ConsumerRecord::Regex(regex, Some(value)) => {
                self.regexes.insert(regex.as_ref().into(), ResolvedRegex::from_value(value));
            }
            ConsumerRecord::Regex(regex, None) => {
                self.regexes.remove(regex.as_ref());
            }
        }
    }

    fn member_or_new(&self, id: &str) -> Member {
        let id: Rc<str> = id.into();
        self.members.get(&id).cloned().unwrap_or_else(|| Member::new(id))
    }
}
