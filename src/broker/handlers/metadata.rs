//! Metadata (key 3): brokers, topics, leaders. A topic that is asked for by name may be created
//! by being asked for (`auto.create.topics.enable`).
//!
//! Answers without errors come from a cache keyed by the request's own bytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

use ringlog_metadata::is_internal_topic;
use ringlog_types::{BrokerId, ErrorCode, Uuid, validate_topic_name};
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringlog_wire::{Body, Message};

use crate::authorizer::{Operation, Resource};
use crate::handlers::forwarded::{self, said};
use crate::handlers::{authorized_operations, authorized_topics};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::offline;
use crate::replicas::topics::TopicEntry;
use crate::shard::Shard;

/// Up to this version an empty list of topics means all of them; later null does.
const VERSION_EMPTY_IS_ALL: i16 = 0;
/// From this version the request says whether topics may be created; before, they may.
const VERSION_ALLOW_CREATION: i16 = 4;

/// Topics that are looked at in a turn of the shard.
const TURN_TOPICS: u32 = 256;
/// And partitions of a topic that count for one.
const TURN_PARTITIONS: usize = 4;

/// Up to this size, what is sent is not counted: many answers share it, as a rule.
const SHARED_BYTES_MAX: usize = 16 << 10;

/// From this version a topic may be asked for by id (KIP-516). The two versions before have the
/// fields for it, but the answer to them cannot be without a name.
const VERSION_TOPIC_IDS: i16 = 12;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    // Answers are kept only as clients get them that may see everything.
    let is_cached = shard.node.authorizer.allows_all();
    if is_cached && let Some(body) = shard.metadata_cache.get(request.version, &request.body) {
        return respond(&request, &body);
    }
    let mut asked = match request.decode::<MetadataRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if let Some(topics) = &mut asked.topics {
        let is_named =
            |topic: &MetadataRequestTopic<'_>| topic.name.is_some() && topic.topic_id == Uuid::ZERO;
        let is_legal = request.version >= VERSION_TOPIC_IDS || topics.iter().all(is_named);
        remove_repeats(topics);
        if !is_legal {
            return request.respond(&refused(topics));
        }
    }
    let may_create = request.version < VERSION_ALLOW_CREATION || asked.allow_auto_topic_creation;
    let creates = may_create && shard.node.config.auto_create_topics_enable;
    if creates {
        create_missing(&shard, &request, &asked).await;
    }
    let response = response(&shard, &request, &asked, creates).await;
    let has_errors = response.topics.iter().any(|topic| topic.error_code != 0);
    match request.encode_body(&response) {
        Ok(body) => {
            if is_cached && !has_errors {
                shard.metadata_cache.put(request.version, &request.body, body.clone());
            }
            respond(&request, &body)
        }
        Err(close) => close,
    }
}

/// A large body is counted for each answer, kept for others or not: that ends before the answer is
/// sent if somebody sees to it.
fn respond(request: &Request, body: &Body) -> Answer {
    match body.bytes.len() <= SHARED_BYTES_MAX {
        true => request.respond_encoded(body),
        false => request.respond_with_body(body),
    }
}

/// Leaves each topic once, as Kafka does, so that an answer has no more than the cluster has.
fn remove_repeats(topics: &mut Vec<MetadataRequestTopic<'_>>) {
    let mut seen = HashSet::with_capacity(topics.len());
    topics.retain(|topic| {
        let id = if topic.name.is_some() { Uuid::ZERO } else { topic.topic_id };
        seen.insert((topic.name.clone(), id))
    });
}

/// `INVALID_REQUEST` for all of the topics, as Kafka's `MetadataRequest.getErrorResponse` has it.
fn refused<'a>(topics: &[MetadataRequestTopic<'a>]) -> MetadataResponse<'a> {
    let topics = topics.iter().map(|topic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        topic_authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    });
    MetadataResponse {
        topics: topics.collect(),
        cluster_authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    }
}

/// Creates the topics that are asked for by a legal name and do not exist.
async fn create_missing(shard: &Rc<Shard>, request: &Request, asked: &MetadataRequest<'_>) {
    let topics = asked.topics.iter().flatten();
    let missing: Vec<CreatableTopic<'_>> = topics
        .filter_map(|topic| topic.name.as_deref())
        .filter(|name| {
            validate_topic_name(name).is_ok()
                // The coordinators' own have other settings than the broker's defaults, and a
                // number of partitions that cannot be taken back.
                && !is_internal_topic(name)
                && shard.replicas.topics.by_name(name).is_none()
                && authorized_topics::may(shard, request, Operation::Describe, name)
                && may_create(shard, request, name)
        })
        .map(|name| CreatableTopic {
            name: Cow::Borrowed(name),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        })
        .collect();
    if !missing.is_empty() {
        // A failure shows in the response: the topic is still missing.
        create(shard, missing).await;
    }
}

