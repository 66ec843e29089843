//! The format language of `consume`: a text with placeholders, compiled once.
//!
//! ```text
//! %t topic     %p partition   %o offset    %k key          %v value     %h headers k=v,k=v
//! %T time, ms  %D time, UTC   %K key size  %V value size   %% a percent sign
//! \n newline   \t tab         \r return    \0 zero byte    \xHH a byte  \\ a backslash
//! ```
//!
//! A missing key or value prints nothing, and its size is -1. Keys and values are written as the
//! bytes they are.

use std::io::{self, Write};

use ringlog_client::FetchedRecord;

use crate::times;

/// A compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineFormat(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Headers,
    TimeMs,
    TimeUtc,
    KeySize,
    ValueSize,
}

impl LineFormat {
    /// Compiles a format; the error says which part is wrong.
    pub(crate) fn parse(text: &str) -> Result<LineFormat, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char == '\\' {
                literal.push(escape(&mut chars)?);
                continue;
            }
            if char != '%' {
                literal.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            let part = match chars.next() {
                Some('%') => {
                    literal.push(b'%');
                    continue;
                }
                Some('t') => Part::Topic,
                Some('p') => Part::Partition,
                Some('o') => Part::Offset,
                Some('k') => Part::Key,
                Some('v') => Part::Value,
                Some('h') => Part::Headers,
                Some('T') => Part::TimeMs,
                Some('D') => Part::TimeUtc,
                Some('K') => Part::KeySize,
                Some('V') => Part::ValueSize,
                Some(other) => return Err(format!("%{other} is unknown; there are {KNOWN}")),
                None => return Err(format!("a single % at the end; write %% or one of {KNOWN}")),
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(LineFormat(parts))
    }

    /// Writes one record.
    pub(crate) fn write(&self, record: &FetchedRecord, out: &mut impl Write) -> io::Result<()> {
        let size = |bytes: Option<usize>| bytes.map_or(-1, |size| size as i64);
        for part in &self.0 {
            match part {
                Part::Literal(bytes) => out.write_all(bytes)?,
                Part::Topic => out.write_all(record.partition.topic.as_bytes())?,
                Part::Partition => write!(out, "{}", record.partition.partition)?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Part::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Part::Headers => write_headers(record, out)?,
                Part::TimeMs => write!(out, "{}", record.timestamp)?,
                Part::TimeUtc => out.write_all(times::format(record.timestamp).as_bytes())?,
                Part::KeySize => write!(out, "{}", size(record.key.as_ref().map(|k| k.len())))?,
                Part::ValueSize => write!(out, "{}", size(record.value.as_ref().map(|v| v.len())))?,
            }
        }
        Ok(())
    }
}

const KNOWN: &str = "%t %p %o %k %v %h %T %D %K %V %%";

fn write_headers(record: &FetchedRecord, out: &mut impl Write) -> io::Result<()> {
    for (place, (key, value)) in record.headers.iter().enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key.as_bytes())?;
        out.write_all(b"=")?;
        out.write_all(value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// The byte of an escape whose backslash has been read.
fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let wrong = || format!("\\x{digits} is no byte; write two digits, such as \\x1f");
            is_hex.then(|| u8::from_str_radix(&digits, 16).ok()).flatten().ok_or_else(wrong)
        }
        Some(other) => Err(format!("\\{other} is unknown; there are \\n \\t \\r \\0 \\xHH \\\\")),
        None => Err("a single \\ at the end; write \\\\".into()),
    }
}

/// A text with escapes as bytes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => bytes.push(escape(&mut chars)?),
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringlog_types::TopicPartition;

    use super::*;

    fn check(format: &str, expected: &str) {
        let record = FetchedRecord {
            partition: TopicPartition::new("logs", 3),
            offset: 42,
            timestamp: 1_795_419_015_250,
            key: None,
            value: Some(Bytes::from_static("wört".as_bytes())),
            headers: vec![("a".into(), Some(Bytes::from_static(b"1"))), ("b".into(), None)],
        };
        let mut out = Vec::new();
        LineFormat::parse(format).unwrap().write(&record, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{format}");
    }

    #[test]
    fn placeholders() {
        check("%t-%p@%o\\n", "logs-3@42\n");
        check("[%k|%v] %K %V", "[|wört] -1 5");
        check("%h %T %D", "a=1,b= 1795419015250 2026-11-23T07:30:15.250Z");
        check("100%% \\t\\\\\\x41 ü", "100% \t\\A ü");
        check("", "");
    }

    #[test]
    fn mistakes_are_named() {
        for (format, part) in
            [("%y", "%y is unknown"), ("%", "at the end"), ("\\q", "\\q"), ("\\xg1", "\\xg1")]
        {
            let error = LineFormat::parse(format).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
