//! Coordinators: state machines over the partitions of internal topics. Pure: time, randomness and
//! the log come from outside.
//!
//! A coordinator takes a request and the time and returns an [`Outcome`]: the answer, the records
//! that make it true, and answers to requests that came before. Whoever runs it appends the records
//! to the coordinator's partition, gives them back with their offsets to be replayed, and lets the
//! answers go when the records are committed. After a restart the same replay makes the same state.
//!
//! Invariants: an answer never leaves before the records it rests on are committed; what a read
//! such as OffsetFetch sees is committed; a machine keeps at most one deadline for each [`Timers`]
//! key.

mod coordinator;
mod error;
pub mod group;
mod outcome;
mod timers;
pub mod transaction;
mod versioned;

pub use coordinator::Coordinator;
pub use error::CoordinatorError;
pub use outcome::{Effects, Now, Outcome, Record, ReplyTo};
pub use timers::Timers;
pub use versioned::Versioned;
