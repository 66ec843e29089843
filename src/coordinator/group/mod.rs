//! The group coordinator: the groups and committed offsets of one partition of
//! `__consumer_offsets`.
//!
//! Requests are methods (`join`, `sync`, `commit_offsets` …) that return an [`Outcome`]; how the
//! records of a decision come back is told at [`Coordinator`]. A group is made by its
//! first JoinGroup or commit and is gone when it is deleted, or when it is empty and its last
//! offset has expired.
//!
//! What is in the log: each group's generation with the assignment, and each committed offset.
//! What is not: who waits for what, and sessions. After a restart members have a whole session to
//! show that they are still there.

mod answers;
mod classic;
mod cluster_view;
mod commit;
pub(crate) mod consumer;
mod delete;
mod describe;
mod expiration;
mod fetch_offsets;
mod membership;
mod offsets;
mod record;
mod replay;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;

use ringlog_types::{ErrorCode, Offset};

use self::classic::{ClassicGroup, Context};
use self::consumer::ConsumerGroup;
use self::consumer::regex::Resolution;
use self::offsets::Offsets;
use crate::coordinator::Coordinator;
use crate::error::CoordinatorError;
use crate::outcome::{Now, Record};
use crate::timers::Timers;
use crate::versioned::Versioned;

pub use self::answers::Deferred;
pub use self::classic::ClassicState;
pub use self::cluster_view::{ClusterView, ConsumerTimes, TopicFacts};
pub use self::consumer::Assignor;
pub use self::consumer::heartbeat::Beater;
pub use self::consumer::record::ConsumerRecord;
pub use self::consumer::regex::Viewer;
pub use self::describe::ListFilter;
pub use self::fetch_offsets::WantedOffsets;
pub use self::membership::{Joiner, LeavingMember};
pub use self::record::{GroupRecord, OtherKind};
pub use self::settings::{ConsumerSettings, GroupSettings, MigrationPolicy};

/// Ids and names longer than this are refused: the strings of records hold 32,767 bytes, and a
/// member's id is made of its client's.
const ID_BYTES_MAX: usize = 16_384;

/// What a decision of this coordinator brings about.
pub type Effects = crate::outcome::Effects<Deferred, Continuation>;
/// A decision of this coordinator.
pub type Outcome<R> = crate::outcome::Outcome<R, Deferred, Continuation>;

/// What goes on when records are committed, or cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// The assignment of a classic group's generation.
    Stored {
        /// The group.
        group_id: Rc<str>,
        /// The generation.
        generation: i32,
    },
    /// A consumer group that is a classic one now.
    Downgraded {
        /// The group.
        group_id: Rc<str>,
    },
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TimerKey {
    /// A member's next sign of life, or an id that was given out and has not come back: group and
    /// member.
    Member(Rc<str>, Rc<str>),
    /// The end of a group's joining.
    Rebalance(Rc<str>),
    /// SyncGroup requests of a generation.
    Sync(Rc<str>),
    /// What a member of a consumer group is to give back: group and member.
    Revocation(Rc<str>, Rc<str>),
    /// The JoinGroup of a classic member of a consumer group that was told to send one.
    ClassicJoin(Rc<str>, Rc<str>),
    /// Its SyncGroup after that.
    ClassicSync(Rc<str>, Rc<str>),
    /// The next step of resolving a consumer group's regular expressions.
    Regexes(Rc<str>),
    /// Expired offsets are looked for.
    Expiration,
}

/// A group, by its kind.
#[derive(Debug)]
pub(crate) enum Group {
    /// Coordinated by its members (and groups that only commit offsets).
    Classic(Box<ClassicGroup>),
    /// Coordinated here (KIP-848).
    Consumer(Box<ConsumerGroup>),
    /// Found in the log, of a kind that is not served here: its id stays taken.
    Other(OtherKind),
}

/// The groups and committed offsets of one partition of `__consumer_offsets`.
pub struct GroupCoordinator {
    settings: GroupSettings,
    cluster: Rc<dyn ClusterView>,
    /// The metadata's version when topics were created last, as far as is known.
    topics_version: i64,
    /// Regular expressions of groups that are being resolved.
    resolutions: HashMap<Rc<str>, Resolution>,
    groups: HashMap<Rc<str>, Group>,
    offsets: Versioned<Offsets>,
    timers: Timers<TimerKey>,
}

impl Coordinator for GroupCoordinator {
    type Answer = Deferred;
    type Then = Continuation;
    type Command = Infallible;

