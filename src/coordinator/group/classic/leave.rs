//! LeaveGroup, and removals for other reasons.

use std::rc::Rc;

use ringlog_types::ErrorCode;

use super::member::Member;
use super::{ClassicGroup, ClassicState, Context};
use crate::group::TimerKey;
use crate::group::answers;

impl ClassicGroup {
    /// One member leaves, or is taken out by an administrator, by its id or its instance id. The
    /// rebalance that follows is begun by [`ClassicGroup::left`], once for all that leave together.
    /// Returns whether a member of the group went.
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        context: &mut Context<'_>,
    ) -> Result<bool, ErrorCode> {
        if self.state == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if instance_id.is_none()
            && let Some(id) = self.pending_joins.take(member_id)
        {
            context.timers.cancel(&TimerKey::Member(self.id.clone(), id));
            return Ok(false);
        }
        let id: Rc<str> = match instance_id {
            // An administrator knows the instance alone.
            Some(instance_id) if member_id.is_empty() => {
                let known = self.static_members.get(instance_id);
                known.cloned().ok_or(ErrorCode::UnknownMemberId)?
            }
            _ => {
                self.check_member(member_id, instance_id)?;
                member_id.into()
            }
        };
        self.take_away(&id, context);
        Ok(true)
    }

    /// Those who left are gone: the others join anew. Nothing if only ids that were given out went,
    /// unless the generation waited for them.
    pub(crate) fn left(&mut self, has_member_left: bool, context: &mut Context<'_>) {
        if has_member_left || self.state == ClassicState::PreparingRebalance {
            self.rebalance(context);
        }
    }

    /// A member is gone, and the others join anew.
    pub(super) fn remove_member(&mut self, id: &str, context: &mut Context<'_>) {
        self.take_away(id, context);
        self.rebalance(context);
    }

    fn take_away(&mut self, id: &str, context: &mut Context<'_>) {
        let Some(member) = self.take_out(id) else { return };
        context.timers.cancel(&TimerKey::Member(self.id.clone(), member.id.clone()));
        self.tell_removed(&member, context);
    }

    /// Answers what a removed member waited for.
    pub(super) fn tell_removed(&self, member: &Member, context: &mut Context<'_>) {
        if let Some(reply_to) = member.awaiting_join {
            let answer = answers::join_error(ErrorCode::UnknownMemberId, "");
            context.answer(reply_to, answer);
        }
        if let Some(reply_to) = member.awaiting_sync {
            context.answer(reply_to, answers::sync_error(ErrorCode::UnknownMemberId));
        }
    }
}
