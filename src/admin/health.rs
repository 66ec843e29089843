//! Whether the node is ready to serve, and if not, why.
//!
//! A reason has a key, so that whoever gave it can take it back. Reasons and their texts are
//! bounded: they can name paths, but never carry what a client sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// More reasons than this are not kept; the node is unready anyhow.
const REASONS_MAX: usize = 64;
/// Longer texts are cut.
const REASON_BYTES_MAX: usize = 500;

#[derive(Debug)]
pub(crate) struct Health {
    reasons: Mutex<BTreeMap<String, String>>,
}

impl Health {
    pub(crate) const STARTING: &'static str = "starting";

    pub(crate) fn starting() -> Health {
        let health = Health { reasons: Mutex::default() };
        health.set(Health::STARTING, "the node is starting");
        health
    }

    pub(crate) fn set(&self, key: &str, reason: &str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < REASONS_MAX || reasons.contains_key(key) {
            let end = reason.floor_char_boundary(REASON_BYTES_MAX);
            reasons.insert(key.to_owned(), reason[..end].to_owned());
        }
    }

    pub(crate) fn clear(&self, key: &str) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Why the node is not ready; empty when it is.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_the_absence_of_reasons() {
        let health = Health::starting();
        health.set("dir /a", "offline");
        health.set("dir /a", "still offline");
        health.clear(Health::STARTING);
        assert_eq!(health.reasons(), ["still offline"]);
        health.clear("dir /a");
        assert!(health.reasons().is_empty());
    }

    #[test]
    fn reasons_are_bounded_in_number_and_length() {
        let health = Health::starting();
        for n in 0..200 {
            health.set(&n.to_string(), &"ä".repeat(1000));
        }
        assert_eq!(health.reasons().len(), REASONS_MAX);
        assert!(health.reasons().iter().all(|reason| reason.len() <= REASON_BYTES_MAX));
    }
}
