//! Offsets that nobody has asked for in `offsets.retention.minutes`, and groups without any.

use std::rc::Rc;

use super::classic::{ClassicGroup, ClassicState};
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
        let Some(Group::Classic(group)) = self.groups.get(id) else { return };
        let offsets = self.offsets.newest().of(id);
        let mut kept = 0;
        for (place, offset) in offsets.into_iter().flatten() {
            if is_full(effects) || !self.is_expired(group, place, offset, now) {
                kept += 1;
            } else {
                effects.records.push(record::offset_record(id, &place.0, place.1, None));
            }
        }
        if kept == 0 && group.is_unused() {
            effects.records.push(record::group_record(id, None));
        }
    }

    /// Whether an offset of the group has expired:
    ///
    /// * nobody ever joined (partitions are assigned by hand): since it was committed;
    /// * the group is empty: since it is, or since it was committed;
    /// * consumers are in it: if none of them subscribes to the topic any more, since it was
    ///   committed. The offsets of other kinds of groups with members do not expire.
    fn is_expired(
        &self,
        group: &ClassicGroup,
        (topic, _): &TopicAndIndex,
        offset: &CommittedOffset,
        now: Now,
    ) -> bool {
        let since_ms = match (group.protocol_type(), group.state()) {
            (None, _) => offset.commit_timestamp,
            (Some(_), ClassicState::Empty) => offset.commit_timestamp.max(group.state_since_ms()),
            (Some("consumer"), ClassicState::Stable) if !group.subscribes_to(topic) => {
                offset.commit_timestamp
            }
            _ => return false,
        };
        offset.is_expired(since_ms, self.settings.offsets_retention_ms, now.wall_ms)
    }
}

/// Whether a decision has as many records as one may have.
fn is_full(effects: &Effects) -> bool {
    let bytes = effects.records.iter().map(|record| record.key.len()).sum::<usize>();
    effects.records.len() >= RECORDS_MAX || bytes >= RECORD_BYTES_MAX
}
