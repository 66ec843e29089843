//! Formatting the generated files, and writing or checking them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Generated files: path inside the wire crate, and text.
pub(crate) type Files = BTreeMap<String, String>;

/// Runs rustfmt over the files, in a folder of its own.
pub(crate) fn format(files: Files) -> Result<Files, String> {
    let folder = TemporaryFolder::new()?;
    let mut paths = Vec::new();
    for (name, text) in &files {
        let path = folder.0.join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        paths.push(path);
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../rustfmt.toml");
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(config)
        .args(&paths)
        .status()
        .map_err(|error| format!("rustfmt cannot be run: {error}"))?;
    if !status.success() {
        return Err("rustfmt refuses what was generated".to_owned());
    }
    let read = |name: String| {
        let path = folder.0.join(&name);
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((name, text))
    };
    files.into_keys().map(read).collect()
}

/// Writes what has changed and removes messages that no schema describes any more.
pub(crate) fn write(wire: &Path, files: &Files) -> Result<(), String> {
    for (name, text) in files {
        let path = wire.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    for name in strangers(wire, files)? {
        fs::remove_file(wire.join(&name)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Fails if the crate's files are not these.
pub(crate) fn check(wire: &Path, files: &Files) -> Result<(), String> {
    let is_stale =
        |name: &&String| fs::read_to_string(wire.join(name)).ok().as_ref() != files.get(*name);
    let mut stale: Vec<String> = files.keys().filter(is_stale).cloned().collect();
    stale.extend(strangers(wire, files)?);
    if stale.is_empty() {
        return Ok(());
    }
    let command = "cargo run -p ringlog-wire-generator";
    Err(format!("not current, run `{command}`: {}", stale.join(", ")))
}

/// Files in the folder of messages that are not among these.
fn strangers(wire: &Path, files: &Files) -> Result<Vec<String>, String> {
    let folder = wire.join("messages");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut strangers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = format!("messages/{}", entry.file_name().to_string_lossy());
        if !files.contains_key(&name) {
            strangers.push(name);
        }
    }
    strangers.sort();
    Ok(strangers)
}

/// Goes away when it is dropped.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<TemporaryFolder, String> {
        let name = format!("ringlog-wire-generator-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(TemporaryFolder(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What is left over in the system's temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
