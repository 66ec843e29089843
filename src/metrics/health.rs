//! Whether the node is ready to serve, and if not, why.
//!
//! A reason has a key, so that whoever gave it can take it back. Reasons and their texts are
//! bounded: they can name paths, but never carry what a client sent.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;

/// More reasons than this are not kept; the node is unready anyhow.
const REASONS_MAX: usize = 64;
/// Longer texts are cut.
const REASON_BYTES_MAX: usize = 500;

/// Shards write here and must not wait for the HTTP thread, which reads: each change replaces all.
#[derive(Debug)]
pub(crate) struct Health {
    reasons: ArcSwap<BTreeMap<String, String>>,
}

impl Health {
    pub(crate) const STARTING: &'static str = "starting";

    pub(crate) fn starting() -> Health {
        let health = Health { reasons: ArcSwap::default() };
        health.set(Health::STARTING, "the node is starting");
        health
    }

    pub(crate) fn set(&self, key: &str, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        if self.reasons.load().get(key).is_some_and(|known| known == reason) {
            return;
        }
        self.reasons.rcu(|reasons| {
            let mut reasons = BTreeMap::clone(reasons);
            if reasons.len() < REASONS_MAX || reasons.contains_key(key) {
                reasons.insert(key.to_owned(), reason.to_owned());
            }
            reasons
        });
    }

    pub(crate) fn clear(&self, key: &str) {
        if !self.reasons.load().contains_key(key) {
            return;
        }
        self.reasons.rcu(|reasons| {
            let mut reasons = BTreeMap::clone(reasons);
            reasons.remove(key);
            reasons
        });
    }

    /// Why the node is not ready; empty when it is.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.reasons.load().values().cloned().collect()
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
