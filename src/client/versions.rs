//! Which version of each API a broker and this client have in common.

use ringlog_wire::messages::api_versions_response::ApiVersionsResponse;
use ringlog_wire::{ApiKey, Message};

use crate::error::ClientError;

/// Kafka 4.3 has fewer keys than this; what a broker lists beyond is of no use to us.
const API_KEYS_MAX: usize = 128;

/// The ranges that a broker offers.
#[derive(Debug, Clone)]
pub(crate) struct Versions {
    /// By API key: lowest and highest version.
    ranges: Vec<Option<(i16, i16)>>,
}

impl Versions {
    pub(crate) fn from_response(response: &ApiVersionsResponse<'_>) -> Versions {
        let mut ranges = vec![None; API_KEYS_MAX];
        for api in &response.api_keys {
            if let Some(range) = usize::try_from(api.api_key).ok().and_then(|k| ranges.get_mut(k)) {
                *range = Some((api.min_version, api.max_version));
            }
        }
        Versions { ranges }
    }

    /// The highest version of `M` that both sides have.
    pub(crate) fn choose<'a, M: Message<'a>>(&self, address: &str) -> Result<i16, ClientError> {
        let offered = usize::try_from(M::API_KEY).ok().and_then(|key| *self.ranges.get(key)?);
        if let Some((min, max)) = offered {
            let version = max.min(M::MAX_VERSION);
            if version >= min && version >= M::MIN_VERSION {
                return Ok(version);
            }
        }
        Err(ClientError::UnsupportedApi {
            address: address.to_owned(),
            api: ApiKey::from_number(M::API_KEY).map_or("?", ApiKey::name),
            ours: format!("{} to {}", M::MIN_VERSION, M::MAX_VERSION),
        })
    }
}
