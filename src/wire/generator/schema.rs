//! Kafka's message schemas: reading them, and what follows from them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The folders of schemas. `message-3.9` holds older forms of what is in `message`.
const FOLDERS: [&str; 7] =
    ["message", "metadata", "group", "transaction", "share", "raft", "storage"];
const OLDER_FOLDER: &str = "message-3.9";

/// The field by which a response tells its client to hold back. It stands in the message itself.
pub(crate) const THROTTLE_TIME: &str = "ThrottleTimeMs";

/// A range of versions; empty if `low > high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) low: i16,
    pub(crate) high: i16,
}

impl Versions {
    pub(crate) const NONE: Versions = Versions { low: 0, high: -1 };
    /// What "+" ends in.
    pub(crate) const OPEN: i16 = i16::MAX;

    pub(crate) fn parse(text: &str) -> Option<Versions> {
        if text == "none" {
            return Some(Versions::NONE);
        }
        if let Some(low) = text.strip_suffix('+') {
            return Some(Versions { low: low.parse().ok()?, high: Versions::OPEN });
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Some(Versions { low: low.parse().ok()?, high: high.parse().ok()? })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub(crate) fn covers(self, other: Versions) -> bool {
        other.is_empty() || (self.low <= other.low && self.high >= other.high)
    }

    pub(crate) fn and(self, other: Versions) -> Versions {
        let both = Versions { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// The smallest range that holds both.
    pub(crate) fn hull(self, other: Versions) -> Versions {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Versions { low: self.low.min(other.low), high: self.high.max(other.high) },
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            versions if versions.is_empty() => f.write_str("none"),
            Versions { low, high: Versions::OPEN } => write!(f, "{low}+"),
            Versions { low, high } if low == high => write!(f, "{low}"),
            Versions { low, high } => write!(f, "{low}-{high}"),
        }
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Versions, D::Error> {
        let text = String::deserialize(deserializer)?;
        Versions::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("not versions: {text:?}")))
    }
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Type {
        if let Some(element) = text.strip_prefix("[]") {
            return Type::Array(Box::new(Type::parse(element)));
        }
        match text {
            "bool" => Type::Bool,
            "int8" => Type::Int8,
            "int16" => Type::Int16,
            "uint16" => Type::Uint16,
            "int32" => Type::Int32,
            "uint32" => Type::Uint32,
            "int64" => Type::Int64,
            "float64" => Type::Float64,
            "uuid" => Type::Uuid,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            name => Type::Struct(name.to_owned()),
        }
    }

    /// The struct that this is or is made of.
    pub(crate) fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Type, D::Error> {
        Ok(Type::parse(&String::deserialize(deserializer)?))
    }
}

/// A field of a message or struct.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) field_type: Type,
    #[serde(default = "no_versions")]
    pub(crate) versions: Versions,
    #[serde(default = "no_versions")]
    pub(crate) nullable_versions: Versions,
    #[serde(default = "no_versions")]
    pub(crate) tagged_versions: Versions,
    pub(crate) tag: Option<u32>,
    /// Overrides the message's.
    pub(crate) flexible_versions: Option<Versions>,
    #[serde(default, deserialize_with = "default_text")]
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) ignorable: bool,
    /// The fields of a struct that is defined where it is used.
    #[serde(default)]
    pub(crate) fields: Vec<Field>,
}

/// A struct inside a message.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

/// A schema file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) api_key: Option<i16>,
    /// Where a request may arrive: "broker", "controller".
    #[serde(default)]
    pub(crate) listeners: Vec<String>,
    pub(crate) valid_versions: Versions,
    pub(crate) flexible_versions: Versions,
    #[serde(default)]
    pub(crate) latest_version_unstable: bool,
    pub(crate) fields: Vec<Field>,
    #[serde(default)]
    pub(crate) common_structs: Vec<Struct>,
}

impl Message {
    /// The message itself and its structs, parents first, each with the versions in which it
    /// occurs.
    pub(crate) fn structs(&self) -> Vec<(Struct, Versions)> {
        let root = Struct { name: self.name.clone(), fields: self.fields.clone() };
        let mut found: Vec<(Struct, Versions)> = Vec::new();
        let mut pending = vec![(root, self.valid_versions)];
        while !pending.is_empty() {
            let (next, versions) = pending.remove(0);
            match found.iter_mut().find(|(known, _)| known.name == next.name) {
                Some((_, known)) if known.covers(versions) => continue,
                Some((_, known)) => *known = known.hull(versions),
                None => found.push((next.clone(), versions)),
            }
            for field in &next.fields {
                let Some(name) = field.field_type.struct_name() else { continue };
                let child = Struct { name: name.to_owned(), fields: field.fields.clone() };
                let child = match field.fields.is_empty() {
                    true => self.common_struct(name),
                    false => child,
                };
                pending.push((child, field.versions.and(versions)));
            }
        }
        found
    }

    fn common_struct(&self, name: &str) -> Struct {
        let found = self.common_structs.iter().find(|common| common.name == name);
        found.unwrap_or_else(|| panic!("{}: no struct {name}", self.name)).clone()
    }
}

fn no_versions() -> Versions {
    Versions::NONE
}

/// Defaults are written as strings, numbers, booleans or null; all are kept as text.
fn default_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        value => value.to_string(),
    }))
}

/// Schemas as they stand in the folders, by name: the newest forms, and the older ones of some.
pub(crate) struct Forms {
    pub(crate) newest: BTreeMap<String, Message>,
    pub(crate) older: Vec<Message>,
}

/// Reads all schemas.
pub(crate) fn load(folder: &Path) -> Result<Forms, String> {
    let mut newest = BTreeMap::new();
    for name in FOLDERS {
        for message in load_folder(&folder.join(name))? {
            if let Some(twice) = newest.insert(message.name.clone(), message) {
                return Err(format!("two schemas are called {}", twice.name));
            }
        }
    }
    Ok(Forms { newest, older: load_folder(&folder.join(OLDER_FOLDER))? })
}

fn load_folder(folder: &Path) -> Result<Vec<Message>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut messages = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let context = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| context(&error))?;
        let mut message: Message = serde_json::from_str(&text).map_err(|error| context(&error))?;
        complete(&mut message.fields);
        for common in &mut message.common_structs {
            complete(&mut common.fields);
        }
        messages.push(message);
    }
    Ok(messages)
}

/// A field that says only in which versions it is tagged has those versions.
fn complete(fields: &mut [Field]) {
    for field in fields {
        if field.versions.is_empty() {
            field.versions = field.tagged_versions;
        }
        let name = &field.name;
        assert!(
            field.tagged_versions.is_empty() || field.tagged_versions == field.versions,
            "{name}: a field is tagged in all its versions or in none"
        );
        complete(&mut field.fields);
    }
}
