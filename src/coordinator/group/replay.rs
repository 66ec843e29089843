//! Records back into state: at a load those of the log, later those of each decision.

use std::rc::Rc;

use ringlog_types::Offset;
use ringlog_wire::messages::group_metadata_value::GroupMetadataValue;
use ringlog_wire::messages::offset_commit_key::OffsetCommitKey;
use ringlog_wire::messages::offset_commit_value::OffsetCommitValue;

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::consumer::record::ConsumerRecord;
use super::offsets::CommittedOffset;
use super::record::{self, GroupRecord};
use super::{Group, GroupCoordinator, OtherKind, TimerKey};
use crate::error::CoordinatorError;
use crate::outcome::{Now, Record};

/// Where records that are replayed come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The log, after a start: groups are as their records say.
    Log,
    /// A decision of this coordinator: a classic group is already as its record says, and further.
    Decision,
}

impl GroupCoordinator {
    /// Takes in a record of the log, which belongs to a batch that ends before `end_offset`.
    ///
    /// # Errors
    /// If the record cannot be read; the coordinator is of no use then.
    pub(super) fn take_in_logged(
        &mut self,
        end_offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        now: Now,
    ) -> Result<(), CoordinatorError> {
        let record = GroupRecord::decode(end_offset - 1, key, value)?;
        self.take_in(end_offset, record, From::Log, now);
        Ok(())
    }

    /// Takes in the records of a decision, which were appended as one batch that ends before
    /// `end_offset`. Called before the next decision.
    ///
    /// # Panics
    /// If a record cannot be read: this coordinator made it.
    pub(super) fn take_in_decided(&mut self, end_offset: Offset, records: &[Record], now: Now) {
        for Record { key, value } in records {
            let record = GroupRecord::decode(end_offset - 1, Some(key), value.as_deref());
            let record = record.expect("a record of one's own can be read");
            self.take_in(end_offset, record, From::Decision, now);
        }
    }

    /// All of the log is loaded: sessions begin, and offsets may expire.
    pub(super) fn begin(&mut self, now: Now) {
        let with_offsets: Vec<Rc<str>> = self.offsets.newest().group_ids().cloned().collect();
        for id in with_offsets {
            self.ensure_group(&id, now);
        }
        let ids: Vec<Rc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let effects = self.with_classic(&id, now, ClassicGroup::loaded);
            assert!(effects.records.is_empty() && effects.answers.is_empty(), "nobody waits yet");
            self.begin_consumer(&id, now);
        }
        self.topics_version = self.cluster.version();
        let interval_ms = self.settings.offsets_retention_check_interval_ms;
        self.timers.set(TimerKey::Expiration, now.monotonic_ms + interval_ms);
    }

    fn take_in(&mut self, end_offset: Offset, record: GroupRecord<'_>, from: From, now: Now) {
        match record {
            GroupRecord::Offset { key, value } => {
                self.take_in_offset(end_offset, &key, value.as_ref());
                if from == From::Decision && value.is_some() {
                    self.ensure_group(&key.group, now);
                }
            }
            GroupRecord::Classic { group_id, value: None } => self.remove_classic(&group_id, now),
            GroupRecord::Classic { group_id, value: Some(value) } => {
                // A consumer group may have become a classic one.
                if from == From::Log || !self.groups.contains_key(&*group_id) {
                    self.take_in_group(&group_id, &value, now);
                }
            }
            GroupRecord::Consumer { group_id, part } => {
                self.take_in_consumer(&group_id, &part, from, now);
            }
            GroupRecord::Other { kind, type_number, group_id, is_tombstone } => {
                if record::is_group_itself(type_number) {
                    self.take_in_other(&group_id, kind, is_tombstone);
                }
            }
            GroupRecord::Unknown(_) => {}
        }
    }

    fn take_in_offset(
        &mut self,
        end_offset: Offset,
        key: &OffsetCommitKey<'_>,
        value: Option<&OffsetCommitValue<'_>>,
    ) {
        self.offsets.apply(end_offset, |offsets| match value {
            Some(value) => {
                let place = (Rc::from(&*key.topic), key.partition);
                offsets.insert(&key.group, place, CommittedOffset::from_value(value));
            }
            None => offsets.remove(&key.group, &key.topic, key.partition),
        });
    }

    fn take_in_group(&mut self, group_id: &str, value: &GroupMetadataValue<'_>, now: Now) {
        let id: Rc<str> = group_id.into();
        let group = ClassicGroup::from_value(id.clone(), value, now.wall_ms);
        self.groups.insert(id, Group::Classic(Box::new(group)));
    }

    fn take_in_consumer(
        &mut self,
        group_id: &str,
        part: &ConsumerRecord<'_>,
        from: From,
        now: Now,
    ) {
        if matches!(part, ConsumerRecord::Group(None)) {
            if matches!(self.groups.get(group_id), Some(Group::Consumer(_))) {
                self.groups.remove(group_id);
                self.resolutions.remove(group_id);
            }
            return;
        }
        let is_consumer = matches!(self.groups.get(group_id), Some(Group::Consumer(_)));
        if !is_consumer {
            if part.is_deletion() {
                return;
            }
            // A classic group of this id was deleted by a record before this one, or is an empty
            // one that commits of offsets made while the log was read.
            let id: Rc<str> = group_id.into();
            self.remove_classic(group_id, now);
            self.groups.insert(id.clone(), Group::Consumer(Box::new(ConsumerGroup::new(id))));
        }
        if let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) {
            group.take_in(part, from == From::Decision);
        }
    }

    /// The record of a group that is not coordinated here.
    fn take_in_other(&mut self, group_id: &str, kind: OtherKind, is_tombstone: bool) {
        if !is_tombstone {
            self.groups.insert(group_id.into(), Group::Other(kind));
        } else if matches!(self.groups.get(group_id), Some(Group::Other(_))) {
            self.groups.remove(group_id);
        }
    }

    fn remove_classic(&mut self, group_id: &str, now: Now) {
        if !matches!(self.groups.get(group_id), Some(Group::Classic(_))) {
            return;
        }
        let effects = self.with_classic(group_id, now, ClassicGroup::die);
        assert!(effects.answers.is_empty(), "a group with members is not deleted");
        self.groups.remove(group_id);
    }

    /// A group that only commits offsets is one too.
    fn ensure_group(&mut self, group_id: &str, now: Now) {
        if !self.groups.contains_key(group_id) {
            let id: Rc<str> = group_id.into();
            let group = ClassicGroup::new(id.clone(), now.wall_ms);
            self.groups.insert(id, Group::Classic(Box::new(group)));
        }
    }
}
