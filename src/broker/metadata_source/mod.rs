//! Where the stream of metadata records comes from, and who answers requests for changes.
//!
//! What is asked is one of Kafka's own requests, encoded, whoever the source is: a controller in
//! this process decides on it here, one elsewhere is sent it as it is.

pub(crate) mod embedded;

use bytes::Bytes;
use ringlog_types::ErrorCode;
use ringlog_wire::{ApiKey, EncodeError};

/// A request that the metadata source answers.
pub(crate) struct Asked {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    /// Decoded once before, by whoever asks.
    pub(crate) body: Bytes,
}

/// Why there is no answer of the source.
#[derive(Debug)]
pub(crate) enum AskError {
    /// Nothing was changed.
    Refused(ErrorCode),
    /// The version of the request has no form for the answer.
    Unencodable(EncodeError),
}
