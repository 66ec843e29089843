//! Settings of groups and of subscriptions to clients' metrics: checked, and kept for those who
//! will read them.

use ringlog_config::{BrokerConfig, ConfigError, RawSettings, check_client_metrics, check_group};
use ringlog_types::ErrorCode;

use super::api_error::ApiError;
use crate::image::ResourceType;

/// Checks all settings of a resource of these kinds.
pub(super) fn check_other(
    broker: &BrokerConfig,
    kind: ResourceType,
    wanted: &RawSettings,
) -> Result<(), ApiError> {
    let checked = match kind {
        ResourceType::Group => check_group(broker, wanted),
        _ => check_client_metrics(wanted),
    };
    checked.map_err(|error| {
        let code = match error {
            ConfigError::Request(_) => ErrorCode::InvalidRequest,
            _ => ErrorCode::InvalidConfig,
        };
        ApiError::new(code, error.to_string())
    })
}
