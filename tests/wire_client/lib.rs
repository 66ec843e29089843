//! The tests' own client: any request in any version, as it goes over the wire.
//!
//! It does what the real clients never would: it speaks versions that nobody chooses any more,
//! sends what is wrong, and looks at the bytes of an answer. [`Dialogue`] is what both sides of a
//! connection say to each other, without the connection: the simulated clients in `tests/sim` keep
//! one beside a simulated stream. [`RawClient`] is one on a socket, for `tests/it`.
//!
//! What holds: an answer belongs to the oldest request without one; nothing follows its body.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

mod dialogue;
mod raw_client;

pub use self::dialogue::{Dialogue, OutOfOrder};
pub use self::raw_client::{Answer, PATIENCE, RawClient};
