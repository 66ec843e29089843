//! JoinGroup: a member comes, or says something new of itself.

use std::rc::Rc;

use ringlog_types::ErrorCode;

use super::member::{Joining, Member};
use super::{ClassicGroup, ClassicState, Context};
use crate::group::TimerKey;
use crate::group::answers::{self, Deferred};
use crate::outcome::ReplyTo;

/// A new member cannot send heartbeats before it has heard its id: how long it may be silent
/// (`CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
const NEW_MEMBER_TIMEOUT_MS: u64 = 5 * 60 * 1_000;

/// Ids that a group gives out and waits for, at most: each is kept for a session, and costs whoever
/// asks for it nothing.
pub(crate) const PENDING_JOINS_MAX: usize = 10_000;

/// A JoinGroup request that passed the checks that need no group.
pub(crate) struct JoinRequest {
    /// Empty for a member that has no id yet.
    pub(crate) member_id: Rc<str>,
    /// The id that it gets if it needs one.
    pub(crate) fresh_id: Rc<str>,
    /// From version 4 on, members without an id come back with the one they are given (KIP-394).
    pub(crate) must_know_id: bool,
    /// From version 9 on, a static leader that comes back can be told not to assign (KIP-814).
    pub(crate) may_skip_assignment: bool,
    pub(crate) joining: Joining,
    pub(crate) reply_to: ReplyTo,
}

impl ClassicGroup {
    /// Takes a JoinGroup request. Its answer is among the effects, now or later.
    pub(crate) fn join(&mut self, request: JoinRequest, context: &mut Context<'_>) {
        let (reply_to, member_id) = (request.reply_to, request.member_id.clone());
        if !self.has_room_for(&member_id, context) {
            self.remove_silently(&member_id, context);
            context.answer(reply_to, answers::join_error(ErrorCode::GroupMaxSizeReached, ""));
            return;
        }
        let checked = if self.state == ClassicState::Dead {
            // Whoever joins next finds a new group.
            Err(ErrorCode::CoordinatorNotAvailable)
        } else if !self.supports(&request.joining.protocol_type, &request.joining.protocols) {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else if member_id.is_empty() {
            self.join_without_id(request, context);
            return;
        } else {
            self.join_with_id(request, context)
        };
        if let Err(error) = checked {
            context.answer(reply_to, answers::join_error(error, &member_id));
        }
    }

    /// Whether `group.max.size` lets the member in (`acceptJoiningMember`).
    fn has_room_for(&self, member_id: &str, context: &Context<'_>) -> bool {
        let size_max = context.settings.group_max_size;
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            // Those who have not joined again may be replaced by those who have.
            ClassicState::PreparingRebalance => {
                let waits = |member: &Member| member.awaiting_join.is_some();
                self.members.get(member_id).is_some_and(waits)
                    || self.awaiting_join_count() < size_max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(member_id) || self.members.len() < size_max
            }
        }
    }

    fn join_without_id(&mut self, request: JoinRequest, context: &mut Context<'_>) {
        if let Some(instance_id) = &request.joining.instance_id {
            if let Some(old_id) = self.static_members.get(instance_id).cloned() {
                self.replace_static_member(&old_id, request, context);
            } else {
                self.add_member(request.fresh_id.clone(), request, context);
            }
            return;
        }
        if !request.must_know_id {
            self.add_member(request.fresh_id.clone(), request, context);
            return;
        }
        if self.pending_joins.len() >= PENDING_JOINS_MAX {
            let answer = answers::join_error(ErrorCode::GroupMaxSizeReached, "");
            context.answer(request.reply_to, answer);
            return;
        }
        let id = request.fresh_id;
        self.pending_joins.insert(id.clone());
        let expires_at_ms = context.now.monotonic_ms + request.joining.session_timeout_ms;
        context.timers.set(TimerKey::Member(self.id.clone(), id.clone()), expires_at_ms);
        context.answer(request.reply_to, answers::join_error(ErrorCode::MemberIdRequired, &id));
    }

    fn join_with_id(
        &mut self,
        request: JoinRequest,
        context: &mut Context<'_>,
    ) -> Result<(), ErrorCode> {
        let id = request.member_id.clone();
        if self.pending_joins.contains(&id) {
            if request.joining.instance_id.is_some() {
                // Static members are never asked to come back with an id.
                return Err(ErrorCode::UnknownMemberId);
            }
            self.add_member(id, request, context);
            return Ok(());
        }
        self.check_member(&id, request.joining.instance_id.as_deref())?;
        let member = &self.members[&id];
        let says_the_same = member.matches(&request.joining.protocols);
        match self.state {
            ClassicState::PreparingRebalance => self.join_again(&id, request, context),
            // It has not got the answer to its last request.
            ClassicState::CompletingRebalance if says_the_same => {
                self.answer_join(&id, request.reply_to, context);
            }
            ClassicState::CompletingRebalance => self.join_again(&id, request, context),
            // The leader joins to assign anew, with or without news (partitions were added, say).
            ClassicState::Stable if self.leader.as_ref() == Some(&id) || !says_the_same => {
                self.join_again(&id, request, context);
            }
            ClassicState::Stable => self.answer_join(&id, request.reply_to, context),
            ClassicState::Empty | ClassicState::Dead => return Err(ErrorCode::UnknownMemberId),
        }
        Ok(())
    }

    /// Tells a member of the generation that there is.
    fn answer_join(&self, id: &str, reply_to: ReplyTo, context: &mut Context<'_>) {
        context.answer(reply_to, self.join_answer(id));
    }

