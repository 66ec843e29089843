//! What every coordinator is to whoever runs it on its partition.

use ringlog_types::{ErrorCode, Offset};

use crate::error::CoordinatorError;
use crate::outcome::{Effects, Now, Record};

/// A state machine over one partition of an internal topic.
///
/// Its life: every record of the log goes through [`load`](Coordinator::load), then
/// [`loaded`](Coordinator::loaded) is called once. From then on each decision's records are
/// appended as one batch and given back by [`replay`](Coordinator::replay) before the next decision
/// is asked for; when they are committed, [`committed`](Coordinator::committed) and
/// [`continued`](Coordinator::continued) are called, in this order.
///
/// Requests are methods of the machine itself.
pub trait Coordinator: 'static {
    /// What a request that waits is answered in the end.
    type Answer: 'static;
    /// What goes on when a decision's records are committed, or cannot be.
    type Then: 'static;
    /// What it wants to have done outside of its partition.
    type Command: 'static;

    /// Takes in a record of the log, which belongs to a batch that ends before `end_offset`.
    ///
    /// # Errors
    /// If the record cannot be read; the coordinator is of no use then.
    fn load(
        &mut self,
        end_offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        now: Now,
    ) -> Result<(), CoordinatorError>;

    /// All of the log is loaded.
    fn loaded(&mut self, now: Now) -> Effects<Self::Answer, Self::Then>;

    /// Takes in the records of a decision, which were appended as one batch that ends before
    /// `end_offset`.
    fn replay(&mut self, end_offset: Offset, records: &[Record], now: Now);

    /// Everything below `high_watermark` is committed.
    fn committed(&mut self, high_watermark: Offset);

    /// The records of a decision are committed, or have failed with this error.
    fn continued(
        &mut self,
        then: &Self::Then,
        result: Result<(), ErrorCode>,
        now: Now,
    ) -> Effects<Self::Answer, Self::Then>;

    /// What is to be done since the last time this was called. Asked for whenever something was
    /// committed.
    fn commands(&mut self) -> Vec<Self::Command>;

    /// When [`tick`](Coordinator::tick) has something to do, by the monotonic clock.
    fn next_deadline_ms(&self) -> Option<u64>;

    /// Does one thing whose time has come; `None` if there is none. Called until then, with the
    /// effects of each call carried out before the next.
    fn tick(&mut self, now: Now) -> Option<Effects<Self::Answer, Self::Then>>;

    /// The answer in place of `answer`, whose records could not be written.
    fn failed(answer: &Self::Answer, error: ErrorCode) -> Self::Answer;
}
