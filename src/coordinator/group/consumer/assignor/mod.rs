//! Server-side assignors (KIP-848): from what members subscribe to, to what each of them shall own.
//!
//! All are deterministic: the same members, subscriptions and assignments give the same result.
//! Racks are not looked at, as in Kafka 4.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringlog_types::Uuid;

use super::partitions::Partitions;

/// An assignor of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Everyone gets as many partitions as the others, and keeps what it has.
    Uniform,
    /// Everyone gets a run of partitions of each topic.
    Range,
}

impl Assignor {
    /// All there are.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// As clients and settings call it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The one of this name. Settings may also say which class of Kafka's it is.
    pub fn by_name(name: &str) -> Option<Assignor> {
        const PACKAGE: &str = "org.apache.kafka.coordinator.group.assignor.";
        match name.strip_prefix(PACKAGE).unwrap_or(name) {
            "uniform" | "UniformAssignor" => Some(Assignor::Uniform),
            "range" | "RangeAssignor" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// Who shall own what; there is an entry for every member.
    pub(super) fn assign(
        self,
        members: &[Subscriber<'_>],
        partition_counts: &BTreeMap<Uuid, i32>,
    ) -> BTreeMap<Rc<str>, Partitions> {
        match self {
            Assignor::Uniform => uniform::assign(members, partition_counts),
            Assignor::Range => range::assign(members, partition_counts),
        }
    }
}

/// A member, as assignors see it.
#[derive(Debug, Clone)]
pub(super) struct Subscriber<'a> {
    pub(super) id: Rc<str>,
    pub(super) instance_id: Option<Rc<str>>,
    /// Topics that exist.
    pub(super) topics: Rc<BTreeSet<Uuid>>,
    /// What it was promised before.
    pub(super) before: &'a Partitions,
}
