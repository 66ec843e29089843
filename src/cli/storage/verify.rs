//! `ringlog storage verify`: checks every file, reports what is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{mem, thread};

use indicatif::{ProgressBar, ProgressStyle};
use ringlog_types::Offset;
use serde::Serialize;

use super::VerifyArgs;
use super::files::{self, Kind};
use super::small_files;
use super::verify_relations::Relations;
use super::verify_segment::{self, Depth, Segment};
use crate::exit::{FAILED, FOUND, Failure, at_path};
use crate::output::Output;
use crate::sizes;

/// After so long, what a node had begun to write is written.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// A segment that was written to within this time may be in use.
const LATELY: Duration = Duration::from_secs(600);

/// What was found, of everything.
#[derive(Debug, Default, Serialize)]
struct Report {
    files: u64,
    /// Those among them that were looked into.
    checked: u64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    /// Prepared and not yet written; of segments that may be active.
    padding_bytes: u64,
    /// Files that neither Kafka nor Ringlog writes; nothing was checked in them.
    unknown: Vec<String>,
    problems: Vec<Problem>,
}

/// Something damaged.
#[derive(Debug, Serialize)]
struct Problem {
    file: String,
    problem: String,
}

impl Report {
    fn problem(&mut self, path: &Path, problem: impl Into<String>) {
        let file = path.display().to_string();
        self.problems.push(Problem { file, problem: problem.into() });
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&format!("DAMAGED {}: {}\n", problem.file, problem.problem));
        }
        for file in &self.unknown {
            text.push_str(&format!("unknown {file}\n"));
        }
        let count = sizes::grouped;
        text + &format!(
            "{} files, {} checked, {} segments, {} batches, {} records, {}: {}",
            count(self.files),
            count(self.checked),
            count(self.segments),
            count(self.batches),
            count(self.records),
            sizes::bytes(self.bytes),
            match self.problems.len() {
                0 if self.checked == 0 => "nothing to check".into(),
                0 => "no damage".into(),
                1 => "1 problem".into(),
                problems => format!("{problems} problems"),
            }
        )
    }
}

pub(super) fn run(args: &VerifyArgs, output: &mut Output) -> Result<(), Failure> {
    // What is said of logs comes first: those of a running node then reach as far, or farther.
    let relations = Relations::gather(&files::collect(&args.paths)?);
    let paths = files::collect(&args.paths)?;
    let progress = progress_bar(&paths, args.quiet);
    let report = verify(&paths, relations, !args.shallow, &progress)?;
    progress.finish_and_clear();
    output.print(&report, Report::text)?;
    if report.checked == 0 {
        // A directory that was mistyped, or whose disk is not mounted, is not one without damage.
        return Err(Failure::new(FAILED, "nothing of a log is here"));
    }
    match report.problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::silent(FOUND)),
    }
}

fn progress_bar(paths: &[PathBuf], quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let mut total = 0;
    for path in paths.iter().filter(|path| matches!(Kind::of(path), Kind::Log(_))) {
        // A running node may have removed it.
        total += fs::metadata(path).map_or(0, |metadata| metadata.len());
    }
    let style = "{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}  {wide_msg}";
    let style = ProgressStyle::with_template(style).expect("a constant");
    ProgressBar::new(total).with_style(style)
}

