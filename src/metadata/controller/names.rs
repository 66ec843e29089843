//! Topic names that differ only by `.` and `_`.
//!
//! Kafka's metric names turn one into the other, so two such topics may not exist side by side.

use std::sync::Arc;

use imbl::OrdMap;
use ringlog_types::{ErrorCode, InvalidTopicName, validate_topic_name};

use super::api_error::ApiError;
use crate::image::{Delta, Image};

/// The topics in which the coordinators keep their state.
const INTERNAL_TOPICS: [&str; 3] =
    ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Whether clients should hide the topic by default (`Topic.isInternal`).
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// The topics whose names have a `.` or `_`, by name with `_` for both. Logs written by others
/// may hold several of one kind; any of them serves to refuse a further one.
#[derive(Debug, Clone, Default)]
pub(crate) struct CollidingNames {
    by_unified: OrdMap<String, Arc<str>>,
}

fn unified(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

impl CollidingNames {
    pub(crate) fn of(image: &Image) -> CollidingNames {
        let mut names = CollidingNames::default();
        for topic in image.topics() {
            names.insert(&topic.name);
        }
        names
    }

    pub(crate) fn insert(&mut self, name: &Arc<str>) {
        if let Some(unified) = unified(name) {
            self.by_unified.insert(unified, name.clone());
        }
    }

    pub(crate) fn update(&mut self, image: &Image, delta: &Delta) {
        for (name, _) in &delta.removed_topics {
            if let Some(unified) = unified(name) {
                self.by_unified.remove(&unified);
            }
        }
        for topic in delta.topics.iter().filter_map(|id| image.topic_by_id(*id)) {
            self.insert(&topic.name);
        }
    }

    /// Another topic that `name` would collide with.
    pub(crate) fn other(&self, name: &str) -> Option<&Arc<str>> {
        let existing = self.by_unified.get(&unified(name)?)?;
        (**existing != *name).then_some(existing)
    }
}

/// Checks a topic's name, in Kafka's words.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let reason = match validate_topic_name(name) {
        Ok(()) => return Ok(()),
        Err(InvalidTopicName::Empty) => "the empty string is not allowed".to_owned(),
        Err(InvalidTopicName::Dots) => format!("'{name}' is not allowed"),
        Err(InvalidTopicName::TooLong) => {
            format!("the length of '{name}' is longer than the max allowed length 249")
        }
        Err(InvalidTopicName::IllegalCharacter) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, \
             '.', '_' and '-'"
        ),
    };
    let message = format!("Topic name is invalid: {reason}");
    Err(ApiError::new(ErrorCode::InvalidTopicException, message))
}
