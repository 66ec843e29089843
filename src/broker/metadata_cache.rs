//! Encoded answers to Metadata and ApiVersions, kept until the metadata changes.
//!
//! Clients ask for the same topics in the same words every few minutes, and by the thousand after
//! a restart. The key is the request itself, byte for byte, so a hit costs a hash and no
//! decoding; any published change empties the cache.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use ringlog_wire::{Body, ListenerKind};

/// Most answers kept, and most bytes of requests and answers together.
const ANSWERS_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
struct Answers {
    by_request: HashMap<(i16, Bytes), Body>,
    bytes: usize,
}

/// The answers of one shard.
#[derive(Default)]
pub(crate) struct MetadataCache {
    answers: RefCell<Answers>,
}

impl MetadataCache {
    /// The encoded body of the answer to this request body, if it is known.
    pub(crate) fn get(&self, version: i16, request: &Bytes) -> Option<Body> {
        self.answers.borrow().by_request.get(&(version, request.clone())).cloned()
    }

    /// Keeps an answer. When the cache is full it starts over: the askers are few and repeat
    /// themselves, so anything cleverer would not be noticed.
    pub(crate) fn put(&self, version: i16, request: &Bytes, answer: Body) {
        let size = request.len() + answer.bytes.len();
        if size > BYTES_MAX / 4 {
            return;
        }
        let mut answers = self.answers.borrow_mut();
        if answers.by_request.len() >= ANSWERS_MAX || answers.bytes + size > BYTES_MAX {
            *answers = Answers::default();
        }
        // The request is copied: its bytes may be a small part of a large receive buffer.
        let key = (version, Bytes::copy_from_slice(request));
        if answers.by_request.insert(key, answer).is_none() {
            answers.bytes += size;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.answers.borrow_mut() = Answers::default();
    }
}

/// How many versions of ApiVersions there are: 0 to 4.
const API_VERSIONS: usize = 5;

/// Encoded answers to ApiVersions, by the kind of listener and by version.
#[derive(Default)]
pub(crate) struct ApiVersionsCache(RefCell<[[Option<Body>; API_VERSIONS]; 2]>);

impl ApiVersionsCache {
    pub(crate) fn get(&self, listener: ListenerKind, version: i16) -> Option<Body> {
        self.0.borrow()[listener as usize][version as usize].clone()
    }

    pub(crate) fn put(&self, listener: ListenerKind, version: i16, body: Body) {
        self.0.borrow_mut()[listener as usize][version as usize] = Some(body);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlog_wire::Writer;

    fn body(bytes: &[u8]) -> Body {
        let mut writer = Writer::new();
        writer.raw(bytes);
        writer.into_body()
    }

    #[test]
    fn answers_are_kept_by_version_and_request_until_cleared() {
        let cache = MetadataCache::default();
        let request = Bytes::from_static(b"all topics");
        cache.put(9, &request, body(b"nine"));
        assert_eq!(cache.get(9, &request), Some(body(b"nine")));
        assert_eq!(cache.get(8, &request), None);
        cache.clear();
        assert_eq!(cache.get(9, &request), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = MetadataCache::default();
        for index in 0..10 * ANSWERS_MAX {
            let request = Bytes::from(index.to_string());
            cache.put(9, &request, body(&[0; 1000]));
            let answers = cache.answers.borrow();
            assert!(answers.by_request.len() <= ANSWERS_MAX && answers.bytes <= BYTES_MAX);
        }
        cache.put(9, &Bytes::from_static(b"huge"), body(&vec![0; BYTES_MAX]));
        assert_eq!(cache.get(9, &Bytes::from_static(b"huge")), None);
    }
}
