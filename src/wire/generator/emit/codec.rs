//! How a struct is read and written.

use std::fmt::Write as _;

use super::field::{FieldView, Model, condition, opposite};
use crate::schema::{Message, Struct, THROTTLE_TIME, Versions};

pub(crate) fn implementation(
    model: &Model,
    message: &Message,
    of: &Struct,
    scope: Versions,
    is_message: bool,
) -> String {
    let views: Vec<_> = of.fields.iter().map(|field| model.view(field, scope)).collect();
    let name = &of.name;
    let type_name = match model.struct_borrows(of) {
        true => format!("{name}<'a>"),
        false => name.clone(),
    };
    let (head, visibility) = if is_message {
        let Versions { low, high } = message.valid_versions;
        let head = format!(
            "impl<'a> Message<'a> for {type_name} {{\n\
             const NAME: &'static str = {name:?};\n\
             const API_KEY: i16 = {};\n\
             const MIN_VERSION: i16 = {low};\n\
             const MAX_VERSION: i16 = {high};\n\n",
            message.api_key.unwrap_or(-1)
        );
        (head, "")
    } else if model.struct_borrows(of) {
        (format!("impl<'a> {type_name} {{\n"), "pub(crate) ")
    } else {
        (format!("impl {type_name} {{\n"), "pub(crate) ")
    };
    let reader = match is_message || model.struct_borrows(of) {
        true => "Reader<'a>",
        false => "Reader<'_>",
    };
    let reads = body_of_read(&views, model.flexible(), scope, name);
    let writes = body_of_write(&views, model.flexible(), scope);
    let read_version = argument(&reads, "version");
    let write_version = argument(&writes, "version");
    let (r, w) = (argument(&reads, "r"), argument(&writes, "w"));
    let has_throttle_time = of.fields.iter().any(|field| field.name == THROTTLE_TIME);
    assert!(is_message || !has_throttle_time, "{name}: throttled in a part");
    let getter = match has_throttle_time {
        true => "\n\nfn throttle_time_ms(&self) -> Option<i32> {\nSome(self.throttle_time_ms)\n}",
        false => "",
    };
    format!(
        "{head}{visibility}fn read({r}: &mut {reader}, {read_version}: i16) \
         -> Result<Self, DecodeError> {{\n{reads}}}\n\n\
         {visibility}fn write(&self, {w}: &mut Writer, {write_version}: i16) \
         -> Result<(), EncodeError> {{\n{writes}Ok(())\n}}{getter}\n}}\n\n"
    )
}

/// The name of an argument, marked if the body does not use it.
fn argument(body: &str, name: &str) -> String {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let used = body.match_indices(name).any(|(start, _)| {
        let (before, after) = (&body[..start], &body[start + name.len()..]);
        // A field may have the same name: `version: r.i16()?`, `self.version`.
        !before.ends_with(|char| is_word(char) || char == '.' || char == '"')
            && !after.starts_with(|char| is_word(char) || char == ':')
    });
    if used { name.to_owned() } else { format!("_{name}") }
}

fn body_of_read(
    views: &[FieldView<'_>],
    flexible: Versions,
    scope: Versions,
    name: &str,
) -> String {
    let mut fields = String::new();
    for view in views {
        let value = match condition(view.field.versions, scope) {
            _ if view.is_tagged() => view.default(),
            None => view.read(),
            Some(never) if never == "false" => view.default(),
            Some(condition) => {
                format!("if {condition} {{ {} }} else {{ {} }}", view.read(), view.default())
            }
        };
        // Infallible: the text is in memory.
        let _ = writeln!(fields, "{}: {value},", view.name());
    }
    let value = format!("{name} {{\n{fields}}}");
    let tags = read_tags(views, flexible, scope);
    if tags.is_empty() {
        return format!("Ok({value})\n");
    }
    let mutable = if tags.contains("value.") { "mut " } else { "" };
    format!("let {mutable}value = {value};\n{tags}Ok(value)\n")
}

fn read_tags(views: &[FieldView<'_>], flexible: Versions, scope: Versions) -> String {
    let flexible_scope = flexible.and(scope);
    if flexible_scope.is_empty() {
        return String::new();
    }
    let mut arms = String::new();
    for view in views.iter().filter(|view| view.is_tagged()) {
        let tag = view.field.tag.expect("a tagged field has a tag");
        let guard = match condition(view.field.tagged_versions, flexible_scope) {
            Some(condition) => format!(" if {condition}"),
            None => String::new(),
        };
        let _ = writeln!(arms, "{tag}{guard} => value.{} = {},", view.name(), view.read());
    }
    let statement = match arms.is_empty() {
        true => "r.skip_tagged_fields()?;\n".to_owned(),
        false => format!(
            "r.tagged_fields(|tag, r| {{ match tag {{ {arms}_ => return Ok(false), }} \
             Ok(true) }})?;\n"
        ),
    };
    when(condition(flexible, scope), &statement)
}

fn body_of_write(views: &[FieldView<'_>], flexible: Versions, scope: Versions) -> String {
    let mut text = String::new();
    for view in views.iter().filter(|view| !view.is_tagged()) {
        let write = match condition(view.field.versions, scope).as_deref() {
            Some("false") => String::new(),
            condition => when(condition.map(str::to_owned), &view.write()),
        };
        let refuse = refuse(view, view.field.versions, scope);
        text.push_str(&write);
        text.push_str(&refuse);
    }
    for view in views.iter().filter(|view| view.is_tagged()) {
        text.push_str(&refuse(view, view.field.tagged_versions, scope));
    }
    let flexible_scope = flexible.and(scope);
    if flexible_scope.is_empty() {
        return text;
    }
    let tagged: Vec<_> = views.iter().filter(|view| view.is_tagged()).collect();
    let statements = match tagged.is_empty() {
        true => "w.no_tags();\n".to_owned(),
        false => write_tags(tagged, flexible_scope),
    };
    text.push_str(&when(condition(flexible, scope), &statements));
    text
}

fn write_tags(mut tagged: Vec<&FieldView<'_>>, scope: Versions) -> String {
    tagged.sort_by_key(|view| view.field.tag);
    let mut text = String::from("let tags = w.begin_tags();\n");
    for view in tagged {
        let tag = view.field.tag.expect("a tagged field has a tag");
        let present = match condition(view.field.tagged_versions, scope) {
            Some(condition) => format!("{condition} && "),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "if {present}{} {{ w.tag(&tags, {tag}, |w| {{ {} Ok(()) }})?; }}",
            view.differs(),
            view.write()
        );
    }
    text
}

/// Fails where a field is set that may not be dropped.
fn refuse(view: &FieldView<'_>, present: Versions, scope: Versions) -> String {
    let Some(absent) = opposite(present, scope).filter(|_| !view.field.ignorable) else {
        return String::new();
    };
    let absent = match absent.as_str() {
        "true" => String::new(),
        absent => format!("{absent} && "),
    };
    format!(
        "if {absent}{} {{ return Err(EncodeError::absent({:?}, version)); }}\n",
        view.differs(),
        view.path()
    )
}

fn when(condition: Option<String>, statements: &str) -> String {
    let statements = statements.trim_end();
    match condition {
        Some(condition) => format!("if {condition} {{\n{statements}\n}}\n"),
        None => format!("{statements}\n"),
    }
}
