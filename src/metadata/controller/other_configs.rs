//! Settings of groups and of subscriptions to clients' metrics: checked, and kept for those who
//! will read them.

use ringlog_config::{CLIENT_METRICS_SETTINGS, GROUP_SETTINGS, RawSettings};
use ringlog_types::ErrorCode;

use super::api_error::ApiError;
use crate::image::ResourceType;

/// Checks all settings of a resource of these kinds.
pub(super) fn check_other(kind: ResourceType, wanted: &RawSettings) -> Result<(), ApiError> {
    // The codes are Kafka's own.
    let (rows, what, code) = match kind {
        ResourceType::Group => (GROUP_SETTINGS, "group", ErrorCode::InvalidConfig),
        _ => (CLIENT_METRICS_SETTINGS, "client metrics", ErrorCode::InvalidRequest),
    };
    let refuse = |message: String| Err(ApiError::new(code, message));
    for (key, value) in wanted {
        let Some(setting) = rows.iter().find(|setting| setting.name == key) else {
            return refuse(format!("Unknown {what} config name: {key}"));
        };
        if let Err(error) = setting.parse(value) {
            return refuse(error.to_string());
        }
    }
    Ok(())
}
