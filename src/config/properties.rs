//! Java's properties syntax, as far as `java.util.Properties.load` reads it.
//!
//! `key=value`, `key:value` or `key value`; `#` and `!` begin a comment line; a backslash at the
//! end of a line joins the next one; `\t \n \r \f \uXXXX` are escapes, and any other character
//! after a backslash stands for itself. Trailing blanks belong to a value.

use std::iter::Peekable;
use std::str::Chars;

use crate::error::ConfigError;

/// One `key=value` and the line on which it begins, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// Reads a whole file.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, ConfigError> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let line = index + 1;
        let entry = split(&logical).map_err(|error| error.at(format!("line {line}")))?;
        entries.push(Entry { key: entry.0, value: entry.1, line });
    }
    Ok(entries)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// An odd number of backslashes: an even number are escaped backslashes.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> Result<(String, String), ConfigError> {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(&c) = chars.peek() {
        if is_blank(c) || c == '=' || c == ':' {
            break;
        }
        key.push(unescape(&mut chars)?);
    }
    while chars.next_if(|c| is_blank(*c)).is_some() {}
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while chars.next_if(|c| is_blank(*c)).is_some() {}
    }
    let mut value = String::new();
    while chars.peek().is_some() {
        value.push(unescape(&mut chars)?);
    }
    Ok((key, value))
}

/// The next character, escapes resolved. The caller has seen that there is one.
fn unescape(chars: &mut Peekable<Chars<'_>>) -> Result<char, ConfigError> {
    match chars.next() {
        Some('\\') => {}
        Some(c) => return Ok(c),
        None => return Ok('\\'),
    }
    Ok(match chars.next() {
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('f') => '\u{c}',
        Some('u') => unescape_unicode(chars)?,
        Some(other) => other,
        None => '\\',
    })
}

fn unescape_unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, ConfigError> {
    let malformed = || ConfigError::Syntax("malformed \\uXXXX escape".to_owned());
    let mut unit = || -> Result<u32, ConfigError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or_else(malformed)?;
            value = value * 16 + digit;
        }
        Ok(value)
    };
    let high = unit()?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high).ok_or_else(malformed);
    }
    // Beyond the first plane Java writes two escapes.
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(malformed());
    }
    let mut low = 0;
    for _ in 0..4 {
        low = low * 16 + chars.next().and_then(|c| c.to_digit(16)).ok_or_else(malformed)?;
    }
    if !(0xdc00..0xe000).contains(&low) {
        return Err(malformed());
    }
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let entries = parse(text).unwrap();
        let found: Vec<_> =
            entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn javas_syntax_is_read() {
        check("a=1\nb: 2\nc 3\n", &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3)]);
        check("# x\n\n! y\n  a = b c  \r\n", &[("a", "b c  ", 4)]);
        check("a=1,\\\n   2,\\\r\n 3\nb=4", &[("a", "1,2,3", 1), ("b", "4", 4)]);
        check("a\\ b\\==c\\\\", &[("a b=", "c\\", 1)]);
        check("a=\\t\\u0041\\ud83d\\ude00\\q", &[("a", "\tA😀q", 1)]);
        check("a", &[("a", "", 1)]);
        check("a=b=c", &[("a", "b=c", 1)]);
        check("a=x\\", &[("a", "x", 1)]);
    }

    #[test]
    fn broken_escapes_are_named_with_their_line() {
        for text in ["a=1\nb=\\u00", "a=1\nb=\\ud83d", "a=1\nb=\\ud83d\\u0041", "a=1\nb=\\udc00"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("line 2: malformed"), "{error}");
        }
    }
}
