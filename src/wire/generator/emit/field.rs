//! What one field means in Rust: its type, its default, and how its value is read and written.

use crate::names;
use crate::schema::{Field, Message, Struct, THROTTLE_TIME, Type, Versions};

/// A field within its struct and message.
pub(crate) struct FieldView<'a> {
    pub(crate) field: &'a Field,
    /// The versions in which the struct occurs.
    pub(crate) scope: Versions,
    pub(crate) flexible: Versions,
    model: &'a Model,
}

/// What must be known of a message's structs while writing any of them.
pub(crate) struct Model {
    pub(crate) structs: Vec<(Struct, Versions)>,
    flexible: Versions,
}

impl Model {
    pub(crate) fn new(message: &Message) -> Model {
        Model { structs: message.structs(), flexible: message.flexible_versions }
    }

    pub(crate) fn view<'a>(&'a self, field: &'a Field, scope: Versions) -> FieldView<'a> {
        let flexible = field.flexible_versions.unwrap_or(self.flexible);
        FieldView { field, scope, flexible, model: self }
    }

    pub(crate) fn flexible(&self) -> Versions {
        self.flexible
    }

    fn find(&self, name: &str) -> &(Struct, Versions) {
        let found = self.structs.iter().find(|(found, _)| found.name == name);
        found.expect("every struct was collected")
    }

    /// Whether a value of the type borrows from the bytes it was read from.
    pub(crate) fn borrows(&self, field_type: &Type) -> bool {
        match field_type {
            Type::String | Type::Bytes | Type::Records => true,
            Type::Array(element) => self.borrows(element),
            Type::Struct(name) => self.struct_borrows(&self.find(name).0),
            _ => false,
        }
    }

    pub(crate) fn struct_borrows(&self, of: &Struct) -> bool {
        of.fields.iter().any(|field| self.borrows(&field.field_type))
    }

    /// Rust's type of a value.
    pub(crate) fn rust_type(&self, field_type: &Type) -> String {
        match field_type {
            Type::Bool => "bool".to_owned(),
            Type::Int8 => "i8".to_owned(),
            Type::Int16 => "i16".to_owned(),
            Type::Uint16 => "u16".to_owned(),
            Type::Int32 => "i32".to_owned(),
            Type::Uint32 => "u32".to_owned(),
            Type::Int64 => "i64".to_owned(),
            Type::Float64 => "f64".to_owned(),
            Type::Uuid => "Uuid".to_owned(),
            Type::String => "Cow<'a, str>".to_owned(),
            Type::Bytes => "Cow<'a, [u8]>".to_owned(),
            Type::Records => "Records<'a>".to_owned(),
            Type::Array(element) => format!("Vec<{}>", self.rust_type(element)),
            Type::Struct(name) if self.borrows(field_type) => format!("{name}<'a>"),
            Type::Struct(name) => name.clone(),
        }
    }

    /// The least number of bytes that a value takes, in whatever version.
    fn bytes_min(&self, field_type: &Type) -> usize {
        match field_type {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            // A compact length; the fixed form of a string is at least two, of others four.
            Type::String if self.flexible.is_empty() => 2,
            Type::Bytes | Type::Records | Type::Array(_) if self.flexible.is_empty() => 4,
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => 1,
            Type::Struct(name) => {
                let (of, scope) = self.find(name);
                let always = |field: &&Field| {
                    field.versions.covers(*scope) && field.tagged_versions.is_empty()
                };
                let null = |field: &Field| {
                    matches!(field.field_type, Type::Struct(_))
                        && !field.nullable_versions.is_empty()
                };
                let fields = of.fields.iter().filter(always);
                let sum = fields.map(|field| match null(field) {
                    true => 1,
                    false => self.bytes_min(&field.field_type),
                });
                let tags = usize::from(self.flexible.covers(*scope));
                (sum.sum::<usize>() + tags).max(1)
            }
        }
    }
}

