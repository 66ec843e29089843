//! DescribeConfigs (key 32): every setting with its value, where it comes from, its type and its
//! synonyms. Terraform, Connect and consoles compare by it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use ringlog_config::{
    ConfigEntry, ConfigSource, describe_broker, describe_client_metrics, describe_cluster,
    describe_group, describe_topic,
};
use ringlog_metadata::{ConfigResource, ResourceType};
use ringlog_types::{ErrorCode, validate_topic_name};
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};

use crate::answers::Answer;
use crate::request::Request;
use crate::shard::Shard;

/// What the client wants to know besides values.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
    /// Version 0 says whether a value is the default, later ones where it comes from.
    is_default: bool,
}

/// An error for one resource, with Kafka's words for it.
type Refusal = (ErrorCode, String);

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeConfigsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let detail = Detail {
        synonyms: asked.include_synonyms,
        documentation: asked.include_documentation,
        is_default: request.version == 0,
    };
    let resources = without_repeats(asked.resources);
    let results = resources.iter().map(|resource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match entries(&shard, resource) {
            Ok(entries) => {
                result.configs = entries.into_iter().map(|entry| row(entry, detail)).collect();
            }
            Err((error, message)) => {
                result.error_code = error.code();
                result.error_message = Some(message.into());
            }
        }
        result
    });
    request.respond(&DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

/// Each resource once, with all the keys that are asked of it, so that an answer has nothing twice.
fn without_repeats(
    resources: Vec<DescribeConfigsResource<'_>>,
) -> Vec<DescribeConfigsResource<'_>> {
    let mut places = HashMap::with_capacity(resources.len());
    let mut distinct: Vec<DescribeConfigsResource<'_>> = Vec::with_capacity(resources.len());
    for resource in resources {
        let name = (resource.resource_type, resource.resource_name.clone());
        let place = *places.entry(name).or_insert(distinct.len());
        match distinct.get_mut(place) {
            None => distinct.push(resource),
            Some(first) => {
                first.configuration_keys = match (
                    first.configuration_keys.take().filter(|keys| !keys.is_empty()),
                    resource.configuration_keys.filter(|keys| !keys.is_empty()),
                ) {
                    (Some(mut keys), Some(more)) => {
                        keys.extend(more);
                        Some(keys)
                    }
                    _ => None,
                };
            }
        }
    }
    distinct
}

fn entries(
    shard: &Shard,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<ConfigEntry>, Refusal> {
    let keys: Option<Vec<&str>> =
        resource.configuration_keys.as_ref().map(|keys| keys.iter().map(|key| &**key).collect());
    // Kafka's admin client sends an empty list when it wants all of them.
    let keys = keys.as_deref().filter(|keys| !keys.is_empty());
    let name = &*resource.resource_name;
    let image = shard.image.borrow();
    let config = shard.config.borrow();
    match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => {
            if let Err(invalid) = validate_topic_name(name) {
                let message = format!("Topic name is invalid: {invalid}");
                return Err((ErrorCode::InvalidTopicException, message));
            }
            if image.topic(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            let overrides = image.configs(&ConfigResource::topic(name));
            Ok(describe_topic(&config, &overrides, keys))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe_cluster(&config, keys)),
        Some(ResourceType::Broker) => {
            let node_id = config.node_id;
            if name.parse() != Ok(node_id) {
                let message = format!(
                    "Unexpected broker id, expected {node_id} or empty string, but received {name}"
                );
                return Err((ErrorCode::InvalidRequest, message));
            }
            Ok(describe_broker(&config, keys))
        }
        Some(ResourceType::Group) => {
            let overrides = image.configs(&ConfigResource::new(ResourceType::Group, name));
            Ok(describe_group(&overrides, keys))
        }
        Some(ResourceType::ClientMetrics) => {
            let resource = ConfigResource::new(ResourceType::ClientMetrics, name);
            Ok(describe_client_metrics(&image.configs(&resource), keys))
        }
        _ => {
            let message = format!("Unsupported resource type: {}", resource.resource_type);
            Err((ErrorCode::InvalidRequest, message))
        }
    }
}

fn row(entry: ConfigEntry, detail: Detail) -> DescribeConfigsResourceResult<'static> {
    let synonyms = match detail.synonyms {
        true => entry.synonyms,
        false => Vec::new(),
    };
    DescribeConfigsResourceResult {
        is_default: detail.is_default && entry.source == ConfigSource::DefaultConfig,
        name: entry.name.into(),
        value: entry.value.map(Cow::Owned),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        is_sensitive: entry.is_sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name.into(),
                value: synonym.value.map(Cow::Owned),
                source: synonym.source.code(),
            })
            .collect(),
        config_type: entry.config_type.code(),
        documentation: detail.documentation.then_some(Cow::Borrowed(entry.documentation)),
    }
}
