//! SyncGroup: the leader brings the assignment, the others wait for their parts.

use std::collections::HashMap;

use bytes::Bytes;
use ringlog_types::ErrorCode;

use super::{ClassicGroup, ClassicState, Context};
use crate::group::answers::{self, Deferred};
use crate::group::{Continuation, TimerKey};
use crate::outcome::ReplyTo;

/// A SyncGroup request.
pub(crate) struct SyncRequest<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
    pub(crate) generation: i32,
    /// From version 5 on; `None` where the client did not say.
    pub(crate) protocol_type: Option<&'a str>,
    /// From version 5 on.
    pub(crate) protocol_name: Option<&'a str>,
    /// From the leader: each member's part.
    pub(crate) assignments: HashMap<&'a str, Bytes>,
    pub(crate) reply_to: ReplyTo,
}

impl ClassicGroup {
    /// Takes a SyncGroup request. Its answer is among the effects, now or later.
    pub(crate) fn sync(&mut self, request: &SyncRequest<'_>, context: &mut Context<'_>) {
        let taken = self.check_sync(request).and_then(|()| match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            ClassicState::CompletingRebalance => {
                self.wait_for_assignment(request, context);
                Ok(())
            }
            ClassicState::Stable => {
                self.note_synced(request.member_id, context);
                context.answer(request.reply_to, self.sync_answer(request.member_id));
                Ok(())
            }
            ClassicState::Dead => Err(ErrorCode::CoordinatorNotAvailable),
        });
        if let Err(error) = taken {
            context.answer(request.reply_to, answers::sync_error(error));
        }
    }

    fn check_sync(&self, request: &SyncRequest<'_>) -> Result<(), ErrorCode> {
        if self.state == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(request.member_id, request.instance_id)?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |said: Option<&str>, known: Option<&str>| {
            said.is_some_and(|said| known.is_some_and(|known| said != known))
        };
        if differs(request.protocol_type, self.protocol_type())
            || differs(request.protocol_name, self.protocol_name())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn wait_for_assignment(&mut self, request: &SyncRequest<'_>, context: &mut Context<'_>) {
        self.note_synced(request.member_id, context);
        let member = self.members.get_mut(request.member_id).expect("it was checked");
        if let Some(before) = member.awaiting_sync.replace(request.reply_to) {
            context.answer(before, answers::sync_error(ErrorCode::RebalanceInProgress));
        }
        if self.leader.as_deref() != Some(request.member_id) || self.is_storing {
            return;
        }
        for member in self.members.values_mut() {
            let part = request.assignments.get(&*member.id);
            member.assignment = part.cloned().unwrap_or_default();
        }
        self.is_storing = true;
        context.effects.records.push(self.record());
        let (group_id, generation) = (self.id.clone(), self.generation);
        let before = context.effects.then.replace(Continuation::Stored { group_id, generation });
        assert!(before.is_none(), "a request stores one assignment");
    }

    /// The member has sent its SyncGroup of this generation.
    fn note_synced(&mut self, member_id: &str, context: &mut Context<'_>) {
        self.pending_syncs.remove(member_id);
        if self.pending_syncs.is_empty() {
            context.timers.cancel(&TimerKey::Sync(self.id.clone()));
        }
        self.show_life(member_id, context);
    }

    fn sync_answer(&self, member_id: &str) -> Deferred {
        let assignment = self.members[member_id].assignment.clone();
        answers::synced(self, assignment)
    }

    /// The assignment of `generation` is committed, or could not be written.
    pub(crate) fn stored(
        &mut self,
        generation: i32,
        result: Result<(), ErrorCode>,
        context: &mut Context<'_>,
    ) {
        let is_awaited = self.state == ClassicState::CompletingRebalance
            && self.generation == generation
            && self.is_storing;
        if !is_awaited {
            return;
        }
        self.is_storing = false;
        if let Err(error) = result {
            self.give_up_assignment(error, context);
            self.rebalance(context);
            return;
        }
        self.transition(ClassicState::Stable, context.now.wall_ms);
        let waiting: Vec<_> = self
            .members
            .values_mut()
            .filter_map(|member| Some((member.awaiting_sync.take()?, member.id.clone())))
            .collect();
        for (reply_to, id) in waiting {
            let answer = self.sync_answer(&id);
            context.answer(reply_to, answer);
            self.show_life(&id, context);
        }
    }

    /// Those who joined and never asked for their part are gone.
    pub(crate) fn sync_due(&mut self, context: &mut Context<'_>) {
        if !matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable) {
            return;
        }
        let absent = std::mem::take(&mut self.pending_syncs);
        if absent.is_empty() {
            return;
        }
        for id in absent {
            self.take_out(&id);
            context.timers.cancel(&TimerKey::Member(self.id.clone(), id));
        }
        self.rebalance(context);
    }
}
