//! One schema from the forms that two releases gave a message.
//!
//! Kafka 4 dropped the oldest versions of some messages and, with them, fields. The older form
//! brings both back. Where both describe a field, the newer one is right about what the field
//! is, and its range of versions is stretched down to what the older says.

use crate::schema::{Field, Forms, Message, Struct, Versions};

/// One schema of each message; those with an older form cover its versions too.
pub(crate) fn merge_all(forms: Forms) -> Result<Vec<Message>, String> {
    let Forms { newest: mut messages, older } = forms;
    for older in older {
        let name = older.name.clone();
        let newer = messages.remove(&name).ok_or_else(|| format!("no newer form of {name}"))?;
        messages.insert(name, merge(newer, older));
    }
    Ok(messages.into_values().collect())
}

fn merge(mut newer: Message, older: Message) -> Message {
    newer.valid_versions = newer.valid_versions.hull(older.valid_versions);
    newer.fields = merge_fields(newer.fields, older.fields);
    for common in older.common_structs {
        match newer.common_structs.iter_mut().find(|newer| newer.name == common.name) {
            Some(newer) => {
                newer.fields = merge_fields(std::mem::take(&mut newer.fields), common.fields);
            }
            None => newer.common_structs.push(Struct { ..common }),
        }
    }
    newer
}

fn merge_fields(newer: Vec<Field>, older: Vec<Field>) -> Vec<Field> {
    let mut merged = newer;
    // Where a field that only the older form has belongs: behind the one it follows there.
    let mut position = 0;
    for old in older {
        match merged.iter().position(|field| field.name == old.name) {
            Some(found) => {
                merge_field(&mut merged[found], old);
                position = found + 1;
            }
            None => {
                merged.insert(position, old);
                position += 1;
            }
        }
    }
    merged
}

fn merge_field(newer: &mut Field, older: Field) {
    assert_eq!(newer.field_type, older.field_type, "{}: the type changed", newer.name);
    newer.versions.low = newer.versions.low.min(older.versions.low);
    if !older.nullable_versions.is_empty() {
        newer.nullable_versions = newer.nullable_versions.hull(Versions {
            low: older.nullable_versions.low,
            high: newer.nullable_versions.high.max(older.nullable_versions.low),
        });
    }
    newer.ignorable |= older.ignorable;
    newer.fields = merge_fields(std::mem::take(&mut newer.fields), older.fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(versions: &str, fields: &str) -> Message {
        let text = format!(
            r#"{{"name": "M", "type": "data", "validVersions": "{versions}",
                "flexibleVersions": "none", "fields": [{fields}]}}"#
        );
        serde_json::from_str(&text).expect("a schema")
    }

    #[test]
    fn dropped_versions_and_fields_come_back_in_their_place() {
        let newer = message(
            "2-5",
            r#"{"name": "A", "type": "int8", "versions": "2+"},
               {"name": "C", "type": "int8", "versions": "0-4", "ignorable": true},
               {"name": "D", "type": "int8", "versions": "5+"}"#,
        );
        let older = message(
            "0-4",
            r#"{"name": "A", "type": "int8", "versions": "1+"},
               {"name": "B", "type": "int8", "versions": "0-1"},
               {"name": "C", "type": "int8", "versions": "0+"}"#,
        );
        let merged = merge(newer, older);
        let fields: Vec<_> = merged
            .fields
            .iter()
            .map(|field| format!("{} {}", field.name, field.versions))
            .collect();
        assert_eq!(fields, ["A 1+", "B 0-1", "C 0-4", "D 5+"]);
        assert_eq!(merged.valid_versions.to_string(), "0-5");
        assert!(merged.fields[2].ignorable);
    }
}
