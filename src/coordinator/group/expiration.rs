//! Offsets that nobody has asked for in `offsets.retention.minutes`, and groups without any.

use std::rc::Rc;

use ringlog_types::TimestampMs;

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::ConsumerState;
use super::offsets::{CommittedOffset, TopicAndIndex};
use super::{Effects, Group, GroupCoordinator, TimerKey, record};
use crate::outcome::Now;

/// Records of one decision at most, and their bytes: they are one batch. The rest follows in the
/// next, a moment later, also when this one cannot be written.
const RECORDS_MAX: usize = 1_000;
const RECORD_BYTES_MAX: usize = 256 << 10;
const NEXT_PART_MS: u64 = 100;

impl GroupCoordinator {
    /// Deletes what has expired, some of it at a time (`cleanupExpiredOffsets`).
    pub(super) fn expire_offsets(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        let mut ids: Vec<Rc<str>> = self.groups.keys().cloned().collect();
        ids.sort_unstable();
        for id in ids {
            if is_full(&effects) {
                break;
            }
            self.expire_group(&id, now, &mut effects);
        }
        let is_cut = is_full(&effects);
        let next_ms = if is_cut {
            NEXT_PART_MS
        } else {
            self.settings.offsets_retention_check_interval_ms.max(1)
        };
        self.timers.set(TimerKey::Expiration, now.monotonic_ms + next_ms);
        effects
    }

    fn expire_group(&self, id: &Rc<str>, now: Now, effects: &mut Effects) {
        let Some(group) = self.groups.get(id) else { return };
        let offsets = self.offsets.newest().of(id);
        let mut kept = 0;
        for (place, offset) in offsets.into_iter().flatten() {
            if is_full(effects) || !self.is_expired(group, place, offset, now) {
                kept += 1;
            } else {
                effects.records.push(record::offset_record(id, &place.0, place.1, None));
            }
        }
        match group {
            Group::Classic(group) if kept == 0 && group.is_unused() => {
                effects.records.push(record::group_record(id, None));
            }
            Group::Consumer(group) if kept == 0 && group.state() == ConsumerState::Empty => {
                effects.records.append(&mut group.deletion());
            }
            _ => {}
        }
    }

    /// Whether an offset of the group has expired:
    ///
    /// * nobody ever joined (partitions are assigned by hand): since it was committed;
    /// * the group is empty: since it is, or since it was committed;
    /// * it is a consumer group, or a classic one of consumers: if none of them subscribes to the
    ///   topic any more, since it was committed. The offsets of other kinds of groups with members
    ///   do not expire.
    fn is_expired(
        &self,
        group: &Group,
        (topic, _): &TopicAndIndex,
        offset: &CommittedOffset,
        now: Now,
    ) -> bool {
        let since_ms = match group {
            Group::Consumer(group) if group.subscribes_to(topic) => return false,
            Group::Consumer(_) => offset.commit_timestamp,
            Group::Classic(group) => match since_of_classic(group, topic, offset) {
                Some(since_ms) => since_ms,
                None => return false,
            },
            Group::Other(_) => return false,
        };
        offset.is_expired(since_ms, self.settings.offsets_retention_ms, now.wall_ms)
    }
}

/// Since when retention of an offset of a classic group counts; never if its members may need it.
fn since_of_classic(
    group: &ClassicGroup,
    topic: &str,
    offset: &CommittedOffset,
) -> Option<TimestampMs> {
    match (group.protocol_type(), group.state()) {
        (None, _) => Some(offset.commit_timestamp),
        (Some(_), ClassicState::Empty) => Some(offset.commit_timestamp.max(group.state_since_ms())),
        (Some("consumer"), ClassicState::Stable) if !group.subscribes_to(topic) => {
            Some(offset.commit_timestamp)
        }
        _ => None,
    }
}

/// Whether a decision has as many records as one may have.
fn is_full(effects: &Effects) -> bool {
    let bytes = effects.records.iter().map(|record| record.key.len()).sum::<usize>();
    effects.records.len() >= RECORDS_MAX || bytes >= RECORD_BYTES_MAX
}
