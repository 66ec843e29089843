//! The answers to requests that may wait: JoinGroup and SyncGroup.

use std::borrow::Cow;

use bytes::Bytes;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;

use super::classic::ClassicGroup;

/// The generation of somebody who has none.
const NO_GENERATION: i32 = -1;

/// An answer that is given later than its request was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Deferred {
    /// Versions below 7 have no null protocol name: it is empty there.
    Join(JoinGroupResponse<'static>),
    /// To a SyncGroup request.
    Sync(SyncGroupResponse<'static>),
}

impl Deferred {
    /// The same kind of answer, saying that the records it rests on could not be written.
    pub fn failed(&self, error: ErrorCode) -> Deferred {
        match self {
            Deferred::Join(answer) => join_error(error, &answer.member_id),
            Deferred::Sync(_) => sync_error(error),
        }
    }
}

pub(super) fn join_error(error: ErrorCode, member_id: &str) -> Deferred {
    Deferred::Join(JoinGroupResponse {
        error_code: error.code(),
        generation_id: NO_GENERATION,
        member_id: Cow::Owned(member_id.to_owned()),
        ..Default::default()
    })
}

pub(super) fn sync_error(error: ErrorCode) -> Deferred {
    Deferred::Sync(SyncGroupResponse { error_code: error.code(), ..Default::default() })
}

/// To a member of the generation that there is.
pub(super) fn joined(
    group: &ClassicGroup,
    member_id: &str,
    members: Vec<JoinGroupResponseMember<'static>>,
    skip_assignment: bool,
) -> Deferred {
    Deferred::Join(JoinGroupResponse {
        generation_id: group.generation(),
        protocol_type: group.protocol_type().map(owned),
        protocol_name: group.protocol_name().map(owned),
        leader: owned(group.leader().unwrap_or_default()),
        member_id: owned(member_id),
        members,
        skip_assignment,
        ..Default::default()
    })
}

/// To a static leader that came back and is not to assign anew: it hears of a leader that is gone.
pub(super) fn joined_under_leader(group: &ClassicGroup, member_id: &str, leader: &str) -> Deferred {
    match joined(group, member_id, Vec::new(), false) {
        Deferred::Join(answer) => {
            Deferred::Join(JoinGroupResponse { leader: owned(leader), ..answer })
        }
        other @ Deferred::Sync(_) => other,
    }
}

pub(super) fn synced(group: &ClassicGroup, assignment: Bytes) -> Deferred {
    Deferred::Sync(SyncGroupResponse {
        protocol_type: group.protocol_type().map(owned),
        protocol_name: group.protocol_name().map(owned),
        assignment: Cow::Owned(assignment.to_vec()),
        ..Default::default()
    })
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}
