//! ListGroups (key 16): there are no groups yet.

use std::rc::Rc;

use ringlog_wire::messages::list_groups_request::ListGroupsRequest;
use ringlog_wire::messages::list_groups_response::ListGroupsResponse;

use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(_shard: &Rc<Shard>, request: Request) -> Work {
    Work::Done(match request.decode::<ListGroupsRequest>() {
        Ok(_) => request.respond(&ListGroupsResponse::default()),
        Err(close) => close,
    })
}
