//! SyncGroup (key 14): the leader brings the assignment, and everyone gets a part of it.

use std::rc::Rc;

use ringlog_coordinator::group::Deferred;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::sync_group_request::SyncGroupRequest;
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let group_id = match request.decode::<SyncGroupRequest>() {
        Ok(asked) => asked.group_id.to_string(),
        Err(close) => return close,
    };
    let failed =
        |error: ErrorCode| SyncGroupResponse { error_code: error.code(), ..Default::default() };
    if !request.authorize(shard.node.authorizer, Operation::Read, Resource::Group(&group_id)) {
        return request.respond(&failed(ErrorCode::GroupAuthorizationFailed));
    }
    let (body, version) = (request.body.clone(), request.version);
    // A SyncGroup may wait for minutes, and holds nothing meanwhile.
    request.held.release();
    let request = request.without_body();
    let synced = on_coordinator(&shard, &group_id, move |groups| {
        let asked: SyncGroupRequest = decode_again(&body, version);
        groups.ask(|groups, reply_to, now| groups.sync(&asked, reply_to, now)).answered()
    });
    match synced.await {
        Ok(Deferred::Sync(answer)) => request.respond(&answer),
        Ok(Deferred::Join(_)) => unreachable!("a SyncGroup request is answered as one"),
        Err(error) => request.respond(&failed(error)),
    }
}
