//! DescribeConfigs (key 32): every setting with its value, where it comes from, its type and its
//! synonyms. Terraform, Connect and consoles compare by it.
//!
//! A few bytes that name a resource are answered with kilobytes, whether it exists or not (groups
//! and subscriptions do not have to). So the memory of the answer is claimed before it is written,
//! and beyond [`ANSWER_BYTES_MAX`] resources are refused.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::{
    BrokerConfig, CLIENT_METRICS_SETTINGS, ConfigEntry, ConfigSource, GROUP_SETTINGS,
    TOPIC_SETTINGS, broker_settings, describe_broker, describe_client_metrics, describe_cluster,
    describe_group, describe_topic,
};
use ringlog_metadata::{ConfigResource, Image, ResourceType};
use ringlog_types::{ErrorCode, validate_topic_name};
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use ringlog_wire::{Body, EncodeError, Message, Writer};

use crate::authorizer::Operation;
use crate::handlers::authorized_configs;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// The largest answer (in bytes) but for its last resource: 10,000 topics with all synonyms.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The words that resources beyond that are refused with.
const TOO_MUCH: &str = "The answer is larger than 64 MiB without this one; ask for fewer at once.";
/// About what the value of a setting takes in an answer, or its synonyms, or its documentation.
const ROW_BYTES: usize = 128;
/// Up to so many keys of a resource, only their rows are made.
const ROWS_MAX: usize = 64;
/// The other requests of the shard get their turn after so many bytes: a millisecond at most.
const PAUSE_BYTES: usize = 32 << 10;
/// From this version lengths are compact and there are tags.
const VERSION_FLEXIBLE: i16 = 4;

/// The settings that are described, as they were when the request came.
struct Known {
    image: Image,
    config: Arc<BrokerConfig>,
}

/// The columns that the client wants to know besides values.
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
    request.held.claim_answer(&shard.network.memory, answer_bytes(&resources, detail)).await;
    let known = Known { image: shard.image().clone(), config: shard.config() };
    match encode(&shard, &request, &known, &resources, detail).await {
        Ok(body) => request.respond_with_body(&body),
        Err(error) => request.unencodable(&error),
    }
}

