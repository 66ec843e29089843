//! An error code with Kafka's words for it.

use std::borrow::Cow;

use ringlog_types::ErrorCode;

/// Why one item of a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into() }
    }

    /// The message as responses carry it; an empty one is null.
    pub(crate) fn message(self) -> Option<Cow<'static, str>> {
        (!self.message.is_empty()).then_some(Cow::Owned(self.message))
    }
}

/// The code and message of an outcome: zero and none for success.
pub(crate) fn code_and_message(outcome: Result<(), ApiError>) -> (i16, Option<Cow<'static, str>>) {
    match outcome {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => (error.code.code(), error.message()),
    }
}
