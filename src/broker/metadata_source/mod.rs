//! Where the stream of metadata records comes from, and who answers requests for changes.
//!
//! A question is one of Kafka's own requests, encoded, whoever the source is: a controller in
//! this process decides on it here, one elsewhere is sent it as it is.

pub(crate) mod embedded;

use bytes::Bytes;
use ringlog_metadata::MutationQuota;
use ringlog_runtime::WorkOwner;
use ringlog_types::ErrorCode;
use ringlog_wire::{ApiKey, EncodeError};

use crate::network::throttle::Mutations;

/// Up to so many bytes of a request are decided on in a few milliseconds: 200 topics to create.
const LIGHT_BYTES_MAX: usize = 4 << 10;

/// A request that the metadata source answers.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    /// Decoded once before, by whoever asks.
    pub(crate) body: Bytes,
    /// In whose name it is decided on, if that takes long.
    pub(crate) work_owner: WorkOwner,
    /// How many partitions the asker may create and delete; `None` if that is not limited.
    pub(crate) mutations: Option<Mutations>,
}

impl MutationQuota for Asked {
    fn charge(&self, partitions: usize) -> bool {
        self.mutations.as_ref().is_none_or(|mutations| mutations.charge(partitions))
    }
}

impl Asked {
    /// The same, to see what would come of it: nothing is charged.
    pub(crate) fn on_trial(&self) -> Asked {
        let mutations = self.mutations.as_ref().map(Mutations::on_trial);
        Asked { mutations, ..self.clone() }
    }

    /// Whether a decision on it takes so little time that it is made on the shard.
    pub(crate) fn is_light(&self) -> bool {
        self.body.len() <= LIGHT_BYTES_MAX
    }
}

/// Why there is no answer of the source.
#[derive(Debug)]
pub(crate) enum AskError {
    /// Nothing was changed.
    Refused(ErrorCode),
    /// The version of the request has no form for the answer.
    Unencodable(EncodeError),
}