/// Creates topics with the broker's defaults; those that cannot be created stay missing.
async fn create(shard: &Rc<Shard>, topics: Vec<CreatableTopic<'_>>) {
    let asked = CreateTopicsRequest { topics, ..Default::default() };
    let Ok(answered) = forwarded::ask(shard, &asked).await else { return };
    let created: CreateTopicsResponse<'_> = said(&answered, CreateTopicsRequest::MAX_VERSION);
    for topic in created.topics {
        let (name, reason) = (&*topic.name, topic.error_message.unwrap_or_default());
        match ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => tracing::info!(topic = name, "created by being asked for"),
            // Another request was first.
            ErrorCode::TopicAlreadyExists => {}
            error if shard.refused_topics.is_news(name, shard.rt.now()) => {
                tracing::warn!(topic = name, %error, %reason, "asked for and not created");
            }
            error => tracing::debug!(topic = name, %error, "asked for and not created"),
        }
    }
}

/// A principal that may create topics of every name need not be asked about one.
fn may_create(shard: &Shard, request: &Request, name: &str) -> bool {
    request.authorize(shard.node.authorizer, Operation::Create, Resource::Cluster)
        || authorized_topics::may(shard, request, Operation::Create, name)
}

/// `creates` says whether topics are created by being asked for.
async fn response<'a>(
    shard: &Shard,
    request: &Request,
    asked: &MetadataRequest<'a>,
    creates: bool,
) -> MetadataResponse<'a> {
    let brokers = shard.node.brokers();
    let mut response = MetadataResponse {
        cluster_id: Some(shard.node.cluster_id().into()),
        controller_id: shard.node.config.node_id.0,
        cluster_authorized_operations: authorized_operations::of_cluster(
            shard,
            request,
            asked.include_cluster_authorized_operations,
        ),
        ..Default::default()
    };
    response.brokers = brokers
        .into_iter()
        .map(|broker| MetadataResponseBroker {
            node_id: broker.id.0,
            host: broker.host.into(),
            port: broker.port,
            rack: broker.rack.map(Into::into),
        })
        .collect();
    let operations = |name: &str| match asked.include_topic_authorized_operations {
        true => authorized_operations::of_topic(shard, request, name),
        false => authorized_operations::OMITTED,
    };
    let may_describe =
        |name: &str| authorized_topics::may(shard, request, Operation::Describe, name);
    let is_forbidden = |name: &str| {
        let is_missing = || shard.replicas.topics.by_name(name).is_none();
        !may_describe(name) || (creates && is_missing() && !may_create(shard, request, name))
    };
    let mut steps = shard.rt.steps(TURN_TOPICS);
    match &asked.topics {
        Some(topics) if !(topics.is_empty() && request.version <= VERSION_EMPTY_IS_ALL) => {
            for topic in topics {
                let partitions = response.topics.last().map_or(0, |topic| topic.partitions.len());
                steps.steps(1 + partitions / TURN_PARTITIONS).await;
                response.topics.push(match &topic.name {
                    Some(name) if is_forbidden(name) => forbidden(Some(name.clone()), Uuid::ZERO),
                    Some(name) => named(shard, name, operations(name)),
                    None => match shard.replicas.topics.by_id(&topic.topic_id) {
                        // Ids are no secrets, names are.
                        Some(found) if !may_describe(&found.name) => forbidden(None, found.id),
                        Some(found) => described(shard, &found, operations(&found.name)),
                        None => unknown(topic.topic_id),
                    },
                });
            }
        }
        // Of all topics those are left out that may not be described.
        _ => {
            let topics = shard.replicas.topics.all();
            for topic in topics.iter().filter(|topic| may_describe(&topic.name)) {
                response.topics.push(described(shard, topic, operations(&topic.name)));
                steps.steps(1 + topic.partitions.len() / TURN_PARTITIONS).await;
            }
        }
    }
    response
}

fn forbidden(name: Option<Cow<'_, str>>, topic_id: Uuid) -> MetadataResponseTopic<'_> {
    MetadataResponseTopic {
        error_code: ErrorCode::TopicAuthorizationFailed.code(),
        name,
        topic_id,
        topic_authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    }
}

fn named(shard: &Shard, name: &str, operations: i32) -> MetadataResponseTopic<'static> {
    match shard.replicas.topics.by_name(name) {
        Some(topic) => described(shard, &topic, operations),
        None => MetadataResponseTopic {
            error_code: match validate_topic_name(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition.code(),
                Err(_) => ErrorCode::InvalidTopicException.code(),
            },
            name: Some(name.to_string().into()),
            topic_authorized_operations: operations,
            ..Default::default()
        },
    }
}

fn unknown(id: Uuid) -> MetadataResponseTopic<'static> {
    MetadataResponseTopic {
        error_code: ErrorCode::UnknownTopicId.code(),
        topic_id: id,
        name: None,
        topic_authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    }
}

fn described(shard: &Shard, topic: &TopicEntry, operations: i32) -> MetadataResponseTopic<'static> {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.to_string().into()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions
            .map(|(index, partition)| {
                let leader = offline::leader(&shard.replicas, topic, index);
                MetadataResponsePartition {
                    error_code: leader.error.code(),
                    partition_index: index as i32,
                    leader_id: leader.id.0,
                    leader_epoch: partition.leader_epoch,
                    replica_nodes: BrokerId::numbers(&partition.replicas),
                    isr_nodes: BrokerId::numbers(&partition.isr),
                    offline_replicas: BrokerId::numbers(&leader.offline_replicas),
                }
            })
            .collect(),
        topic_authorized_operations: operations,
    }
}
