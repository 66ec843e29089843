//! The file of one message: its structs and their defaults.

use std::fmt::Write as _;

use super::codec;
use super::field::Model;
use crate::schema::{Message, Struct, Versions};

pub(crate) fn file(message: &Message) -> String {
    let model = Model::new(message);
    let mut body = String::new();
    for (index, (of, scope)) in model.structs.iter().enumerate() {
        let is_message = index == 0;
        let title = match is_message {
            true => format!("`{}`, versions {}.", of.name, message.valid_versions),
            false => format!("`{}` of `{}`.", of.name, message.name),
        };
        body.push_str(&definition(&model, of, *scope, &title));
        body.push_str(&codec::implementation(&model, message, of, *scope, is_message));
    }
    format!("{}{body}", head(message, &body))
}

/// How generated code names the crate that it stands in.
const CRATE: &str = "crate";

fn head(message: &Message, body: &str) -> String {
    let mut head = format!("//! `{}`.\n\n", message.name);
    if body.contains("Cow<") {
        head.push_str("use std::borrow::Cow;\n\n");
    }
    if body.contains("Uuid") {
        head.push_str("use ringlog_types::Uuid;\n\n");
    }
    let uses_records = body.contains("Records<'a>");
    let records = if uses_records { ", Records" } else { "" };
    // Infallible: the text is in memory.
    let _ = writeln!(
        head,
        "use {CRATE}::{{DecodeError, EncodeError, Message, Reader{records}, Writer}};\n"
    );
    head
}

/// The struct and its default.
fn definition(model: &Model, of: &Struct, scope: Versions, title: &str) -> String {
    let name = &of.name;
    let lifetime = if model.struct_borrows(of) { "<'a>" } else { "" };
    let elided = if model.struct_borrows(of) { "<'_>" } else { "" };
    let views: Vec<_> = of.fields.iter().map(|field| model.view(field, scope)).collect();
    let derives_default = views.iter().all(|view| view.has_plain_default());
    let derived = if derives_default { ", Default" } else { "" };
    let mut text = format!(
        "/// {title}\n#[derive(Debug, Clone, PartialEq{derived})]\n\
         pub struct {name}{lifetime} {{\n"
    );
    for view in &views {
        let mut doc = format!("Versions {}", view.field.versions);
        if let Some(tag) = view.field.tag {
            let _ = write!(doc, ", tag {tag}");
        }
        if view.is_nullable() {
            let _ = write!(doc, "; may be null in {}", view.field.nullable_versions);
        }
        let _ = writeln!(text, "/// {doc}.\npub {}: {},", view.name(), view.rust_type());
    }
    text.push_str("}\n\n");
    if !derives_default {
        let _ = write!(
            text,
            "impl Default for {name}{elided} {{\nfn default() -> Self {{\n{name} {{\n"
        );
        for view in &views {
            let _ = writeln!(text, "{}: {},", view.name(), view.default());
        }
        text.push_str("}\n}\n}\n\n");
    }
    text
}
