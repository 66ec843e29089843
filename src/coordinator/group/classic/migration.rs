//! A classic group that becomes a consumer group, or was one.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::ErrorCode;

use super::member::{Joining, Member};
use super::{ClassicGroup, ClassicState, Context};
use crate::group::answers::{self, Deferred};
use crate::group::consumer::member as consumer;
use crate::outcome::ReplyTo;

impl ClassicGroup {
    /// The group becomes another: whoever waits is told to join again.
    pub(crate) fn send_all_away(&mut self) -> Vec<(ReplyTo, Deferred)> {
        let mut told = Vec::new();
        for member in self.members.values_mut() {
            if let Some(waiting) = member.awaiting_join.take() {
                let answer = answers::join_error(ErrorCode::RebalanceInProgress, &member.id);
                told.push((waiting, answer));
            }
            if let Some(waiting) = member.awaiting_sync.take() {
                told.push((waiting, answers::sync_error(ErrorCode::RebalanceInProgress)));
            }
        }
        told
    }

    /// Takes over a member that speaks the classic protocol, with what it was promised.
    pub(crate) fn take_over(&mut self, member: &consumer::Member, assignment: Bytes) {
        let Some(classic) = &member.classic else { return };
        let joining = Joining {
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: u64::try_from(member.rebalance_timeout_ms).unwrap_or(0),
            session_timeout_ms: classic.session_timeout_ms(),
            protocol_type: Rc::from("consumer"),
            protocols: classic.protocols.clone(),
        };
        let mut taken = Member::new(member.id.clone(), joining);
        taken.assignment = assignment;
        self.insert(taken);
    }

    /// All members are there: they have this generation.
    pub(crate) fn settle(&mut self, generation: i32) {
        self.generation = generation;
        self.protocol_name = self.select_protocol();
        self.state = ClassicState::Stable;
    }

    /// All members join anew.
    pub(crate) fn begin_anew(&mut self, context: &mut Context<'_>) {
        self.rebalance(context);
    }
}