fn verify(
    paths: &[PathBuf],
    mut relations: Relations,
    records: bool,
    progress: &ProgressBar,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let newest = newest_segments(paths);
    // Where the last segment of each directory ended.
    let mut ends: BTreeMap<PathBuf, Offset> = BTreeMap::new();
    let mut checked: BTreeSet<PathBuf> = paths.iter().cloned().collect();
    for path in paths {
        let kind = Kind::of(path);
        report.files += 1;
        report.checked += u64::from(!matches!(kind, Kind::Other | Kind::Unknown));
        match kind {
            Kind::Log(base) => {
                let dir = path.parent().unwrap_or(Path::new("")).to_owned();
                let may_be_active = newest.get(&dir) == Some(&base);
                progress.set_message(path.display().to_string());
                let depth = Depth { records, may_be_active };
                let segment = check_segment(path, base, depth, progress);
                let Some(segment) = unless_removed(path, segment)? else {
                    relations.note_removed(path);
                    continue;
                };
                relations.take_segment(path, base, segment.ends());
                if let Some(end) = ends.get(&dir).filter(|end| base < **end) {
                    report.problem(path, format!("the segment before it ends at {end}"));
                }
                let end = segment.end_offset.unwrap_or(base);
                ends.insert(dir, end);
                take_segment(&mut report, path, segment);
            }
            Kind::FencedRanges => take_fences(&mut report, path),
            Kind::OffsetIndex(base) | Kind::TimeIndex(base) | Kind::TransactionIndex(base) => {
                let log = path.with_file_name(format!("{base:020}.log"));
                if !path.exists() {
                    // A running node has removed it, or gave it another name.
                } else if !log.exists() {
                    // A node that removes a segment begins with the `.log`.
                    thread::sleep(SECOND_LOOK);
                    if path.exists() && !log.exists() {
                        report.problem(path, "it has no .log");
                    }
                } else if checked.insert(log.clone()) {
                    // An index is checked against its log, also where it was named alone.
                    let depth = Depth { records, may_be_active: true };
                    let segment = check_segment(&log, base, depth, progress);
                    if let Some(segment) = unless_removed(&log, segment)? {
                        take_segment(&mut report, &log, segment);
                    }
                }
            }
            Kind::Unknown => report.unknown.push(path.display().to_string()),
            kind => {
                if let Err(reason) = check_small(path, kind)
                    && path.exists()
                {
                    report.problem(path, reason);
                }
            }
        }
    }
    for (path, problem) in relations.judge() {
        report.problem(&path, problem);
    }
    Ok(report)
}

/// What came of a segment, unless a running node has removed it meanwhile.
fn unless_removed(
    path: &Path,
    segment: std::io::Result<Segment>,
) -> Result<Option<Segment>, Failure> {
    match segment {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.exists() => Ok(None),
        segment => segment.map(Some).map_err(at_path(path)),
    }
}

/// What is known to be damaged is so, also where nothing is left that could be checked.
fn take_fences(report: &mut Report, path: &Path) {
    let text = fs::read_to_string(path).map_err(|error| error.to_string());
    match text.and_then(|text| small_files::fenced_ranges(&text)) {
        Ok(ranges) => {
            for range in ranges {
                let log = path.with_file_name(format!("{:020}.log", range.base_offset));
                let (first, end) = (range.first_offset, range.end_offset);
                let problem = format!(
                    "@{}: offsets {first} to {end} (exclusive) are fenced off: they were damaged",
                    range.position
                );
                report.problem(&log, problem);
            }
        }
        Err(reason) => report.problem(path, reason),
    }
}

/// The base offset of the last segment of every directory.
fn newest_segments(paths: &[PathBuf]) -> BTreeMap<PathBuf, Offset> {
    let mut newest = BTreeMap::new();
    for path in paths {
        if let (Kind::Log(base), Some(dir)) = (Kind::of(path), path.parent()) {
            let last = newest.entry(dir.to_owned()).or_insert(base);
            *last = base.max(*last);
        }
    }
    newest
}

fn check_segment(
    path: &Path,
    base: Offset,
    depth: Depth,
    progress: &ProgressBar,
) -> std::io::Result<Segment> {
    let mut segment = loop {
        match check_once(path, base, depth, |bytes| progress.inc(bytes)) {
            // A running node has cut off the space that it had prepared.
            Err(error) if is_cut(&error) && was_written_lately(path) => thread::sleep(SECOND_LOOK),
            segment => break segment?,
        }
    };
    if !segment.problems.is_empty() && was_written_lately(path) {
        // A running node may have been in the middle of a write. What it had not finished is
        // whole a moment later, and what is damaged is not.
        thread::sleep(SECOND_LOOK);
        let again = check_once(path, base, depth, |_| {})?;
        let before = mem::replace(&mut segment, again).problems;
        segment.problems.retain(|problem| before.contains(problem));
    }
    Ok(segment)
}

