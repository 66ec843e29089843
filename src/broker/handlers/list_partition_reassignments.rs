//! ListPartitionReassignments (key 46): replicas on their way to other brokers (KIP-455). A node
//! that is alone in its cluster never has any.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use ringlog_wire::messages::list_partition_reassignments_response as list_reassignments;

use crate::authorizer::{Operation, Resource};
use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    if let Err(close) = request.decode::<ListPartitionReassignmentsRequest>() {
        return Work::Done(close);
    }
    let error =
        match request.authorize(shard.node.authorizer, Operation::Describe, Resource::Cluster) {
            true => ErrorCode::None,
            false => ErrorCode::ClusterAuthorizationFailed,
        };
    Work::Done(request.respond(&list_reassignments::ListPartitionReassignmentsResponse {
        error_code: error.code(),
        error_message: None,
        ..Default::default()
    }))
}