    fn load(
        &mut self,
        end_offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        now: Now,
    ) -> Result<(), CoordinatorError> {
        self.take_in_logged(end_offset, key, value, now)
    }

    fn loaded(&mut self, now: Now) -> Effects {
        self.begin(now);
        Effects::default()
    }

    fn replay(&mut self, end_offset: Offset, records: &[Record], now: Now) {
        self.take_in_decided(end_offset, records, now);
    }

    fn committed(&mut self, high_watermark: Offset) {
        self.offsets.commit(high_watermark);
    }

    fn commands(&mut self) -> Vec<Infallible> {
        Vec::new()
    }

    fn next_deadline_ms(&self) -> Option<u64> {
        self.timers.next()
    }

    fn tick(&mut self, now: Now) -> Option<Effects> {
        let due = self.timers.pop_due(now.monotonic_ms)?;
        Some(match due {
            TimerKey::Member(group, id)
                if matches!(self.groups.get(&group), Some(Group::Consumer(_))) =>
            {
                self.consumer_expired(&group, &id, now)
            }
            TimerKey::ClassicJoin(group, id) | TimerKey::ClassicSync(group, id) => {
                self.consumer_expired(&group, &id, now)
            }
            TimerKey::Revocation(group, id) => self.revocation_due(&group, &id, now),
            TimerKey::Regexes(group) => self.resolve_regexes(&group, now),
            TimerKey::Member(group, id) => {
                let effects =
                    self.with_classic(&group, now, |group, context| group.member_due(&id, context));
                self.forget_if_untouched(&group);
                effects
            }
            TimerKey::Rebalance(group) => {
                self.with_classic(&group, now, ClassicGroup::rebalance_due)
            }
            TimerKey::Sync(group) => self.with_classic(&group, now, ClassicGroup::sync_due),
            TimerKey::Expiration => self.expire_offsets(now),
        })
    }

    fn continued(
        &mut self,
        then: &Continuation,
        result: Result<(), ErrorCode>,
        now: Now,
    ) -> Effects {
        match then {
            Continuation::Downgraded { group_id } => self.downgraded(group_id, now),
            Continuation::Stored { group_id, generation } => {
                self.with_classic(group_id, now, |group, context| {
                    group.stored(*generation, result, context);
                })
            }
        }
    }

    fn failed(answer: &Deferred, error: ErrorCode) -> Deferred {
        answer.failed(error)
    }
}

impl GroupCoordinator {
    /// Of a partition in which nothing is written yet; what is in the log is loaded into it.
    pub fn new(settings: GroupSettings, cluster: Rc<dyn ClusterView>) -> GroupCoordinator {
        assert!(!settings.consumer.assignors.is_empty(), "there is a default assignor");
        GroupCoordinator {
            settings,
            cluster,
            topics_version: 0,
            resolutions: HashMap::new(),
            groups: HashMap::new(),
            offsets: Versioned::default(),
            timers: Timers::default(),
        }
    }

    /// How many groups there are, of all kinds.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many offsets are committed.
    pub fn offset_count(&self) -> usize {
        self.offsets.newest().len()
    }

    /// Lets a classic group decide. Nothing happens if there is none of that id.
    fn with_classic(
        &mut self,
        group_id: &str,
        now: Now,
        decide: impl FnOnce(&mut ClassicGroup, &mut Context<'_>),
    ) -> Effects {
        let mut effects = Effects::default();
        if let Some(Group::Classic(group)) = self.groups.get_mut(group_id) {
            let mut context = Context {
                now,
                settings: &self.settings,
                timers: &mut self.timers,
                effects: &mut effects,
            };
            decide(group, &mut context);
        }
        effects
    }

    /// The classic group of an id.
    fn classic(&self, group_id: &str) -> Result<&ClassicGroup, ErrorCode> {
        match self.groups.get(group_id) {
            Some(Group::Classic(group)) => Ok(group),
            Some(Group::Consumer(_) | Group::Other(_)) | None => Err(ErrorCode::GroupIdNotFound),
        }
    }

    /// Topics were created, deleted or got more partitions: consumer groups look at theirs with
    /// their next heartbeats.
    pub fn topics_changed(&mut self, has_created: bool) {
        if has_created {
            self.topics_version = self.cluster.version();
        }
        for group in self.groups.values_mut() {
            if let Group::Consumer(group) = group {
                group.topics_changed();
            }
        }
    }
}
