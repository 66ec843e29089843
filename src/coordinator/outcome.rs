//! What a decision of a coordinator consists of.

use bytes::Bytes;
use ringlog_types::TimestampMs;

/// The time of a decision, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that is never set: timeouts go by it.
    pub monotonic_ms: u64,
    /// Milliseconds since the Unix epoch: what records are stamped with.
    pub wall_ms: TimestampMs,
}

/// Names a request whose answer comes later. The number is its owner's, and is not reused while an
/// answer is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// A record of an internal topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key: the type's number, and the message.
    pub key: Bytes,
    /// The version's number, and the message; `None` deletes the key.
    pub value: Option<Bytes>,
}

/// What has to happen for a decision to be true: all of `records` are appended, as one batch; then
/// `answers` go out. `A` is the answer of a request that waited, `T` what the machine wants to hear
/// when the records are committed or have failed.
#[derive(Debug)]
#[must_use = "a decision that is not carried out was not made"]
pub struct Effects<A, T> {
    /// To be appended and replayed, in this order, or none of them.
    pub records: Vec<Record>,
    /// Answers to earlier requests, to be given when `records` are committed.
    pub answers: Vec<(ReplyTo, A)>,
    /// To be given back when `records` are committed, or have failed.
    pub then: Option<T>,
}

impl<A, T> Default for Effects<A, T> {
    fn default() -> Self {
        Effects { records: Vec::new(), answers: Vec::new(), then: None }
    }
}

/// A decision: the answer to the request that asked for it, and what makes it true.
#[derive(Debug)]
#[must_use = "a decision that is not carried out was not made"]
pub struct Outcome<R, A, T> {
    /// For the request; it goes out with the other answers.
    pub response: R,
    /// What makes it true.
    pub effects: Effects<A, T>,
}

impl<R, A, T> Outcome<R, A, T> {
    /// An answer that changes nothing.
    pub fn unchanged(response: R) -> Self {
        Outcome { response, effects: Effects::default() }
    }
}
