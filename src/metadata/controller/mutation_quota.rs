//! How many partitions one who asks may create and delete in a while (KIP-599).

use ringlog_types::ErrorCode;

use super::api_error::ApiError;

/// What is left of the `controller_mutation_rate` of the one who asks.
pub trait MutationQuota {
    /// Charges partitions that are to be created or deleted. Returns whether that may be: who has
    /// nothing left is charged nothing.
    fn charge(&self, partitions: usize) -> bool;
}

/// Of the node itself, and of clients without a quota.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

impl MutationQuota for Unlimited {
    fn charge(&self, _partitions: usize) -> bool {
        true
    }
}

/// Charges, or refuses in Kafka's words.
pub(super) fn charge(quota: &dyn MutationQuota, partitions: usize) -> Result<(), ApiError> {
    match quota.charge(partitions) {
        true => Ok(()),
        false => {
            let words = "The throttling quota has been exceeded.";
            Err(ApiError::new(ErrorCode::ThrottlingQuotaExceeded, words))
        }
    }
}
