//! A classic group: its members, its generation, and where it stands (Kafka's `ClassicGroup`).
//!
//! ```text
//! Empty ──join──► PreparingRebalance ──all joined──► CompletingRebalance ──leader's sync──► Stable
//!   ▲               ▲         │ nobody left            │ join, leave, silence              │
//!   └───────────────┼─────────┘                        │                                   │
//!                   └──────────────────────────────────┴───────────────────────────────────┘
//! ```
//!
//! 1. In *PreparingRebalance* JoinGroup requests wait until every known member has sent one, or
//!    the largest rebalance timeout has passed. An empty group waits
//!    `group.initial.rebalance.delay.ms` for more members instead.
//! 2. Then a generation begins: all are told the protocol, the leader also of all members. In
//!    *CompletingRebalance* SyncGroup requests wait for the leader's, which has the assignment.
//! 3. The assignment is written to the log; when the record is committed the group is *Stable* and
//!    the waiting members get their parts. If it cannot be written, all join again.
//!
//! Invariants: the leader is a member; a member's JoinGroup and SyncGroup do not wait at once; the
//! generation grows by one with each rebalance; every static member's instance id points to it.
//! What waits is not in the log: after a restart members join again or go on in a stable group.

mod heartbeat;
pub(crate) mod join;
mod leave;
pub(crate) mod member;
mod migration;
mod persist;
mod rebalance;
mod subscription;
pub(crate) mod sync;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ringlog_types::{ErrorCode, TimestampMs};

use self::member::{Member, Protocol};
use super::{Deferred, Effects, GroupSettings, TimerKey};
use crate::outcome::Now;
use crate::timers::Timers;

/// Where a classic group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassicState {
    /// No members; offsets may be kept.
    Empty,
    /// JoinGroup requests are gathered.
    PreparingRebalance,
    /// Members know their generation and wait for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
    /// Deleted; only those who hold it still see it.
    Dead,
}

impl ClassicState {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
            ClassicState::Dead => "Dead",
        }
    }
}

/// What a group's decisions need from outside, and where they leave what is to be done.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a GroupSettings,
    pub(crate) timers: &'a mut Timers<TimerKey>,
    pub(crate) effects: &'a mut Effects,
}

impl Context<'_> {
    fn answer(&mut self, to: crate::ReplyTo, answer: Deferred) {
        self.effects.answers.push((to, answer));
    }
}

/// The first rebalance of an empty group, while it waits for more members.
#[derive(Debug, Clone, Copy)]
struct InitialDelay {
    /// How much longer it may be put off.
    remaining_ms: u64,
    /// Whether somebody has joined since the last time it was looked at.
    has_new_member: bool,
}

/// A classic group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    id: Rc<str>,
    state: ClassicState,
    /// When it came to its state, by the wall clock: retention of an empty group counts from it.
    state_since_ms: TimestampMs,
    generation: i32,
    protocol_type: Option<Rc<str>>,
    protocol_name: Option<Rc<str>>,
    leader: Option<Rc<str>>,
    members: BTreeMap<Rc<str>, Member>,
    /// Which member an instance id stands for.
    static_members: HashMap<Rc<str>, Rc<str>>,
    /// Ids that were given out with MEMBER_ID_REQUIRED and have not come back.
    pending_joins: BTreeSet<Rc<str>>,
    /// Members of this generation that have not sent SyncGroup.
    pending_syncs: BTreeSet<Rc<str>>,
    /// How many members support each protocol.
    supporters: HashMap<Rc<str>, usize>,
    initial_delay: Option<InitialDelay>,
    /// An assignment of this generation is on its way to the log.
    is_storing: bool,
}

impl ClassicGroup {
    pub(crate) fn new(id: Rc<str>, now_ms: TimestampMs) -> ClassicGroup {
        ClassicGroup {
            id,
            state: ClassicState::Empty,
            state_since_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            supporters: HashMap::new(),
            initial_delay: None,
            is_storing: false,
        }
    }

    pub(crate) fn id(&self) -> &Rc<str> {
        &self.id
    }

    pub(crate) fn state(&self) -> ClassicState {
        self.state
    }

