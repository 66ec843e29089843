//! The files after a clean stop, by Kafka's rules: what `dump-log` and a Kafka broker rely on.

use std::collections::BTreeMap;

use ringlog_record::BatchView;

use crate::history::History;
use crate::model::LogModel;
use crate::opening;

/// A batch in a `.log`: where it starts, its first and last offset and its largest timestamp.
struct Stored {
    position: u32,
    base: i64,
    last: i64,
    max_timestamp: i64,
}

/// Checks every file of every partition.
pub(crate) fn check(history: &History) -> Result<(), String> {
    let logs = history.shared.logs.borrow();
    for (index, model) in logs.iter().enumerate() {
        check_partition(history, index, model)
            .map_err(|why| format!("files of t-{index}: {why}"))?;
    }
    Ok(())
}

fn check_partition(history: &History, index: usize, model: &LogModel) -> Result<(), String> {
    let directory = opening::directory(&history.plan, index);
    let mut files: BTreeMap<(i64, String), Vec<u8>> = BTreeMap::new();
    let names = history.sim.disk(history.node).list(&directory);
    for name in names.map_err(|e| e.to_string())? {
        let Some((stem, suffix)) = name.split_once('.') else { continue };
        let Ok(base) = stem.parse::<i64>() else { continue };
        let bytes = history.sim.disk(history.node).read(directory.join(&name));
        files.insert((base, suffix.to_owned()), bytes.map_err(|e| e.to_string())?);
    }
    let mut expected: Option<i64> = None;
    for ((base, suffix), bytes) in &files {
        if suffix != "log" {
            continue;
        }
        if expected.is_some_and(|end| end != *base) {
            return Err(format!("segment {base} follows one that ends at {expected:?}"));
        }
        let batches = parse_log(*base, bytes)?;
        let end = batches.last().map_or(*base, |batch| batch.last + 1);
        let index = |suffix: &str| {
            let file = files.get(&(*base, suffix.to_owned()));
            file.map(Vec::as_slice).ok_or(format!("segment {base} has no .{suffix}"))
        };
        check_offset_index(*base, index("index")?, &batches)?;
        check_time_index(*base, index("timeindex")?, &batches)?;
        expected = Some(end);
    }
    match expected {
        Some(end) if end == model.end() => Ok(()),
        other => Err(format!("the segments end at {other:?}, the log at {}", model.end())),
    }
}

/// The batches of a segment, which must be whole, dense, and all there is in the file.
fn parse_log(base: i64, bytes: &[u8]) -> Result<Vec<Stored>, String> {
    let mut batches = Vec::new();
    let (mut at, mut next) = (0, base);
    while at < bytes.len() {
        let view = BatchView::check(&bytes[at..]);
        let view = view.map_err(|e| format!("segment {base}, position {at}: {e}"))?;
        if view.base_offset() != next {
            return Err(format!("segment {base}: offset {} after {next}", view.base_offset()));
        }
        let (position, last) = (at as u32, view.last_offset());
        let max_timestamp = view.max_timestamp();
        batches.push(Stored { position, base: next, last, max_timestamp });
        next = last + 1;
        at += view.size();
    }
    Ok(batches)
}

/// Entries grow in both columns; each is the last offset of a batch and where it starts.
fn check_offset_index(base: i64, bytes: &[u8], batches: &[Stored]) -> Result<(), String> {
    if !bytes.len().is_multiple_of(8) {
        return Err(format!("the index of {base} has {} bytes", bytes.len()));
    }
    let mut before: Option<(i64, u32)> = None;
    for entry in bytes.chunks(8) {
        let offset = base + i64::from(u32_at(entry, 0));
        let position = u32_at(entry, 4);
        if before.is_some_and(|(o, p)| offset <= o || position <= p) {
            return Err(format!("the index of {base} does not grow at {offset}"));
        }
        let fits = |b: &Stored| b.position == position && b.last == offset && b.base <= offset;
        if !batches.iter().any(fits) {
            return Err(format!("the index of {base} has {offset} at {position}, no batch there"));
        }
        before = Some((offset, position));
    }
    Ok(())
}

/// Entries grow in both columns; nothing up to the offset is newer than the timestamp, one batch
/// has it, and the last entry has the segment's newest.
fn check_time_index(base: i64, bytes: &[u8], batches: &[Stored]) -> Result<(), String> {
    if !bytes.len().is_multiple_of(12) {
        return Err(format!("the time index of {base} has {} bytes", bytes.len()));
    }
    let mut before: Option<(i64, i64)> = None;
    for entry in bytes.chunks(12) {
        let timestamp = i64::from_be_bytes(entry[..8].try_into().expect("8 bytes"));
        let offset = base + i64::from(u32_at(entry, 8));
        if before.is_some_and(|(t, o)| timestamp <= t || offset <= o) {
            return Err(format!("the time index of {base} does not grow at {offset}"));
        }
        let newest = batches.iter().filter(|b| b.last <= offset).map(|b| b.max_timestamp).max();
        if newest != Some(timestamp) {
            return Err(format!(
                "the time index of {base} has {timestamp} at {offset}, newest is {newest:?}"
            ));
        }
        before = Some((timestamp, offset));
    }
    let newest = batches.iter().map(|b| b.max_timestamp).max();
    if before.map(|(timestamp, _)| timestamp) != newest {
        return Err(format!("the time index of {base} ends with {before:?}, newest is {newest:?}"));
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}
