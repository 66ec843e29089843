//! Writes the wire crate's messages from Kafka's schemas.
//!
//! `cargo run -p ringlog-wire-generator` writes `src/wire/messages/` and `src/wire/api_key.rs`;
//! with `--check` it writes nothing and fails if they are not what it would write.

#![allow(clippy::disallowed_methods, reason = "a tool for the repository, not a node")]

#[cfg(test)]
mod conformance;
mod emit;
mod generate;
mod merge;
mod names;
mod output;
mod schema;

use std::process::ExitCode;

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("usage: ringlog-wire-generator [--check]");
            return ExitCode::FAILURE;
        }
    };
    match generate::run(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringlog-wire-generator: {error}");
            ExitCode::FAILURE
        }
    }
}
