//! The settings as a document, `docs/settings.md`, generated from the table.

use std::fmt::Write as _;

use crate::setting::{Setting, Status, Valid};
use crate::table::{BROKER_AREAS, TOPIC_SETTINGS, topic_synonyms};

const INTRODUCTION: &str = "\
# Settings

Generated from the table in `src/config/table`; a test keeps it current.

A node reads Kafka's `server.properties` or a TOML file (`--config FILE`), and flags
(`--set key=value`) that win over it. It needs neither: every setting has a default. A key that
neither Kafka nor Ringlog has is refused at start.

In TOML, tables flatten to dotted keys and arrays are lists; a key that is the beginning of
another one (`log.flush`) wants quotes: `\"log.flush\" = \"async\"`.

**Accepted** settings are Kafka's and mean nothing here: they are taken, kept and shown, so that
files and tools that set them work. A node names those that were set to something else than their
default when it starts, and refuses the few that would change who may read its logs or which cluster
it belongs to. All others do what they say. *Change*: `read-only` at start
only, `per-broker` and `cluster-wide` also while running, `topic` for each topic.
";

/// The whole document.
pub fn settings_markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    section(&mut out, "Topics", TOPIC_SETTINGS, Status::Honoured);
    for (title, rows) in BROKER_AREAS {
        section(&mut out, title, rows, Status::Honoured);
    }
    out.push_str("\n# Accepted\n");
    section(&mut out, "Topics", TOPIC_SETTINGS, Status::Accepted);
    for (title, rows) in BROKER_AREAS {
        section(&mut out, title, rows, Status::Accepted);
    }
    out
}

fn section(out: &mut String, title: &str, rows: &[Setting], status: Status) {
    let rows: Vec<_> = rows.iter().filter(|setting| setting.status == status).collect();
    if rows.is_empty() {
        return;
    }
    write!(out, "\n## {title}\n\n").expect("a string takes everything");
    out.push_str("| setting | type | default | takes | change | meaning |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for setting in rows {
        writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {}{} |",
            setting.name,
            setting.kind.name().to_ascii_lowercase(),
            default(setting),
            takes(setting.valid),
            setting.update.name(),
            setting.doc,
            synonyms(setting),
        )
        .expect("a string takes everything");
    }
}

fn default(setting: &Setting) -> String {
    match setting.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some("9223372036854775807" | "1.7976931348623157E308") => "no limit".to_owned(),
        Some(text) if setting.unit().is_empty() => format!("`{text}`"),
        Some(text) => format!("`{text}` {}", setting.unit()),
    }
}

fn takes(valid: Valid) -> String {
    let words = |items: &[&str]| {
        items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
    };
    match valid {
        Valid::Any => String::new(),
        Valid::AtLeast(low) => format!("≥ {low}"),
        Valid::Between(low, high) => format!("{low} to {high}"),
        Valid::OneOf(items) | Valid::OneOfIgnoringCase(items) => words(items),
        Valid::ListOf(items) => format!("a list of {}", words(items)),
        Valid::GzipLevel => "1 to 9, -1".to_owned(),
        Valid::ThrottledReplicas => "`*` or `partition:broker`, …".to_owned(),
        Valid::NonEmpty => "not empty".to_owned(),
        Valid::ShareOffsetReset => "`earliest`, `latest`, `by_duration:PnDTnHnMn.nS`".to_owned(),
    }
}

fn synonyms(setting: &Setting) -> String {
    if setting.update != crate::setting::UpdateMode::Topic {
        return String::new();
    }
    let names: Vec<_> =
        topic_synonyms(setting.name).iter().map(|synonym| format!("`{}`", synonym.name)).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" Falls back to {}.", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Fails when `docs/settings.md` is not what the table says; `BLESS=1 cargo test -p
    /// ringlog-config` writes it.
    #[test]
    fn the_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
        let current = super::settings_markdown();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &current).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == current, "docs/settings.md is stale: BLESS=1 cargo test writes it");
    }
}
