//! The `ringlog` binary: everything is in the `ringlog-cli` crate.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ringlog_runtime::Allocator = ringlog_runtime::Allocator;

fn main() -> ExitCode {
    ringlog_cli::main()
}
