//! DeleteTopics, by name or by id.

use std::collections::HashSet;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use ringlog_wire::messages::remove_topic_record::RemoveTopicRecord;

use super::api_error::ApiError;
use super::mutation_quota::{MutationQuota, charge};
use super::{Controller, Decision};
use crate::record::MetadataRecord;

/// A topic as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Named {
    Name(String),
    Id(Uuid),
    Both(String, Uuid),
    Neither,
}

impl Controller {
    /// Answers DeleteTopics 0–6, which arrived in `version`, of one who may change as much as
    /// `quota` says.
    pub fn delete_topics(
        &self,
        request: &DeleteTopicsRequest<'_>,
        version: i16,
        quota: &dyn MutationQuota,
    ) -> Decision<DeleteTopicsResponse<'static>> {
        let wanted = named(request);
        let mut seen = HashSet::new();
        let repeated: HashSet<Named> =
            wanted.iter().filter(|name| !seen.insert(*name)).cloned().collect();
        let mut told = HashSet::new();
        let mut deleted = HashSet::new();
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for name in wanted {
            let outcome = if repeated.contains(&name) {
                if !told.insert(name.clone()) {
                    continue;
                }
                let message = match name {
                    Named::Id(_) => "Duplicate topic id.",
                    _ => "Duplicate topic name.",
                };
                Err(ApiError::new(ErrorCode::InvalidRequest, message))
            } else {
                let found = self.check_deletion(&name, version, &mut deleted);
                found.and_then(|id| charge(quota, self.partition_count(id)).map(|()| id))
            };
            if let Ok(topic_id) = outcome {
                let record = RemoveTopicRecord { topic_id };
                records.push(MetadataRecord::RemoveTopic(record));
            }
            responses.push(self.result(name, outcome));
        }
        let response = DeleteTopicsResponse { responses, ..Default::default() };
        Decision::new(response, records, "DeleteTopics")
    }

    fn partition_count(&self, topic_id: Uuid) -> usize {
        self.image.topic_by_id(topic_id).map_or(0, |topic| topic.partitions.len())
    }

    fn check_deletion(
        &self,
        name: &Named,
        version: i16,
        deleted: &mut HashSet<Uuid>,
    ) -> Result<Uuid, ApiError> {
        if !self.config.delete_topic_enable {
            // Before version 3 clients do not know the proper code.
            let code = match version {
                ..3 => ErrorCode::InvalidRequest,
                3.. => ErrorCode::TopicDeletionDisabled,
            };
            return Err(ApiError::new(code, "Topic deletion is disabled."));
        }
        let id = match name {
            Named::Name(name) => self.image.topic(name).map(|topic| topic.id).ok_or_else(|| {
                let message = "This server does not host this topic-partition.";
                ApiError::new(ErrorCode::UnknownTopicOrPartition, message)
            })?,
            Named::Id(id) => {
                self.image.topic_by_id(*id).map(|topic| topic.id).ok_or_else(|| {
                    let message = "This server does not host this topic ID.";
                    ApiError::new(ErrorCode::UnknownTopicId, message)
                })?
            }
            Named::Both(..) => {
                let message = "You may not specify both topic name and topic id.";
                return Err(ApiError::new(ErrorCode::InvalidRequest, message));
            }
            Named::Neither => {
                let message = "Neither topic name nor id were specified.";
                return Err(ApiError::new(ErrorCode::InvalidRequest, message));
            }
        };
        if !deleted.insert(id) {
            let message = "The provided topic name maps to an ID that was already supplied.";
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        Ok(id)
    }

    fn result(
        &self,
        named: Named,
        outcome: Result<Uuid, ApiError>,
    ) -> DeletableTopicResult<'static> {
        let (name, topic_id) = match (named, &outcome) {
            (Named::Name(name), outcome) => {
                (Some(name), outcome.as_ref().copied().unwrap_or(Uuid::ZERO))
            }
            (Named::Id(id), _) => {
                (self.image.topic_by_id(id).map(|topic| topic.name.to_string()), id)
            }
            (Named::Both(name, id), _) => (Some(name), id),
            (Named::Neither, _) => (None, Uuid::ZERO),
        };
        let (error_code, error_message) = super::api_error::code_and_message(outcome.map(|_| ()));
        DeletableTopicResult { name: name.map(Into::into), topic_id, error_code, error_message }
    }
}

/// Up to version 5 names stand in a list of their own.
fn named(request: &DeleteTopicsRequest<'_>) -> Vec<Named> {
    let by_name = request.topic_names.iter().map(|name| Named::Name(name.to_string()));
    let by_either =
        request.topics.iter().map(|topic| match (&topic.name, topic.topic_id.is_zero()) {
            (Some(name), true) => Named::Name(name.to_string()),
            (None, false) => Named::Id(topic.topic_id),
            (Some(name), false) => Named::Both(name.to_string(), topic.topic_id),
            (None, true) => Named::Neither,
        });
    by_name.chain(by_either).collect()
}
