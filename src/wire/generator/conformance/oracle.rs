//! A plain interpreter of schemas: writes random values of any message straight from its
//! schema. It shares nothing with the generator but the reading of the files.

use crate::schema::{Field, Message, Type, Versions};

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As Kafka does.
    Canonical,
    /// With tagged fields that nobody knows.
    UnknownTags,
}

/// A writer of random messages; the same seed gives the same values in both styles.
pub(super) struct Oracle<'m> {
    message: &'m Message,
    version: i16,
    style: Style,
    random: Random,
    out: Vec<u8>,
}

/// An xorshift generator: the tests' only randomness.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn has(versions: Versions, version: i16) -> bool {
    (versions.low..=versions.high).contains(&version)
}

/// Writes one random message.
pub(super) fn random_message(message: &Message, version: i16, seed: u64, style: Style) -> Vec<u8> {
    let random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    let mut oracle = Oracle { message, version, style, random, out: Vec::new() };
    oracle.fields(&message.fields);
    oracle.out
}

impl Oracle<'_> {
    fn is_flexible(&self, field: Option<&Field>) -> bool {
        let own = field.and_then(|field| field.flexible_versions);
        has(own.unwrap_or(self.message.flexible_versions), self.version)
    }

    fn fields(&mut self, fields: &[Field]) {
        for field in fields {
            let present = has(field.versions, self.version);
            if present && field.tagged_versions == Versions::NONE {
                self.value(field);
            }
        }
        if self.is_flexible(None) {
            self.tagged(fields);
        }
    }

    fn tagged(&mut self, fields: &[Field]) {
        let mut found = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|field| has(field.tagged_versions, version)) {
            let before = std::mem::take(&mut self.out);
            let is_set = self.random.below(3) > 0;
            self.value(field);
            let value = std::mem::replace(&mut self.out, before);
            if is_set && value != self.default(field) {
                found.push((field.tag.expect("tagged"), value));
            }
        }
        found.sort();
        if self.style == Style::UnknownTags {
            found.push((5000, Vec::new()));
            found.push((70_000, vec![0xff; 200]));
        }
        self.uvarint(found.len() as u64);
        for (tag, value) in found {
            self.uvarint(u64::from(tag));
            self.uvarint(value.len() as u64);
            self.out.extend(value);
        }
    }

    /// A tagged field's default as it would be written, which is the same as leaving it out.
    fn default(&self, field: &Field) -> Vec<u8> {
        let text = field.default.as_deref();
        let is_null = text == Some("null");
        let number = || text.filter(|text| !text.is_empty()).unwrap_or("0").parse::<i64>();
        let number = || number().expect("a number");
        match &field.field_type {
            Type::Bool => vec![u8::from(text == Some("true"))],
            Type::Int8 => (number() as i8).to_be_bytes().to_vec(),
            Type::Int16 => (number() as i16).to_be_bytes().to_vec(),
            Type::Uint16 => (number() as u16).to_be_bytes().to_vec(),
            Type::Int32 => (number() as i32).to_be_bytes().to_vec(),
            Type::Uint32 => (number() as u32).to_be_bytes().to_vec(),
            Type::Int64 => number().to_be_bytes().to_vec(),
            Type::Float64 => 0f64.to_be_bytes().to_vec(),
            Type::Uuid => vec![0; 16],
            Type::Struct(_) if is_null => vec![0xff],
            _ if is_null => vec![0],
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => vec![1],
            Type::Struct(name) => {
                let mut bytes: Vec<u8> = Vec::new();
                if !field.nullable_versions.is_empty() {
                    bytes.push(1);
                }
                for inner in self.struct_fields(field, name) {
                    if has(inner.versions, self.version) {
                        assert!(inner.tagged_versions.is_empty(), "tags within a default");
                        bytes.extend(self.default(inner));
                    }
                }
                bytes.push(0);
                bytes
            }
        }
    }

    fn struct_fields<'f>(&'f self, field: &'f Field, name: &str) -> &'f [Field] {
        if !field.fields.is_empty() {
            return &field.fields;
        }
        let common = self.message.common_structs.iter().find(|common| common.name == name);
        &common.expect("a struct that is defined").fields
    }

    fn value(&mut self, field: &Field) {
        let is_nullable = has(field.nullable_versions, self.version);
        let is_null = is_nullable && self.random.below(4) == 0;
        let flexible = self.is_flexible(Some(field));
        match &field.field_type {
            Type::Struct(_) if is_null => self.out.push(0xff),
            _ if is_null && flexible => self.out.push(0),
            Type::String if is_null => self.out.extend((-1i16).to_be_bytes()),
            _ if is_null => self.out.extend((-1i32).to_be_bytes()),
            Type::Array(element) => {
                let count = self.random.below(3);
                match flexible {
                    true => self.uvarint(count + 1),
                    false => self.out.extend((count as i32).to_be_bytes()),
                }
                for _ in 0..count {
                    self.plain(field, element, flexible);
                }
            }
            plain => {
                if is_nullable && matches!(plain, Type::Struct(_)) {
                    self.out.push(1);
                }
                self.plain(field, plain, flexible);
            }
        }
    }

    fn plain(&mut self, field: &Field, of: &Type, flexible: bool) {
        let bits = self.random.next();
        match of {
            Type::Bool => self.out.push((bits & 1) as u8),
            Type::Int8 => self.out.push(bits as u8),
            Type::Int16 | Type::Uint16 => self.out.extend((bits as u16).to_be_bytes()),
            Type::Int32 | Type::Uint32 => self.out.extend((bits as u32).to_be_bytes()),
            Type::Int64 => self.out.extend(bits.to_be_bytes()),
            Type::Float64 => self.out.extend((bits as u32 as f64).to_be_bytes()),
            Type::Uuid => self.out.extend(bits.to_be_bytes().repeat(2)),
            Type::String => {
                // Now and then long enough for a length of two bytes.
                let len = if bits.is_multiple_of(16) { 130 } else { bits % 9 };
                let text: String =
                    (0..len).map(|index| (b'a' + index as u8 % 26) as char).collect();
                match flexible {
                    true => self.uvarint(len + 1),
                    false => self.out.extend((len as i16).to_be_bytes()),
                }
                self.out.extend(text.as_bytes());
            }
            Type::Bytes | Type::Records => {
                let len = if bits.is_multiple_of(16) { 200 } else { bits % 9 };
                match flexible {
                    true => self.uvarint(len + 1),
                    false => self.out.extend((len as i32).to_be_bytes()),
                }
                self.out.extend((0..len).map(|index| (index ^ bits) as u8));
            }
            Type::Struct(name) => {
                let fields = self.struct_fields(field, name).to_vec();
                self.fields(&fields);
            }
            Type::Array(_) => panic!("{}: an array of arrays", field.name),
        }
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
