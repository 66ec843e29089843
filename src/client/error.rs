//! What can go wrong, worded for the person in front of the terminal.

use std::fmt;
use std::time::Duration;

use ringlog_types::ErrorCode;
use ringlog_wire::{ApiKey, DecodeError, EncodeError};

/// An error of the client. Cheap enough to be given to every record of a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No broker could be reached.
    #[error("cannot reach a broker: {attempts}; is one running, and is the address right?")]
    NoBroker {
        /// Every address with what happened there.
        attempts: String,
    },
    /// A connection could not be made or broke.
    #[error("{address}: {reason}")]
    Connection {
        /// Host and port.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Something took too long.
    #[error("{what} took longer than {} ms", .after.as_millis())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// A broker answered with an error.
    #[error("{context}: {}", kafka_text(*.code, .message.as_deref()))]
    Kafka {
        /// What was asked for.
        context: String,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// An answer that is not what the protocol says.
    #[error("{address}: the answer to {api} cannot be read ({error}); is this a Kafka broker?")]
    Decode {
        /// Host and port.
        address: String,
        /// Which API.
        api: &'static str,
        /// What is wrong.
        error: DecodeError,
    },
    /// A request that has no form in the version of the broker.
    #[error("{api}: {error}")]
    Encode {
        /// Which API.
        api: &'static str,
        /// What is wrong.
        error: EncodeError,
    },
    /// The broker does not have an API, or only in versions that we do not speak.
    #[error("{address} does not serve {api} in a version that this client speaks ({ours})")]
    UnsupportedApi {
        /// Host and port.
        address: String,
        /// Which API.
        api: &'static str,
        /// Our versions.
        ours: String,
    },
    /// Record batches from a broker that are damaged.
    #[error("{partition}, offset {offset}: the batch is damaged: {reason}")]
    CorruptBatch {
        /// Topic and partition.
        partition: String,
        /// Where it was read.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// Something that the caller asked for cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// The producer or consumer is closed.
    #[error("already closed")]
    Closed,
}

impl ClientError {
    pub(crate) fn connection(address: &str, reason: impl fmt::Display) -> ClientError {
        ClientError::Connection { address: address.to_owned(), reason: reason.to_string() }
    }

    /// An error from a code of an answer; `None` when the code says that all is well.
    pub(crate) fn from_code(
        code: i16,
        message: Option<&str>,
        context: impl FnOnce() -> String,
    ) -> Option<ClientError> {
        if code == 0 {
            return None;
        }
        let known = ErrorCode::from_code(code);
        let message = match (known, message) {
            (None, _) => Some(format!("error code {code}, which this client does not know")),
            (Some(_), message) => message.filter(|text| !text.is_empty()).map(bounded),
        };
        let code = known.unwrap_or(ErrorCode::UnknownServerError);
        Some(ClientError::Kafka { context: context(), code, message })
    }

    /// The code of a broker's error.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Kafka { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Kafka { code, .. } => code.is_retriable(),
            ClientError::Connection { .. }
            | ClientError::NoBroker { .. }
            | ClientError::Timeout { .. } => true,
            _ => false,
        }
    }

    /// Whether fresh metadata may be what helps.
    pub(crate) fn asks_for_metadata(&self) -> bool {
        let codes = [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId,
            ErrorCode::InconsistentTopicId,
            ErrorCode::LeaderNotAvailable,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::FencedLeaderEpoch,
            ErrorCode::NotController,
            ErrorCode::KafkaStorageError,
            ErrorCode::ReplicaNotAvailable,
        ];
        match self {
            ClientError::Kafka { code, .. } => codes.contains(code),
            ClientError::Connection { .. } | ClientError::Timeout { .. } => true,
            _ => false,
        }
    }
}

/// The texts of brokers are shown; they are cut where they get long.
const MESSAGE_BYTES_MAX: usize = 1_000;

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

pub(crate) fn api_name(api: ApiKey) -> &'static str {
    api.name()
}

fn kafka_text(code: ErrorCode, message: Option<&str>) -> String {
    let mut text = code.name().to_owned();
    if let Some(message) = message {
        text.push_str(&format!(" ({message})"));
    }
    if let Some(advice) = advice(code) {
        text.push_str(&format!("; {advice}"));
    }
    text
}

/// What a person can do about a code whose name does not say it.
fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopicOrPartition => {
            "create it with `ringlog topic create`, or see `ringlog topic list`"
        }
        ErrorCode::TopicAlreadyExists => "`ringlog topic describe` shows it",
        ErrorCode::InvalidTopicException => {
            "a name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"
        }
        ErrorCode::InvalidReplicationFactor => "it cannot exceed the number of brokers",
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "raise the topic's max.message.bytes, or lower the batch size"
        }
        ErrorCode::InvalidTimestamp => {
            "the record's time is outside message.timestamp.before.max.ms and .after.max.ms"
        }
        ErrorCode::NotEnoughReplicas => "fewer replicas are in sync than min.insync.replicas",
        ErrorCode::KafkaStorageError => "the partition's disk failed: see the broker's log",
        ErrorCode::OffsetOutOfRange => "that offset does not exist, or was deleted by retention",
        ErrorCode::SaslAuthenticationFailed | ErrorCode::IllegalSaslState => {
            "the broker wants a login, which this client does not have yet"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_and_what_to_do() {
        let error = ClientError::from_code(3, Some(""), || "topic a".into()).unwrap();
        assert_eq!(
            error.to_string(),
            "topic a: UNKNOWN_TOPIC_OR_PARTITION; \
             create it with `ringlog topic create`, or see `ringlog topic list`"
        );
        assert!(error.is_retriable() && error.asks_for_metadata());
        let error = ClientError::from_code(42, Some("no such thing"), || "x".into()).unwrap();
        assert_eq!(error.to_string(), "x: INVALID_REQUEST (no such thing)");
        assert!(!error.is_retriable());
        let error = ClientError::from_code(9_999, None, || "x".into()).unwrap();
        assert!(error.to_string().contains("9999"));
        assert_eq!(ClientError::from_code(0, Some("fine"), || "x".into()), None);
    }

    #[test]
    fn a_brokers_text_is_bounded() {
        let text = "ü".repeat(5_000);
        let error = ClientError::from_code(42, Some(&text), || "x".into()).unwrap();
        assert!(error.to_string().len() < 1_100);
    }
}
