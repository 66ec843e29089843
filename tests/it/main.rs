//! The broker from outside: each test starts the binary as a process of its own, talks to it over
//! TCP, kills it where that is the point, and looks at what is left.
//!
//! `RINGLOG_IT_IO=fallback` runs all of them without io_uring.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

mod addresses;
mod administration;
mod attacks;
mod bad_input;
mod cli;
mod clients;
mod compaction;
mod control_answers;
mod damage;
mod deleted_topics;
mod delivery;
mod fetches;
mod groups;
mod handle;
mod leftovers;
mod leniency;
mod limits;
mod memory;
mod metrics;
mod moves;
mod node;
mod not_utf8;
mod offline;
mod old_clients;
mod positions;
mod quotas;
mod raw_client;
mod repeats;
mod restarts;
mod shortage;
mod timestamps;
mod transactions;
mod versions;
