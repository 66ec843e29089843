//! The `ringlog` binary: everything is in the `ringlog-cli` crate.

fn main() {}