/// About what the answer takes.
fn answer_bytes(resources: &[DescribeConfigsResource<'_>], detail: Detail) -> usize {
    let rows = resources.iter().map(|resource| match &resource.configuration_keys {
        Some(keys) if (1..=ROWS_MAX).contains(&keys.len()) => keys.len(),
        _ => match ResourceType::from_code(resource.resource_type) {
            Some(ResourceType::Topic) => TOPIC_SETTINGS.len(),
            Some(ResourceType::Broker) => broker_settings().count(),
            Some(ResourceType::Group) => GROUP_SETTINGS.len(),
            _ => CLIENT_METRICS_SETTINGS.len(),
        },
    });
    let parts = 1 + usize::from(detail.synonyms) + usize::from(detail.documentation);
    rows.sum::<usize>().saturating_mul(parts * ROW_BYTES).min(ANSWER_BYTES_MAX)
}

/// Encodes the results one by one, because a result is several times larger before it is, and lets
/// other requests of the shard go on in between.
async fn encode(
    shard: &Shard,
    request: &Request,
    known: &Known,
    resources: &[DescribeConfigsResource<'_>],
    detail: Detail,
) -> Result<Body, EncodeError> {
    let flexible = request.version >= VERSION_FLEXIBLE;
    let mut body = Writer::new();
    body.throttle_time_ms(0);
    body.length(resources.len(), flexible)?;
    let mut paused_at = 0;
    for resource in resources {
        let described = match body.len() {
            ..ANSWER_BYTES_MAX => {
                may_describe(shard, request, resource).and_then(|()| entries(known, resource))
            }
            _ => Err((ErrorCode::PolicyViolation, TOO_MUCH.to_owned())),
        };
        append(&mut body, request.version, result(resource, described, detail))?;
        if body.len() - paused_at >= PAUSE_BYTES {
            paused_at = body.len();
            shard.rt.yield_now().await;
        }
    }
    if flexible {
        body.no_tags();
    }
    Ok(body.into_body())
}

fn may_describe(
    shard: &Shard,
    request: &Request,
    resource: &DescribeConfigsResource<'_>,
) -> Result<(), Refusal> {
    let (resource_type, name) = (resource.resource_type, &resource.resource_name);
    let describe = Operation::DescribeConfigs;
    authorized_configs::check(shard, request, describe, resource_type, name)
        .map_err(|(error, words)| (error, words.to_owned()))
}

/// Appends one result: what an answer of it alone has between the count and the end.
fn append(
    body: &mut Writer,
    version: i16,
    result: DescribeConfigsResult<'_>,
) -> Result<(), EncodeError> {
    let mut alone = Writer::new();
    let response = DescribeConfigsResponse { results: vec![result], ..Default::default() };
    response.encode(&mut alone, version)?;
    let alone = alone.into_bytes();
    // `throttle_time_ms`; a count of one; in flexible versions the tags of the answer.
    let (before, after) = if version >= VERSION_FLEXIBLE { (4 + 1, 1) } else { (4 + 4, 0) };
    body.raw(&alone[before..alone.len() - after]);
    Ok(())
}

fn result<'a>(
    resource: &DescribeConfigsResource<'a>,
    described: Result<Vec<ConfigEntry>, Refusal>,
    detail: Detail,
) -> DescribeConfigsResult<'a> {
    let mut result = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    match described {
        Ok(entries) => {
            result.configs = entries.into_iter().map(|entry| row(entry, detail)).collect();
        }
        Err((error, message)) => {
            result.error_code = error.code();
            result.error_message = Some(message.into());
        }
    }
    result
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

/// The entries of a resource that are asked for.
fn entries(
    known: &Known,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<ConfigEntry>, Refusal> {
    // Kafka's admin client sends an empty list when it wants all of them.
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
    let Some(keys) = keys else { return all_entries(known, resource, None) };
    let keys: HashSet<&str> = keys.iter().map(|key| &**key).collect();
    if keys.len() <= ROWS_MAX {
        let keys: Vec<&str> = keys.into_iter().collect();
        return all_entries(known, resource, Some(&keys));
    }
    // Each row would be looked for among all of the keys.
    let mut entries = all_entries(known, resource, None)?;
    entries.retain(|entry| keys.contains(&*entry.name));
    Ok(entries)
}

fn all_entries(
    known: &Known,
    resource: &DescribeConfigsResource<'_>,
    keys: Option<&[&str]>,
) -> Result<Vec<ConfigEntry>, Refusal> {
    let name = &*resource.resource_name;
    let Known { image, config } = known;
    let refuse = |code, message: &str| Err((code, message.to_owned()));
    match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => {
            if let Err(invalid) = validate_topic_name(name) {
                let message = format!("Topic name is invalid: {invalid}");
                return Err((ErrorCode::InvalidTopicException, message));
            }
            if image.topic(name).is_none() {
                return refuse(ErrorCode::UnknownTopicOrPartition, "");
            }
            let overrides = image.configs(&ConfigResource::topic(name));
            Ok(describe_topic(config, &overrides, keys))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe_cluster(config, keys)),
        Some(ResourceType::Broker) => {
            let node_id = config.node_id;
            if name.parse() != Ok(node_id) {
                let message = format!(
                    "Unexpected broker id, expected {node_id} or empty string, but received {name}"
                );
                return Err((ErrorCode::InvalidRequest, message));
            }
            Ok(describe_broker(config, keys))
        }
        Some(ResourceType::Group) if name.is_empty() => {
            refuse(ErrorCode::InvalidRequest, "Group name must not be empty")
        }
        Some(ResourceType::Group) => {
            let overrides = image.configs(&ConfigResource::new(ResourceType::Group, name));
            Ok(describe_group(config, &overrides, keys))
        }
        Some(ResourceType::ClientMetrics) if name.is_empty() => {
            refuse(ErrorCode::InvalidRequest, "Client metrics subscription name must not be empty")
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