    pub(crate) fn state_since_ms(&self) -> TimestampMs {
        self.state_since_ms
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// `consumer` for consumers; `None` if nobody has ever joined.
    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol of the generation.
    pub(crate) fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    /// Who assigns in this generation.
    pub(crate) fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Whether nobody belongs to it or is about to.
    pub(crate) fn is_unused(&self) -> bool {
        self.state == ClassicState::Empty && self.pending_joins.is_empty()
    }

    /// Whether nothing has ever happened to it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.is_unused() && self.generation == 0 && self.protocol_type.is_none()
    }

    fn transition(&mut self, to: ClassicState, now_ms: TimestampMs) {
        use ClassicState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        let is_allowed = match to {
            Empty => matches!(self.state, Empty | PreparingRebalance),
            PreparingRebalance => matches!(self.state, Empty | CompletingRebalance | Stable),
            CompletingRebalance => self.state == PreparingRebalance,
            Stable => self.state == CompletingRebalance,
            Dead => true,
        };
        assert!(is_allowed, "a group does not go from {:?} to {to:?}", self.state);
        self.state = to;
        self.state_since_ms = now_ms;
    }

    /// The members whose JoinGroup waits.
    fn awaiting_join_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    /// Whether nothing keeps the generation from beginning.
    fn has_all_joined(&self) -> bool {
        self.pending_joins.is_empty() && self.awaiting_join_count() == self.members.len()
    }

    /// How long a rebalance may take: as long as its most patient member allows.
    fn rebalance_timeout_ms(&self) -> u64 {
        let of_all = self.members.values().map(|member| member.joined.rebalance_timeout_ms);
        of_all.max().unwrap_or(0)
    }

    /// Whether a member with these protocols could be given work together with the others.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_shared = |(name, _): &Protocol| {
            self.supporters.get(name).is_some_and(|count| *count == self.members.len())
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(is_shared)
    }

    fn note_protocols(&mut self, protocols: &[Protocol]) {
        let names: BTreeSet<&Rc<str>> = protocols.iter().map(|(name, _)| name).collect();
        for name in names {
            *self.supporters.entry(name.clone()).or_default() += 1;
        }
    }

    fn forget_protocols(&mut self, protocols: &[Protocol]) {
        let names: BTreeSet<&Rc<str>> = protocols.iter().map(|(name, _)| name).collect();
        for name in names {
            let count = self.supporters.get_mut(name).expect("it was noted when the member joined");
            *count -= 1;
            if *count == 0 {
                self.supporters.remove(name);
            }
        }
    }

    /// Puts a member in; the first one leads.
    fn insert(&mut self, member: Member) {
        if self.members.is_empty() {
            self.protocol_type = Some(member.joined.protocol_type.clone());
        }
        assert_eq!(self.protocol_type.as_ref(), Some(&member.joined.protocol_type));
        if let Some(instance_id) = &member.joined.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.note_protocols(&member.joined.protocols);
        self.pending_joins.remove(&member.id);
        let before = self.members.insert(member.id.clone(), member);
        assert!(before.is_none(), "a member joins once");
    }

    /// Takes a member out, whatever it waits for; the next leads if it did.
    fn take_out(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.forget_protocols(&member.joined.protocols);
        self.pending_syncs.remove(id);
        if let Some(instance_id) = &member.joined.instance_id
            && self.static_members.get(instance_id).is_some_and(|known| **known == *id)
        {
            self.static_members.remove(instance_id);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Checks who sends a request of a generation (`ClassicGroup.validateMember`).
    pub(crate) fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            return match self.static_members.get(instance_id) {
                None => Err(ErrorCode::UnknownMemberId),
                Some(known) if **known != *member_id => Err(ErrorCode::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// The group is deleted.
    pub(crate) fn die(&mut self, context: &mut Context<'_>) {
        self.transition(ClassicState::Dead, context.now.wall_ms);
        context.timers.cancel(&TimerKey::Rebalance(self.id.clone()));
        context.timers.cancel(&TimerKey::Sync(self.id.clone()));
        for id in std::mem::take(&mut self.pending_joins) {
            context.timers.cancel(&TimerKey::Member(self.id.clone(), id));
        }
    }
}
