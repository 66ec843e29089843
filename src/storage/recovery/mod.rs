//! What makes a log of what a directory holds: opening, judging damage, replaying producers.
//!
//! Nothing that was acknowledged is taken away here, and nothing is believed without its CRC.

pub(crate) mod beyond;
pub(crate) mod examine;
mod fencing;
pub(crate) mod open;
mod opening;
pub(crate) mod producer_replay;
mod swapped;
mod truncate;
pub(crate) mod walk;
