//! From a change of the members to the next generation.

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_types::ErrorCode;

use super::{ClassicGroup, ClassicState, Context, InitialDelay};
use crate::group::TimerKey;
use crate::group::answers;

/// Members that do not come back are waited for again after this, at the earliest.
const RETRY_MS_MIN: u64 = 1_000;

impl ClassicGroup {
    /// Somebody came, left, or changed: the members join anew, or one that did was waited for
    /// (`maybePrepareRebalanceOrCompleteJoin`).
    pub(super) fn rebalance(&mut self, context: &mut Context<'_>) {
        match self.state {
            ClassicState::Empty => self.begin_first_rebalance(context),
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.begin_rebalance(context);
            }
            ClassicState::PreparingRebalance => {
                if self.initial_delay.is_none() && self.has_all_joined() {
                    self.complete_join(context);
                }
            }
            ClassicState::Dead => {}
        }
    }

    /// Members of a new group tend to come within seconds of each other: one rebalance for all.
    fn begin_first_rebalance(&mut self, context: &mut Context<'_>) {
        let delay_ms = context.settings.group_initial_rebalance_delay_ms;
        let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
        self.initial_delay = Some(InitialDelay { remaining_ms, has_new_member: false });
        self.transition(ClassicState::PreparingRebalance, context.now.wall_ms);
        self.set_rebalance_timer(delay_ms, context);
    }

    fn begin_rebalance(&mut self, context: &mut Context<'_>) {
        if self.state == ClassicState::CompletingRebalance {
            self.give_up_assignment(ErrorCode::RebalanceInProgress, context);
        }
        self.forget_pending_syncs(context);
        self.transition(ClassicState::PreparingRebalance, context.now.wall_ms);
        if self.has_all_joined() {
            self.complete_join(context);
        } else {
            self.set_rebalance_timer(self.rebalance_timeout_ms(), context);
        }
    }

    fn set_rebalance_timer(&self, in_ms: u64, context: &mut Context<'_>) {
        let at_ms = context.now.monotonic_ms + in_ms;
        context.timers.set(TimerKey::Rebalance(self.id.clone()), at_ms);
    }

    /// The time for joining is over.
    pub(crate) fn rebalance_due(&mut self, context: &mut Context<'_>) {
        if self.state != ClassicState::PreparingRebalance {
            return;
        }
        match self.initial_delay {
            Some(delay) if delay.has_new_member && delay.remaining_ms > 0 => {
                let again_ms =
                    context.settings.group_initial_rebalance_delay_ms.min(delay.remaining_ms);
                let remaining_ms = delay.remaining_ms - again_ms;
                self.initial_delay = Some(InitialDelay { remaining_ms, has_new_member: false });
                self.set_rebalance_timer(again_ms, context);
            }
            _ => self.complete_join(context),
        }
    }

    /// Begins the next generation with those who have joined (`completeClassicGroupJoin`).
    fn complete_join(&mut self, context: &mut Context<'_>) {
        context.timers.cancel(&TimerKey::Rebalance(self.id.clone()));
        self.initial_delay = None;
        self.drop_absent_members(context);
        if !self.members.is_empty() && !self.has_joined_leader() {
            // Only static members are left, and none has come back: they keep their place until
            // their sessions end. A timeout of nothing would be due again and again.
            self.set_rebalance_timer(self.rebalance_timeout_ms().max(RETRY_MS_MIN), context);
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(0);
        if self.members.is_empty() {
            self.protocol_name = None;
            self.leader = None;
            self.transition(ClassicState::Empty, context.now.wall_ms);
            // That nobody is left has to be known after a restart: offsets expire from now on.
            context.effects.records.push(self.record());
            return;
        }
        self.protocol_name = self.select_protocol();
        self.transition(ClassicState::CompletingRebalance, context.now.wall_ms);
        self.tell_generation(context);
    }

    /// Those who did not join again are gone; static members may still come back.
    fn drop_absent_members(&mut self, context: &mut Context<'_>) {
        let is_absent =
            |member: &super::Member| member.awaiting_join.is_none() && !member.is_static();
        let absent: Vec<Rc<str>> = self
            .members
            .values()
            .filter(|member| is_absent(member))
            .map(|member| member.id.clone())
            .collect();
        for id in absent {
            self.take_out(&id);
            context.timers.cancel(&TimerKey::Member(self.id.clone(), id));
        }
    }

    /// Sees to it that the leader is one who joined. `false` if nobody did.
    fn has_joined_leader(&mut self) -> bool {
        let has_joined = |id: &Rc<str>| self.members[id].awaiting_join.is_some();
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let next = self.members.keys().find(|id| has_joined(id)).cloned();
        if next.is_some() {
            self.leader = next;
        }
        self.members.values().any(|member| member.awaiting_join.is_some())
    }

    fn tell_generation(&mut self, context: &mut Context<'_>) {
        let ids: Vec<Rc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("it is a key");
            let session_timeout_ms = member.joined.session_timeout_ms;
            let waiting = member.awaiting_join.take();
            member.is_new = false;
            // A static member that has not come back is not waited for a second time.
            if let Some(reply_to) = waiting {
                let answer = self.join_answer(&id);
                context.answer(reply_to, answer);
                self.pending_syncs.insert(id.clone());
                self.expect_sign_of_life(&id, session_timeout_ms, context);
            }
        }
        let at_ms = context.now.monotonic_ms + self.rebalance_timeout_ms();
        context.timers.set(TimerKey::Sync(self.id.clone()), at_ms);
    }

    /// The protocol that most members want, of those that all support; the smallest name of equals.
    pub(super) fn select_protocol(&self) -> Option<Rc<str>> {
        let count = self.members.len();
        let is_candidate = |name: &str| self.supporters.get(name) == Some(&count);
        let mut votes: HashMap<&Rc<str>, usize> = HashMap::new();
        for member in self.members.values() {
            if let Some(vote) = member.vote(is_candidate) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let most = votes
            .into_iter()
            .max_by(|(one, votes), (other, others)| votes.cmp(others).then_with(|| other.cmp(one)));
        most.map(|(name, _)| name.clone())
    }

    /// Tells those who wait for an assignment that there will be none, and forgets the last one.
    pub(super) fn give_up_assignment(&mut self, error: ErrorCode, context: &mut Context<'_>) {
        self.is_storing = false;
        for member in self.members.values_mut() {
            member.assignment = bytes::Bytes::new();
            if let Some(reply_to) = member.awaiting_sync.take() {
                context.answer(reply_to, answers::sync_error(error));
            }
        }
    }

    pub(super) fn forget_pending_syncs(&mut self, context: &mut Context<'_>) {
        self.pending_syncs.clear();
        context.timers.cancel(&TimerKey::Sync(self.id.clone()));
    }
}