impl FieldView<'_> {
    pub(crate) fn name(&self) -> String {
        names::field(&self.field.name)
    }

    pub(crate) fn is_nullable(&self) -> bool {
        !self.field.nullable_versions.is_empty()
    }

    pub(crate) fn is_tagged(&self) -> bool {
        !self.field.tagged_versions.is_empty()
    }

    pub(crate) fn rust_type(&self) -> String {
        let plain = self.model.rust_type(&self.field.field_type);
        if self.is_nullable() { format!("Option<{plain}>") } else { plain }
    }

    fn is_null_by_default(&self) -> bool {
        // Kafka has no empty records, only null ones.
        self.field.default.as_deref() == Some("null")
            || (self.is_nullable() && self.field.field_type == Type::Records)
    }

    /// Whether the default is what Rust's `Default` gives for the type.
    pub(crate) fn has_plain_default(&self) -> bool {
        if self.is_nullable() {
            return self.is_null_by_default();
        }
        let plain = ["", "0", "false", "0x0", "0.0"];
        self.field.default.as_deref().is_none_or(|default| plain.contains(&default))
    }

    /// The default as an expression.
    pub(crate) fn default(&self) -> String {
        if self.is_nullable() {
            return match self.is_null_by_default() {
                true => "None".to_owned(),
                false => format!("Some({})", self.default_value()),
            };
        }
        self.default_value()
    }

    fn default_value(&self) -> String {
        let given = self.field.default.as_deref().filter(|default| !default.is_empty());
        match &self.field.field_type {
            Type::Bool => given.unwrap_or("false").to_owned(),
            Type::Float64 => given.unwrap_or("0.0").to_owned(),
            Type::Uuid => "Uuid::ZERO".to_owned(),
            Type::String => format!("Cow::Borrowed({:?})", given.unwrap_or("")),
            Type::Bytes => "Cow::Borrowed(&[])".to_owned(),
            Type::Records => "Records::Borrowed(&[])".to_owned(),
            Type::Array(_) => "Vec::new()".to_owned(),
            Type::Struct(name) => format!("{name}::default()"),
            _ => number(given.unwrap_or("0")),
        }
    }

    /// An expression that says whether `self` differs from the default in this field.
    pub(crate) fn differs(&self) -> String {
        let name = self.name();
        if self.is_nullable() {
            return match (&self.field.field_type, self.is_null_by_default()) {
                (_, true) => format!("self.{name}.is_some()"),
                (Type::Struct(of), _) => format!("self.{name} != Some({of}::default())"),
                _ => format!("self.{name}.as_ref().is_none_or(|value| !value.is_empty())"),
            };
        }
        match &self.field.field_type {
            Type::Bool if self.has_plain_default() => format!("self.{name}"),
            Type::Bool => format!("!self.{name}"),
            Type::Uuid => format!("!self.{name}.is_zero()"),
            Type::String if !self.has_plain_default() => {
                format!("self.{name} != {:?}", self.field.default.as_deref().unwrap_or(""))
            }
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => {
                format!("!self.{name}.is_empty()")
            }
            _ => format!("self.{name} != {}", self.default_value()),
        }
    }

    /// The argument that chooses between compact and fixed lengths.
    fn flexible_argument(&self) -> String {
        let present = self.field.versions.and(self.scope);
        match self.is_tagged() {
            true => "true".to_owned(),
            false => condition(self.flexible, present).unwrap_or_else(|| "true".to_owned()),
        }
    }

    /// An expression that reads the value where the field is present.
    pub(crate) fn read(&self) -> String {
        if !self.is_nullable() {
            return self.read_value();
        }
        let present = self.field.versions.and(self.scope);
        match condition(self.field.nullable_versions, present) {
            None => self.read_nullable(),
            Some(condition) => format!(
                "if {condition} {{ {} }} else {{ Some({}) }}",
                self.read_nullable(),
                self.read_value()
            ),
        }
    }

    fn read_value(&self) -> String {
        self.read_typed(&self.field.field_type)
    }

    fn read_typed(&self, field_type: &Type) -> String {
        let flexible = self.flexible_argument();
        match field_type {
            Type::String => format!("r.string({flexible})?"),
            Type::Bytes => format!("r.bytes({flexible})?"),
            Type::Records => format!("r.records({flexible})?"),
            Type::Struct(name) => format!("{name}::read(r, version)?"),
            Type::Array(element) => format!(
                "r.array({flexible}, {}, {})?",
                self.model.bytes_min(element),
                self.read_element(element)
            ),
            _ => format!("r.{}()?", primitive(field_type)),
        }
    }

    fn read_nullable(&self) -> String {
        let flexible = self.flexible_argument();
        match &self.field.field_type {
            Type::String => format!("r.nullable_string({flexible})?"),
            Type::Bytes => format!("r.nullable_bytes({flexible})?"),
            Type::Records => format!("r.nullable_records({flexible})?"),
            Type::Struct(name) => format!("r.nullable_struct(|r| {name}::read(r, version))?"),
            Type::Array(element) => format!(
                "r.nullable_array({flexible}, {}, {})?",
                self.model.bytes_min(element),
                self.read_element(element)
            ),
            other => panic!("{}: {other:?} cannot be null", self.field.name),
        }
    }

    fn read_element(&self, element: &Type) -> String {
        match element {
            Type::Struct(name) => format!("|r| {name}::read(r, version)"),
            Type::String => format!("|r| r.string({})", self.flexible_argument()),
            _ => format!("Reader::{}", primitive(element)),
        }
    }

    /// Statements that write the value where the field is present.
    pub(crate) fn write(&self) -> String {
        let name = self.name();
        if self.field.name == THROTTLE_TIME {
            return format!("w.throttle_time_ms(self.{name});");
        }
        if !self.is_nullable() {
            return self.write_value(&format!("self.{name}"));
        }
        let present = self.field.versions.and(self.scope);
        match condition(self.field.nullable_versions, present) {
            None => self.write_nullable(),
            Some(condition) => format!(
                "if {condition} {{ {} }} else if let Some(value) = &self.{name} {{ {} }} \
                 else {{ return Err(EncodeError::Null {{ field: {:?}, version }}); }}",
                self.write_nullable(),
                self.write_reference("value"),
                self.path(),
            ),
        }
    }

    /// What errors call the field.
    pub(crate) fn path(&self) -> String {
        self.name().trim_start_matches("r#").to_owned()
    }

    fn write_value(&self, place: &str) -> String {
        match &self.field.field_type {
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => {
                self.write_reference(&format!("&{place}"))
            }
            Type::Struct(_) => format!("{place}.write(w, version)?;"),
            other => format!("w.{}({place});", primitive(other)),
        }
    }

    /// Writes what an expression refers to.
    fn write_reference(&self, reference: &str) -> String {
        let flexible = self.flexible_argument();
        match &self.field.field_type {
            Type::String => format!("w.string({reference}, {flexible})?;"),
            Type::Bytes => format!("w.bytes({reference}, {flexible})?;"),
            Type::Records => format!("w.records({reference}, {flexible})?;"),
            Type::Struct(_) => format!("{reference}.write(w, version)?;"),
            Type::Array(element) => {
                let element = self.write_element(element);
                format!("w.array({reference}, {flexible}, {element})?;")
            }
            other => format!("w.{}(*{reference});", primitive(other)),
        }
    }

    fn write_nullable(&self) -> String {
        let flexible = self.flexible_argument();
        let name = self.name();
        match &self.field.field_type {
            Type::String => format!("w.nullable_string(self.{name}.as_deref(), {flexible})?;"),
            Type::Bytes => format!("w.nullable_bytes(self.{name}.as_deref(), {flexible})?;"),
            Type::Records => format!("w.nullable_records(self.{name}.as_ref(), {flexible})?;"),
            Type::Struct(_) => format!(
                "w.nullable_struct(self.{name}.as_ref(), |w, value| value.write(w, version))?;"
            ),
            Type::Array(element) => format!(
                "w.nullable_array(self.{name}.as_deref(), {flexible}, {})?;",
                self.write_element(element)
            ),
            other => panic!("{name}: {other:?} cannot be null"),
        }
    }

    fn write_element(&self, element: &Type) -> String {
        match element {
            Type::Struct(_) => "|w, value| value.write(w, version)".to_owned(),
            Type::String => format!("|w, value| w.string(value, {})", self.flexible_argument()),
            _ => format!("|w, value| {{ w.{}(*value); Ok(()) }}", primitive(element)),
        }
    }
}

