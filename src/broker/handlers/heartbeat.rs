//! Heartbeat (key 12): a member is there, and hears whether its group is as it knows it.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::heartbeat_request::HeartbeatRequest;
use ringlog_wire::messages::heartbeat_response::HeartbeatResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let group_id = match request.decode::<HeartbeatRequest>() {
        Ok(asked) => asked.group_id.to_string(),
        Err(close) => return close,
    };
    let error =
        if request.authorize(shard.node.authorizer, Operation::Read, Resource::Group(&group_id)) {
            let (body, version) = (request.body.clone(), request.version);
            let beaten = on_coordinator(&shard, &group_id, move |groups| {
                let asked: HeartbeatRequest = decode_again(&body, version);
                groups.decide(|groups, now| groups.heartbeat(&asked, now)).committed()
            });
            beaten.await.unwrap_or_else(|error| error)
        } else {
            ErrorCode::GroupAuthorizationFailed
        };
    request.respond(&HeartbeatResponse { error_code: error.code(), ..Default::default() })
}
