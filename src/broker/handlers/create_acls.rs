//! CreateAcls (key 30): refused, since nobody asks for them (Kafka's `AclApis` without an
//! authorizer). MirrorMaker asks, and takes this for an answer.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_acls_request::CreateAclsRequest;
use ringlog_wire::messages::create_acls_response::{AclCreationResult, CreateAclsResponse};

use crate::authorizer::{NO_AUTHORIZER, Operation, Resource};
use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    let asked = match request.decode::<CreateAclsRequest>() {
        Ok(asked) => asked,
        Err(close) => return Work::Done(close),
    };
    let (error, message) =
        match request.authorize(shard.node.authorizer, Operation::Alter, Resource::Cluster) {
            true => (ErrorCode::SecurityDisabled, Some(NO_AUTHORIZER.into())),
            false => (ErrorCode::ClusterAuthorizationFailed, None),
        };
    let result = AclCreationResult { error_code: error.code(), error_message: message };
    let results = vec![result; asked.creations.len()];
    Work::Done(request.respond(&CreateAclsResponse { results, ..Default::default() }))
}
