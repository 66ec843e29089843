//! All of it: schemas in, files out.

use std::path::Path;

use crate::emit;
use crate::merge;
use crate::output;
use crate::schema;

/// The wire crate.
pub(crate) const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Writes the files, or only compares them.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let wire = Path::new(WIRE);
    let messages = merge::merge_all(schema::load(&wire.join("schema"))?)?;
    let files = output::format(emit::files(&messages))?;
    match check {
        true => output::check(wire, &files),
        false => output::write(wire, &files),
    }
}
