//! Bugs that a simulation plants, by which a test sees whether it would find one of its kind.
//!
//! Code that has one asks for it where the mistake would be made:
//! `runtime.planted(PlantedBug::…)`. On a machine of a [`Simulation`](super::Simulation) that
//! carries the bug the answer is yes; the real backends always say no. So a planted bug needs no
//! setting and no field, and nothing outside of a simulation can reach it.

/// A mistake that code can be told to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// The storage counts what it appends with `flush=sync` as durable before its write returns.
    AcknowledgeBeforeWritten,
    /// The storage cuts off the end of a log without lowering the recovery point on disk first.
    KeepRecoveryPoint,
    /// The storage trusts durable writes on a file system that ignores them.
    TrustDurableWrites,
    /// Recovery takes the next bytes that look like a batch for one of the log, also in the payload
    /// of a damaged one.
    SearchPayloads,
    /// The scrub takes every checksum for right.
    ScrubBelievesChecksums,
}