/// The condition for `version` to be one of `wanted` when it is one of `scope`; `None` if it
/// always is.
pub(crate) fn condition(wanted: Versions, scope: Versions) -> Option<String> {
    let Versions { low, high } = wanted.and(scope);
    if wanted.covers(scope) {
        return None;
    }
    Some(if low > high {
        "false".to_owned()
    } else if high == scope.high {
        format!("version >= {low}")
    } else if low == high {
        format!("version == {low}")
    } else if low == scope.low {
        format!("version <= {high}")
    } else {
        format!("({low}..={high}).contains(&version)")
    })
}

/// The opposite of [`condition`]; `None` if it is never met.
pub(crate) fn opposite(wanted: Versions, scope: Versions) -> Option<String> {
    let condition = condition(wanted, scope)?;
    Some(if condition == "false" {
        "true".to_owned()
    } else if let Some(low) = condition.strip_prefix("version >= ") {
        format!("version < {low}")
    } else if let Some(high) = condition.strip_prefix("version <= ") {
        format!("version > {high}")
    } else if let Some(only) = condition.strip_prefix("version == ") {
        format!("version != {only}")
    } else {
        format!("!{condition}")
    })
}

/// The name of the method that reads or writes the type.
fn primitive(field_type: &Type) -> &'static str {
    match field_type {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Uint32 => "u32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        Type::Uuid => "uuid",
        other => panic!("{other:?} is not primitive"),
    }
}

/// A number as Rust writes it: with separators where it is long.
fn number(text: &str) -> String {
    let value = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    let value = value.unwrap_or_else(|_| panic!("not a number: {text}"));
    match value {
        i64::MAX => "i64::MAX".to_owned(),
        0x7fff_ffff => "i32::MAX".to_owned(),
        _ => value.to_string(),
    }
}
