//! FindCoordinator (key 10): who coordinates a group or a transaction. Nobody does yet: clients that
//! need one wait and ask again.
//!
//! It is offered all the same, because librdkafka takes a broker without it for one of before 2014,
//! and sends it no LZ4.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ringlog_wire::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

use crate::authorizer::{Operation, Resource};
use crate::handlers::Work;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// From this version a request names several keys (KIP-699).
const VERSION_KEYS: i16 = 4;
/// From this version it may be about share groups.
const VERSION_SHARE: i16 = 6;

/// Kinds of coordinators (`FindCoordinatorRequest.CoordinatorType`).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// What stands for no node (`Node.noNode`).
const NO_NODE: i32 = -1;

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    Work::Done(answer(shard, &request))
}

fn answer(shard: &Shard, request: &Request) -> Answer {
    let asked = match request.decode::<FindCoordinatorRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if request.version < VERSION_KEYS {
        let error = error_of(shard, request, asked.key_type, &asked.key);
        return request.respond(&FindCoordinatorResponse {
            error_code: error.code(),
            error_message: (request.version > 0).then(|| message(error).into()),
            node_id: NO_NODE,
            port: NO_NODE,
            ..Default::default()
        });
    }
    let coordinators = asked.coordinator_keys.iter().map(|key| Coordinator {
        key: key.clone(),
        node_id: NO_NODE,
        port: NO_NODE,
        error_code: error_of(shard, request, asked.key_type, key).code(),
        error_message: Some("".into()),
        ..Default::default()
    });
    let coordinators = coordinators.collect();
    request.respond(&FindCoordinatorResponse { coordinators, ..Default::default() })
}

fn error_of(shard: &Shard, request: &Request, key_type: i8, key: &str) -> ErrorCode {
    let may = |operation, resource| request.authorize(shard.node.authorizer, operation, resource);
    match key_type {
        GROUP if !may(Operation::Describe, Resource::Group(key)) => {
            ErrorCode::GroupAuthorizationFailed
        }
        TRANSACTION if !may(Operation::Describe, Resource::TransactionalId(key)) => {
            ErrorCode::TransactionalIdAuthorizationFailed
        }
        SHARE if !may(Operation::ClusterAction, Resource::Cluster) => {
            ErrorCode::ClusterAuthorizationFailed
        }
        GROUP | TRANSACTION => ErrorCode::CoordinatorNotAvailable,
        SHARE if request.version >= VERSION_SHARE => ErrorCode::CoordinatorNotAvailable,
        _ => ErrorCode::InvalidRequest,
    }
}

/// Kafka's words for these codes.
fn message(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::CoordinatorNotAvailable => "The coordinator is not available.",
        ErrorCode::GroupAuthorizationFailed => "Group authorization failed.",
        ErrorCode::TransactionalIdAuthorizationFailed => "Transactional Id authorization failed.",
        _ => {
            "This most likely occurs because of a request being malformed by the client library or \
              the message was sent to an incompatible broker. See the broker logs for more details."
        }
    }
}
