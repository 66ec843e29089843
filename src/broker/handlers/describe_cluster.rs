//! DescribeCluster (key 60): the cluster's id and its brokers, for admin clients (KIP-700).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ringlog_wire::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};

use crate::answers::Answer;
use crate::request::Request;
use crate::shard::Shard;

/// The endpoint type that this node has: brokers, not controllers (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeClusterRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if asked.endpoint_type != ENDPOINT_BROKERS {
        return request.respond(&DescribeClusterResponse {
            error_code: ErrorCode::UnsupportedEndpointType.code(),
            error_message: Some("This node has only broker endpoints.".into()),
            endpoint_type: asked.endpoint_type,
            ..Default::default()
        });
    }
    let brokers = shard.node.brokers().into_iter();
    let brokers = brokers.map(|broker| DescribeClusterBroker {
        broker_id: broker.id,
        host: broker.host.into(),
        port: broker.port,
        rack: broker.rack.map(Into::into),
        is_fenced: false,
    });
    request.respond(&DescribeClusterResponse {
        cluster_id: shard.node.cluster_id().into(),
        controller_id: shard.node.config.node_id,
        brokers: brokers.collect(),
        cluster_authorized_operations: i32::MIN,
        ..Default::default()
    })
}
