//! FindCoordinator (key 10): which broker coordinates a group. The topic that groups are kept in is
//! made by the first who asks.

use std::borrow::Cow;
use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::Message;
use ringlog_wire::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ringlog_wire::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

use crate::authorizer::{Operation, Resource};
use crate::coordinators::GROUP_TOPIC;
use crate::handlers::forwarded::{self, said};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// From this version on several keys are asked for at once (KIP-699).
const BATCHED_VERSION: i16 = 4;
/// From this version on share groups are asked for.
const SHARE_VERSION: i16 = 6;
const CREATE_TIMEOUT_MS: i32 = 30_000;
/// Kafka's own default asks for three, and for fewer where there are fewer brokers.
const REPLICAS_WANTED: i16 = 3;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<FindCoordinatorRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let is_batched = request.version >= BATCHED_VERSION;
    let keys = if is_batched { asked.coordinator_keys.clone() } else { vec![asked.key.clone()] };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        coordinators.push(find(&shard, &request, asked.key_type, key).await);
    }
    if is_batched {
        return request.respond(&FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } =
        coordinators.pop().expect("one key was asked for");
    request.respond(&FindCoordinatorResponse {
        node_id,
        host,
        port,
        error_code,
        // Kafka says NONE in words, too, where there is none.
        error_message: error_message.or(Some(Cow::Borrowed("NONE"))),
        ..Default::default()
    })
}

async fn find<'a>(
    shard: &Rc<Shard>,
    request: &Request,
    key_type: i8,
    key: Cow<'a, str>,
) -> Coordinator<'a> {
    match check(shard, request, key_type, &key).await {
        Ok(()) => {
            let (host, port) = shard.node.advertised();
            let node_id = shard.node.config.node_id.0;
            let (host, port) = (Cow::Owned(host), i32::from(port));
            Coordinator { key, node_id, host, port, ..Default::default() }
        }
        Err(error) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: None,
            ..Default::default()
        },
    }
}

async fn check(
    shard: &Rc<Shard>,
    request: &Request,
    key_type: i8,
    key: &str,
) -> Result<(), ErrorCode> {
    let authorizer = shard.node.authorizer;
    match key_type {
        GROUP => {
            if !request.authorize(authorizer, Operation::Describe, Resource::Group(key)) {
                return Err(ErrorCode::GroupAuthorizationFailed);
            }
            ensure_topic(shard).await
        }
        TRANSACTION => {
            let resource = Resource::TransactionalId(key);
            if !request.authorize(authorizer, Operation::Describe, resource) {
                return Err(ErrorCode::TransactionalIdAuthorizationFailed);
            }
            // There are no transactions yet.
            Err(ErrorCode::CoordinatorNotAvailable)
        }
        SHARE if request.version >= SHARE_VERSION => Err(ErrorCode::InvalidRequest),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// Makes the groups' topic, unless it is there (`AutoTopicCreationManager`).
async fn ensure_topic(shard: &Rc<Shard>) -> Result<(), ErrorCode> {
    if shard.replicas.topics.by_name(GROUP_TOPIC).is_some() {
        return Ok(());
    }
    let config = &shard.node.config;
    let partitions = config.offsets_topic_num_partitions;
    let replication_factor = match config.offsets_topic_replication_factor {
        Some(wanted) => wanted,
        None => REPLICAS_WANTED.min(i16::try_from(shard.node.brokers().len()).unwrap_or(1)),
    };
    let segment_bytes = config.offsets_topic_segment_bytes;
    let setting = |name, value: String| CreatableTopicConfig {
        name: Cow::Borrowed(name),
        value: Some(Cow::Owned(value)),
    };
    let topic = CreatableTopic {
        name: Cow::Borrowed(GROUP_TOPIC),
        num_partitions: partitions,
        replication_factor,
        configs: vec![
            setting("cleanup.policy", "compact".to_owned()),
            setting("compression.type", "producer".to_owned()),
            setting("segment.bytes", segment_bytes.to_string()),
        ],
        ..Default::default()
    };
    let topics = vec![topic];
    let asked = CreateTopicsRequest { topics, timeout_ms: CREATE_TIMEOUT_MS, validate_only: false };
    let answered = forwarded::ask(shard, &asked).await;
    let answered = answered.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
    let created: CreateTopicsResponse<'_> = said(&answered, CreateTopicsRequest::MAX_VERSION);
    match created.topics.first().map(|topic| (topic.error_code, &topic.error_message)) {
        Some((0, _)) => {
            tracing::info!(topic = GROUP_TOPIC, partitions, "created for the first group");
            Ok(())
        }
        // Another request was first.
        Some((code, _)) if code == ErrorCode::TopicAlreadyExists.code() => Ok(()),
        refused => {
            tracing::error!(topic = GROUP_TOPIC, ?refused, "groups cannot be kept");
            Err(ErrorCode::CoordinatorNotAvailable)
        }
    }
}
