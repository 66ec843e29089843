//! Settings as TOML: nested tables flatten to dotted keys, arrays become lists.
//!
//! Where one key is the beginning of another (`log.flush` and `log.flush.interval.ms`), TOML
//! wants the shorter one in quotes: `"log.flush" = "async"`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::ConfigError;
use crate::properties::Entry;

/// Reads a whole file.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        ConfigError::Syntax(error.message().to_owned()).at(format!("line {line}"))
    })?;
    let mut entries = Vec::new();
    flatten(text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn flatten(
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    entries: &mut Vec<Entry>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        let line = line_of(text, name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &key, inner, entries)?,
            _ => {
                let value = scalar_or_list(&key, value)
                    .map_err(|error| error.at(format!("line {line}")))?;
                entries.push(Entry { key, value, line });
            }
        }
    }
    Ok(())
}

fn scalar_or_list(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
    let DeValue::Array(items) = value.get_ref() else {
        return scalar(key, value);
    };
    let items: Result<Vec<String>, ConfigError> =
        items.iter().map(|item| scalar(key, item)).collect();
    Ok(items?.join(","))
}

fn scalar(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| ConfigError::Syntax(format!("{key}: the number is too large"))),
        other => {
            let what = other.type_str();
            Err(ConfigError::Syntax(format!("{key}: a setting is not of TOML's type {what}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_flatten_and_lists_join() {
        let text = "num.partitions = 3\n\"log.flush\" = \"async\"\n[log]\ndirs = [\"/a\", \"/b\"]\n\
                    [log.retention]\nms = 1_000\n[ringlog]\nshards.pin = true\nx = 0x10\nr = 0.5\n";
        let entries = parse(text).unwrap();
        let found: Vec<_> =
            entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        let expected = [
            ("num.partitions", "3", 1),
            ("log.flush", "async", 2),
            ("log.dirs", "/a,/b", 4),
            ("log.retention.ms", "1000", 6),
            ("ringlog.shards.pin", "true", 8),
            ("ringlog.x", "16", 9),
            ("ringlog.r", "0.5", 10),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn errors_name_the_line() {
        for text in ["a = 1\nb = ", "a = 1\na = 2", "a = 1\nb = 1979-05-27", "a = 1\nb = [[1]]"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("line 2: "), "{text:?}: {error}");
        }
    }
}
