//! Heartbeats, and what happens when they stop.

use std::rc::Rc;

use ringlog_types::ErrorCode;

use super::{ClassicGroup, ClassicState, Context};
use crate::group::TimerKey;

impl ClassicGroup {
    /// Takes a Heartbeat request; the error tells the member to join again, or that it is unknown.
    pub(crate) fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        context: &mut Context<'_>,
    ) -> Result<(), ErrorCode> {
        if self.state == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicState::Dead => Err(ErrorCode::CoordinatorNotAvailable),
            ClassicState::PreparingRebalance => {
                self.show_life(member_id, context);
                Err(ErrorCode::RebalanceInProgress)
            }
            // Members may send heartbeats between their JoinGroup and the assignment.
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.show_life(member_id, context);
                Ok(())
            }
        }
    }

    /// A request of the member came: its session goes on.
    pub(crate) fn show_life(&mut self, member_id: &str, context: &mut Context<'_>) {
        if let Some(member) = self.members.get(member_id) {
            let session_timeout_ms = member.joined.session_timeout_ms;
            self.expect_sign_of_life(member_id, session_timeout_ms, context);
        }
    }

    pub(super) fn expect_sign_of_life(
        &mut self,
        member_id: &str,
        within_ms: u64,
        context: &mut Context<'_>,
    ) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.expires_at_ms = context.now.monotonic_ms + within_ms;
        let key = TimerKey::Member(self.id.clone(), member.id.clone());
        context.timers.set_at_latest(key, member.expires_at_ms);
    }

    /// The timer of a member, or of an id that was given out, is due.
    pub(crate) fn member_due(&mut self, id: &Rc<str>, context: &mut Context<'_>) {
        if self.pending_joins.remove(id) {
            // The generation may have waited for this one alone.
            if self.state == ClassicState::PreparingRebalance {
                self.rebalance(context);
            }
            return;
        }
        let Some(member) = self.members.get(id) else { return };
        let (expires_at_ms, is_awaiting) = (member.expires_at_ms, member.is_awaiting());
        if expires_at_ms > context.now.monotonic_ms {
            let key = TimerKey::Member(self.id.clone(), id.clone());
            context.timers.set(key, expires_at_ms);
        } else if is_awaiting && !member.is_new {
            // It is we who keep it waiting.
            self.show_life(id, context);
        } else {
            self.remove_member(id, context);
        }
    }
}
