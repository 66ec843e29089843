//! What a log knows of the producers that write to it, and the file that keeps it.
//!
//! Pure: decisions and bytes. What is known always follows from the batches of the log; a snapshot
//! saves reading them again.

pub(crate) mod describe;
pub(crate) mod entries;
pub(crate) mod snapshot;
pub(crate) mod state;
