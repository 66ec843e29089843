//! DescribeCluster (key 60): the cluster's id and its brokers, for admin clients (KIP-700).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ringlog_wire::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};

use crate::handlers::authorized_operations;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// The endpoint type that this node has: brokers, not controllers (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeClusterRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if asked.endpoint_type != ENDPOINT_BROKERS {
        // As in `AuthHelper.computeDescribeClusterResponse`.
        let (error, message) = match asked.endpoint_type {
            ENDPOINT_CONTROLLERS => (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
                 type CONTROLLER"
                    .to_owned(),
            ),
            other => {
                (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))
            }
        };
        return request.respond(&DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(message.into()),
            endpoint_type: ENDPOINT_BROKERS,
            ..Default::default()
        });
    }
    let brokers = shard.node.brokers().into_iter();
    let brokers = brokers.map(|broker| DescribeClusterBroker {
        broker_id: broker.id.0,
        host: broker.host.into(),
        port: broker.port,
        rack: broker.rack.map(Into::into),
        is_fenced: false,
    });
    request.respond(&DescribeClusterResponse {
        cluster_id: shard.node.cluster_id().into(),
        controller_id: shard.node.config.node_id.0,
        brokers: brokers.collect(),
        cluster_authorized_operations: authorized_operations::of_cluster(
            &shard,
            &request,
            asked.include_cluster_authorized_operations,
        ),
        ..Default::default()
    })
}
