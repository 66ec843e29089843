//! The `ringlog` binary: everything is in the `ringlog-cli` crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringlog_cli::main()
}