fn is_cut(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

fn was_written_lately(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    // In the future, if the clock was set back.
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|ago| ago < LATELY))
}

fn check_once(
    path: &Path,
    base: Offset,
    depth: Depth,
    progress: impl FnMut(u64),
) -> std::io::Result<Segment> {
    // A running node writes an index later than the batches that it names.
    let [offsets, times] =
        ["index", "timeindex"].map(|suffix| fs::read(path.with_extension(suffix)).ok());
    let mut segment = verify_segment::check_log(path, base, depth, progress)?;
    if let Some(offsets) = offsets {
        segment.check_offset_index(&offsets, base);
    }
    if let Some(times) = times {
        segment.check_time_index(&times, base);
    }
    Ok(segment)
}

fn take_segment(report: &mut Report, path: &Path, segment: Segment) {
    report.segments += 1;
    report.batches += segment.batches;
    report.records += segment.records;
    report.padding_bytes += segment.padding_bytes;
    report.bytes += segment.bytes;
    for problem in segment.problems {
        report.problem(path, problem);
    }
}

fn check_small(path: &Path, kind: Kind) -> Result<(), String> {
    let text = || fs::read_to_string(path).map_err(|error| error.to_string());
    match kind {
        Kind::ProducerSnapshot(_) => {
            let bytes = fs::read(path).map_err(|error| error.to_string())?;
            small_files::snapshot(&bytes).map(drop)
        }
        Kind::LeaderEpochs => {
            let epochs = small_files::leader_epochs(&text()?)?;
            let ascends =
                epochs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            if ascends { Ok(()) } else { Err("its epochs do not ascend".into()) }
        }
        Kind::PartitionMetadata => small_files::partition_metadata(&text()?).map(drop),
        // Kafka makes these files empty and fills them later.
        Kind::OffsetCheckpoint => match text()? {
            text if text.is_empty() => Ok(()),
            text => small_files::offset_checkpoint(&text).map(drop),
        },
        Kind::CheckedSegments => small_files::checked_segments(&text()?),
        Kind::MetaProperties => {
            small_files::properties_checksum(&text()?)?;
            let properties = small_files::properties(&text()?);
            let has = |key: &str| properties.iter().any(|(name, _)| name == key);
            let missing = ["version", "cluster.id", "node.id"].into_iter().find(|key| !has(key));
            missing.map_or(Ok(()), |key| Err(format!("it has no {key}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ringlog_record::{BatchBuilder, Compression, patch};
    use ringlog_types::Uuid;

    use super::*;

    /// A partition's directory with two segments, the second one padded as an active one is.
    fn partition(dir: &Path) {
        let batch = |offset: Offset, codec| {
            let mut builder = BatchBuilder::new(1_000 + offset).compression(codec, None);
            for n in 0..10 {
                let value = format!("value {n}");
                builder.push(1_000 + offset + n, Some(b"k"), Some(value.as_bytes()), &[]);
            }
            let (mut bytes, _) = builder.build().unwrap();
            patch::set_base_offset(&mut bytes, offset);
            bytes
        };
        let first = [batch(0, Compression::None), batch(10, Compression::Zstd)];
        fs::write(dir.join("00000000000000000000.log"), first.concat()).unwrap();
        let position = (first[0].len() as u32).to_be_bytes();
        let index = [19_u32.to_be_bytes(), position].concat();
        fs::write(dir.join("00000000000000000000.index"), index).unwrap();
        let time = [&1_019_i64.to_be_bytes()[..], &19_u32.to_be_bytes()[..]].concat();
        fs::write(dir.join("00000000000000000000.timeindex"), time).unwrap();
        let mut last = batch(20, Compression::None);
        last.resize(last.len() + 4096, 0);
        fs::write(dir.join("00000000000000000020.log"), last).unwrap();
        fs::write(dir.join("leader-epoch-checkpoint"), "0\n1\n0 0\n").unwrap();
    }

    /// Damages one file and expects a problem that says so.
    fn check(file: &str, damage: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        partition(dir.path());
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap_or_default();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let paths = files::collect(&[dir.path().to_owned()]).unwrap();
        let report =
            verify(&paths, Relations::gather(&paths), true, &ProgressBar::hidden()).unwrap();
        let text = report.text();
        match expected {
            "" => assert!(report.problems.is_empty(), "{text}"),
            expected => {
                let found = report.problems.iter().any(|p| p.problem.contains(expected));
                assert!(found, "no {expected:?} in\n{text}");
            }
        }
    }

    #[test]
    fn a_whole_partition_has_no_problem() {
        let dir = tempfile::tempdir().unwrap();
        partition(dir.path());
        let paths = files::collect(&[dir.path().to_owned()]).unwrap();
        let report =
            verify(&paths, Relations::gather(&paths), true, &ProgressBar::hidden()).unwrap();
        assert!(report.problems.is_empty(), "{}", report.text());
        assert_eq!((report.segments, report.batches, report.records), (2, 3, 30));
        assert_eq!(report.padding_bytes, 4096);
    }

    #[test]
    fn an_index_that_is_named_alone_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        partition(dir.path());
        let index = dir.path().join("00000000000000000000.index");
        let time_index = dir.path().join("00000000000000000000.timeindex");
        let paths = [index.clone(), time_index.clone()];
        let check = || verify(&paths, Relations::gather(&paths), true, &ProgressBar::hidden());
        let report = check().unwrap();
        assert!(report.problems.is_empty(), "{}", report.text());
        assert_eq!((report.files, report.checked, report.segments), (2, 2, 1));
        let mut bytes = fs::read(&index).unwrap();
        bytes[7] += 1;
        fs::write(&index, bytes).unwrap();
        let text = check().unwrap().text();
        assert!(text.contains("no such batch"), "{text}");
    }

    #[test]
    fn what_is_no_log_does_not_pass() {
        let dir = tempfile::tempdir().unwrap();
        let run = || {
            let paths = vec![dir.path().to_owned()];
            let args = VerifyArgs { paths, shallow: false, quiet: true };
            run(&args, &mut Output::new(crate::output::Format::Json)).map_err(|f| f.to_string())
        };
        assert!(run().unwrap_err().contains("nothing of a log"));
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        assert!(run().unwrap_err().contains("nothing of a log"));
        partition(dir.path());
        assert_eq!(run(), Ok(()));
    }

    #[test]
    fn damage_is_found() {
        const FIRST: &str = "00000000000000000000.log";
        check(FIRST, |bytes| bytes[70] ^= 1, "the checksum is");
        check(FIRST, |bytes| bytes.truncate(bytes.len() - 1), "bytes are left");
        check(FIRST, |bytes| bytes[16] = 1, "magic 1");
        check(FIRST, |bytes| bytes.extend([0; 512]), "zeros at the end of a sealed segment");
        check(FIRST, |bytes| bytes[7] = 50, "offsets begin before");
        check(FIRST, |bytes| bytes[8] = 0xff, "a batch of length -");
        check("00000000000000000020.log", |bytes| bytes.push(7), "zeros, and then something");
        check("00000000000000000000.index", |bytes| bytes[7] += 1, "no such batch");
        check("00000000000000000000.index", |bytes| bytes.push(0), "whole number of entries");
        check("00000000000000000000.timeindex", |bytes| bytes[7] -= 1, "the time there is");
        check("00000000000000000500.index", |_| {}, "it has no .log");
        check("leader-epoch-checkpoint", |bytes| bytes[2] = b'5', "are announced");
        check("00000000000000000020.snapshot", |bytes| bytes.extend([0; 20]), "version 0");
        check("00000000000000000000.index", |bytes| bytes.resize(1024, 0), "");
    }

    /// A log directory with one partition, whose files are as they should be.
    fn log_directory() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs-0");
        fs::create_dir(&logs).unwrap();
        partition(&logs);
        for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
            fs::write(dir.path().join(name), "0\n1\nlogs 0 30\n").unwrap();
        }
        let id = Uuid::from_u128(7);
        fs::write(logs.join("partition.metadata"), format!("version: 0\ntopic_id: {id}\n"))
            .unwrap();
        let meta = "# ringlog.checksum=a19349ac\ncluster.id=c\nnode.id=1\nversion=1\n";
        fs::write(dir.path().join("meta.properties"), meta).unwrap();
        fs::write(logs.join("ringlog-recovery-point-1"), "30\n").unwrap();
        (dir, logs)
    }

    fn problems_of(dir: &Path) -> Vec<String> {
        let paths = files::collect(&[dir.to_owned()]).unwrap();
        let report =
            verify(&paths, Relations::gather(&paths), true, &ProgressBar::hidden()).unwrap();
        assert!(report.unknown.is_empty(), "{}", report.text());
        report.problems.into_iter().map(|problem| problem.problem).collect()
    }

    /// Each of these passed as no damage: every file alone is as it should be.
    #[test]
    fn files_that_do_not_fit_together_are_problems() {
        let (dir, logs) = log_directory();
        assert_eq!(problems_of(dir.path()), [""; 0]);
        let check = |path: &str, text: &str, expected: &str| {
            let (dir, _) = log_directory();
            fs::write(dir.path().join(path), text).unwrap();
            let problems = problems_of(dir.path());
            assert!(matches!(&problems[..], [one] if one.contains(expected)), "{problems:?}");
        };
        let recovery_points = "recovery-point-offset-checkpoint";
        check(recovery_points, "0\n1\nlogs 0 31\n", "whose log ends at 30");
        check("log-start-offset-checkpoint", "0\n1\nlogs 0 99\n", "a log start of 99");
        check("logs-0/leader-epoch-checkpoint", "0\n2\n0 0\n1 40\n", "an epoch that begins at 40");
        let meta = "# ringlog.checksum=a19349ac\ncluster.id=d\nnode.id=1\nversion=1\n";
        check("meta.properties", meta, "one was changed");
        let fences = "0\n1\n0 77 99 4 9\n";
        check("logs-0/ringlog-fenced-ranges", fences, "offsets 4 to 9 (exclusive) are fenced off");
        check("logs-0/ringlog-checked-segments", "0\n0\ncrc32c 00000000\n", "is expected");
        // A segment between two others is gone, and nothing of it is left.
        let last = logs.join("00000000000000000020.log");
        let batch = fs::read(&last).unwrap();
        let mut moved = batch.clone();
        patch::set_base_offset(&mut moved, 30);
        fs::write(logs.join("00000000000000000030.log"), moved).unwrap();
        fs::remove_file(&last).unwrap();
        let problems = problems_of(dir.path());
        let missing = "offsets 20 to 30 (exclusive) are missing before it";
        assert_eq!(problems, [missing]);
        // Compaction leaves gaps: Kafka says of which partitions.
        fs::write(dir.path().join("cleaner-offset-checkpoint"), "0\n1\nlogs 0 30\n").unwrap();
        assert_eq!(problems_of(dir.path()), [""; 0]);
    }

    /// The last batch of an active segment may be half written at the moment it is read.
    #[test]
    fn what_is_being_written_is_looked_at_twice() {
        let (dir, logs) = log_directory();
        let path = logs.join("00000000000000000020.log");
        let whole = fs::read(&path).unwrap();
        let mut torn = whole.clone();
        torn[100] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(problems_of(dir.path()).len(), 1, "it stays so");
        let writer = thread::spawn(move || {
            thread::sleep(SECOND_LOOK / 4);
            fs::write(&path, &whole).unwrap();
        });
        assert_eq!(problems_of(dir.path()), [""; 0]);
        writer.join().unwrap();
    }
}
