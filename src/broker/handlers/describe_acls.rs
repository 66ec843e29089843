//! DescribeAcls (key 29): refused, since there are none (Kafka's `AclApis` without an authorizer).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_acls_request::DescribeAclsRequest;
use ringlog_wire::messages::describe_acls_response::DescribeAclsResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

/// Kafka's words; those of its other two calls are shorter.
const NO_AUTHORIZER: &str = "No Authorizer is configured on the broker";

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    if let Err(close) = request.decode::<DescribeAclsRequest>() {
        return Work::Done(close);
    }
    let (error, message) =
        match request.authorize(shard.node.authorizer, Operation::Describe, Resource::Cluster) {
            true => (ErrorCode::SecurityDisabled, Some(NO_AUTHORIZER.into())),
            false => (ErrorCode::ClusterAuthorizationFailed, None),
        };
    Work::Done(request.respond(&DescribeAclsResponse {
        error_code: error.code(),
        error_message: message,
        ..Default::default()
    }))
}
