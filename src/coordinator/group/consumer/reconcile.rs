//! A member on its way to its target assignment (Kafka's `CurrentAssignmentBuilder`, KIP-848).
//!
//! ```text
//!            new target, something to give back
//!   Stable ────────────────────────────────────► UnrevokedPartitions
//!     ▲  │                                          │ all given back
//!     │  │ new target, others still own of it       ▼
//!     │  └────────────────────────────► UnreleasedPartitions ──┐
//!     └──────────────────────────────────────────┴── all free ◄┘
//! ```
//!
//! A partition goes from one member to another in two steps: its owner is told to give it back, and
//! only when it says that it did does the next one get it. So at no time do two members own it.

use std::collections::BTreeSet;

use ringlog_types::Uuid;
use ringlog_wire::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;

use super::member::{Member, MemberState};
use super::partitions::{self, Assigned, Partitions};
use super::refusal::Refusal;
use ringlog_types::ErrorCode;

/// What a member is to be brought to, and what it says.
pub(crate) struct Reconciliation<'a> {
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a Partitions,
    /// Topics it subscribes to now; what it owns of others it gives back at once.
    pub(crate) subscribed: &'a BTreeSet<Uuid>,
    pub(crate) has_subscription_changed: bool,
    /// What it says that it owns; `None` if nothing has changed since it last said so.
    pub(crate) reported: Option<&'a [Reported]>,
    /// How many members own a partition, or have not given it back yet.
    pub(crate) owner_count: &'a dyn Fn(&Uuid, i32) -> u32,
}

impl Reconciliation<'_> {
    /// The member after its next step; the same if there is none to take.
    ///
    /// # Errors
    /// If its state was written by a newer coordinator, and it still owns something.
    pub(crate) fn next(&self, member: &Member) -> Result<Member, Refusal> {
        Ok(match member.state {
            MemberState::Stable if member.epoch != self.target_epoch => self.advance(member),
            MemberState::Stable if self.has_subscription_changed => self.drop_unsubscribed(member),
            MemberState::Stable => member.clone(),
            MemberState::UnrevokedPartitions => {
                if !self.still_owns(&member.pending_revocation) {
                    self.advance(member)
                } else if self.has_subscription_changed {
                    self.drop_unsubscribed(member)
                } else {
                    member.clone()
                }
            }
            MemberState::UnreleasedPartitions => self.advance(member),
            MemberState::Unknown => {
                if self.reported.is_none_or(|reported| !reported.is_empty()) {
                    return Err(Refusal::new(
                        ErrorCode::FencedMemberEpoch,
                        "The consumer group member is in a unknown state. The member must abandon \
                         all its partitions and rejoin.",
                    ));
                }
                let mut member = member.clone();
                member.epoch = self.target_epoch;
                self.advance(&member)
            }
        })
    }

    fn still_owns(&self, assigned: &Assigned) -> bool {
        partitions::still_owns(self.reported, assigned)
    }

    /// Takes back what the member owns of topics that it does not subscribe to any more.
    fn drop_unsubscribed(&self, member: &Member) -> Member {
        let mut next = member.clone();
        let is_wanted = |topic_id: &Uuid| self.subscribed.contains(topic_id);
        let dropped: Vec<Uuid> =
            next.assigned.keys().filter(|topic_id| !is_wanted(topic_id)).copied().collect();
        if dropped.is_empty() {
            return next;
        }
        for topic_id in dropped {
            let partitions = next.assigned.remove(&topic_id).unwrap_or_default();
            next.pending_revocation.entry(topic_id).or_default().extend(partitions);
        }
        if self.still_owns(&next.pending_revocation) {
            next.state = MemberState::UnrevokedPartitions;
        } else {
            next.pending_revocation = member.pending_revocation.clone();
        }
        next.move_to(member.epoch);
        next
    }

    /// The next step towards the target.
    fn advance(&self, member: &Member) -> Member {
        let Split { kept, revoked, free, has_unreleased } = self.split(member);
        let mut next = member.clone();
        next.assigned = kept;
        if !revoked.is_empty() && self.still_owns(&revoked) {
            // It stays in its epoch until it has given them back.
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = revoked;
            next.move_to(member.epoch);
            return next;
        }
        for (topic_id, index) in free {
            partitions::insert(&mut next.assigned, topic_id, index, self.target_epoch);
        }
        next.pending_revocation = Assigned::new();
        next.state = match has_unreleased {
            true => MemberState::UnreleasedPartitions,
            false => MemberState::Stable,
        };
        next.move_to(self.target_epoch);
        next
    }

    fn split(&self, member: &Member) -> Split {
        let mut split = Split::default();
        let is_promised = |topic_id: &Uuid, index: i32| {
            self.subscribed.contains(topic_id)
                && self.target.get(topic_id).is_some_and(|target| target.contains(&index))
        };
        for (topic_id, owned) in &member.assigned {
            for (index, epoch) in owned {
                let into = match is_promised(topic_id, *index) {
                    true => &mut split.kept,
                    false => &mut split.revoked,
                };
                partitions::insert(into, *topic_id, *index, *epoch);
            }
        }
        for (topic_id, target) in self.target.iter().filter(|(id, _)| self.subscribed.contains(id))
        {
            for index in target {
                if partitions::contains(&member.assigned, topic_id, *index) {
                    continue;
                }
                // What the member itself has just given back does not keep it waiting.
                let own = partitions::contains(&member.pending_revocation, topic_id, *index);
                if (self.owner_count)(topic_id, *index) > u32::from(own) {
                    split.has_unreleased = true;
                } else {
                    split.free.push((*topic_id, *index));
                }
            }
        }
        split
    }
}

/// What a member owns and is promised, by what becomes of it.
#[derive(Default)]
struct Split {
    kept: Assigned,
    revoked: Assigned,
    free: Vec<(Uuid, i32)>,
    has_unreleased: bool,
}
