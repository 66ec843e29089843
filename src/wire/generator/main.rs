//! Writes the wire crate's messages from Kafka's schemas.
//!
//! `cargo run -p ringlog-wire-generator` writes `src/wire/messages/` and `src/wire/api_key.rs`;
//! with `--check` it writes nothing and fails if they are not what it would write.

#[cfg(test)]
mod conformance;
mod emit;
mod merge;
mod names;
mod output;
mod schema;

use std::path::Path;
use std::process::ExitCode;

/// The wire crate.
const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("usage: ringlog-wire-generator [--check]");
            return ExitCode::FAILURE;
        }
    };
    match run(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringlog-wire-generator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(check: bool) -> Result<(), String> {
    let wire = Path::new(WIRE);
    let messages = schema::load(&wire.join("schema"))?;
    let files = output::format(emit::files(&messages))?;
    match check {
        true => output::check(wire, &files),
        false => output::write(wire, &files),
    }
}
