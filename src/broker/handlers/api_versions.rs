//! ApiVersions (key 18): what this node serves. The first request of nearly every client.
//!
//! The response header is version 0 in every version (KIP-511), and a request of an unknown
//! version is answered in version 0 with error 35 and the range of ApiVersions itself.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use ringlog_wire::{ApiKey, ListenerKind};

use crate::handlers::{APIS, ApiRow, Work, api_row};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// From this version features whose lowest level is 0 are listed (KAFKA-17011).
const VERSION_FEATURES_FROM_ZERO: i16 = 4;
/// From this version a client says what software it is.
const VERSION_SOFTWARE: i16 = 3;
/// Software names are for the log, which gets this much of them.
const SOFTWARE_BYTES_MAX: usize = 100;

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    Work::Done(answer(shard, &request))
}

fn answer(shard: &Rc<Shard>, request: &Request) -> Answer {
    let asked = match request.decode::<ApiVersionsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if request.version >= VERSION_SOFTWARE {
        let (name, version) = (&asked.client_software_name, &asked.client_software_version);
        if !is_software_name(name) || !is_software_name(version) {
            let error_code = ErrorCode::InvalidRequest.code();
            return request.respond(&ApiVersionsResponse { error_code, ..Default::default() });
        }
        let software = format!("{} {}", beginning(name), beginning(version));
        request.peer.set_software(software);
    }
    let (listener, version) = (request.peer.listener, request.version);
    if let Some(body) = shard.api_versions_cache.get(listener, version) {
        return request.respond_encoded(&body);
    }
    match request.encode_body(&response(shard, listener, version)) {
        Ok(body) => {
            shard.api_versions_cache.put(listener, version, body.clone());
            request.respond_encoded(&body)
        }
        Err(close) => close,
    }
}

/// Answers a version this node does not know.
pub(crate) fn unsupported_version(request: &Request) -> Answer {
    let own = api_row(ApiKey::ApiVersions).into_iter();
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: own.map(range).collect(),
        ..Default::default()
    };
    request.respond_in_version(&response, 0)
}

fn range(row: &ApiRow) -> ApiVersion {
    ApiVersion {
        api_key: row.api.number(),
        min_version: row.version_min,
        max_version: row.version_max,
    }
}

fn response(shard: &Shard, listener: ListenerKind, version: i16) -> ApiVersionsResponse<'static> {
    let image = shard.image();
    let supported = ringlog_metadata::SUPPORTED_FEATURES.iter();
    let supported = supported
        .filter(|feature| version >= VERSION_FEATURES_FROM_ZERO || feature.min_level > 0)
        .map(|feature| SupportedFeatureKey {
            name: feature.name.into(),
            min_version: feature.min_level,
            max_version: feature.max_level,
        });
    let finalized = image.offered_features();
    let finalized = finalized.map(|(name, level)| FinalizedFeatureKey {
        name: name.into(),
        max_version_level: level,
        min_version_level: level,
    });
    ApiVersionsResponse {
        api_keys: APIS.iter().filter(|row| row.api.is_taken_by(listener)).map(range).collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: image.last_offset(),
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}

/// Kafka's pattern `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    name.bytes().all(inner)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().last().is_some_and(|last| last.is_ascii_alphanumeric())
}

/// As much of a name as the log gets; it has no characters but ASCII.
fn beginning(name: &str) -> &str {
    &name[..name.len().min(SOFTWARE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_pattern() {
        for good in ["apache-kafka-java", "4.3.0", "x", "librdkafka", &"x".repeat(101)] {
            assert!(is_software_name(good), "{good}");
        }
        assert_eq!(beginning(&"x".repeat(101)).len(), 100);
        for bad in ["", "-x", "x-", "a b", "a\n"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
