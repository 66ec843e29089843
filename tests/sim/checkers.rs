//! What must be true of an open log: reads give what was appended, and only that.

use ringlog_runtime::{Piece, WorkOwner};
use ringlog_storage::ReadError;

use crate::workload::Bench;

/// Reads the whole log and compares every byte with the model.
pub(crate) async fn check_all(bench: &Bench) {
    let mut offset = bench.log.log_start_offset();
    let end = bench.log.log_end_offset();
    while offset < end && bench.shared.violation().is_none() {
        if bench.model(|model| Ok(model.is_rotten_at(offset))) == Some(true) {
            read(bench, offset, 200_000, end).await;
            offset = bench.batch_end(offset);
            continue;
        }
        match read(bench, offset, 200_000, end).await {
            Some(next) if next > offset => offset = next,
            // Damaged: on with the next batch.
            Some(_) if bench.shared.rotted.get() => offset = bench.batch_end(offset),
            Some(_) => {
                bench.model(|_| Err::<(), _>(format!("nothing to read at {offset} of {end}")));
                return;
            }
            None if bench.shared.rotted.get() => offset = bench.batch_end(offset),
            None => return,
        }
    }
}

/// Reads at random places while others write.
pub(crate) async fn read_at_random(bench: Bench) {
    while !bench.shared.stop.get() && !bench.shared.is_over() {
        let time = bench.below(bench.plan.read_micros);
        bench.rt.sleep(std::time::Duration::from_micros(time)).await;
        if bench.log.failure().is_some() {
            return;
        }
        let (start, end) = (bench.log.log_start_offset(), bench.log.committed_offset());
        let offset = start + bench.below((end - start).max(0) as u64 + 1) as i64;
        if bench.below(4) == 0 {
            find_time(&bench, offset).await;
        } else {
            let max_bytes = 1 + bench.below(30_000) as usize;
            read(&bench, offset, max_bytes, end).await;
        }
    }
}

/// One read, compared. Returns the offset behind the whole batches in it.
async fn read(bench: &Bench, offset: i64, max_bytes: usize, up_to: i64) -> Option<i64> {
    let is_promise = bench.is_sync() && up_to <= bench.log.committed_offset();
    let is_rotten = bench.model(|model| Ok(model.is_rotten_at(offset))) == Some(true);
    let cuts = bench.truncation.count.get();
    let was_cut = || bench.truncation.under_way.get() || bench.truncation.count.get() != cuts;
    let was_cut_before = was_cut();
    let result = bench.log.read(offset, max_bytes, up_to, true).await;
    if was_cut_before || was_cut() {
        let bytes = gather(bench, &result.ok()?.pieces).await?;
        return check_during_cut(bench, offset, &bytes);
    }
    let read = match result {
        Ok(read) => read,
        Err(ReadError::OffsetOutOfRange { .. }) if offset < bench.log.log_start_offset() => {
            return None;
        }
        Err(ReadError::Corrupt { .. }) if is_rotten => return None,
        Err(error) => {
            bench.failed("a read", &error);
            return None;
        }
    };
    let bytes = gather(bench, &read.pieces).await?;
    if was_cut() {
        return check_during_cut(bench, offset, &bytes);
    }
    bench.shared.reads.set(bench.shared.reads.get() + 1);
    if bench.shared.rotted.get() || is_rotten {
        return check_rotted(bench, offset, &bytes);
    }
    bench.model(|model| {
        if bytes.len() != read.bytes {
            return Err(format!("{} bytes, said to be {}", bytes.len(), read.bytes));
        }
        let whole = model.check_bytes(offset, up_to, &bytes)?;
        let first = model.position(offset);
        if whole == 0 && offset < up_to {
            let length = bytes.len();
            return Err(format!("no whole batch in {length} bytes read at {offset} up to {up_to}"));
        }
        let next = model.entries.get(first + whole).map_or(model.end(), |entry| entry.base);
        if is_promise {
            // What a reader was given cannot be taken back.
            model.promised(next.min(up_to))?;
        }
        Ok(next)
    })
}

