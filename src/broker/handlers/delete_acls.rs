//! DeleteAcls (key 31): refused, since there are none (Kafka's `AclApis` without an authorizer).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::delete_acls_request::DeleteAclsRequest;
use ringlog_wire::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsResponse};

use crate::authorizer::{NO_AUTHORIZER, Operation, Resource};
use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    let asked = match request.decode::<DeleteAclsRequest>() {
        Ok(asked) => asked,
        Err(close) => return Work::Done(close),
    };
    let (error, message) =
        match request.authorize(shard.node.authorizer, Operation::Alter, Resource::Cluster) {
            true => (ErrorCode::SecurityDisabled, Some(NO_AUTHORIZER.into())),
            false => (ErrorCode::ClusterAuthorizationFailed, None),
        };
    let result = DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: message,
        ..Default::default()
    };
    let filter_results = vec![result; asked.filters.len()];
    Work::Done(request.respond(&DeleteAclsResponse { filter_results, ..Default::default() }))
}
