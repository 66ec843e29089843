//! Numbers that name something. Each kind is a type of its own, so that none is taken for another.
//!
//! Kafka's messages hold plain integers; they become these where a message is read, and plain again
//! where one is written. Files and records are messages in that sense.

use std::fmt;
use std::str::FromStr;

/// The `node.id` of a broker or controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl BrokerId {
    /// Where a message names no broker, as for a partition without a leader.
    pub const NONE: BrokerId = BrokerId(-1);

    /// The ids of a list in a message.
    pub fn all_of(numbers: &[i32]) -> Vec<BrokerId> {
        numbers.iter().copied().map(BrokerId).collect()
    }

    /// The list for a message.
    pub fn numbers(ids: &[BrokerId]) -> Vec<i32> {
        ids.iter().map(|id| id.0).collect()
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BrokerId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<BrokerId, Self::Err> {
        text.parse().map(BrokerId)
    }
}