async fn gather(bench: &Bench, pieces: &[Piece]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(piece) => bytes.extend_from_slice(piece),
            Piece::File { file, pos, len } => {
                let (read, buf) = bench.rt.read_at(file, bench.rt.buffers().get(*len), *pos).await;
                match read {
                    Ok(n) => bytes.extend_from_slice(&buf[..n.min(*len)]),
                    Err(error) => {
                        bench.failed("reading a piece", &error);
                        return None;
                    }
                }
            }
        }
    }
    Some(bytes)
}

/// While the end is cut off: a reader gets what was there before or what is there now, and never a
/// batch of both.
fn check_during_cut(bench: &Bench, offset: i64, bytes: &[u8]) -> Option<i64> {
    if bench.shared.rotted.get() || bench.model(|model| Ok(model.is_rotten())) == Some(true) {
        return None;
    }
    for view in ringlog_record::BatchIter::new(bytes) {
        let Ok(view) = view else { break };
        let is_whole = view.verify_crc().is_ok() && view.last_offset() >= offset;
        bench.model(|_| match is_whole {
            true => Ok(()),
            false => Err(format!("a batch of two logs in a read at {offset}")),
        });
    }
    None
}

/// On a damaged disk: whatever passes its checksum must still be what was appended there.
fn check_rotted(bench: &Bench, offset: i64, bytes: &[u8]) -> Option<i64> {
    let mut next = offset;
    for view in ringlog_record::BatchIter::new(bytes) {
        let Ok(view) = view else { break };
        // The checksum does not cover the base offset: a client sees damage there by the gap.
        let follows = view.base_offset() <= offset || view.base_offset() == next;
        if view.verify_crc().is_err() || !follows || view.last_offset() < offset {
            break;
        }
        bench.model(|model| {
            let known = model.entries.get(model.position(view.base_offset()));
            match known {
                Some(entry) if entry.batch.bytes[21..] == view.bytes()[21..] => Ok(()),
                _ => Err(format!("damage made a batch up at {}", view.base_offset())),
            }
        });
        next = view.last_offset() + 1;
    }
    Some(next)
}

/// Looks an offset up by a time that occurs in the log.
async fn find_time(bench: &Bench, near: i64) {
    let timestamp = {
        let logs = bench.shared.logs.borrow();
        let model = &logs[bench.index];
        let Some(entry) = model.entries.get(model.position(near)) else { return };
        entry.batch.max_timestamp
    };
    let start = bench.log.log_start_offset();
    let end = bench.log.log_end_offset();
    let cuts = bench.truncation.count.get();
    let was_cut = || bench.truncation.under_way.get() || bench.truncation.count.get() != cuts;
    let was_cut_before = was_cut();
    let found = bench.log.offset_for_timestamp(timestamp, WorkOwner::NOBODY).await;
    if was_cut_before || was_cut() {
        return;
    }
    let found = match found {
        Ok(found) => found.map(|found| found.offset),
        Err(error) if bench.log.log_start_offset() == start => {
            return bench.failed("a look-up by time", &error);
        }
        Err(_) => return,
    };
    // Deleting and appending meanwhile make another answer right as well.
    let is_rotten = bench.model(|model| Ok(model.is_rotten())) == Some(true);
    if bench.shared.rotted.get() || is_rotten || bench.log.log_start_offset() != start {
        return;
    }
    bench.model(|model| {
        let want = model.first_at_or_after(timestamp, start);
        match (want, found) {
            (Some(want), found) if Some(want) == found => Ok(()),
            (Some(want), None) if want >= end => Ok(()),
            (None, None) => Ok(()),
            _ => Err(format!("time {timestamp} is at {want:?}, found was {found:?}")),
        }
    });
}
