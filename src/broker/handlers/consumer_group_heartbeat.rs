//! ConsumerGroupHeartbeat (key 68): a member of a consumer group (KIP-848) joins, says that it is
//! there, leaves, and hears what it is assigned. Version 1 has regular expressions, and ids that
//! members make themselves.

use std::rc::Rc;

use ringlog_coordinator::group::{Beater, Viewer};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ringlog_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator, serves_consumer_groups};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<ConsumerGroupHeartbeatRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let group_id = asked.group_id.to_string();
    if let Err(error) = check(&shard, &request, &asked) {
        return request.respond(&failed(error));
    }
    let (body, version) = (request.body.clone(), request.version);
    let client_id = request.client_id().into_owned();
    let client_host = format!("/{}", request.peer.address.ip());
    let random = (u128::from(shard.rt.random_u64()) << 64) | u128::from(shard.rt.random_u64());
    let may_describe = request.authorize_topics(shard.node.authorizer, Operation::Describe);
    let beaten = on_coordinator(&shard, &group_id, move |groups| {
        let asked: ConsumerGroupHeartbeatRequest = decode_again(&body, version);
        let viewer = Viewer::new(may_describe);
        let (client_id, client_host) = (&client_id, &client_host);
        let beater = Beater { client_id, client_host, version, random, viewer };
        groups.decide(|groups, now| groups.consumer_heartbeat(&asked, &beater, now)).committed()
    });
    match beaten.await {
        Ok(answer) => request.respond(&answer),
        // Kafka's error for an assignment that does not fit into a batch.
        Err(ErrorCode::RecordListTooLarge) => {
            request.respond(&failed(ErrorCode::UnknownServerError))
        }
        Err(error) => request.respond(&failed(error)),
    }
}

fn check(
    shard: &Shard,
    request: &Request,
    asked: &ConsumerGroupHeartbeatRequest<'_>,
) -> Result<(), ErrorCode> {
    if !serves_consumer_groups(shard) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let authorizer = shard.node.authorizer;
    if !request.authorize(authorizer, Operation::Read, Resource::Group(&asked.group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    for topic in asked.subscribed_topic_names.iter().flatten() {
        if !request.authorize(authorizer, Operation::Describe, Resource::Topic(topic)) {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
    }
    Ok(())
}

fn failed(error: ErrorCode) -> ConsumerGroupHeartbeatResponse<'static> {
    ConsumerGroupHeartbeatResponse { error_code: error.code(), ..Default::default() }
}
