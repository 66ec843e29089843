//! OffsetCommit (key 8): how far a group has read.
//!
//! Topics that do not exist, or that the client may not read, are answered here; the rest is the
//! coordinator's. The order of the request is kept.

use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestTopic,
};
use ringlog_wire::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// From this version on topics are named by id (KIP-848's follow-up, KAFKA-17510).
const TOPIC_ID_VERSION: i16 = 10;

/// A topic of the request, as this node knows it.
struct Checked {
    /// The name and id of the topic, if there is one.
    found: Option<(String, Uuid)>,
    /// One for each partition: `None` goes to the coordinator.
    errors: Vec<Option<ErrorCode>>,
}

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<OffsetCommitRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let group = Resource::Group(&asked.group_id);
    let may_read = request.authorize(shard.node.authorizer, Operation::Read, group);
    let checked: Vec<Checked> = asked
        .topics
        .iter()
        .map(|topic| match may_read {
            true => check(&shard, &request, topic),
            false => refused(topic, ErrorCode::GroupAuthorizationFailed),
        })
        .collect();
    let is_open = |error: &Option<ErrorCode>| error.is_none();
    let has_work = checked.iter().any(|topic| topic.errors.iter().any(is_open));
    let committed = if has_work || (may_read && asked.topics.is_empty()) {
        Some(commit(&shard, &request, &asked, &checked).await)
    } else {
        None
    };
    request.respond(&response(&asked, &checked, committed.as_ref()))
}

async fn commit(
    shard: &Rc<Shard>,
    request: &Request,
    asked: &OffsetCommitRequest<'_>,
    checked: &[Checked],
) -> Result<OffsetCommitResponse<'static>, ErrorCode> {
    let (body, version) = (request.body.clone(), request.version);
    let wanted: Vec<Option<(String, Uuid, Vec<bool>)>> = checked
        .iter()
        .map(|topic| {
            let (name, id) = topic.found.clone()?;
            Some((name, id, topic.errors.iter().map(Option::is_none).collect()))
        })
        .collect();
    let committed = on_coordinator(shard, &asked.group_id, move |groups| {
        let mut asked: OffsetCommitRequest = decode_again(&body, version);
        let topics = std::mem::take(&mut asked.topics).into_iter().zip(wanted);
        asked.topics = topics
            .filter_map(|(mut topic, wanted)| {
                let (name, id, is_wanted) = wanted?;
                (topic.name, topic.topic_id) = (name.into(), id);
                let mut is_wanted = is_wanted.into_iter();
                topic.partitions.retain(|_| is_wanted.next().unwrap_or(false));
                Some(topic)
            })
            .collect();
        groups.decide(|groups, now| groups.commit_offsets(&asked, version, now)).committed()
    });
    committed.await.map_err(|error| match error {
        ErrorCode::RecordListTooLarge => ErrorCode::InvalidCommitOffsetSize,
        error => error,
    })
}

fn check(shard: &Shard, request: &Request, topic: &OffsetCommitRequestTopic<'_>) -> Checked {
    let is_by_id = request.version >= TOPIC_ID_VERSION;
    let entry = match is_by_id {
        true => shard.replicas.topics.by_id(&topic.topic_id),
        false => shard.replicas.topics.by_name(&topic.name),
    };
    let name = entry.as_ref().map_or(&*topic.name, |entry| &*entry.name);
    let may_read = request.authorize(shard.node.authorizer, Operation::Read, Resource::Topic(name));
    let Some(entry) = entry.filter(|_| may_read) else {
        let error = match (may_read, is_by_id) {
            (false, false) => ErrorCode::TopicAuthorizationFailed,
            (_, true) => ErrorCode::UnknownTopicId,
            (true, false) => ErrorCode::UnknownTopicOrPartition,
        };
        return refused(topic, error);
    };
    let errors = topic.partitions.iter().map(|partition| {
        let is_there = entry.partition(partition.partition_index).is_some();
        (!is_there).then_some(ErrorCode::UnknownTopicOrPartition)
    });
    Checked { errors: errors.collect(), found: Some((entry.name.to_string(), entry.id)) }
}

fn refused(topic: &OffsetCommitRequestTopic<'_>, error: ErrorCode) -> Checked {
    Checked { found: None, errors: vec![Some(error); topic.partitions.len()] }
}

/// Puts the coordinator's answers where the request has their partitions.
fn response<'a>(
    asked: &OffsetCommitRequest<'a>,
    checked: &[Checked],
    committed: Option<&Result<OffsetCommitResponse<'static>, ErrorCode>>,
) -> OffsetCommitResponse<'a> {
    let answers = match committed {
        Some(Ok(response)) => {
            let topics = response.topics.iter();
            topics.flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect()
        }
        Some(Err(_)) | None => Vec::new(),
    };
    let all = match committed {
        Some(Err(error)) => error.code(),
        Some(Ok(_)) | None => ErrorCode::UnknownServerError.code(),
    };
    let mut answers = answers.into_iter();
    let topics = asked.topics.iter().zip(checked).map(|(topic, checked)| {
        let partitions = topic.partitions.iter().zip(&checked.errors);
        let partitions = partitions.map(|(partition, error)| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: match error {
                Some(error) => error.code(),
                None => answers.next().unwrap_or(all),
            },
        });
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
