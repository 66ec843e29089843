//! Why a request of a consumer group is refused, in Kafka's words: clients show them.

use ringlog_types::ErrorCode;

/// An error with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::InvalidRequest, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::GroupIdNotFound, message)
    }

    pub(crate) fn unknown_member(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::UnknownMemberId, message)
    }
}
