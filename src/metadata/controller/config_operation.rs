//! What IncrementalAlterConfigs can do to one setting, and how it edits lists.

use std::collections::HashSet;

use ringlog_config::{ConfigType, broker_setting, topic_setting};
use ringlog_types::ErrorCode;

use super::api_error::ApiError;
use crate::image::ResourceType;

/// The change of one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    pub(super) fn from_code(code: i8) -> Option<Operation> {
        Some(match code {
            0 => Operation::Set,
            1 => Operation::Delete,
            2 => Operation::Append,
            3 => Operation::Subtract,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Set => "SET",
            Operation::Delete => "DELETE",
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        }
    }
}

/// Only lists can be appended to and subtracted from.
pub(super) fn check_list(
    kind: ResourceType,
    key: &str,
    operation: Operation,
) -> Result<(), ApiError> {
    let setting = match kind {
        ResourceType::Topic => topic_setting(key),
        ResourceType::Broker => broker_setting(key),
        _ => None,
    };
    if setting.is_some_and(|setting| setting.kind == ConfigType::List) {
        return Ok(());
    }
    let name = operation.name();
    let message = match kind {
        ResourceType::Broker => format!(
            "Config value {} is not allowed for config key: {key}",
            name.to_ascii_lowercase()
        ),
        _ => format!("Can't {name} to key {key} because its type is not LIST."),
    };
    Err(ApiError::new(ErrorCode::InvalidConfig, message))
}

/// The list after the items of `value` were added or taken out.
pub(super) fn edit_list(old: String, operation: Operation, value: &str) -> String {
    let items = |text: &str| -> Vec<String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    };
    let (mut list, named) = (items(&old), items(value));
    match operation {
        Operation::Append => {
            let mut present: HashSet<String> = list.iter().cloned().collect();
            list.extend(named.into_iter().filter(|item| present.insert(item.clone())));
        }
        _ => {
            let gone: HashSet<String> = named.into_iter().collect();
            list.retain(|item| !gone.contains(item));
        }
    }
    list.join(",")
}