    /// The answer to a member that has joined the generation; the leader hears of all members.
    pub(super) fn join_answer(&self, id: &str) -> Deferred {
        let leads = self.leader.as_deref() == Some(id);
        let members = if leads { self.described_members() } else { Vec::new() };
        answers::joined(self, id, members, false)
    }

    fn add_member(&mut self, id: Rc<str>, request: JoinRequest, context: &mut Context<'_>) {
        let mut member = Member::new(id.clone(), request.joining);
        member.is_new = true;
        member.awaiting_join = Some(request.reply_to);
        if let Some(delay) = &mut self.initial_delay {
            delay.has_new_member = true;
        }
        self.insert(member);
        self.expect_sign_of_life(&id, NEW_MEMBER_TIMEOUT_MS, context);
        self.rebalance(context);
    }

    /// A member joins again: what it says of itself now counts.
    fn join_again(&mut self, id: &str, request: JoinRequest, context: &mut Context<'_>) {
        self.update_member(id, request.joining, request.reply_to, context);
        self.rebalance(context);
    }

    fn update_member(
        &mut self,
        id: &str,
        mut joining: Joining,
        reply_to: ReplyTo,
        context: &mut Context<'_>,
    ) {
        let session_timeout_ms = joining.session_timeout_ms;
        let member = self.members.get_mut(id).expect("it was checked");
        // What a member is named by does not change, whatever it says now.
        joining.instance_id = member.joined.instance_id.clone();
        let before = std::mem::replace(&mut member.joined, joining);
        let after = member.joined.protocols.clone();
        if let Some(waiting) = member.awaiting_join.replace(reply_to) {
            // The client gave that request up, or has two of them on their way.
            context.answer(waiting, answers::join_error(ErrorCode::RebalanceInProgress, id));
        }
        self.forget_protocols(&before.protocols);
        self.note_protocols(&after);
        self.expect_sign_of_life(id, session_timeout_ms, context);
    }

    /// A static member comes back without the id it had: the new id takes its place, and whoever
    /// has the old one is fenced (`updateStaticMemberThenRebalanceOrCompleteJoin`).
    fn replace_static_member(
        &mut self,
        old_id: &Rc<str>,
        request: JoinRequest,
        context: &mut Context<'_>,
    ) {
        let new_id = request.fresh_id.clone();
        let led = self.leader.as_ref() == Some(old_id);
        self.rename_static_member(old_id, &new_id, context);
        let protocol_before = self.protocol_name.clone();
        match self.state {
            ClassicState::Stable => {
                let before = std::mem::replace(
                    &mut self.members.get_mut(&new_id).expect("just renamed").joined,
                    request.joining,
                );
                let after = self.members[&new_id].joined.protocols.clone();
                self.forget_protocols(&before.protocols);
                self.note_protocols(&after);
                let session_timeout_ms = self.members[&new_id].joined.session_timeout_ms;
                self.expect_sign_of_life(&new_id, session_timeout_ms, context);
                if self.select_protocol() != protocol_before {
                    self.members.get_mut(&new_id).expect("just renamed").awaiting_join =
                        Some(request.reply_to);
                    self.rebalance(context);
                    return;
                }
                // Everyone keeps what they have; the log learns of the id before its owner does.
                context.effects.records.push(self.record());
                let skips = led && request.may_skip_assignment;
                let members = if skips { self.described_members() } else { Vec::new() };
                let answer = match led && !skips {
                    // A leader of an older version would assign: it is told that another leads,
                    // and gets its assignment with the next SyncGroup (KIP-345).
                    true => answers::joined_under_leader(self, &new_id, old_id),
                    false => answers::joined(self, &new_id, members, skips),
                };
                context.answer(request.reply_to, answer);
            }
            ClassicState::CompletingRebalance | ClassicState::PreparingRebalance => {
                self.update_member(&new_id, request.joining, request.reply_to, context);
                self.rebalance(context);
            }
            ClassicState::Empty | ClassicState::Dead => unreachable!("a member is in it"),
        }
    }

    fn rename_static_member(
        &mut self,
        old_id: &Rc<str>,
        new_id: &Rc<str>,
        context: &mut Context<'_>,
    ) {
        let mut member = self.members.remove(old_id).expect("static members are members");
        if let Some(waiting) = member.awaiting_join.take() {
            context.answer(waiting, answers::join_error(ErrorCode::FencedInstanceId, old_id));
        }
        if let Some(waiting) = member.awaiting_sync.take() {
            context.answer(waiting, answers::sync_error(ErrorCode::FencedInstanceId));
        }
        context.timers.cancel(&TimerKey::Member(self.id.clone(), old_id.clone()));
        let instance_id = member.joined.instance_id.clone().expect("it is static");
        member.id = new_id.clone();
        self.members.insert(new_id.clone(), member);
        self.static_members.insert(instance_id, new_id.clone());
        if self.leader.as_ref() == Some(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.pending_syncs.remove(old_id) {
            self.pending_syncs.insert(new_id.clone());
        }
    }

    /// The member is told that it does not belong to the group; nobody else is.
    fn remove_silently(&mut self, member_id: &str, context: &mut Context<'_>) {
        self.pending_joins.remove(member_id);
        if let Some(member) = self.take_out(member_id) {
            context.timers.cancel(&TimerKey::Member(self.id.clone(), member.id.clone()));
            self.tell_removed(&member, context);
        }
    }
}
