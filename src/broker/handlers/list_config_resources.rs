//! ListConfigResources (key 74): what has settings that can be described (KIP-1142). Version 0
//! knows only subscriptions to clients' metrics.

use std::collections::HashSet;
use std::rc::Rc;

use ringlog_metadata::ResourceType;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::list_config_resources_request::ListConfigResourcesRequest;
use ringlog_wire::messages::list_config_resources_response::{
    ConfigResource, ListConfigResourcesResponse,
};

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

const EVERY_TYPE: [ResourceType; 5] = [
    ResourceType::Topic,
    ResourceType::Broker,
    ResourceType::BrokerLogger,
    ResourceType::ClientMetrics,
    ResourceType::Group,
];

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<ListConfigResourcesRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let failed = |error: ErrorCode| {
        let error_code = error.code();
        request.respond(&ListConfigResourcesResponse { error_code, ..Default::default() })
    };
    if !request.authorize(shard.node.authorizer, Operation::DescribeConfigs, Resource::Cluster) {
        return failed(ErrorCode::ClusterAuthorizationFailed);
    }
    let types: Option<Vec<ResourceType>> = match asked.resource_types.as_slice() {
        _ if request.version == 0 => Some(vec![ResourceType::ClientMetrics]),
        [] => Some(EVERY_TYPE.to_vec()),
        codes => codes.iter().map(|&code| ResourceType::from_code(code)).collect(),
    };
    let Some(mut types) = types else {
        return failed(ErrorCode::UnsupportedVersion);
    };
    // A type that is asked for many times is listed once.
    let mut seen = HashSet::new();
    types.retain(|resource_type| seen.insert(resource_type.code()));
    let mut config_resources = Vec::new();
    for resource_type in types {
        for resource_name in names(&shard, resource_type) {
            let (resource_name, resource_type) = (resource_name.into(), resource_type.code());
            config_resources.push(ConfigResource { resource_name, resource_type });
        }
    }
    request.respond(&ListConfigResourcesResponse { config_resources, ..Default::default() })
}

fn names(shard: &Shard, resource_type: ResourceType) -> Vec<String> {
    let image = shard.image();
    match resource_type {
        ResourceType::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            image.brokers().map(|broker| broker.id.to_string()).collect()
        }
        _ => image
            .config_resources()
            .filter(|resource| resource.resource_type == resource_type.code())
            .map(|resource| resource.name.to_string())
            .collect(),
    }
}
